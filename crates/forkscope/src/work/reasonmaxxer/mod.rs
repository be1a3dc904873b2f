//! ReasonMaxxer's training, from the rollouts of a pool to an adapter.

mod metered;
pub mod recipe;

use std::path::PathBuf;

use forkscope_policy::{ModelFiles, Policy};
use forkscope_records::{HiddenStore, RunDir};
use forkscope_train::engine::{LoraSettings, Network, SavedDtype, Trainable};
use forkscope_train::reasonmaxxer::{PoolRollout, ReasonMaxxerSettings, ReasonMaxxerSource};
use forkscope_train::run::{Evaluate, TrainSettings, Trained, Watch};
use forkscope_train::{HeldOutEvaluation, start_from_adapter};
use serde_json::{Value, json};

use super::ledger::Meter;
use super::models::Named;
use super::training::{Training, parameters, trained};
use crate::failure::Failure;
use metered::{MeteredEvaluation, MeteredWatch};

/// One adapter that is to be trained.
pub struct Lesson<'a> {
    /// The model, without an adapter.
    pub base: &'a Named,
    /// What it learns from, in any order.
    pub rollouts: Vec<PoolRollout>,
    /// A run that holds the base's hidden states of them; without one they are
    /// computed.
    pub hidden: Option<PathBuf>,
    /// The loss and the order of rollouts.
    pub objective: ReasonMaxxerSettings,
    /// The adapter.
    pub lora: LoraSettings,
    /// An adapter whose values the parameters start from.
    pub init: Option<&'a ModelFiles>,
    /// Seed of the adapter's first values.
    pub seed: u64,
    /// Number format of what is saved.
    pub saved: SavedDtype,
    /// What chooses `best/`.
    pub evaluation: Option<HeldOutEvaluation>,
    /// What became of the data, for `run.json`.
    pub data: Value,
}

/// A lesson that is checked and ready.
pub struct Ready {
    base: Policy,
    network: Network,
    source: ReasonMaxxerSource,
    evaluation: Option<HeldOutEvaluation>,
    data: Value,
    parameters: u64,
    costs: metered::TrainingCosts,
}

impl Lesson<'_> {
    /// Checks rollouts and settings, opens the network, draws the adapter.
    pub fn prepare(self) -> Result<Ready, Failure> {
        let policy = &self.base.policy;
        let mut source = ReasonMaxxerSource::new(self.rollouts, policy.clone(), self.objective)?;
        let kept = self.hidden.is_some();
        if let Some(run) = &self.hidden {
            let store = HiddenStore::open(run)?;
            if store.model() != self.base.digest()? {
                return Err(Failure::Input(format!(
                    "{}: its hidden states are of another model than {}; score the rollouts again",
                    run.display(),
                    self.base.spec
                )));
            }
            source = source.with_hidden(store)?;
        }
        let lora = Trainable::Lora(self.lora);
        let mut network = Network::open(policy.files(), &lora, self.seed)?;
        if let Some(adapter) = self.init {
            start_from_adapter(&mut network, adapter)?;
        }
        network.save_as(self.saved);
        let costs = metered::TrainingCosts::new(policy, &source, trained(&network), kept);
        Ok(Ready {
            base: policy.clone(),
            source,
            evaluation: self.evaluation,
            data: self.data,
            parameters: parameters(policy.config()),
            network,
            costs,
        })
    }
}

impl Ready {
    /// Optimiser steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.source.steps_per_epoch()
    }

    /// Trains to the last step into a run that is open; the caller completes it.
    /// `watch` is told of every step, `meter` counts the work.
    pub fn train(
        mut self,
        settings: TrainSettings,
        dir: &mut RunDir,
        watch: &mut dyn Watch,
        meter: &Meter,
    ) -> Result<Trained, Failure> {
        dir.note("training", json!(settings));
        let mut watch = MeteredWatch::new(watch, meter, self.costs);
        let mut evaluation = self
            .evaluation
            .map(|e| MeteredEvaluation::new(e, self.base, meter));
        let training = Training {
            network: &mut self.network,
            source: &mut self.source,
            settings,
            evaluation: evaluation.as_mut().map(|e| e as &mut dyn Evaluate),
            parameters: self.parameters,
            data: self.data,
        };
        training.run(dir, &mut watch)
    }
}
