//! The flags of the loop and the optimiser.

use clap::{Args, ValueEnum};
use forkscope_train::engine::SavedDtype;
use forkscope_train::run::{AdamWSettings, Decayed, Schedule, TrainSettings};

use serde::Serialize;

use crate::failure::Failure;

/// How long is trained, and how.
#[derive(Debug, Clone, Args, Serialize)]
#[command(next_help_heading = "Optimiser")]
pub struct OptimiserOptions {
    /// Optimiser steps [default: one epoch]
    #[arg(long, alias = "max-steps", value_name = "N", conflicts_with = "epochs", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    steps: Option<u64>,
    /// Passes over the data instead, also a part of one
    #[arg(long, alias = "num-train-epochs", value_name = "E")]
    epochs: Option<f64>,
    /// Rate that the schedule multiplies [default: 1e-4, pretrain 1e-3]
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Share of the old first moment that stays
    #[arg(long, value_name = "B", default_value_t = 0.9)]
    adam_beta1: f64,
    /// Share of the old second moment that stays
    #[arg(long, value_name = "B", default_value_t = 0.999)]
    adam_beta2: f64,
    /// Added to the root of the second moment
    #[arg(long, value_name = "E", default_value_t = 1e-8)]
    adam_epsilon: f64,
    /// Decoupled weight decay of matrices (not of norms and biases)
    #[arg(long, value_name = "W", default_value_t = 0.0)]
    weight_decay: f64,
    /// Greatest norm of the gradient; 0 does not clip
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    max_grad_norm: f64,
    /// constant, linear, cosine, cosine:MIN, constant-cosine:START or constant-cosine:START:MIN
    #[arg(
        long,
        alias = "lr-scheduler-type",
        value_name = "KIND",
        default_value = "linear"
    )]
    lr_scheduler: Schedule,
    /// Steps over which the rate rises from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup_steps: u64,
    /// Compute activations again in the backward pass instead of keeping them
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Steps between checkpoints; 0 for one at the end
    #[arg(long, alias = "save-steps", value_name = "N", default_value_t = 100)]
    checkpoint_every: u64,
    /// Checkpoints that are kept
    #[arg(long, alias = "save-total-limit", value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Write no TensorBoard files
    #[arg(long)]
    no_tensorboard: bool,
    /// Number format of final/ and best/; training itself is in f32
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    save_dtype: SaveDtype,
}

/// A number format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SaveDtype {
    /// Four bytes a value.
    F32,
    /// Two bytes a value.
    Bf16,
}

impl SaveDtype {
    /// The library's.
    pub fn saved(self) -> SavedDtype {
        match self {
            Self::F32 => SavedDtype::F32,
            Self::Bf16 => SavedDtype::Bf16,
        }
    }
}

impl OptimiserOptions {
    /// The loop's settings. `per_epoch` is the number of steps of an epoch,
    /// `rate` the objective's usual learning rate, `dropout_seed` that of an
    /// adapter with dropout.
    pub fn settings(
        &self,
        per_epoch: u64,
        rate: f64,
        dropout_seed: Option<u64>,
        eval_every: u64,
    ) -> Result<TrainSettings, Failure> {
        let settings = TrainSettings {
            steps: self.steps(per_epoch)?,
            schedule_steps: None,
            optimiser: AdamWSettings {
                learning_rate: self.learning_rate.unwrap_or(rate),
                beta1: self.adam_beta1,
                beta2: self.adam_beta2,
                eps: self.adam_epsilon,
                weight_decay: self.weight_decay,
                decayed: Decayed::Matrices,
            },
            schedule: self.lr_scheduler,
            warmup_steps: self.warmup_steps,
            max_grad_norm: (self.max_grad_norm != 0.0).then_some(self.max_grad_norm),
            gradient_checkpointing: self.gradient_checkpointing,
            dropout_seed,
            checkpoint_every: self.checkpoint_every,
            keep: self.keep as usize,
            eval_every,
            tensorboard: !self.no_tensorboard,
        };
        settings.check().map_err(usage)?;
        Ok(settings)
    }

    /// The number format of saved models.
    pub fn saved(&self) -> SavedDtype {
        self.save_dtype.saved()
    }

    fn steps(&self, per_epoch: u64) -> Result<u64, Failure> {
        if let Some(steps) = self.steps {
            return Ok(steps);
        }
        let epochs = self.epochs.unwrap_or(1.0);
        if !(epochs > 0.0 && epochs <= 1e6) {
            return Err(Failure::Usage(format!(
                "--epochs {epochs} is not a number above 0 and up to a million"
            )));
        }
        let steps = (epochs * per_epoch as f64).round() as u64;
        match steps {
            0 => Err(Failure::Usage(format!(
                "--epochs {epochs} of {per_epoch} steps each are less than one step; give --steps"
            ))),
            steps => Ok(steps),
        }
    }
}

/// A setting that the library refuses is a flag that somebody gave.
pub fn usage(error: forkscope_train::TrainError) -> Failure {
    match error {
        forkscope_train::TrainError::Setting(said) => Failure::Usage(said),
        other => other.into(),
    }
}
