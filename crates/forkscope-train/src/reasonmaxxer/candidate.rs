//! A rollout before it is chosen, and how the choice is set.

use forkscope_records::types::{FinishReason, Rollout, Validity};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// A rollout that may enter the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The rollout.
    pub rollout: Rollout,
    /// H(base) in nats of each completion token, T = 1; `None` where nobody
    /// scored it.
    pub entropies_nats: Option<Vec<f64>>,
}

impl Candidate {
    /// Whether the completion was cut by the token limit or the context.
    pub fn truncated(&self) -> bool {
        self.rollout.validity == Validity::Truncated
            || matches!(
                self.rollout.finish_reason,
                FinishReason::Length | FinishReason::Context
            )
    }

    /// Number of completion tokens.
    pub fn completion_tokens(&self) -> usize {
        self.rollout.completion().len()
    }

    pub(super) fn right(&self) -> bool {
        self.rollout.correct == Some(true)
    }

    /// A rollout without a completion, or one that the base cannot read, has
    /// nothing to learn from and counts in no pass rate.
    pub(super) fn usable(&self) -> bool {
        !self.rollout.completion().is_empty()
            && !matches!(
                self.rollout.validity,
                Validity::Empty | Validity::ContextExceeded | Validity::TokenizerMismatch
            )
    }
}

/// How the pool is chosen. The defaults are the published recipe's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSettings {
    /// Most problems.
    pub max_problems: usize,
    /// Least pass rate.
    pub min_pass: f64,
    /// Greatest pass rate.
    pub max_pass: f64,
    /// Only problems with at least one right and one wrong rollout.
    pub require_both: bool,
    /// Share of the chosen problems' rollouts that stays, the shortest first.
    pub trim_fraction: f64,
    /// Leave out problems with rollouts that nobody graded; otherwise they are
    /// an error.
    pub skip_ungraded: bool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            max_problems: 50,
            min_pass: 0.0,
            max_pass: 1.0,
            require_both: true,
            trim_fraction: 0.8,
            skip_ungraded: false,
        }
    }
}

impl PoolSettings {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |what: String| Err(TrainError::Setting(what));
        if self.max_problems == 0 {
            return refuse("max_problems is 0; give at least 1".to_owned());
        }
        let band = 0.0..=1.0;
        if !(band.contains(&self.min_pass) && band.contains(&self.max_pass))
            || self.min_pass > self.max_pass
        {
            return refuse(format!(
                "the band of pass rates is {} to {}; give 0 <= min_pass <= max_pass <= 1",
                self.min_pass, self.max_pass
            ));
        }
        if !(self.trim_fraction > 0.0 && self.trim_fraction <= 1.0) {
            return refuse(format!(
                "trim_fraction is {}; give a share above 0 and up to 1",
                self.trim_fraction
            ));
        }
        Ok(())
    }
}
