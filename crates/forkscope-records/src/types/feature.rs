//! A feature of a dictionary (sparse autoencoder) under two contexts.

use serde::{Deserialize, Serialize};

/// One feature that fires in some item of a contrast set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureRow {
    /// `model` or `base`.
    pub policy: String,
    /// Rows of activations that are pooled.
    pub pooling: String,
    /// Residual stream after so many blocks.
    pub layer: u32,
    /// Index in the dictionary.
    pub index: u32,
    /// Its name, where names were given; model text like any other.
    pub name: String,
    /// Share of evaluation items in which it fires.
    pub fires_evaluation: f64,
    /// Share of deployment items in which it fires.
    pub fires_deployment: f64,
    /// Mean over evaluation sources minus mean over deployment sources.
    pub mean_difference: f64,
    /// AUROC of the feature alone, evaluation above deployment.
    pub auroc: f64,
    /// Permutation p-value, two-sided.
    pub p_value: f64,
    /// Benjamini-Hochberg adjusted over all features that fire in two items.
    pub q_value: f64,
}
