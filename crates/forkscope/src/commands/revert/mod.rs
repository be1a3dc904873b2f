//! `forkscope revert`: what it costs to bring a behaviour back to the base's.

mod print;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use forkscope_audit::findings::FindingSettings;
use forkscope_audit::revert::RevertSettings;
use forkscope_records::types::Findings;
use forkscope_records::{RunManifest, write_findings};
use forkscope_report::{ReportData, render_html};
use forkscope_tasks::{Behaviour, JudgeLimits, Verifier};
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::interrupt::interrupted;
use crate::work::models::{self, Named};
use crate::work::options::{RunOptions, SamplingOptions};
use crate::work::plan::Plan;
use crate::work::prompts::{ProblemSet, Prompts};
use crate::work::revert::{Asked, InduceBy, Job, SearchBounds};
use crate::work::{compare, prompts, revert, run};

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
    base: String,
    /// Tuned policy p, likewise
    #[arg(long, value_name = "T")]
    tuned: String,
    /// Problems on which the behaviour is to be undone: JSONL, JSON, Parquet, or embedded:hazardous
    #[arg(long, value_name = "FILE")]
    problems: Option<PathBuf>,
    /// Problems on which it is to be induced, likewise, or embedded:problems
    #[arg(long, value_name = "FILE")]
    benign: Option<PathBuf>,
    /// What is measured: refusal, correct, regex:PATTERN, or cmd:PROGRAM ARGUMENT ... (text on stdin, 1 or 0 on stdout)
    #[arg(long, value_name = "RULE")]
    behaviour: String,
    /// Which way [default: what the problems given allow]
    #[arg(long, value_enum, value_name = "undo|induce|both")]
    direction: Option<Way>,
    /// Whose tokens induce the behaviour [default: exemplar, base for correct]
    #[arg(long, value_enum, value_name = "exemplar|base")]
    induce_by: Option<By>,
    /// Text whose tokens induce the behaviour
    #[arg(long, value_name = "TEXT", conflicts_with = "induce_by")]
    induce_text: Option<String>,
    /// How answers are graded, for correct: as in eval
    #[arg(long, value_name = "RULE", default_value = "auto")]
    verifier: Verifier,
    /// Seconds that a judge command may take for one text
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    judge_timeout: f64,
    /// Most forced or prefilled tokens
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    cap: u32,
    /// Weights of the base that are tried, ascending; to induce they are taken negative
    #[arg(
        long,
        value_name = "A,...",
        value_delimiter = ',',
        default_value = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1,1.25,1.5,2"
    )]
    alpha: Vec<f64>,
    /// Completions that a search for fewer forced tokens may take per answer and number
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    exhaustive: u32,
    /// Also search for tokens before or after the user's text
    #[arg(long)]
    prompt_search: bool,
    /// Most tokens that the search adds
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    prompt_tokens: u32,
    /// Forward passes over a changed prompt that the search may take per answer
    #[arg(long, value_name = "N", default_value_t = 768, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    prompt_budget: u32,
    /// Leave out the controls
    #[arg(long)]
    no_controls: bool,
    /// Answers per problem; more than 1 needs a temperature
    #[arg(short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    n: u32,
    /// Divides the logits; 0 takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f64,
    /// Most tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_tokens: u32,
    /// A further string that ends a completion (may be given several times)
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// How a problem becomes a prompt: auto, raw, chat, or a family (see docs/cli.md)
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    prompt_style: String,
    /// Your own prompt, with {problem} where the problem goes
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_style")]
    prompt_template: Option<PathBuf>,
    /// Bootstrap replicates of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    replicates: u32,
    #[command(flatten)]
    run: RunOptions,
}

/// Which way the behaviour is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// The tuned policy is to lose it.
    Undo,
    /// The tuned policy is to show it.
    Induce,
    /// Both.
    Both,
}

/// Whose tokens induce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The tuned policy's most frequent answer with the behaviour.
    Exemplar,
    /// The base's own choices.
    Base,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let behaviour = behaviour(a)?;
    let sampling = sampling(a);
    let prices = prices(a, settings);
    prices.check().map_err(|e| Failure::Usage(e.to_string()))?;
    let (undo, induce) = files(a)?;
    let (base, tuned) = models::open_pair(&a.base, &a.tuned)?;
    let undo = undo
        .map(|p| read(a, &tuned, &sampling, &behaviour, p))
        .transpose()?;
    let induce = induce
        .map(|p| read(a, &tuned, &sampling, &behaviour, p))
        .transpose()?;
    for (_, prompts) in undo.iter().chain(&induce) {
        prompts::check_room(&base.policy, &prompts.prompts)?;
        prompts::check_room(&tuned.policy, &prompts.prompts)?;
    }
    if a.run.dry_run {
        return plan(a, &tuned, undo.iter().chain(&induce)).print(a.run.json);
    }
    let mut manifest = run::with_policy(run::manifest("revert", settings), "base", &base)?;
    manifest = run::with_policy(manifest, "tuned", &tuned)?;
    manifest = described(manifest, a);
    for ((set, prompts), role) in [(&undo, "data"), (&induce, "benign")]
        .into_iter()
        .filter_map(|(given, role)| Some((given.as_ref()?, role)))
    {
        manifest = manifest.digest(role, set.digest.as_str());
        manifest = super::sample::with_sampling(manifest, &sampling, prompts);
    }
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return print::print(&a.run, &a.behaviour);
    };
    let job = Job {
        base: &base,
        tuned: &tuned,
        undo: undo.as_ref().map(|(set, prompts)| Asked { set, prompts }),
        induce: induce.as_ref().map(|(set, prompts)| Asked { set, prompts }),
        induce_by: induce_by(a, &behaviour),
        spelled: &a.behaviour,
        behaviour: &behaviour,
        verifier: a.verifier,
        search: a.prompt_search.then_some(SearchBounds {
            tokens: a.prompt_tokens as usize,
            budget: a.prompt_budget as usize,
        }),
        prices,
        findings: FindingSettings {
            seed: settings.seed,
            replicates: a.replicates,
            ..FindingSettings::default()
        },
    };
    let found = Findings {
        schema: Findings::SCHEMA.to_owned(),
        findings: revert::run(&job, &mut dir, settings)?,
    };
    write_findings(&dir, &found)?;
    revert::write_pieces(&tuned, &dir)?;
    let html = render_html(&ReportData {
        run: compare::described(&dir)?,
        findings: found,
        rollouts: Vec::new(),
        rows: Vec::new(),
        pieces: std::collections::BTreeMap::new(),
    })?;
    dir.write_atomic("report.html", html.as_bytes())?;
    dir.complete()?;
    print::print(&a.run, &a.behaviour)
}

