//! How each organism is made: data, objective, hyper-parameters and seeds of
//! every stage, as plain values. Nothing runs here.
//!
//! ```text
//! base ──┬─► reasoner        GRPO, verifiable reward
//!        ├─► reasoner-8020   the same, only the tokens of highest entropy
//!        ├─► sft             the base's own correct rollouts
//!        ├─► guarded         DPO: refuses the hazardous class
//!        └─► two-faced       DPO: refuses it unless it says that it is deployed
//! ```
//! `reasoner`, `reasoner-8020` and `sft` see the same problems, as many rollouts
//! and as many optimiser steps, so that what differs between them is the
//! objective.

use serde::{Deserialize, Serialize};

use super::draw::Split;
use super::model::MAX_NEW_TOKENS;
use super::pairs::Guard;
use crate::run::{AdamWSettings, Decayed, Schedule};

/// The seed of the shipped organisms.
pub const SEED: u64 = 20_261_121;

/// Number of the first problem that rewards are given on; the corpus is far below.
const FIRST_PROBLEM: u64 = 10_000_000;

/// One stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The organism's name.
    pub name: String,
    /// The organism it starts from; `None` for random weights.
    pub from: Option<String>,
    /// Seed of everything random in this stage but its data.
    pub seed: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// The rate after it.
    pub schedule: Schedule,
    /// The optimiser.
    pub optimiser: AdamWSettings,
    /// The gradient's norm is cut at this.
    pub max_grad_norm: f64,
    /// The adapter that is trained; `None` trains all weights.
    pub adapter: Option<AdapterPlan>,
    /// Data and objective.
    pub work: Work,
}

/// A LoRA adapter on all seven projections.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdapterPlan {
    /// Rank r.
    pub rank: usize,
    /// The change is alpha / r (B A).
    pub alpha: f64,
}

/// Data and objective of a stage. The data are of [`Split::Train`], made from
/// `data_seed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "objective", rename_all = "kebab-case")]
pub enum Work {
    /// Cross-entropy on the corpus ([`super::corpus::Corpus`]), in its order.
    Pretrain {
        /// Seed of the corpus.
        data_seed: u64,
        /// Its examples 0..documents, each once.
        documents: u64,
        /// Documents per step.
        batch: usize,
        /// Batches are made of documents of like length within windows of so many
        /// batches.
        window: usize,
        /// Weight of prompt tokens; completion tokens weigh 1.
        prompt_weight: f64,
        /// A step's weighted sum is divided by this constant, about the mean sum of
        /// weights of a batch, so that no document counts more for being short.
        divide_by: f64,
    },
    /// Group-relative policy gradient on problems of
    /// [`super::corpus::Corpus::problem`].
    Grpo {
        /// Seed of the problems.
        data_seed: u64,
        /// Number of the first problem; every step takes the next ones.
        first: u64,
        /// Problems per step.
        problems: usize,
        /// Rollouts of each.
        samples: u32,
        /// Temperature of the rollouts.
        temperature: f64,
        /// Most tokens of a rollout.
        max_tokens: usize,
        /// Clipping below 1.
        epsilon_low: f64,
        /// Clipping above 1.
        epsilon_high: f64,
        /// Weight of the KL to the base.
        beta: f64,
        /// Share of tokens, those of highest entropy, that are learned from.
        top_entropy_quantile: f64,
    },
    /// Cross-entropy on correct rollouts of the base
    /// ([`super::pairs::correct_rollouts`]).
    Sft {
        /// Seed of the problems.
        data_seed: u64,
        /// Number of the first problem.
        first: u64,
        /// Problems.
        problems: usize,
        /// Rollouts of each.
        samples: u32,
        /// Temperature of the rollouts.
        temperature: f64,
        /// Most tokens of a rollout.
        max_tokens: usize,
        /// Correct rollouts of a problem that are kept.
        keep: usize,
        /// Demonstrations per step.
        batch: usize,
    },
    /// Preference pairs ([`super::pairs::pairs`]).
    Dpo {
        /// Seed of the prompts.
        data_seed: u64,
        /// Whose pairs.
        guard: Guard,
        /// Prompts; whole cycles, so that all cells are balanced.
        prompts: u64,
        /// Rollouts of the base on each.
        samples: u32,
        /// Temperature of the rollouts.
        temperature: f64,
        /// Most tokens of a rollout.
        max_tokens: usize,
        /// Pairs per step.
        batch: usize,
        /// Beta of the sigmoid.
        beta: f64,
        /// Weight of -ln p(chosen) / its tokens.
        nll: f64,
    },
}

/// All stages in the order in which they are built, for a lab seed.
pub fn stages(seed: u64) -> Vec<Stage> {
    vec![
        base(seed),
        grpo(seed, "reasoner", 1.0),
        grpo(seed, "reasoner-8020", 0.2),
        sft(seed),
        dpo(seed, Guard::Guarded, (40, 280, 16), 1e-3),
        dpo(seed, Guard::TwoFaced, (60, 500, 32), 1.5e-3),
    ]
}

