//! `forkscope sample`: completions of problems, with the log-probs of their
//! tokens.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use forkscope_policy::SampleSettings;
use forkscope_records::RunManifest;
use forkscope_records::types::{Rollout, Validity};
use forkscope_tasks::Verifier;
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::progress::Progress;
use crate::terminal::sanitise::sanitise;
use crate::work::ledger::Meter;
use crate::work::models::{self, Named};
use crate::work::options::{RunOptions, SamplingOptions};
use crate::work::plan::Plan;
use crate::work::prompts::ProblemSet;
use crate::work::{prompts, rollouts, run};

/// What `forkscope sample` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Samples completions of problems. Every token's random number is keyed by (seed, \
        problem, sample, position): the same command gives the same bytes, whatever the batch or the \
        number of threads. Recorded log-probs are of the raw logits at T = 1, whatever the sampling \
        settings, and equal what `score` computes, bit for bit.",
    after_help = "Example:\n  forkscope sample --model embedded:base --problems embedded:problems \\\n    --limit 2 -n 4 --out rollouts-of-base"
)]
pub struct Arguments {
    /// Model directory, hub id, MODEL+ADAPTER, or embedded:NAME (base, reasoner, guarded, ...)
    #[arg(long, value_name = "M")]
    pub model: String,
    /// Problems as JSONL, JSON or Parquet, or embedded:problems, embedded:hazardous, embedded:contexts
    #[arg(long, value_name = "FILE")]
    pub problems: PathBuf,
    #[command(flatten)]
    pub sampling: SamplingOptions,
    #[command(flatten)]
    pub run: RunOptions,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let sampler = a.sampling.settings(settings.seed)?;
    let style = a.sampling.style()?;
    let named = models::open(&a.model)?;
    let set = prompts::read(&a.problems, a.run.limit)?;
    let prompts = prompts::render(&named, &set.problems, &style, &a.sampling.stop)?;
    prompts::check_room(&named.policy, &prompts.prompts)?;
    let plan = Plan::sampling(&named.policy, &prompts.prompts, &a.sampling);
    if a.run.dry_run {
        return plan.print(a.run.json);
    }
    let material = Material {
        set: &set,
        prompts: &prompts,
        sampler,
        verifier: Verifier::Auto,
    };
    let sampled = into_run(a, &named, material, settings, &Meter::default())?;
    report(a, &sampled, &named)
}

/// Problems, ready to be sampled.
pub struct Material<'a> {
    /// The problems.
    pub set: &'a ProblemSet,
    /// As prompts of the model.
    pub prompts: &'a prompts::Prompts,
    /// How they are sampled.
    pub sampler: SampleSettings,
    /// How answers are found and graded.
    pub verifier: Verifier,
}

/// The run of the command: opened, sampled as far as it lacks rollouts, and
/// completed. Returns its rollouts.
pub fn into_run(
    a: &Arguments,
    named: &Named,
    material: Material<'_>,
    settings: &Settings,
    meter: &Meter,
) -> Result<Vec<Rollout>, Failure> {
    let Material {
        set,
        prompts,
        sampler,
        verifier,
    } = material;
    let manifest = run::manifest("sample", settings).digest("data", set.digest.as_str());
    let manifest = run::with_policy(manifest, "model", named)?;
    let manifest = manifest
        .setting("problems", a.problems.display().to_string())
        .setting("limit", json!(a.run.limit));
    let mut manifest = with_sampling(manifest, &a.sampling, prompts);
    if verifier != Verifier::Auto {
        manifest = manifest.setting("verifier", verifier.described());
    }
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return Ok(forkscope_records::read_rollouts(&a.run.out)?);
    };
    let job = rollouts::Job {
        named,
        prompts: &prompts.prompts,
        problems: &set.problems,
        settings: sampler,
        verifier,
    };
    let progress = Progress::new(
        prompts.prompts.len() as u64 * u64::from(a.sampling.n),
        "rollouts sampled",
        settings,
    );
    let began = Instant::now();
    let table = dir.table("rollouts", rollouts::ROW_GROUP)?;
    let sampled = rollouts::sample_metered(&job, table, &progress, meter)?;
    progress.finish();
    dir.time("sample_s", began.elapsed().as_secs_f64());
    dir.complete()?;
    Ok(sampled)
}

/// Adds what decides the tokens to a manifest.
pub fn with_sampling(
    manifest: RunManifest,
    s: &SamplingOptions,
    prompts: &prompts::Prompts,
) -> RunManifest {
    let manifest = manifest
        .setting("n", s.n)
        .setting("temperature", s.temperature)
        .setting("top_p", s.top_p)
        .setting("top_k", s.top_k)
        .setting("min_p", s.min_p)
        .setting("max_tokens", s.max_tokens)
        .setting("stop", s.stop.clone())
        .setting("prompt_style", prompts.style.as_str());
    match &prompts.template_hash {
        Some(hash) => manifest.digest("template", hash.as_str()),
        None => manifest,
    }
}

fn report(a: &Arguments, rollouts: &[Rollout], named: &Named) -> Outcome {
    let tokens: usize = rollouts.iter().map(|r| r.completion().len()).sum();
    let count = |v: Validity| rollouts.iter().filter(|r| r.validity == v).count();
    let graded = rollouts.iter().filter(|r| r.correct.is_some()).count();
    let correct = rollouts.iter().filter(|r| r.correct == Some(true)).count();
    let mut out = Output::open();
    if a.run.json {
        out.json(&json!({
            "schema": "forkscope/sample/1",
            "run": a.run.out.display().to_string(),
            "model": named.spec,
            "rollouts": rollouts.len(),
            "completion_tokens": tokens,
            "truncated": count(Validity::Truncated),
            "empty": count(Validity::Empty),
            "graded": graded,
            "correct": correct,
        }))?;
    } else {
        out.labelled("run", &sanitise(&a.run.out.display().to_string()))?;
        out.labelled(
            "rollouts",
            &format!("{} ({tokens} completion tokens)", rollouts.len()),
        )?;
        out.labelled(
            "invalid",
            &format!(
                "{} truncated, {} empty",
                count(Validity::Truncated),
                count(Validity::Empty)
            ),
        )?;
        out.labelled("correct", &format!("{correct} of {graded} graded"))?;
    }
    out.finish()
}
