//! Settings of a GRPO run.

use forkscope_policy::Sampling;

use super::advantage::AdvantageSettings;
use super::loss::LossSettings;
use super::reward::SoftOverlong;
use super::select::{DivergenceWeights, check_share};
use crate::TrainError;

/// Settings of a GRPO run. The defaults are TRL's where it has them, but for
/// the number of problems of a step, which it does not know.
#[derive(Debug, Clone)]
pub struct GrpoSettings {
    /// Problems of a round of sampling, P.
    pub problems: usize,
    /// Completions of each, G.
    pub samples: u32,
    /// Optimiser steps on the completions of a round, mu.
    pub iterations: u32,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of a completion.
    pub max_tokens: usize,
    /// Longest sequence, prompt included; the model's context if that is less.
    pub max_len: usize,
    /// Seed of the order of problems and of all completions.
    pub seed: u64,
    /// How rewards become advantages.
    pub advantages: AdvantageSettings,
    /// The loss.
    pub loss: LossSettings,
    /// Whether the tokens of completions that were cut off are left out. Their
    /// rewards count in the group all the same.
    pub mask_truncated: bool,
    /// Added to the reward of long completions.
    pub overlong: Option<SoftOverlong>,
    /// Share rho of tokens, those of highest entropy, at which the surrogate
    /// counts; 1 for all.
    pub top_entropy_quantile: f64,
    /// Advantages weighted by the divergence from the reference.
    pub divergence: Option<DivergenceWeights>,
    /// Most rows of a shard, unless a single completion needs more.
    pub shard_rows: usize,
    /// Asked while sampling; true stops the run.
    pub interrupted: fn() -> bool,
}

impl Default for GrpoSettings {
    fn default() -> Self {
        Self {
            problems: 8,
            samples: 8,
            iterations: 1,
            sampling: Sampling::default(),
            max_tokens: 512,
            max_len: usize::MAX,
            seed: 0,
            advantages: AdvantageSettings::default(),
            loss: LossSettings::default(),
            mask_truncated: false,
            overlong: None,
            top_entropy_quantile: 1.0,
            divergence: None,
            shard_rows: 512,
            interrupted: || false,
        }
    }
}

impl GrpoSettings {
    /// Refuses settings out of range, for so many problems.
    pub fn check(&self, available: usize) -> Result<(), TrainError> {
        let refuse = |text: String| Err(TrainError::Setting(text));
        if self.problems == 0 || self.problems > available {
            return refuse(format!(
                "a step takes {} problems and there are {available}; give a number from 1 to that",
                self.problems
            ));
        }
        if self.samples < 2 {
            return refuse(format!(
                "a group of {} completions has no mean to differ from; give at least 2 samples",
                self.samples
            ));
        }
        if self.problems.checked_mul(self.samples as usize).is_none() {
            return refuse("problems times samples is more than fits; give fewer".into());
        }
        if self.iterations == 0 || self.max_tokens == 0 || self.shard_rows == 0 {
            return refuse(
                "iterations, the maximum of tokens and the rows of a shard are at least 1".into(),
            );
        }
        self.sampling.check().map_err(TrainError::Setting)?;
        self.advantages.check()?;
        self.loss.check()?;
        check_share(self.top_entropy_quantile)?;
        if let Some(weights) = &self.divergence {
            weights.check()?;
        }
        if let Some(overlong) = &self.overlong {
            overlong.check()?;
        }
        Ok(())
    }

    /// Whether the reference policy is needed.
    pub(super) fn needs_reference(&self) -> bool {
        self.loss.beta > 0.0 || self.divergence.is_some()
    }

    /// Whether entropies of all tokens are needed before the loss.
    pub(super) fn needs_entropies(&self) -> bool {
        self.top_entropy_quantile < 1.0
    }
}