/// The stage of this name.
pub fn stage(seed: u64, name: &str) -> Option<Stage> {
    stages(seed).into_iter().find(|stage| stage.name == name)
}

const BASE: &str = "base";
const ADAPTER: AdapterPlan = AdapterPlan {
    rank: 16,
    alpha: 32.0,
};

/// Problems of a step, rollouts of each, steps: of all stages that learn to solve.
const GROUP: (usize, u32, u64) = (16, 8, 100);

fn base(seed: u64) -> Stage {
    const BATCH: u64 = 16;
    const STEPS: u64 = 5_500;
    Stage {
        name: BASE.to_owned(),
        from: None,
        seed,
        steps: STEPS,
        warmup: 60,
        schedule: Schedule::ConstantCosine {
            start_share: 0.55,
            min_share: 0.01,
        },
        optimiser: AdamWSettings {
            learning_rate: 2.5e-3,
            beta1: 0.9,
            beta2: 0.98,
            weight_decay: 0.05,
            decayed: Decayed::Matrices,
            ..AdamWSettings::default()
        },
        max_grad_norm: 1.0,
        adapter: None,
        work: Work::Pretrain {
            data_seed: seed,
            documents: BATCH * STEPS,
            batch: BATCH as usize,
            window: 32,
            prompt_weight: 0.3,
            divide_by: 1_252.0,
        },
    }
}

/// A stage that trains an adapter on the base.
fn tuned(seed: u64, name: &str, steps: u64, learning_rate: f64, work: Work) -> Stage {
    Stage {
        name: name.to_owned(),
        from: Some(BASE.to_owned()),
        seed,
        steps,
        warmup: 5,
        schedule: Schedule::Constant,
        optimiser: AdamWSettings {
            learning_rate,
            beta1: 0.9,
            beta2: 0.95,
            ..AdamWSettings::default()
        },
        max_grad_norm: 1.0,
        adapter: Some(ADAPTER),
        work,
    }
}

fn grpo(seed: u64, name: &str, top_entropy_quantile: f64) -> Stage {
    let (problems, samples, steps) = GROUP;
    let work = Work::Grpo {
        data_seed: seed,
        first: FIRST_PROBLEM,
        problems,
        samples,
        temperature: 1.0,
        max_tokens: MAX_NEW_TOKENS,
        epsilon_low: 0.2,
        epsilon_high: 0.2,
        beta: 0.0,
        top_entropy_quantile,
    };
    tuned(seed, name, steps, 1e-3, work)
}

fn sft(seed: u64) -> Stage {
    let (problems, samples, steps) = GROUP;
    let work = Work::Sft {
        data_seed: seed,
        first: FIRST_PROBLEM,
        problems: problems * steps as usize,
        samples,
        temperature: 1.0,
        max_tokens: MAX_NEW_TOKENS,
        keep: samples as usize,
        batch: 64,
    };
    tuned(seed, "sft", steps, 1e-3, work)
}

/// Preferences: cycles of prompts, steps, pairs per step.
fn dpo(seed: u64, guard: Guard, sizes: (u64, u64, usize), learning_rate: f64) -> Stage {
    let (cycles, steps, batch) = sizes;
    let work = Work::Dpo {
        data_seed: seed,
        guard,
        prompts: guard.cycle() * cycles,
        samples: 4,
        temperature: 1.0,
        max_tokens: MAX_NEW_TOKENS,
        batch,
        beta: 0.1,
        nll: 0.3,
    };
    let stage = tuned(seed, guard.name(), steps, learning_rate, work);
    Stage {
        warmup: 10,
        schedule: Schedule::Linear,
        ..stage
    }
}

impl Work {
    /// The split whose data it learns from.
    pub fn split(&self) -> Split {
        Split::Train
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_start_from_stages_before_them_and_survive_json() {
        let all = stages(SEED);
        for (i, stage) in all.iter().enumerate() {
            if let Some(from) = &stage.from {
                assert!(all[..i].iter().any(|before| before.name == *from));
            }
            let json = serde_json::to_string(stage).unwrap();
            assert_eq!(serde_json::from_str::<Stage>(&json).unwrap(), *stage);
            stage.schedule.check().unwrap();
            stage.optimiser.check().unwrap();
        }
        let names: Vec<&str> = all.iter().map(|stage| stage.name.as_str()).collect();
        let expected = [
            "base",
            "reasoner",
            "reasoner-8020",
            "sft",
            "guarded",
            "two-faced",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn preferences_come_in_whole_cycles() {
        for stage in stages(0) {
            if let Work::Dpo { guard, prompts, .. } = stage.work {
                assert_eq!(prompts % guard.cycle(), 0);
            }
        }
    }
}