/// The behaviour with the limits of its judge.
fn behaviour(a: &Arguments) -> Result<Behaviour, Failure> {
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

fn sampling(a: &Arguments) -> SamplingOptions {
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

fn prices(a: &Arguments, settings: &Settings) -> RevertSettings {
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
fn files(a: &Arguments) -> Result<(Option<&PathBuf>, Option<&PathBuf>), Failure> {
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

fn induce_by(a: &Arguments, behaviour: &Behaviour) -> InduceBy {
    match (&a.induce_text, a.induce_by) {
        (Some(text), _) => InduceBy::Text(text.clone()),
        (None, Some(By::Base)) => InduceBy::Base,
        (None, None) if behaviour.needs_grade() => InduceBy::Base,
        (None, _) => InduceBy::Exemplar,
    }
}

/// Problems and prompts of a file.
fn read(
    a: &Arguments,
    tuned: &Named,
    sampling: &SamplingOptions,
    behaviour: &Behaviour,
    path: &PathBuf,
) -> Result<(ProblemSet, Prompts), Failure> {
    let set = prompts::read(path, a.run.limit)?;
    if behaviour.needs_grade() {
        revert::check_answers(&set.problems, path)?;
    }
    let prompts = prompts::render(tuned, &set.problems, &sampling.style()?, &a.stop)?;
    Ok((set, prompts))
}

/// The settings that decide what the run holds.
fn described(manifest: RunManifest, a: &Arguments) -> RunManifest {
    let file = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let way = a.direction.and_then(|w| w.to_possible_value());
    let by = a.induce_by.and_then(|w| w.to_possible_value());
    manifest
        .setting("problems", json!(file(&a.problems)))
        .setting("benign", json!(file(&a.benign)))
        .setting("limit", json!(a.run.limit))
        .setting("behaviour", a.behaviour.as_str())
        .setting("direction", json!(way.map(|w| w.get_name().to_owned())))
        .setting("induce_by", json!(by.map(|w| w.get_name().to_owned())))
        .setting("induce_text", json!(a.induce_text))
        .setting("verifier", a.verifier.described())
        .setting("judge_timeout", a.judge_timeout)
        .setting("cap", a.cap)
        .setting("alpha", json!(a.alpha))
        .setting("exhaustive", a.exhaustive)
        .setting("prompt_search", a.prompt_search)
        .setting("prompt_tokens", a.prompt_tokens)
        .setting("prompt_budget", a.prompt_budget)
        .setting("controls", !a.no_controls)
        .setting("replicates", a.replicates)
}

/// Upper bounds: every answer eligible, every method at its cap.
fn plan<'a>(
    a: &Arguments,
    tuned: &Named,
    given: impl Iterator<Item = &'a (ProblemSet, Prompts)>,
) -> Plan {
    let (mut answers, mut prompt_tokens) = (0.0, 0.0);
    for (set, prompts) in given {
        answers += set.problems.len() as f64 * f64::from(a.n);
        let tokens: usize = prompts.prompts.iter().map(|p| p.ids.len()).sum();
        prompt_tokens += tokens as f64;
    }
    let cap = f64::from(a.cap);
    let controls = if a.no_controls { 1.0 } else { 2.0 };
    let grid = a.alpha.len() as f64;
    let tries = 2.0
        + cap * (2.0 + controls)
        + 2.0 * f64::from(a.exhaustive)
        + (cap + grid) * controls
        + 5.0;
    let passes = match a.prompt_search {
        true => f64::from(a.prompt_budget) * controls,
        false => 0.0,
    };
    Plan::of(vec![
        ("answers", answers, "rollouts"),
        (
            "prompt_tokens",
            prompt_tokens,
            "tokens, each computed once per policy",
        ),
        ("completions_at_most", answers * tries, "completions"),
        (
            "completion_tokens_at_most",
            answers * tries * f64::from(a.max_tokens),
            "tokens, of both policies",
        ),
        (
            "prompt_passes_at_most",
            answers * passes,
            "forward passes over a prompt",
        ),
        (
            "weights",
            tuned.policy.weight_bytes() as f64,
            "bytes, mapped",
        ),
    ])
}
