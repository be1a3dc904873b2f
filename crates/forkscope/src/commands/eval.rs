//! `forkscope eval`: how often a policy answers right.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use forkscope_audit::findings::{FindingSettings, evaluation};
use forkscope_policy::{SampleSettings, Sampling};
use forkscope_records::types::Rollout;
use forkscope_records::{RunDir, read_findings, write_findings};
use forkscope_tasks::Verifier;
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::progress::Progress;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::write_findings as write_table;
use crate::work::ledger::Meter;
use crate::work::models::{self, Named};
use crate::work::options::{RunOptions, SamplingOptions};
use crate::work::plan::Plan;
use crate::work::prompts::{ProblemSet, Prompts};
use crate::work::{attempts, prompts, rollouts, run};

/// What `forkscope eval` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Samples n completions per problem, grades them, and writes findings.json: pass@k \
        (unbiased, arXiv 2107.03374), maj@k (majority of the first k samples; a tie goes to the answer \
        that came earliest, samples without an answer do not vote), avg@k (mean over the first k), \
        tokens per answer, shares cut and without an answer; over all problems and by category. \
        Intervals are cluster bootstraps over problems.",
    after_help = "Example:\n  forkscope eval --model embedded:reasoner --problems embedded:problems \\\n    --limit 8 -n 4 --k 1,4 --greedy --max-tokens 96 --out eval-of-reasoner"
)]
pub struct Arguments {
    /// Model directory, hub id, MODEL+ADAPTER, or embedded:NAME (base, reasoner, guarded, ...)
    #[arg(long, value_name = "M")]
    pub model: String,
    /// Problems with answers as JSONL, JSON or Parquet, or embedded:problems, embedded:hazardous, embedded:contexts
    #[arg(long, value_name = "FILE")]
    pub problems: PathBuf,
    /// The k of pass@k, maj@k and avg@k, none above -n [default: 1 and n]
    #[arg(long, value_name = "K,...", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub k: Vec<u32>,
    /// Also one greedy completion (T = 0) per problem
    #[arg(long)]
    pub greedy: bool,
    /// How answers are found: auto, boxed, hash4, answer-tag, final-answer, last-number, whole, organism or math-verify
    #[arg(long, value_name = "RULE", default_value = "auto")]
    pub verifier: Verifier,
    /// Bootstrap replicates of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub replicates: u32,
    #[command(flatten)]
    pub sampling: SamplingOptions,
    #[command(flatten)]
    pub run: RunOptions,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    ks(a)?;
    a.sampling.settings(settings.seed)?;
    let style = a.sampling.style()?;
    let named = models::open(&a.model)?;
    let set = prompts::read(&a.problems, a.run.limit)?;
    check_answers(a, &set)?;
    let prompts = prompts::render(&named, &set.problems, &style, &a.sampling.stop)?;
    prompts::check_room(&named.policy, &prompts.prompts)?;
    if a.run.dry_run {
        return plan(a, &named, &prompts).print(a.run.json);
    }
    into_run(a, &named, &set, &prompts, settings, &Meter::default())?;
    print(a)
}

/// The run of the command: opened, sampled as far as it lacks rollouts, and
/// completed.
pub fn into_run(
    a: &Arguments,
    named: &Named,
    set: &ProblemSet,
    prompts: &Prompts,
    settings: &Settings,
    meter: &Meter,
) -> Outcome {
    let ks = ks(a)?;
    a.verifier.ready()?;
    let sampler = a.sampling.settings(settings.seed)?;
    let manifest = run::manifest("eval", settings).digest("data", set.digest.as_str());
    let manifest = run::with_policy(manifest, "model", named)?
        .setting("problems", a.problems.display().to_string())
        .setting("limit", json!(a.run.limit));
    let manifest = super::sample::with_sampling(manifest, &a.sampling, prompts)
        .setting("k", json!(ks))
        .setting("greedy", a.greedy)
        .setting("verifier", a.verifier.described())
        .setting("replicates", a.replicates);
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return Ok(());
    };
    let evaluation = Evaluation {
        a,
        named,
        set,
        prompts,
        settings,
        meter,
    };
    let sampled = evaluation.sampled("rollouts", "rollouts sampled", sampler.clone(), &mut dir)?;
    let greedy = match a.greedy {
        true => Some(evaluation.sampled(
            "rollouts_greedy",
            "greedy completions",
            greedily(sampler),
            &mut dir,
        )?),
        false => None,
    };
    evaluation.find(&ks, &sampled, greedy.as_deref(), dir)
}

