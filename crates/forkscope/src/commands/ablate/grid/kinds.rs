//! Settings of the two kinds of arms that learn.

use forkscope_audit::gates::{Gate, GatePlan};
use forkscope_train::objective::grpo::GrpoSettings;
use forkscope_train::objective::grpo::advantage::{AdvantageSettings, Scale};
use forkscope_train::objective::grpo::loss::{Aggregation, Importance, LossSettings};
use forkscope_train::reasonmaxxer::{AdvantageControl, PoolSettings, ReasonMaxxerSettings};
use serde::{Deserialize, Serialize};

use super::settings::{AdapterSettings, LoopSettings};
use super::{Store, check_store, sampling};
use crate::interrupt::interrupted;

/// How the rollouts of the rounds of an iterated arm are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Every round takes other problems, with all samples.
    #[default]
    Problems,
    /// Every round takes all problems, with a part of the samples.
    Samples,
}

/// What an iterated arm's later rounds are anchored to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The model without an adapter.
    #[default]
    Base,
    /// The policy that sampled the round.
    Sampler,
}

/// Settings of an arm that learns from gated positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReasonMaxxerArm {
    /// Where its rollouts come from; the grid's `store` with the arm's fields.
    pub store: Store,
    /// Which of them.
    pub pool: PoolSettings,
    /// Decision positions, e.g. `entropy:1.4` or `matched-random@entropy:1.4`.
    pub gate: GatePlan,
    /// What is done to the advantages.
    pub control: AdvantageControl,
    /// The loss and the order.
    pub objective: ReasonMaxxerSettings,
    /// What is trained.
    pub adapter: AdapterSettings,
    /// The loop.
    pub optimiser: LoopSettings,
    /// Rounds of sampling and learning that share the rollouts; every round
    /// after the first is sampled from the policy so far.
    pub rounds: u32,
    /// How rollouts are divided over rounds.
    pub round_split: Split,
    /// What later rounds are anchored to.
    pub round_reference: Reference,
}

impl Default for ReasonMaxxerArm {
    fn default() -> Self {
        Self {
            store: Store::default(),
            pool: PoolSettings::default(),
            gate: GatePlan::from(Gate::entropy(1.4)),
            control: AdvantageControl::None,
            objective: ReasonMaxxerSettings::default(),
            adapter: AdapterSettings::default(),
            optimiser: LoopSettings::default(),
            rounds: 1,
            round_split: Split::Problems,
            round_reference: Reference::Base,
        }
    }
}

/// Settings of an arm that learns by GRPO.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpoArm {
    /// The first so many problems of the file; the store's where it is left out.
    pub problems: Option<usize>,
    /// Problems of a round of sampling.
    pub problems_per_step: u32,
    /// Completions of each.
    pub samples: u32,
    /// Optimiser steps on the completions of a round.
    pub iterations: u32,
    /// Divides the logits.
    pub temperature: f64,
    /// Smallest set of most probable tokens with at least this mass.
    pub top_p: f64,
    /// Most tokens of a completion; the store's where it is left out.
    pub max_tokens: Option<u32>,
    /// Clipping below 1.
    pub epsilon: f64,
    /// Clipping above 1; as `epsilon` where it is left out.
    pub epsilon_high: Option<f64>,
    /// Weight of the KL to the base.
    pub beta: f64,
    /// `dapo`, `grpo` or `dr-grpo`.
    pub loss_type: LossType,
    /// `group`, `batch` or `none`.
    pub scale_rewards: ScaleBy,
    /// `token` or `sequence`.
    pub importance_sampling_level: Level,
    /// Share of tokens, those of highest entropy, that are learned from.
    pub top_entropy_quantile: f64,
    /// Leave the tokens of cut completions out.
    pub mask_truncated_completions: bool,
    /// The adapter.
    pub adapter: AdapterSettings,
    /// The loop; `epochs` and `max_steps` have no say, the budget has.
    pub optimiser: LoopSettings,
}

/// What the sum over tokens is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossType {
    /// Tokens of the step.
    Dapo,
    /// Each completion's own tokens.
    Grpo,
    /// A constant.
    DrGrpo,
}

/// By what a group's centred rewards are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScaleBy {
    /// Its deviation.
    Group,
    /// That of the step.
    Batch,
    /// Nothing.
    None,
}

