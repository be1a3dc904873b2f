//! The network that is trained.

use std::collections::BTreeMap;

use forkscope_policy::{ModelConfig, ModelFiles, Policy, Projection};

use super::head::HeadWeight;
use super::pack::{Pack, Site};
use super::parameters::{Gradients, Parameters};
use super::shard::{Shard, Sums};
use crate::TrainError;

/// A LoRA adapter that is trained (arXiv 2106.09685).
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSettings {
    /// Rank r.
    pub rank: usize,
    /// The change is alpha / r (B A), or alpha / sqrt(r) with `rslora`.
    pub alpha: f64,
    /// Share of an adapted projection's inputs that the adapter does not see.
    pub dropout: f64,
    /// Rank-stabilised scale (arXiv 2312.03732).
    pub rslora: bool,
    /// Adapted projections, of every layer.
    pub targets: Vec<Projection>,
}

/// What is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Trainable {
    /// All weights.
    Full,
    /// An adapter; the weights stay as they are.
    Lora(LoraSettings),
}

/// With which weights a forward pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// As they are now.
    Current,
    /// Without the adapter that is trained.
    Reference,
}

/// How a forward and backward pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PassOptions {
    /// Keep each block's input alone and compute the rest again in the backward
    /// pass: less memory for a third more work.
    pub checkpointing: bool,
    /// Seed and step of the adapter's dropout; `None` leaves dropout out.
    pub dropout: Option<(u64, u64)>,
}

/// A decoder with trainable parameters.
#[derive(Debug)]
pub struct Network {
    config: ModelConfig,
    parameters: Parameters,
}

fn soon<T>() -> Result<T, TrainError> {
    Err(TrainError::Internal("the network is being built".into()))
}

#[allow(missing_docs, unused_variables)]
impl Network {
    pub fn open(files: &ModelFiles, trainable: &Trainable, seed: u64) -> Result<Self, TrainError> {
        soon()
    }
    pub fn initialised(files: &ModelFiles, seed: u64) -> Result<Self, TrainError> {
        soon()
    }
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }
    pub fn gradients(
        &self,
        shards: &[Box<dyn Shard + Send>],
        options: &PassOptions,
    ) -> Result<(Gradients, Sums), TrainError> {
        soon()
    }
    pub fn log_probs(
        &self,
        pack: &Pack,
        sites: &[Site],
        which: Which,
    ) -> Result<Vec<f64>, TrainError> {
        soon()
    }
    pub fn hidden(&self, pack: &Pack, which: Which) -> Result<Vec<f32>, TrainError> {
        soon()
    }
    pub fn head_weight(&self) -> HeadWeight<'_> {
        HeadWeight::Trained(&[])
    }
    pub fn saved_files(&self) -> Result<BTreeMap<String, Vec<u8>>, TrainError> {
        soon()
    }
    pub fn policy(&self) -> Result<Policy, TrainError> {
        soon()
    }
}
