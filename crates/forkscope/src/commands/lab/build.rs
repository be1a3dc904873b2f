//! `forkscope lab build`: every stage a run of its own in one folder.

use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_policy::ModelFiles;
use forkscope_records::RunManifest;
use forkscope_train::lab::make;
use forkscope_train::lab::stages::{self, Stage};
use forkscope_train::run::{FINAL, Trained};
use serde_json::{Value, json};

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::interrupt::interrupted;
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::training::TrainingBar;
use crate::work::models;
use crate::work::options::RunOptions;
use crate::work::run;

/// What `forkscope lab build` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Trains the organisms from random weights: the base on a generated corpus, the \
        others as adapters on it. Every stage is a run of its own under --out, continued with \
        --resume where it was left; two builds with one seed give the same bytes on one kind of \
        processor. All stages take well under two hours on two cores.",
    after_help = "Example:\n  forkscope lab build --dry-run --out organisms"
)]
pub struct Arguments {
    /// One stage only; the stage that it starts from must be there
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    /// Seed of all data and all stages; the shipped organisms have the default
    #[arg(long, value_name = "S", default_value_t = stages::SEED)]
    lab_seed: u64,
    /// Optimiser steps of every stage, instead of its own number: for trying things out
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Folder of the stages; each must be absent or empty unless --resume is given
    #[arg(long, value_name = "LAB")]
    out: PathBuf,
    /// Continue incomplete stages, leave complete ones
    #[arg(long)]
    resume: bool,
    /// Print the stages and stop
    #[arg(long)]
    dry_run: bool,
    /// One JSON document on stdout instead of the table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let stages = a.stages()?;
    let mut out = Output::open();
    if a.dry_run {
        match a.json {
            true => out.json(&json!({"schema": "forkscope/lab-plan/1", "stages": stages}))?,
            false => {
                for stage in &stages {
                    out.labelled(&stage.name, &described(stage)?)?;
                }
            }
        }
        return out.finish();
    }
    let mut done = Vec::new();
    for stage in &stages {
        let trained = a.build(stage, settings)?;
        if !a.json {
            out.labelled(&stage.name, &said(trained.as_ref()))?;
        }
        done.push(document(stage, trained.as_ref(), &a.dir(&stage.name)));
    }
    if a.json {
        out.json(&json!({"schema": "forkscope/lab-build/1", "stages": done}))?;
    }
    out.finish()
}

impl Arguments {
    /// The stages asked for, in their order.
    fn stages(&self) -> Result<Vec<Stage>, Failure> {
        let mut stages = stages::stages(self.lab_seed);
        if let Some(name) = &self.stage {
            let known: Vec<String> = stages.iter().map(|s| s.name.clone()).collect();
            stages.retain(|s| s.name == *name);
            if stages.is_empty() {
                return Err(Failure::Usage(format!(
                    "there is no stage `{name}`; there are {}",
                    known.join(", ")
                )));
            }
        }
        if let Some(steps) = self.steps {
            for stage in &mut stages {
                stage.steps = steps;
                stage.warmup = stage.warmup.min(steps - 1);
            }
        }
        Ok(stages)
    }

    fn dir(&self, stage: &str) -> PathBuf {
        self.out.join(stage)
    }

    /// Runs one stage; `None` if it was complete.
    fn build(&self, stage: &Stage, settings: &Settings) -> Result<Option<Trained>, Failure> {
        let mut manifest = manifest(stage, settings)?;
        let start = match &stage.from {
            None => None,
            Some(from) => {
                let dir = self.dir(from).join(FINAL);
                if !dir.is_dir() {
                    return Err(Failure::Input(format!(
                        "{} is missing, and stage `{}` starts from it; build stage `{from}` first",
                        dir.display(),
                        stage.name
                    )));
                }
                let named = models::open(&dir.display().to_string())?;
                manifest = manifest.digest("start", named.digest()?);
                Some(ModelFiles::dir_at(dir))
            }
        };
        let options = RunOptions {
            out: self.dir(&stage.name),
            resume: self.resume,
            limit: None,
            dry_run: false,
            json: self.json,
        };
        let Some(run) = run::open(&options, manifest)? else {
            return Ok(None);
        };
        let mut bar = TrainingBar::new(stage.steps, &stage.name, settings);
        let trained = make::make(stage, start.as_ref(), &run, &mut bar, interrupted)?;
        bar.finish();
        run.complete()?;
        Ok(Some(trained))
    }
}

/// A stage's manifest: its settings one by one, so that a difference is named.
fn manifest(stage: &Stage, settings: &Settings) -> Result<RunManifest, Failure> {
    let mut manifest = run::manifest("lab build", settings).seed("stage", stage.seed);
    let Value::Object(fields) = as_json(stage)? else {
        return Err(Failure::Internal("a stage is no JSON object".into()));
    };
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("work", Value::Object(work)) => {
                for (name, value) in work {
                    manifest = manifest.setting(&format!("work.{name}"), value);
                }
            }
            (_, value) => manifest = manifest.setting(&name, value),
        }
    }
    Ok(manifest)
}

fn as_json(stage: &Stage) -> Result<Value, Failure> {
    serde_json::to_value(stage).map_err(|e| Failure::Internal(e.to_string()))
}

fn described(stage: &Stage) -> Result<String, Failure> {
    let from = stage.from.as_deref().unwrap_or("random weights");
    let objective = as_json(&stage.clone())?["work"]["objective"].clone();
    Ok(format!(
        "from {from}, {}, {} steps at rate {}",
        objective.as_str().unwrap_or_default(),
        stage.steps,
        stage.optimiser.learning_rate
    ))
}

fn said(trained: Option<&Trained>) -> String {
    match trained {
        None => "complete already".into(),
        Some(t) => format!(
            "{} steps, {} tokens, {} steps without anything to learn from",
            t.steps, t.tokens, t.skipped
        ),
    }
}

fn document(stage: &Stage, trained: Option<&Trained>, dir: &Path) -> Value {
    json!({
        "stage": stage.name,
        "run": sanitise(&dir.display().to_string()),
        "steps": stage.steps,
        "skipped_steps": trained.map(|t| t.skipped),
        "tokens": trained.map(|t| t.tokens),
        "was_complete": trained.is_none(),
    })
}
