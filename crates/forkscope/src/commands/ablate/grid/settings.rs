//! What is trained, and the loop that trains it.

use forkscope_policy::Projection;
use forkscope_train::engine::LoraSettings;
use forkscope_train::run::{AdamWSettings, Decayed, Schedule, TrainSettings};
use serde::{Deserialize, Serialize};

/// The adapter that is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdapterSettings {
    /// r.
    pub rank: usize,
    /// The change is alpha / r (B A).
    pub alpha: f64,
    /// Share of inputs that the adapter does not see.
    pub dropout: f64,
    /// Scale by alpha / sqrt(r).
    pub rslora: bool,
    /// `q_proj`, `k_proj`, ...; or `all-linear`.
    pub target_modules: Vec<String>,
}

impl Default for AdapterSettings {
    fn default() -> Self {
        Self {
            rank: 32,
            alpha: 64.0,
            dropout: 0.0,
            rslora: false,
            target_modules: ["q_proj", "k_proj", "v_proj", "o_proj"]
                .map(String::from)
                .to_vec(),
        }
    }
}

impl AdapterSettings {
    /// For the engine.
    pub fn lora(&self) -> Result<LoraSettings, String> {
        let short = |p: &Projection| p.path().rsplit('.').next().unwrap_or_default();
        let mut targets = Vec::new();
        for name in &self.target_modules {
            if name == "all-linear" {
                targets = Projection::ALL.to_vec();
                break;
            }
            let found = Projection::ALL.into_iter().find(|p| short(p) == name);
            targets.push(found.ok_or_else(|| {
                let known: Vec<&str> = Projection::ALL.iter().map(short).collect();
                format!(
                    "`adapter.target_modules` names `{name}`; a block has {} (or all-linear)",
                    known.join(", ")
                )
            })?);
        }
        let ordered = Projection::ALL.into_iter().filter(|p| targets.contains(p));
        let settings = LoraSettings {
            rank: self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            rslora: self.rslora,
            targets: ordered.collect(),
        };
        settings.check().map_err(|e| format!("`adapter`: {e}"))?;
        Ok(settings)
    }
}

/// The loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoopSettings {
    /// Rate that the schedule multiplies.
    pub learning_rate: f64,
    /// Share of the old first moment that stays.
    pub beta1: f64,
    /// Share of the old second moment that stays.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled, of matrices.
    pub weight_decay: f64,
    /// Greatest norm of the gradient; 0 does not clip.
    pub max_grad_norm: f64,
    /// `constant`, `linear`, `cosine`, ...
    pub schedule: String,
    /// Steps over which the rate rises from 0; at most the schedule's less one.
    pub warmup_steps: u64,
    /// ReasonMaxxer: passes over the pool, of each round.
    pub epochs: u64,
    /// ReasonMaxxer: most optimiser steps of a round; 0 for as many as there are.
    pub max_steps: u64,
}

impl Default for LoopSettings {
    fn default() -> Self {
        Self {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: 1.0,
            schedule: "linear".into(),
            warmup_steps: 50,
            epochs: 2,
            max_steps: 149,
        }
    }
}

impl LoopSettings {
    /// For the trainer: `steps` of a schedule that spans `spanned`.
    pub fn train(
        &self,
        steps: u64,
        spanned: u64,
        dropout_seed: Option<u64>,
    ) -> Result<TrainSettings, String> {
        let schedule: Schedule = self
            .schedule
            .parse()
            .map_err(|e| format!("`optimiser.schedule`: {e}"))?;
        let settings = TrainSettings {
            steps,
            schedule_steps: Some(spanned.max(steps)),
            optimiser: AdamWSettings {
                learning_rate: self.learning_rate,
                beta1: self.beta1,
                beta2: self.beta2,
                eps: self.eps,
                weight_decay: self.weight_decay,
                decayed: Decayed::Matrices,
            },
            schedule,
            // The published loop does the same where a run is short.
            warmup_steps: self.warmup_steps.min(spanned.saturating_sub(1)),
            max_grad_norm: (self.max_grad_norm != 0.0).then_some(self.max_grad_norm),
            gradient_checkpointing: false,
            dropout_seed,
            checkpoint_every: 50,
            keep: 1,
            eval_every: 0,
            tensorboard: false,
        };
        settings.check().map_err(|e| format!("`optimiser`: {e}"))?;
        Ok(settings)
    }
}
