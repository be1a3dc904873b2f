//! Settings of the loop.

use serde::{Deserialize, Serialize};

use super::optimiser::AdamWSettings;
use super::schedule::Schedule;
use crate::TrainError;

/// How a run trains, whatever its objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// Optimiser steps.
    pub steps: u64,
    /// Steps that the schedule spans, where the run ends before it does; `None`
    /// for `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_steps: Option<u64>,
    /// The optimiser, with the rate that the schedule multiplies.
    pub optimiser: AdamWSettings,
    /// The rate over the steps.
    pub schedule: Schedule,
    /// Steps of warm-up, the first of them at rate 0.
    pub warmup_steps: u64,
    /// Greatest norm of the gradient; `None` does not clip.
    pub max_grad_norm: Option<f64>,
    /// Compute activations again in the backward pass instead of keeping them.
    pub gradient_checkpointing: bool,
    /// Seed of the adapter's dropout; `None` leaves dropout out.
    pub dropout_seed: Option<u64>,
    /// Steps between checkpoints; 0 makes one at the end alone.
    pub checkpoint_every: u64,
    /// Checkpoints that are kept.
    pub keep: usize,
    /// Steps between evaluations; 0 makes one at the end alone.
    pub eval_every: u64,
    /// Whether TensorBoard event files are written.
    pub tensorboard: bool,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            steps: 100,
            schedule_steps: None,
            optimiser: AdamWSettings::default(),
            schedule: Schedule::default(),
            warmup_steps: 0,
            max_grad_norm: Some(1.0),
            gradient_checkpointing: false,
            dropout_seed: None,
            checkpoint_every: 100,
            keep: 2,
            eval_every: 0,
            tensorboard: true,
        }
    }
}

impl TrainSettings {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), TrainError> {
        self.optimiser.check()?;
        self.schedule.check()?;
        let refuse = |text: String| Err(TrainError::Setting(text));
        if self.steps == 0 {
            return refuse("the number of steps is 0; train for at least one".into());
        }
        let spanned = self.spanned();
        if spanned < self.steps {
            return refuse(format!(
                "a schedule of {spanned} steps is shorter than the run of {}; give at least as many",
                self.steps
            ));
        }
        if self.warmup_steps >= spanned && self.warmup_steps > 0 {
            return refuse(format!(
                "{} steps of warm-up do not fit into a schedule of {spanned} steps; give at most {}",
                self.warmup_steps,
                spanned - 1
            ));
        }
        if let Some(max) = self.max_grad_norm.filter(|max| max.is_nan() || *max <= 0.0) {
            return refuse(format!(
                "the greatest gradient norm is {max}; give a number above 0, or none"
            ));
        }
        if self.keep == 0 {
            return refuse("the number of checkpoints to keep is 0; keep at least one".into());
        }
        Ok(())
    }

    /// Steps of the schedule.
    fn spanned(&self) -> u64 {
        self.schedule_steps.unwrap_or(self.steps)
    }

    /// Learning rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        let multiplier = self
            .schedule
            .multiplier(step, self.warmup_steps, self.spanned());
        self.optimiser.learning_rate * multiplier
    }

    /// Whether something that is due every `every` steps is due after `step`.
    pub(super) fn due(&self, every: u64, step: u64) -> bool {
        step == self.steps || (every > 0 && step > 0 && step.is_multiple_of(every))
    }
}
