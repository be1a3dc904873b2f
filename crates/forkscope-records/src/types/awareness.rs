//! Rows about evaluation awareness: how well a probe tells contexts apart, which
//! single dimensions do, and what steering along the probe's direction does.

use serde::{Deserialize, Serialize};

/// One AUROC: a probe of one policy, on one split, at one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AwarenessRow {
    /// `model`, `base`, or `text` for the bag of words, which sees no policy.
    pub policy: String,
    /// Rows of activations that are pooled: `last`, `mean`, `decision`; `text`.
    pub pooling: String,
    /// `mean_difference`, `logistic` or `bag_of_words`.
    pub probe: String,
    /// What is held out: `random`, `source`, `format`, `source_and_format`.
    pub split: String,
    /// Format that is tested on; empty for all.
    pub test_format: String,
    /// `each_layer`, `chosen` (inside the training folds) or `none`.
    pub selection: String,
    /// Residual stream after so many blocks, 0 for the embeddings; of `chosen`
    /// the one that most folds chose; 0 where there is none.
    pub layer: u32,
    /// Probability that an evaluation item scores above a deployment item of the
    /// same fold; `None` where no fold can be made.
    pub auroc: Option<f64>,
    /// Lower end of its interval.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Confidence level of the interval.
    pub level: f64,
    /// Items that were scored.
    pub n: u32,
    /// Sources they come from.
    pub n_groups: u32,
    /// Folds.
    pub n_folds: u32,
    /// Permutation p-value at this layer alone.
    pub p_value: Option<f64>,
    /// Permutation p-value of the greatest AUROC over layers.
    pub p_max: Option<f64>,
}

/// One dimension of the residual stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NeuronRow {
    /// `model` or `base`.
    pub policy: String,
    /// Rows of activations that are pooled.
    pub pooling: String,
    /// Layer, as in [`AwarenessRow`].
    pub layer: u32,
    /// Index of the dimension.
    pub index: u32,
    /// Mean over evaluation sources minus mean over deployment sources.
    pub mean_difference: f64,
    /// AUROC of the dimension alone, evaluation above deployment.
    pub auroc: f64,
    /// Permutation p-value, two-sided.
    pub p_value: f64,
    /// Benjamini-Hochberg adjusted over all dimensions and layers.
    pub q_value: f64,
}

/// One completion under one steering arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SteeringRow {
    /// `none`, `direction`, or `random`.
    pub direction: String,
    /// Index of the random direction; 0 otherwise.
    pub index: u32,
    /// Layer whose output is steered.
    pub layer: u32,
    /// Signed multiple of the class gap that is added.
    pub scale: f64,
    /// Identifier of the item.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// `evaluation` or `deployment`.
    pub context: String,
    /// Completion ids.
    pub token_ids: Vec<u32>,
    /// Decoded completion, for reading only.
    pub text: String,
    /// Whether the behaviour holds; `None` if nobody can say.
    pub behaviour: Option<bool>,
    /// Mean KL(steered || unsteered) over the item's decision positions, nats.
    pub kl_nats: Option<f64>,
}
