//! The recipes: every number that ReasonMaxxer needs, in one place.
//!
//! `reference` is the published recipe for Qwen2.5-1.5B (arXiv 2605.06241),
//! number by number. `stable` differs where training was seen to go astray; what
//! it changes stands in [`Recipe::stable`] and nowhere else. A flag changes one
//! number; what is used in the end is a `Recipe` again, and that is recorded.

use forkscope_audit::gates::{Gate, GatePlan};
use forkscope_policy::{Projection, Sampling};
use forkscope_train::engine::LoraSettings;
use forkscope_train::reasonmaxxer::{
    AdvantageControl, DecisionObjective, Order, PoolSettings, ReasonMaxxerSettings,
};
use forkscope_train::run::{AdamWSettings, Decayed, Schedule, TrainSettings};
use serde::Serialize;

/// Names of the recipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipeName {
    /// The published one.
    #[default]
    Reference,
    /// The safer one.
    Stable,
}

/// All settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recipe {
    /// Whose numbers these are, where no flag changed them.
    pub name: RecipeName,
    /// How problems are sampled.
    pub sampling: SamplingRecipe,
    /// Held-out problems that choose the checkpoint.
    pub held_out: HeldOutRecipe,
    /// Which problems and rollouts.
    pub pool: PoolSettings,
    /// Which positions.
    pub gate: GatePlan,
    /// What is done to the advantages.
    pub control: AdvantageControl,
    /// The adapter.
    pub adapter: AdapterRecipe,
    /// The loss and the order of rollouts.
    pub objective: ReasonMaxxerSettings,
    /// The loop.
    pub training: TrainingRecipe,
}

/// How problems are sampled from the base.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SamplingRecipe {
    /// Rollouts per problem.
    pub samples: u32,
    /// Divides the logits.
    pub temperature: f64,
    /// Nucleus.
    pub top_p: f64,
    /// 0 for all.
    pub top_k: usize,
    /// Share of the greatest probability.
    pub min_p: f64,
    /// Most tokens of a completion.
    pub max_tokens: u32,
}

/// How a checkpoint is chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldOutRecipe {
    /// Problems that are split off, at most a fifth of them.
    pub problems: u64,
    /// Completions per problem at every checkpoint.
    pub samples: u32,
    /// Completions per problem at the end.
    pub test_samples: u32,
    /// Their temperature.
    pub temperature: f64,
    /// Their nucleus.
    pub top_p: f64,
    /// Their most tokens.
    pub max_tokens: u32,
}

impl SamplingRecipe {
    /// As the sampler takes it.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
        }
    }
}

impl HeldOutRecipe {
    /// As the sampler takes it.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: 0,
            min_p: 0.0,
        }
    }
}

/// The adapter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdapterRecipe {
    /// r.
    pub rank: usize,
    /// The change is alpha / r (B A).
    pub alpha: f64,
    /// Share of inputs that it does not see while it is trained.
    pub dropout: f64,
    /// The change is alpha / sqrt(r) (B A) instead; only that of an adapter that is there.
    pub rslora: bool,
    /// Adapted projections.
    #[serde(serialize_with = "short_names")]
    pub targets: Vec<Projection>,
}

/// The loop.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainingRecipe {
    /// Passes over the pool: what the schedule spans.
    pub epochs: u32,
    /// Steps after which the run ends, wherever the schedule is; 0 for none.
    pub max_optimizer_steps: u64,
    /// Greatest rate, reached after the warm-up; falls to 0 in a straight line.
    pub learning_rate: f64,
    /// Steps from rate 0 to that one; at most one less than the schedule's.
    pub warmup_steps: u64,
    /// Decoupled.
    pub weight_decay: f64,
    /// 0 does not clip.
    pub max_grad_norm: f64,
    /// Epochs between checkpoints, where no number of steps is given.
    pub checkpoint_epochs: f64,
    /// Steps between checkpoints and evaluations.
    pub checkpoint_every: Option<u64>,
    /// Checkpoints that are kept.
    pub keep: usize,
    /// Compute activations again in the backward pass.
    pub gradient_checkpointing: bool,
    /// Write TensorBoard files.
    pub tensorboard: bool,
}

impl Recipe {
    /// The recipe of that name.
    pub fn named(name: RecipeName) -> Self {
        match name {
            RecipeName::Reference => Self::reference(),
            RecipeName::Stable => Self::stable(),
        }
    }

