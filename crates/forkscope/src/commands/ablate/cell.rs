//! One arm under one seed: a run of its own with what was trained, its answers
//! to the evaluation problems, and what it cost.

use std::path::PathBuf;

use forkscope_audit::findings::AblationCell;
use forkscope_policy::{ModelFiles, SampleSettings, Sampling};
use forkscope_records::types::Rollout;
use forkscope_records::{RunDir, RunManifest, read_run_json};
use forkscope_train::engine::Network;
use forkscope_train::run::{FINAL, Source, StepReport, TrainSettings, Trainer, Watch};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Ablation;
use super::grid::{Arm, Kind, sampling};
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;
use crate::terminal::sanitise::sanitise;
use crate::work::models::Named;
use crate::work::rollouts::{self, Job};
use crate::work::run;

/// What training cost; the notes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// Rollouts sampled to learn from.
    pub rollouts: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Completion tokens that the objective pushed.
    pub touched: u64,
    /// Completion tokens of the rollouts trained on.
    pub completion_tokens: u64,
}

impl Cost {
    /// Adds another round's.
    pub fn add(&mut self, other: &Self) {
        self.rollouts += other.rollouts;
        self.steps += other.steps;
        self.tokens += other.tokens;
        self.touched += other.touched;
        self.completion_tokens += other.completion_tokens;
    }

    /// From the notes of a run.
    pub fn noted(path: &std::path::Path) -> Result<Self, Failure> {
        let notes = read_run_json(path)?.notes;
        let cost = notes.get("cost").cloned().unwrap_or_default();
        serde_json::from_value(cost).map_err(|e| {
            Failure::Input(format!(
                "{}: `notes.cost` of run.json is unreadable: {e}; remove the folder and resume",
                path.display()
            ))
        })
    }
}

/// What was trained.
pub struct Made {
    /// Folder of the adapter; `None` for the base.
    pub adapter: Option<PathBuf>,
    /// What it cost.
    pub cost: Cost,
}

