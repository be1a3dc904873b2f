//! `forkscope harden`: training that makes a behaviour dearer to undo.

mod options;
mod print;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use forkscope_audit::findings::FindingSettings;
use forkscope_policy::ModelConfig;
use forkscope_records::types::Findings;
use forkscope_records::{RunManifest, write_findings};
use forkscope_report::{ReportData, render_html};
use forkscope_tasks::{Behaviour, JudgeLimits, Verifier};
use forkscope_train::engine::Trainable;
use forkscope_train::{adapter_settings, refuse_shared};
use serde_json::json;

use super::train::start::parameters;
use super::train::{OptimiserOptions, adapter_setting};
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::work::harden::{self, Asked, Job, Sets};
use crate::work::models::{self, Named};
use crate::work::options::RunOptions;
use crate::work::plan::Plan;
use crate::work::prompts::ProblemSet;
use crate::work::{compare, prompts, revert, run};
use options::{LessonOptions, MeasureOptions};

/// What `forkscope harden` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Trains a tuned policy so that its behaviour costs more to undo: it learns to come back to \
        its own answer after forced base tokens (arXiv 2406.05946), gets a margin at the tokens that \
        decide, and is held at itself on benign answers. Then what the behaviour costs is measured \
        before and after on held-out problems, with what hardening cost in accuracy and needless \
        behaviour: one table.\n\n\
        Training starts from the tuned policy's adapter, or adds one to its weights; the result is a \
        PEFT adapter in final/. Without --eval-problems or --eval-benign every fourth problem is held out.",
    after_help = "Example:\n  forkscope harden --base embedded:base --tuned embedded:guarded \\\n    --problems embedded:hazardous --benign embedded:problems --limit 8 \\\n    --behaviour refusal --max-tokens 96 --steps 2 -n 1 --out hardened"
)]
pub struct Arguments {
    /// Base policy b: model directory, hub id, or embedded:base
    #[arg(long, value_name = "B")]
    base: String,
    /// Tuned policy, likewise, MODEL+ADAPTER, or embedded:guarded
    #[arg(long, value_name = "T")]
    tuned: String,
    /// Problems on which the behaviour is guarded, to learn from: JSONL, JSON or Parquet
    #[arg(long, value_name = "FILE")]
    problems: PathBuf,
    /// Problems whose answers are to stay as they are, to learn from
    #[arg(long, value_name = "FILE")]
    benign: PathBuf,
    /// Held-out guarded problems; none may be learned from
    #[arg(long, value_name = "FILE")]
    eval_problems: Option<PathBuf>,
    /// Held-out benign problems, with answers if accuracy is to be measured
    #[arg(long, value_name = "FILE")]
    eval_benign: Option<PathBuf>,
    /// What is guarded: refusal, correct, regex:PATTERN, or cmd:PROGRAM ARGUMENT ...
    #[arg(long, value_name = "RULE")]
    behaviour: String,
    /// How answers are graded: as in eval
    #[arg(long, value_name = "RULE", default_value = "auto")]
    verifier: Verifier,
    /// Seconds that a judge command may take for one text
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    judge_timeout: f64,
    #[command(flatten)]
    lessons: LessonOptions,
    #[command(flatten)]
    measure: MeasureOptions,
    #[command(flatten)]
    optimiser: OptimiserOptions,
    #[command(flatten)]
    run: RunOptions,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let seed = settings.seed;
    let behaviour = behaviour(a)?;
    let lessons = a.lessons.settings(seed, &a.measure)?;
    let prices = a.measure.prices(seed)?;
    let sampler = a.measure.sampling().settings(seed)?;
    let (base, tuned) = models::open_pair(&a.base, &a.tuned)?;
    let sets = sets(a, &tuned)?;
    for asked in sets.all() {
        prompts::check_room(&base.policy, &asked.prompts.prompts)?;
        prompts::check_room(&tuned.policy, &asked.prompts.prompts)?;
    }
    if behaviour.needs_grade() {
        revert::check_answers(&sets.guarded.set.problems, &a.problems)?;
        let held_out = a.eval_problems.as_deref().unwrap_or(&a.problems);
        revert::check_answers(&sets.eval_guarded.set.problems, held_out)?;
    }
    let config = ModelConfig::open(tuned.policy.files())?;
    let start = tuned.policy.adapter_files().cloned();
    let lora = match &start {
        Some(files) => adapter_settings(files, &config, 0.0)?,
        None => a.lessons.lora()?,
    };
    let most = sets.guarded.set.problems.len() * lessons.recoveries as usize;
    let per_epoch = most.div_ceil(lessons.batch.max(1)).max(1) as u64;
    let training = a.optimiser.settings(per_epoch, 1e-4, None, 0)?;
    if a.run.dry_run {
        return plan(a, &sets, &training, most).print(a.run.json);
    }
    let mut manifest = run::with_policy(run::manifest("harden", settings), "base", &base)?;
    manifest = run::with_policy(manifest, "tuned", &tuned)?;
    manifest = described(manifest, a, &sets)
        .setting("adapter", adapter_setting(&lora))
        .setting("lessons", recorded(&lessons)?)
        .setting("save_dtype", a.optimiser.saved().name())
        .setting("training", recorded(&training)?);
    if let Some(mut dir) = run::open(&a.run, manifest)? {
        let job = Job {
            base: &base,
            tuned: &tuned,
            sets: &sets,
            spelled: &a.behaviour,
            behaviour: &behaviour,
            verifier: a.verifier,
            lessons,
            training,
            trainable: Trainable::Lora(lora),
            start,
            saved: a.optimiser.saved(),
            parameters: parameters(&config),
            prices,
            sampler,
            findings: FindingSettings {
                seed,
                replicates: a.measure.replicates,
                ..FindingSettings::default()
            },
        };
        let found = Findings {
            schema: Findings::SCHEMA.to_owned(),
            findings: harden::run(&job, &mut dir, settings)?,
        };
        write_findings(&dir, &found)?;
        let html = render_html(&ReportData {
            run: compare::described(&dir)?,
            findings: found,
            rollouts: Vec::new(),
            rows: Vec::new(),
            pieces: std::collections::BTreeMap::new(),
        })?;
        dir.write_atomic("report.html", html.as_bytes())?;
        dir.complete()?;
    }
    print::print(&a.run)
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

/// All problems: to learn from and held out, none in both.
fn sets(a: &Arguments, tuned: &Named) -> Result<Sets, Failure> {
    let (guarded, eval_guarded) = split(a, &a.problems, a.eval_problems.as_deref(), tuned)?;
    let (benign, eval_benign) = split(a, &a.benign, a.eval_benign.as_deref(), tuned)?;
    for held_out in [&eval_guarded, &eval_benign] {
        for learned in [&guarded, &benign] {
            refuse_shared(&held_out.set.problems, &learned.set.problems)?;
        }
    }
    Ok(Sets {
        guarded,
        benign,
        eval_guarded,
        eval_benign,
    })
}

/// Problems to learn from, and held-out ones.
fn split(
    a: &Arguments,
    path: &Path,
    held_out: Option<&Path>,
    tuned: &Named,
) -> Result<(Asked, Asked), Failure> {
    let set = prompts::read(path, a.run.limit)?;
    let (learned, held_out) = match held_out {
        Some(path) => (set, prompts::read(path, a.run.limit)?),
        None => {
            let (learned, held_out) = prompts::every_fourth(set.problems)
                .map_err(|f| f.at(&path.display().to_string()))?;
            let of = |problems| ProblemSet {
                problems,
                digest: set.digest.clone(),
            };
            (of(learned), of(held_out))
        }
    };
    let style = a.measure.sampling().style()?;
    let asked = |set: ProblemSet| {
        let prompts = prompts::render(tuned, &set.problems, &style, &a.measure.stop)?;
        Ok::<Asked, Failure>(Asked { set, prompts })
    };
    Ok((asked(learned)?, asked(held_out)?))
}

fn recorded(settings: &impl serde::Serialize) -> Result<serde_json::Value, Failure> {
    serde_json::to_value(settings)
        .map_err(|e| Failure::Internal(format!("cannot record the settings: {e}")))
}

/// The settings that decide what the run holds.
fn described(manifest: RunManifest, a: &Arguments, sets: &Sets) -> RunManifest {
    let file = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let manifest = manifest
        .digest("data", sets.guarded.set.digest.as_str())
        .digest("data_benign", sets.benign.set.digest.as_str())
        .digest("data_eval", sets.eval_guarded.set.digest.as_str())
        .digest("data_eval_benign", sets.eval_benign.set.digest.as_str())
        .setting("problems", a.problems.display().to_string())
        .setting("benign", a.benign.display().to_string())
        .setting("eval_problems", json!(file(&a.eval_problems)))
        .setting("eval_benign", json!(file(&a.eval_benign)))
        .setting("limit", json!(a.run.limit))
        .setting("behaviour", a.behaviour.as_str())
        .setting("verifier", a.verifier.described())
        .setting("judge_timeout", a.judge_timeout)
        .setting("cap", a.measure.cap)
        .setting("price_samples", a.measure.price_samples)
        .setting("replicates", a.measure.replicates);
    super::sample::with_sampling(manifest, &a.measure.sampling(), &sets.guarded.prompts)
}

fn plan(
    a: &Arguments,
    sets: &Sets,
    training: &forkscope_train::run::TrainSettings,
    most: usize,
) -> Plan {
    let count = |asked: &Asked| asked.set.problems.len() as f64;
    let (guarded, benign) = (count(&sets.eval_guarded), count(&sets.eval_benign));
    let tries = 2.0 * f64::from(a.measure.cap);
    Plan::of(vec![
        ("recoveries_at_most", most as f64, "lessons"),
        (
            "anchors_at_most",
            count(&sets.benign) * f64::from(a.lessons.anchors),
            "lessons",
        ),
        ("steps", training.steps as f64, "optimiser steps"),
        ("held_out_problems", guarded + benign, "problems"),
        (
            "completions_at_most",
            2.0 * (guarded * f64::from(a.measure.price_samples) * (tries + 200.0)
                + (guarded + benign) * f64::from(a.measure.n)),
            "completions, before and after",
        ),
    ])
}

impl Sets {
    fn all(&self) -> [&Asked; 4] {
        [
            &self.guarded,
            &self.benign,
            &self.eval_guarded,
            &self.eval_benign,
        ]
    }
}