/// The k asked for, ascending, each once.
fn ks(a: &Arguments) -> Result<Vec<usize>, Failure> {
    let n = a.sampling.n;
    if let Some(k) = a.k.iter().find(|k| **k > n) {
        return Err(Failure::Usage(format!(
            "--k {k} needs at least {k} samples per problem and -n is {n}; raise -n or lower --k"
        )));
    }
    if n > 1 && a.sampling.temperature == 0.0 {
        return Err(Failure::Usage(format!(
            "-n {n} at --temperature 0 gives {n} equal completions; use -n 1, or --greedy beside a temperature"
        )));
    }
    let mut ks: Vec<usize> = match a.k.is_empty() {
        true => vec![1, n as usize],
        false => a.k.iter().map(|k| *k as usize).collect(),
    };
    ks.sort_unstable();
    ks.dedup();
    Ok(ks)
}

/// Without one reference answer there is nothing to count.
fn check_answers(a: &Arguments, set: &ProblemSet) -> Result<(), Failure> {
    match set.problems.iter().any(|p| p.answer.is_some()) {
        true => Ok(()),
        false => Err(Failure::Input(format!(
            "{}: none of the {} problems has an `answer`, so nothing can be graded; add the field, or use `forkscope sample`",
            a.problems.display(),
            set.problems.len()
        ))),
    }
}

/// One completion per problem at T = 0.
fn greedily(sampler: SampleSettings) -> SampleSettings {
    SampleSettings {
        sampling: Sampling {
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
        },
        n: 1,
        ..sampler
    }
}

fn plan(a: &Arguments, named: &Named, prompts: &Prompts) -> Plan {
    let plan = Plan::sampling(&named.policy, &prompts.prompts, &a.sampling);
    let greedy = prompts.prompts.len() as f64 * f64::from(a.sampling.max_tokens);
    match a.greedy {
        true => plan.and("greedy_tokens_at_most", greedy, "tokens, further ones"),
        false => plan,
    }
}

struct Evaluation<'a> {
    a: &'a Arguments,
    named: &'a Named,
    set: &'a ProblemSet,
    prompts: &'a Prompts,
    settings: &'a Settings,
    meter: &'a Meter,
}

impl Evaluation<'_> {
    /// The rollouts of one pass, sampled as far as the table lacks them.
    fn sampled(
        &self,
        table: &str,
        what: &str,
        sampler: SampleSettings,
        dir: &mut RunDir,
    ) -> Result<Vec<Rollout>, Failure> {
        let total = self.prompts.prompts.len() as u64 * u64::from(sampler.n);
        let progress = Progress::new(total, what, self.settings);
        let began = Instant::now();
        let job = rollouts::Job {
            named: self.named,
            prompts: &self.prompts.prompts,
            problems: &self.set.problems,
            settings: sampler,
            verifier: self.a.verifier,
        };
        let rows = dir.table(table, rollouts::ROW_GROUP)?;
        let sampled = rollouts::sample_metered(&job, rows, &progress, self.meter)?;
        progress.finish();
        dir.time(&format!("sample_{table}_s"), began.elapsed().as_secs_f64());
        Ok(sampled)
    }

    /// Writes the findings and completes the run.
    fn find(
        &self,
        ks: &[usize],
        sampled: &[Rollout],
        greedy: Option<&[Rollout]>,
        mut dir: RunDir,
    ) -> Outcome {
        let began = Instant::now();
        let (problems, rule) = (&self.set.problems, self.a.verifier);
        let attempts = attempts::of(problems, sampled, self.a.sampling.n as usize, rule);
        let greedy = greedy.map(|rollouts| attempts::of(problems, rollouts, 1, rule));
        let settings = FindingSettings {
            seed: self.settings.seed,
            replicates: self.a.replicates,
            ..FindingSettings::default()
        };
        let found = evaluation(&attempts, greedy.as_deref(), ks, &settings)?;
        write_findings(&dir, &found)?;
        dir.time("findings_s", began.elapsed().as_secs_f64());
        dir.complete()?;
        Ok(())
    }
}

/// What is on the disk, so that a complete run and a new one print the same.
fn print(a: &Arguments) -> Outcome {
    let findings = read_findings(&a.run.out)?;
    let mut out = Output::open();
    if a.run.json {
        out.json(&findings)?;
    } else {
        write_table(&findings, &mut out)?;
        out.line("")?;
        out.labelled("run", &sanitise(&a.run.out.display().to_string()))?;
    }
    out.finish()
}