impl Ablation<'_> {
    /// Folder of a cell.
    pub fn cell_path(&self, arm: &Arm, seed: u64) -> PathBuf {
        let name = format!("{}-seed-{seed}", arm.name);
        self.a.run.out.join("cells").join(name)
    }

    /// The cell, made as far as its run lacks it.
    pub fn cell(&self, arm: &Arm, seed: u64) -> Result<AblationCell, Failure> {
        let path = self.cell_path(arm, seed);
        let manifest = self.cell_manifest(arm, seed)?;
        if let Some(mut dir) = run::open(&self.options(&path), manifest)? {
            let made = match &arm.kind {
                Kind::Base => Made {
                    adapter: None,
                    cost: Cost::default(),
                },
                Kind::ReasonMaxxer(settings) => {
                    self.reasonmaxxer(&arm.name, settings, seed, &path)?
                }
                Kind::Grpo(settings) => self.grpo(arm, settings, seed, &path)?,
            };
            self.progress
                .rename(&format!("answers of {} seed {seed}", arm.name));
            self.answer(&mut dir, &made, seed)?;
            dir.note("cost", json!(made.cost));
            dir.complete()?;
        } else {
            self.progress.skip(self.units(arm));
        }
        self.measured(&path, seed)
    }

    fn cell_manifest(&self, arm: &Arm, seed: u64) -> Result<RunManifest, Failure> {
        Ok(self
            .manifest("ablate cell", seed)?
            .digest("eval_problems", self.held_out.digest.as_str())
            .setting("arm", json!(arm))
            .setting("store", json!(self.grid.store))
            .setting("eval", json!(self.grid.eval)))
    }

    /// The policy with an adapter of a cell.
    pub fn adapted(&self, adapter: &std::path::Path) -> Result<Named, Failure> {
        let files = ModelFiles::dir_at(adapter);
        let adapted = self.base_named.policy.with_adapter(files)?;
        Ok(Named::new(self.base_named.spec.as_str(), adapted))
    }

    /// Answers to the evaluation problems.
    fn answer(&self, dir: &mut RunDir, made: &Made, seed: u64) -> Result<(), Failure> {
        let adapted = match &made.adapter {
            Some(adapter) => Some(self.adapted(adapter)?),
            None => None,
        };
        let eval = &self.grid.eval;
        let settings = |sampling: Sampling, n: u32| SampleSettings {
            sampling,
            n,
            max_tokens: eval.max_tokens as usize,
            seed,
            skip: 0,
            max_len: usize::MAX,
            interrupted,
            width: None,
        };
        let mut passes = vec![(
            "rollouts",
            settings(sampling(eval.temperature, eval.top_p), eval.samples),
        )];
        if eval.greedy {
            passes.push(("rollouts_greedy", settings(sampling(0.0, 1.0), 1)));
        }
        for (table, settings) in passes {
            let job = Job {
                named: adapted.as_ref().unwrap_or(&self.base_named),
                prompts: &self.held_out.prompts.prompts,
                problems: &self.held_out.problems,
                settings,
                verifier: self.grid.verifier,
            };
            let table = dir.table(table, rollouts::ROW_GROUP)?;
            rollouts::sample(&job, table, &self.progress)?;
        }
        Ok(())
    }

    /// What lies on the disk.
    fn measured(&self, path: &std::path::Path, seed: u64) -> Result<AblationCell, Failure> {
        let cost = Cost::noted(path)?;
        let verdicts = |rollouts: &[Rollout], n: u32| {
            let of = |r: &[Rollout]| r.iter().map(|r| r.correct).collect();
            rollouts.chunks(n.max(1) as usize).map(of).collect()
        };
        let samples = forkscope_records::read_rollouts(path)?;
        let greedy: Vec<Rollout> = match self.grid.eval.greedy {
            true => forkscope_records::read_table(&path.join("rollouts_greedy.parquet"))?,
            false => Vec::new(),
        };
        Ok(AblationCell {
            seed,
            samples: verdicts(&samples, self.grid.eval.samples),
            greedy: verdicts(&greedy, 1),
            rollouts: cost.rollouts,
            steps: cost.steps,
            tokens: cost.tokens,
            touched: cost.touched,
            completion_tokens: cost.completion_tokens,
        })
    }

    /// Trains into an open run. `units` are those of the progress bar.
    pub fn learn(
        &self,
        dir: &mut RunDir,
        network: &mut Network,
        source: &mut dyn Source,
        settings: TrainSettings,
        (what, units): (&str, u64),
    ) -> Result<(u64, u64), Failure> {
        let mut watch = Bar {
            progress: &self.progress,
            what: what.to_owned(),
            steps: settings.steps.max(1),
            units,
            done: 0,
        };
        let trainer = Trainer::new(network, source, dir, settings.clone());
        let done = trainer.watch(&mut watch).interrupted(&interrupted).run()?;
        watch.to(units);
        dir.note("training", json!(settings));
        dir.note("skipped_steps", done.skipped);
        // They are large together, and nothing goes on from a run that is whole.
        dir.remove("checkpoints")?;
        Ok((done.steps, done.tokens))
    }
}

/// Moves the bar of the whole grid.
struct Bar<'a> {
    progress: &'a Progress,
    what: String,
    steps: u64,
    units: u64,
    done: u64,
}

impl Bar<'_> {
    fn to(&mut self, units: u64) {
        self.progress.inc(units.saturating_sub(self.done));
        self.done = self.done.max(units);
    }

    fn share(&self, step: u64) -> u64 {
        (self.units as u128 * u128::from(step.min(self.steps)) / u128::from(self.steps)) as u64
    }
}

impl Watch for Bar<'_> {
    fn step(&mut self, report: &StepReport) {
        let mut said = self.what.clone();
        if let Some(loss) = report.loss {
            said.push_str(&format!(" loss {loss:.4}"));
        }
        if let Some(reward) = report.reward {
            said.push_str(&format!(" reward {reward:.3}"));
        }
        self.progress.rename(&said);
        self.to(self.share(report.step));
    }

    fn resumed(&mut self, step: u64) {
        let units = self.share(step);
        self.progress.skip(units.saturating_sub(self.done));
        self.done = self.done.max(units);
    }

    fn notice(&mut self, text: &str) {
        eprintln!("warning: {}", sanitise(text));
    }
}

/// Folder of the trained adapter of a training run.
pub fn adapter_of(training: &std::path::Path) -> PathBuf {
    training.join(FINAL)
}
