//! What the command takes, and what that means.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use forkscope_audit::revert::RevertSettings;
use forkscope_tasks::{Behaviour, JudgeLimits, Verifier};

use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::work::options::{RunOptions, SamplingOptions};
use crate::work::revert::InduceBy;

/// What `forkscope revert` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Measures, answer by answer, the price of bringing a behaviour of a tuned policy back \
        to its base's: fewest forced base tokens, prefilled tokens, the weight of the base in a \
        mixture, nats of logit shift at the decision, KL spent, and, if asked, tokens added to the \
        prompt; each with matched controls, as restricted means and survival curves over prompts. \
        It measures a pair that you hold and talks to no remote system.\n\n\
        `undo` takes --problems on which the tuned policy shows the behaviour and the base does not. \
        `induce` takes --benign problems on which the tuned policy does not show it, and forces the \
        opening of its own most frequent answer that does (or --induce-text, or the base's tokens).",
    after_help = "Example:\n  forkscope revert --base embedded:base --tuned embedded:guarded \\\n    --problems embedded:hazardous --behaviour refusal --limit 8 --out price"
)]
pub struct Arguments {
    /// Base policy b: model directory, hub id, MODEL+ADAPTER, or embedded:base
    #[arg(long, value_name = "B")]
    pub(super) base: String,
    /// Tuned policy p, likewise
    #[arg(long, value_name = "T")]
    pub(super) tuned: String,
    /// Problems on which the behaviour is to be undone: JSONL, JSON, Parquet, or embedded:hazardous
    #[arg(long, value_name = "FILE")]
    pub(super) problems: Option<PathBuf>,
    /// Problems on which it is to be induced, likewise, or embedded:problems
    #[arg(long, value_name = "FILE")]
    pub(super) benign: Option<PathBuf>,
    /// What is measured: refusal, correct, regex:PATTERN, or cmd:PROGRAM ARGUMENT ... (text on stdin, 1 or 0 on stdout)
    #[arg(long, value_name = "RULE")]
    pub(super) behaviour: String,
    /// Which way [default: what the problems given allow]
    #[arg(long, value_enum, value_name = "undo|induce|both")]
    pub(super) direction: Option<Way>,
    /// Whose tokens induce the behaviour [default: exemplar, base for correct]
    #[arg(long, value_enum, value_name = "exemplar|base")]
    pub(super) induce_by: Option<By>,
    /// Text whose tokens induce the behaviour
    #[arg(long, value_name = "TEXT", conflicts_with = "induce_by")]
    pub(super) induce_text: Option<String>,
    /// How answers are graded, for correct: as in eval
    #[arg(long, value_name = "RULE", default_value = "auto")]
    pub(super) verifier: Verifier,
    /// Seconds that a judge command may take for one text
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub(super) judge_timeout: f64,
    /// Most forced or prefilled tokens
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) cap: u32,
    /// Weights of the base that are tried, ascending; to induce they are taken negative
    #[arg(
        long,
        value_name = "A,...",
        value_delimiter = ',',
        default_value = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1,1.25,1.5,2"
    )]
    pub(super) alpha: Vec<f64>,
    /// Completions that a search for fewer forced tokens may take per answer and number
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) exhaustive: u32,
    /// Also search for tokens before or after the user's text
    #[arg(long)]
    pub(super) prompt_search: bool,
    /// Most tokens that the search adds
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(super) prompt_tokens: u32,
    /// Forward passes over a changed prompt that the search may take per answer
    #[arg(long, value_name = "N", default_value_t = 768, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub(super) prompt_budget: u32,
    /// Leave out the controls
    #[arg(long)]
    pub(super) no_controls: bool,
    /// Answers per problem; more than 1 needs a temperature
    #[arg(short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) n: u32,
    /// Divides the logits; 0 takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub(super) temperature: f64,
    /// Most tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) max_tokens: u32,
    /// A further string that ends a completion (may be given several times)
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) stop: Vec<String>,
    /// How a problem becomes a prompt: auto, raw, chat, or a family (see docs/cli.md)
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    pub(super) prompt_style: String,
    /// Your own prompt, with {problem} where the problem goes
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_style")]
    pub(super) prompt_template: Option<PathBuf>,
    /// Bootstrap replicates of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(super) replicates: u32,
    #[command(flatten)]
    pub(super) run: RunOptions,
}

