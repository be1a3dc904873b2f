//! The network that is trained: a decoder whose weights, or whose adapter, are
//! parameters.

use std::sync::{Arc, Mutex, PoisonError};

use forkscope_policy::{ModelConfig, ModelFiles, Policy, Projection, RopeTable, Tensor};

use super::block::Block;
use super::head::HeadWeight;
use super::linear::{Vector, Weight};
use super::parameters::Parameters;
use super::pass::Workspace;
use super::save::SavedDtype;
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

impl LoraSettings {
    /// Factor on B A.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Refuses what gives no adapter.
    pub fn check(&self) -> Result<(), TrainError> {
        let problem = if self.rank == 0 || self.rank > 1 << 16 {
            format!("the adapter's rank is {}, not from 1 to 65536", self.rank)
        } else if !self.alpha.is_finite() || self.alpha == 0.0 {
            format!(
                "the adapter's alpha is {}, not a number other than 0",
                self.alpha
            )
        } else if !(0.0..1.0).contains(&self.dropout) {
            format!(
                "the adapter's dropout is {}, not from 0 to below 1",
                self.dropout
            )
        } else if self.targets.is_empty() {
            "the adapter has no target modules; name at least one projection".into()
        } else {
            return Ok(());
        };
        Err(TrainError::Setting(problem))
    }
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

/// The embedding or the head.
#[derive(Debug, Clone)]
pub(super) enum Table {
    Frozen(Tensor),
    Trained(usize),
}

impl Table {
    pub(super) fn trained(&self) -> Option<usize> {
        match self {
            Self::Frozen(_) => None,
            Self::Trained(index) => Some(*index),
        }
    }
}

/// A decoder with trainable parameters.
#[derive(Debug)]
pub struct Network {
    pub(super) config: ModelConfig,
    pub(super) files: ModelFiles,
    pub(super) trainable: Trainable,
    pub(super) embedding: Table,
    pub(super) blocks: Vec<Block>,
    pub(super) final_norm: Vector,
    pub(super) head: Table,
    pub(super) parameters: Parameters,
    pub(super) saved: SavedDtype,
    /// The model as it was opened, which adapters are sampled on.
    pub(super) base: Option<Policy>,
    pub(super) rope: Mutex<Arc<RopeTable>>,
    pub(super) workspaces: Mutex<Vec<Workspace>>,
}

impl Network {
    /// Opens a model for training. Weights that stay as they are are mapped and
    /// kept in their own dtype; trained ones are copied to f32. A new adapter is
    /// drawn with `seed`: A uniform in +-1/sqrt(inputs) (Kaiming with a =
    /// sqrt 5), B zero, so that it changes nothing yet.
    pub fn open(files: &ModelFiles, trainable: &Trainable, seed: u64) -> Result<Self, TrainError> {
        super::build::open(files, trainable, seed)
    }

    /// A model with random weights for the configuration of `files`: matrices
    /// normal with deviation `initializer_range` (0.02 where it is not given),
    /// those that write to the residual stream divided by sqrt(2 layers); norms
    /// 1, biases 0.
    pub fn initialised(files: &ModelFiles, seed: u64) -> Result<Self, TrainError> {
        super::build::initialised(files, seed)
    }

    /// The checked configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What is trained.
    pub fn trainable(&self) -> &Trainable {
        &self.trainable
    }

    /// The files the model was opened from.
    pub fn files(&self) -> &ModelFiles {
        &self.files
    }

    /// The trainable tensors.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// The trainable tensors, to change their values (never their shapes).
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// The token head's weight, vocabulary x hidden size.
    pub fn head_weight(&self) -> HeadWeight<'_> {
        match &self.head {
            Table::Frozen(tensor) => HeadWeight::Frozen(tensor),
            Table::Trained(index) => HeadWeight::Trained(&self.parameters[*index].values),
        }
    }

    /// Rotations of positions below `len`.
    pub(super) fn rope(&self, len: usize) -> Result<Arc<RopeTable>, TrainError> {
        let rope = &self.config.rope;
        if len > rope.context_len() {
            return Err(TrainError::Setting(format!(
                "a sequence of {len} tokens is longer than the model's context of {}; shorten it or set a maximum length",
                rope.context_len()
            )));
        }
        let mut table = self.rope.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() < len {
            *table = Arc::new(rope.table(len.next_power_of_two().min(rope.context_len())));
        }
        Ok(table.clone())
    }
}

/// A vector or matrix of the model while it is put together.
pub(super) fn frozen(tensor: Tensor) -> Weight {
    Weight::Frozen(tensor)
}
