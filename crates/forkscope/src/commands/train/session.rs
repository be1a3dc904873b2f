//! A training run from its manifest to its summary, whatever the objective.

use forkscope_records::{RunDir, RunManifest};
use forkscope_train::HeldOutEvaluation;
use forkscope_train::engine::{Network, SavedDtype};
use forkscope_train::run::{Evaluate, Source, TrainSettings};
use serde_json::{Value, json};

use super::start;
use super::summary;
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::training::TrainingBar;
use crate::work::options::RunOptions;
use crate::work::plan::Plan;
use crate::work::run;
use crate::work::training::Training;

/// Everything that is known before the run starts.
pub struct Session<'a> {
    /// Where it goes.
    pub run: &'a RunOptions,
    /// Flags of every command.
    pub settings: &'a Settings,
    /// Without the training's own settings, which are added here.
    pub manifest: RunManifest,
    /// What is trained.
    pub network: Network,
    /// Parameters of the model, an adapter's left out.
    pub parameters: u64,
    /// The loop.
    pub train: TrainSettings,
    /// Number format of what is saved.
    pub saved: SavedDtype,
    /// What chooses `best/`.
    pub evaluation: Option<HeldOutEvaluation>,
    /// What became of the data.
    pub data: Value,
    /// Tokens of an epoch, where they are known.
    pub epoch_tokens: Option<u64>,
}

impl Session<'_> {
    /// Prints the plan, or trains and prints the summary. `source` is made once
    /// the run is open.
    pub fn go(
        mut self,
        source: impl FnOnce(&Network) -> Result<Box<dyn Source>, Failure>,
    ) -> Outcome {
        if self.run.dry_run {
            return self.plan().print(self.run.json);
        }
        let manifest = self.recorded()?;
        if let Some(mut dir) = run::open(self.run, manifest)? {
            let mut source = source(&self.network)?;
            self.train(&mut dir, source.as_mut())?;
            dir.complete()?;
        }
        summary::print(&self.run.out, self.run.json)
    }

    /// As [`Session::go`] into a run that is open; the caller completes it.
    pub fn train(&mut self, dir: &mut RunDir, source: &mut dyn Source) -> Result<(), Failure> {
        let what = dir.json().command.clone();
        let mut bar = TrainingBar::new(self.train.steps, &what, self.settings);
        self.network.save_as(self.saved);
        let evaluation = self.evaluation.as_mut();
        let training = Training {
            network: &mut self.network,
            source,
            settings: self.train.clone(),
            evaluation: evaluation.map(|e| e as &mut dyn Evaluate),
            parameters: self.parameters,
            data: self.data.clone(),
        };
        training.run(dir, &mut bar)?;
        bar.finish();
        Ok(())
    }

    /// The manifest with the loop's settings.
    pub fn recorded(&self) -> Result<RunManifest, Failure> {
        let train = serde_json::to_value(&self.train)
            .map_err(|e| Failure::Internal(format!("cannot record the settings: {e}")))?;
        Ok(self
            .manifest
            .clone()
            .setting("limit", json!(self.run.limit))
            .setting("save_dtype", self.saved.name())
            .setting("training", train))
    }

    fn plan(&self) -> Plan {
        let trained = start::trained(&self.network) as f64;
        let mut lines = vec![
            ("steps", self.train.steps as f64, "optimiser steps"),
            ("model_parameters", self.parameters as f64, "values"),
            ("trained_parameters", trained, "values"),
        ];
        if let Some(tokens) = self.epoch_tokens {
            lines.push((
                "tokens_per_epoch",
                tokens as f64,
                "tokens, prompts included",
            ));
        }
        lines.push((
            "training_state",
            16.0 * trained,
            "bytes: values, gradients, two moments",
        ));
        lines.push(("checkpoint", 12.0 * trained, "bytes each"));
        Plan::of(lines)
    }
}
