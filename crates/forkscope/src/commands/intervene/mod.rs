//! `forkscope intervene`: which positions carry the difference between two
//! policies.

mod print;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use forkscope_audit::findings::FindingSettings;
use forkscope_audit::intervene::{Arm, BUDGETS, Budget, arms};
use forkscope_policy::SamplePrompt;
use forkscope_records::types::{Direction, Findings};
use forkscope_records::{RunManifest, write_findings};
use forkscope_report::{ReportData, render_html};
use forkscope_tasks::{Behaviour, JudgeLimits, Verifier};
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::work::intervene::{self, Job};
use crate::work::models;
use crate::work::options::{RunOptions, SamplingOptions};
use crate::work::plan::Plan;
use crate::work::prompts::{ProblemSet, Prompts};
use crate::work::{compare, prompts, run};

/// What `forkscope intervene` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "One policy writes, and at chosen positions the other's token takes the place of its \
        own: forward, tokens of the tuned policy intrude into the base's text; reverse, the other way \
        round. Every arm shares its random numbers with all others (Gumbel coupling), so that arms are \
        paired at any temperature. Beside guided arms stand controls that touch as many positions \
        otherwise chosen, or the same ones with random tokens.\n\n\
        A gate is js:0.1, entropy:1.2, kl:.., ce:.., delta:.., drop:.. (threshold), a family with a \
        budget (js/5%, entropy/8 tokens per rollout, random/25%, first/5%), a family alone (takes every \
        --budget), dual:.., first:K, changed, all, or CONTROL@GATE. Thresholds of budgets come from \
        other problems than those they are used on. Without --gate the full table is run. See \
        docs/intervene.md.",
    after_help = "Example:\n  forkscope intervene --base embedded:base --tuned embedded:reasoner \\\n    --problems embedded:problems --limit 8 --gate js/5% \\\n    --gate random@js/5% --temperature 0 --out arms"
)]
pub struct Arguments {
    /// Base policy b: model directory, hub id, MODEL+ADAPTER, or embedded:base
    #[arg(long, value_name = "B")]
    base: String,
    /// Tuned policy p, likewise
    #[arg(long, value_name = "T")]
    tuned: String,
    /// Problems: JSONL, JSON, Parquet, or embedded:problems, embedded:hazardous
    #[arg(long, value_name = "FILE")]
    problems: PathBuf,
    /// Whose tokens intrude: forward (tuned into base), reverse, or both as forward,reverse
    #[arg(
        long,
        value_enum,
        value_name = "forward|reverse",
        value_delimiter = ',',
        default_value = "forward"
    )]
    direction: Vec<Way>,
    /// A gate or CONTROL@GATE (may be given several times) [default: the full table]
    #[arg(long, value_name = "GATE")]
    gate: Vec<String>,
    /// Budgets of gates that are named without one: shares of tokens, or tokens per rollout [default: 1%,2%,5%,10%,20%,100%]
    #[arg(long, value_name = "B,...", value_delimiter = ',')]
    budget: Vec<String>,
    /// Temperatures; at 0 there is one sample per problem
    #[arg(
        long,
        value_name = "T,...",
        value_delimiter = ',',
        default_value = "0,1"
    )]
    temperature: Vec<f64>,
    /// Samples per problem at temperatures above 0
    #[arg(short, long = "samples", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    n: u32,
    /// What is counted: correct, refusal, regex:PATTERN, or cmd:PROGRAM ARGUMENT ... (text on stdin, 1 or 0 on stdout)
    #[arg(long, value_name = "RULE", default_value = "correct")]
    behaviour: String,
    /// How answers are graded: as in eval
    #[arg(long, value_name = "RULE", default_value = "auto")]
    verifier: Verifier,
    /// Seconds that a judge command may take for one text
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    judge_timeout: f64,
    /// Most tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
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

/// Whose tokens intrude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// The tuned policy's.
    Forward,
    /// The base's.
    Reverse,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let arms = all_arms(a)?;
    let temperatures = temperatures(a)?;
    let behaviour = behaviour(a)?;
    let sampling = sampling(a);
    let style = sampling.style()?;
    let (base, tuned) = models::open_pair(&a.base, &a.tuned)?;
    let set = prompts::read(&a.problems, a.run.limit)?;
    check(a, &behaviour, &arms, &set)?;
    let rendered = prompts::render(&tuned, &set.problems, &style, &a.stop)?;
    let prompts = intervene::prompts_of(&base, &rendered);
    for named in [&base, &tuned] {
        prompts::check_room(&named.policy, &prompts)?;
    }
    let job = Job {
        base: &base,
        tuned: &tuned,
        problems: &set.problems,
        prompts: &prompts,
        arms: &arms,
        temperatures: &temperatures,
        samples: a.n,
        max_tokens: a.max_tokens as usize,
        verifier: a.verifier,
        behaviour: &behaviour,
        findings: FindingSettings {
            seed: settings.seed,
            replicates: a.replicates,
            ..FindingSettings::default()
        },
    };
    if a.run.dry_run {
        return plan(&job, &prompts).print(a.run.json);
    }
    let manifest = run::with_policy(run::manifest("intervene", settings), "base", &base)?;
    let manifest = run::with_policy(manifest, "tuned", &tuned)?;
    let manifest = described(manifest, a, &set, &rendered, &arms, &temperatures);
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return print::print(&a.run);
    };
    let found = Findings {
        schema: Findings::SCHEMA.to_owned(),
        findings: intervene::run(&job, &mut dir, settings)?,
    };
    write_findings(&dir, &found)?;
    intervene::write_pieces(&tuned, &dir)?;
    let html = render_html(&ReportData {
        run: compare::described(&dir)?,
        findings: found,
        rollouts: Vec::new(),
        rows: Vec::new(),
        pieces: std::collections::BTreeMap::new(),
    })?;
    dir.write_atomic("report.html", html.as_bytes())?;
    dir.complete()?;
    print::print(&a.run)
}