/// Which way the behaviour is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Way {
    /// The tuned policy is to lose it.
    Undo,
    /// The tuned policy is to show it.
    Induce,
    /// Both.
    Both,
}

/// Whose tokens induce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// The tuned policy's most frequent answer with the behaviour.
    Exemplar,
    /// The base's own choices.
    Base,
}

/// The behaviour with the limits of its judge.
pub(super) fn behaviour(a: &Arguments) -> Result<Behaviour, Failure> {
    let behaviour: Behaviour = a
        .behaviour
        .parse()
        .map_err(|e: forkscope_tasks::TaskError| Failure::Usage(format!("--behaviour: {e}")))?;
    let time = Duration::try_from_secs_f64(a.judge_timeout).ok();
    let time = time.filter(|t| !t.is_zero() && t.as_secs() <= 86_400);
    let time = time.ok_or_else(|| {
        Failure::Usage(format!(
            "--judge-timeout is {}, not a number of seconds above 0",
            a.judge_timeout
        ))
    })?;
    Ok(behaviour.with_limits(JudgeLimits {
        time,
        ..JudgeLimits::default()
    }))
}

pub(super) fn sampling(a: &Arguments) -> SamplingOptions {
    SamplingOptions {
        n: a.n,
        temperature: a.temperature,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        max_tokens: a.max_tokens,
        stop: a.stop.clone(),
        prompt_style: a.prompt_style.clone(),
        prompt_template: a.prompt_template.clone(),
    }
}

pub(super) fn prices(a: &Arguments, settings: &Settings) -> RevertSettings {
    RevertSettings {
        seed: settings.seed,
        temperature: a.temperature,
        samples: a.n,
        max_tokens: a.max_tokens as usize,
        token_cap: a.cap as usize,
        prefill_cap: a.cap as usize,
        alphas: a.alpha.clone(),
        exhaustive: a.exhaustive as usize,
        controls: !a.no_controls,
        interrupted,
        ..RevertSettings::default()
    }
}

/// The files of each direction asked for: (undo, induce).
pub(super) fn files(a: &Arguments) -> Result<(Option<&PathBuf>, Option<&PathBuf>), Failure> {
    let way = match (a.direction, &a.problems, &a.benign) {
        (Some(way), ..) => way,
        (None, Some(_), Some(_)) => Way::Both,
        (None, Some(_), None) => Way::Undo,
        (None, None, Some(_)) => Way::Induce,
        (None, None, None) => {
            let said =
                "give --problems to undo the behaviour on, --benign to induce it on, or both";
            return Err(Failure::Usage(said.into()));
        }
    };
    let needs = |path: &'_ Option<PathBuf>, flag: &str| match path {
        Some(_) => Ok(()),
        None => Err(Failure::Usage(format!("this --direction needs {flag}"))),
    };
    if way != Way::Induce {
        needs(&a.problems, "--problems")?;
    }
    if way != Way::Undo {
        needs(&a.benign, "--benign")?;
    }
    let exemplar = a.induce_text.is_none() && a.induce_by != Some(By::Base);
    if way == Way::Induce && exemplar && a.behaviour != "correct" {
        let said = "an exemplar of the behaviour comes from --problems with --direction both; or give --induce-text, or --induce-by base";
        return Err(Failure::Usage(said.into()));
    }
    let undo = a.problems.as_ref().filter(|_| way != Way::Induce);
    let induce = a.benign.as_ref().filter(|_| way != Way::Undo);
    Ok((undo, induce))
}

pub(super) fn induce_by(a: &Arguments, behaviour: &Behaviour) -> InduceBy {
    match (&a.induce_text, a.induce_by) {
        (Some(text), _) => InduceBy::Text(text.clone()),
        (None, Some(By::Base)) => InduceBy::Base,
        (None, None) if behaviour.needs_grade() => InduceBy::Base,
        (None, _) => InduceBy::Exemplar,
    }
}