    /// The published recipe.
    pub fn reference() -> Self {
        Self {
            name: RecipeName::Reference,
            sampling: SamplingRecipe {
                samples: 20,
                temperature: 0.6,
                top_p: 0.95,
                top_k: 0,
                min_p: 0.0,
                max_tokens: 8192,
            },
            held_out: HeldOutRecipe {
                problems: 60,
                samples: 1,
                test_samples: 1,
                temperature: 0.6,
                top_p: 0.95,
                max_tokens: 8192,
            },
            pool: PoolSettings::default(),
            gate: Gate::entropy(1.4).into(),
            control: AdvantageControl::None,
            adapter: AdapterRecipe {
                rank: 32,
                alpha: 64.0,
                dropout: 0.0,
                rslora: false,
                targets: vec![Projection::Q, Projection::K, Projection::V, Projection::O],
            },
            objective: ReasonMaxxerSettings::default(),
            training: TrainingRecipe {
                epochs: 2,
                max_optimizer_steps: 149,
                learning_rate: 1e-4,
                warmup_steps: 50,
                weight_decay: 0.0,
                max_grad_norm: 1.0,
                checkpoint_epochs: 0.15,
                checkpoint_every: None,
                keep: 2,
                gradient_checkpointing: false,
                tensorboard: true,
            },
        }
    }

    /// The reference with an objective that pushes no token without end, a
    /// smaller adapter, a lower rate, and an order that changes every epoch. What
    /// each was chosen for: `docs/reasonmaxxer.md`.
    pub fn stable() -> Self {
        let mut recipe = Self::reference();
        recipe.name = RecipeName::Stable;
        recipe.adapter.rank = 16;
        recipe.adapter.alpha = 32.0;
        recipe.training.learning_rate = 2e-5;
        recipe.objective.objective = DecisionObjective::ClippedRatio;
        recipe.objective.clip_low = 0.5;
        recipe.objective.clip_high = 1.0;
        recipe.objective.order = Order::Shuffle;
        recipe
    }

    /// The adapter's settings.
    pub fn lora(&self) -> LoraSettings {
        LoraSettings {
            rank: self.adapter.rank,
            alpha: self.adapter.alpha,
            dropout: self.adapter.dropout,
            rslora: self.adapter.rslora,
            targets: self.adapter.targets.clone(),
        }
    }

    /// The loop's settings, where an epoch has so many optimiser steps: it runs
    /// for E x `per_epoch` of them, at most `max_optimizer_steps`, on a schedule
    /// that spans them all.
    pub fn schedule(&self, per_epoch: u64, seed: u64, evaluates: bool) -> TrainSettings {
        let t = &self.training;
        let spanned = u64::from(t.epochs).saturating_mul(per_epoch).max(1);
        let steps = match t.max_optimizer_steps {
            0 => spanned,
            most => spanned.min(most),
        };
        // Python's round, which the published trainer uses.
        let share = (t.checkpoint_epochs * per_epoch as f64).round_ties_even() as u64;
        let every = t.checkpoint_every.unwrap_or(share.max(1));
        TrainSettings {
            steps,
            schedule_steps: (steps < spanned).then_some(spanned),
            optimiser: AdamWSettings {
                learning_rate: t.learning_rate,
                weight_decay: t.weight_decay,
                decayed: Decayed::Matrices,
                ..AdamWSettings::default()
            },
            schedule: Schedule::Linear,
            warmup_steps: t.warmup_steps.min(spanned - 1),
            max_grad_norm: (t.max_grad_norm != 0.0).then_some(t.max_grad_norm),
            gradient_checkpointing: t.gradient_checkpointing,
            dropout_seed: (self.adapter.dropout > 0.0).then_some(seed),
            checkpoint_every: every,
            keep: t.keep,
            eval_every: if evaluates { every } else { 0 },
            tensorboard: t.tensorboard,
        }
    }
}

fn short_names<S: serde::Serializer>(targets: &[Projection], to: S) -> Result<S::Ok, S::Error> {
    let short = |p: &Projection| p.path().rsplit('.').next().unwrap_or_default();
    to.collect_seq(targets.iter().map(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_the_published_one() {
        let recipe = Recipe::reference();
        // 800 rollouts in windows of 8: 100 steps an epoch, 149 of 200 taken.
        let s = recipe.schedule(100, 42, true);
        assert_eq!((s.steps, s.schedule_steps), (149, Some(200)));
        assert_eq!((s.checkpoint_every, s.eval_every), (15, 15));
        assert_eq!(s.rate(0), 0.0);
        assert!((s.rate(25) - 5e-5).abs() < 1e-18);
        assert!((s.rate(125) - 1e-4 * 75.0 / 150.0).abs() < 1e-18);
        // 3 steps an epoch: the warm-up is cut, the run is not.
        let s = recipe.schedule(3, 42, false);
        assert_eq!((s.steps, s.schedule_steps, s.warmup_steps), (6, None, 5));
        assert_eq!((s.checkpoint_every, s.eval_every), (1, 0));
        s.check().unwrap();
        let s = recipe.schedule(0, 42, false);
        assert_eq!((s.steps, s.warmup_steps), (1, 0));
        // round(0.15 * 10) is 2 in Python, half to even.
        assert_eq!(recipe.schedule(10, 42, false).checkpoint_every, 2);
    }

    #[test]
    fn recipes_pass_their_own_checks() {
        for recipe in [Recipe::reference(), Recipe::stable()] {
            recipe.lora().check().unwrap();
            recipe.objective.check().unwrap();
            recipe.pool.check().unwrap();
            recipe.schedule(10, 1, true).check().unwrap();
        }
    }
}