/// The arms of every direction, each once.
fn all_arms(a: &Arguments) -> Result<Vec<Arm>, Failure> {
    let usage = |e: forkscope_audit::AuditError| Failure::Usage(e.to_string());
    let budgets: Vec<Budget> = match a.budget.is_empty() {
        true => BUDGETS.to_vec(),
        false => {
            let read = a.budget.iter().map(|b| b.parse().map_err(usage));
            read.collect::<Result<_, _>>()?
        }
    };
    let mut out: Vec<Arm> = Vec::new();
    for (way, direction) in [
        (Way::Forward, Direction::Forward),
        (Way::Reverse, Direction::Reverse),
    ] {
        if a.direction.contains(&way) {
            out.extend(arms(direction, &a.gate, &budgets).map_err(usage)?);
        }
    }
    Ok(out)
}

/// Ascending, each once.
fn temperatures(a: &Arguments) -> Result<Vec<f64>, Failure> {
    for t in &a.temperature {
        if !(*t == 0.0 || (1e-6..=1e6).contains(t)) {
            let said = format!("--temperature {t} is neither 0 nor from 1e-6 to 1e6");
            return Err(Failure::Usage(said));
        }
    }
    // -0 is 0.
    let mut all: Vec<f64> = a.temperature.iter().map(|t| t + 0.0).collect();
    all.sort_unstable_by(f64::total_cmp);
    all.dedup();
    match (all.as_slice(), a.n) {
        ([t], n) if *t == 0.0 && n > 1 => Err(Failure::Usage(format!(
            "-n {n} needs a temperature above 0: at 0 all samples are the same"
        ))),
        _ => Ok(all),
    }
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
        temperature: 1.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        max_tokens: a.max_tokens,
        stop: a.stop.clone(),
        prompt_style: a.prompt_style.clone(),
        prompt_template: a.prompt_template.clone(),
    }
}

/// Refuses what would end without a number.
fn check(
    a: &Arguments,
    behaviour: &Behaviour,
    arms: &[Arm],
    set: &ProblemSet,
) -> Result<(), Failure> {
    let path = a.problems.display();
    let graded = set.problems.iter().any(|p| p.answer.is_some());
    if behaviour.needs_grade() && !graded {
        return Err(Failure::Input(format!(
            "{path}: none of the {} problems has an `answer`, so nothing can be graded; add the field, or count another --behaviour",
            set.problems.len()
        )));
    }
    if set.problems.len() < 2 && arms.iter().any(Arm::needs_calibration) {
        return Err(Failure::Input(format!(
            "{path}: a budget's threshold comes from other problems, and there is only one; give at least two, or gates with thresholds such as --gate js:0.1"
        )));
    }
    Ok(())
}

/// The settings that decide what the run holds.
fn described(
    manifest: RunManifest,
    a: &Arguments,
    set: &ProblemSet,
    prompts: &Prompts,
    arms: &[Arm],
    temperatures: &[f64],
) -> RunManifest {
    let names = |direction: Direction| {
        let own = arms.iter().filter(move |arm| arm.direction == direction);
        own.map(Arm::name).collect::<Vec<_>>()
    };
    let manifest = manifest
        .digest("data", set.digest.as_str())
        .setting("problems", a.problems.display().to_string())
        .setting("limit", json!(a.run.limit))
        .setting("forward", json!(names(Direction::Forward)))
        .setting("reverse", json!(names(Direction::Reverse)))
        .setting("temperatures", json!(temperatures))
        .setting("n", a.n)
        .setting("max_tokens", a.max_tokens)
        .setting("stop", a.stop.clone())
        .setting("prompt_style", prompts.style.as_str())
        .setting("behaviour", a.behaviour.as_str())
        .setting("judge_timeout", a.judge_timeout)
        .setting("verifier", a.verifier.described())
        .setting("replicates", a.replicates);
    match &prompts.template_hash {
        Some(hash) => manifest.digest("template", hash.as_str()),
        None => manifest,
    }
}

/// Upper bounds: every completion as long as allowed, no two arms alike.
fn plan(job: &Job<'_>, prompts: &[SamplePrompt]) -> Plan {
    let experiment = job.experiment();
    let rollouts = (experiment.streams().len() * job.arms.len()) as f64;
    let most = rollouts * job.max_tokens as f64;
    let prompt_tokens: usize = prompts.iter().map(|p| p.ids.len()).sum();
    let policies = [&job.base.policy, &job.tuned.policy];
    let context = job.max_tokens as f64 / 2.0;
    let flops = policies.map(|p| {
        (prompt_tokens as f64 + most) * (p.flops_per_token() + p.attention_flops() * context)
    });
    Plan::of(vec![
        ("problems", prompts.len() as f64, "problems"),
        ("arms", job.arms.len() as f64, "arms, of all directions"),
        ("rollouts", rollouts, "rollouts"),
        (
            "prompt_tokens",
            prompt_tokens as f64,
            "tokens, each computed once per policy",
        ),
        (
            "completion_tokens_at_most",
            most,
            "tokens of each policy; what arms share is computed once",
        ),
        ("flops_at_most", flops.iter().sum(), "FLOP"),
        (
            "arms_at_a_time",
            experiment.width() as f64,
            "rollouts, by the memory for keys and values",
        ),
        (
            "weights",
            policies.map(|p| p.weight_bytes() as f64).iter().sum(),
            "bytes, mapped",
        ),
    ])
}