/// Where the importance ratio is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// At every token.
    Token,
    /// Of the completion.
    Sequence,
}

impl Default for GrpoArm {
    fn default() -> Self {
        Self {
            problems: None,
            problems_per_step: 8,
            samples: 8,
            iterations: 1,
            temperature: 1.0,
            top_p: 1.0,
            max_tokens: None,
            epsilon: 0.2,
            epsilon_high: None,
            beta: 0.0,
            loss_type: LossType::Dapo,
            scale_rewards: ScaleBy::Group,
            importance_sampling_level: Level::Token,
            top_entropy_quantile: 1.0,
            mask_truncated_completions: false,
            adapter: AdapterSettings::default(),
            optimiser: LoopSettings {
                schedule: "constant".into(),
                warmup_steps: 0,
                ..LoopSettings::default()
            },
        }
    }
}

impl GrpoArm {
    /// For the source.
    pub fn settings(&self, seed: u64, max_tokens: u32) -> GrpoSettings {
        GrpoSettings {
            problems: self.problems_per_step as usize,
            samples: self.samples,
            iterations: self.iterations,
            sampling: sampling(self.temperature, self.top_p),
            max_tokens: max_tokens as usize,
            seed,
            advantages: AdvantageSettings {
                scale: match self.scale_rewards {
                    ScaleBy::Group => Scale::Group,
                    ScaleBy::Batch => Scale::Batch,
                    ScaleBy::None => Scale::None,
                },
                ..AdvantageSettings::default()
            },
            loss: LossSettings {
                epsilon_low: self.epsilon,
                epsilon_high: self.epsilon_high.unwrap_or(self.epsilon),
                beta: self.beta,
                importance: match self.importance_sampling_level {
                    Level::Token => Importance::Token,
                    Level::Sequence => Importance::Sequence,
                },
                aggregation: match self.loss_type {
                    LossType::Dapo => Aggregation::Token,
                    LossType::Grpo => Aggregation::Sequence,
                    LossType::DrGrpo => Aggregation::Constant,
                },
            },
            mask_truncated: self.mask_truncated_completions,
            top_entropy_quantile: self.top_entropy_quantile,
            interrupted,
            ..GrpoSettings::default()
        }
    }

    /// Rollouts of a round of sampling.
    pub fn per_round(&self) -> u64 {
        u64::from(self.problems_per_step) * u64::from(self.samples)
    }
}

/// Refuses settings outside their range, naming the field.
pub fn check_reasonmaxxer(arm: &ReasonMaxxerArm) -> Result<(), String> {
    check_store("store", &arm.store)?;
    arm.pool.check().map_err(|e| format!("`pool`: {e}"))?;
    arm.objective
        .check()
        .map_err(|e| format!("`objective`: {e}"))?;
    if arm.gate.needs_signal() || arm.gate.needs_changed() {
        return Err(format!(
            "`gate` {} looks at a second policy or a signal, which a store of rollouts does not have; give an entropy gate or a control of one",
            arm.gate
        ));
    }
    if arm.rounds == 0 || arm.rounds > 1_000 {
        return Err(format!(
            "`rounds` is {}; give a number from 1 to 1000",
            arm.rounds
        ));
    }
    if arm.round_split == Split::Samples && arm.store.samples / arm.rounds < 2 {
        return Err(format!(
            "`rounds` {} of {} samples leave fewer than 2 samples to a problem and round; give fewer rounds, or split problems",
            arm.rounds, arm.store.samples
        ));
    }
    if arm.optimiser.epochs == 0 || arm.optimiser.epochs > 100_000 {
        return Err(format!(
            "`optimiser.epochs` is {}; give a number from 1 to 100000",
            arm.optimiser.epochs
        ));
    }
    arm.adapter.lora()?;
    arm.optimiser.train(1, 2, None)?;
    Ok(())
}

/// Refuses settings outside their range, naming the field.
pub fn check_grpo(arm: &GrpoArm) -> Result<(), String> {
    arm.settings(0, arm.max_tokens.unwrap_or(1))
        .check(usize::MAX)
        .map_err(|e| e.to_string())?;
    if arm.temperature == 0.0 {
        return Err(
            "`temperature` is 0, at which all completions of a group are equal; give one above 0"
                .into(),
        );
    }
    arm.adapter.lora()?;
    arm.optimiser.train(1, 2, None)?;
    Ok(())
}
