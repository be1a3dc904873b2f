//! An arm with all its settings.

use forkscope_audit::gates::GatePlan;
use forkscope_policy::Projection;
use forkscope_train::engine::LoraSettings;
use forkscope_train::objective::grpo::GrpoSettings;
use forkscope_train::objective::grpo::advantage::{AdvantageSettings, Scale};
use forkscope_train::objective::grpo::loss::{Aggregation, Importance, LossSettings};
use forkscope_train::reasonmaxxer::{AdvantageControl, PoolSettings, ReasonMaxxerSettings};
use forkscope_train::run::{AdamWSettings, Decayed, Schedule, TrainSettings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::merge::{Defaults, merged};
use super::{Store, check_store, sampling};
use crate::interrupt::interrupted;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arm {
    /// Unique among the arms.
    pub name: String,
    /// Rollouts that it may sample, as a multiple of the store's.
    pub budget: f64,
    /// What it does.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What an arm does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// Nothing.
    Base,
    /// Learns from a store of rollouts.
    ReasonMaxxer(Box<ReasonMaxxerArm>),
    /// Samples for itself.
    Grpo(Box<GrpoArm>),
}

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
            gate: GatePlan::from(forkscope_audit::gates::Gate::entropy(1.4)),
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

impl Arm {
    /// The arm that does nothing.
    pub fn base(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            budget: 0.0,
            kind: Kind::Base,
        }
    }
}

/// An arm from what stands in the file.
pub fn resolve(
    name: &str,
    mut given: Map<String, Value>,
    defaults: &Defaults<'_>,
    store: &Store,
) -> Result<Arm, String> {
    let said = |e: String| format!("arm `{name}`: {e}");
    let kind = given.remove("kind");
    let budget = match given.remove("budget") {
        None => None,
        Some(value) => Some(factor(&value).map_err(said)?),
    };
    let arm = match kind.as_ref().and_then(Value::as_str) {
        Some("base") => {
            if let Some(field) = given.keys().next() {
                return Err(said(format!(
                    "`{field}` has no meaning for the base, which learns nothing"
                )));
            }
            Arm::base(name)
        }
        Some("reasonmaxxer") => {
            let own = object("store", store).map_err(said)?;
            let layers = [&own, defaults.train, defaults.reasonmaxxer, &given];
            let arm = typed::<ReasonMaxxerArm>(merged(&layers)).map_err(said)?;
            check_reasonmaxxer(&arm).map_err(said)?;
            let of = |s: &Store| s.problems.unwrap_or(0) as f64 * f64::from(s.samples);
            let times = match (arm.store.problems == store.problems, of(store) > 0.0) {
                (true, _) => f64::from(arm.store.samples) / f64::from(store.samples),
                (false, true) => of(&arm.store) / of(store),
                (false, false) => {
                    return Err(said(
                        "`store.problems` differs from the grid's, which takes all of the file; give `store.problems` in the grid too".into(),
                    ));
                }
            };
            if (budget.unwrap_or(1.0) - times).abs() > 1e-9 {
                return Err(said(format!(
                    "its `store` samples {times} times the grid's rollouts, and its `budget` is {}; arms of one grid have equal budgets unless they say so: give \"budget\": \"{times}x\", or a store of as many rollouts",
                    budget.unwrap_or(1.0)
                )));
            }
            Arm {
                name: name.to_owned(),
                budget: times,
                kind: Kind::ReasonMaxxer(Box::new(arm)),
            }
        }
        Some("grpo") => {
            let arm =
                typed::<GrpoArm>(merged(&[defaults.train, defaults.grpo, &given])).map_err(said)?;
            check_grpo(&arm).map_err(said)?;
            Arm {
                name: name.to_owned(),
                budget: budget.unwrap_or(1.0),
                kind: Kind::Grpo(Box::new(arm)),
            }
        }
        _ => {
            return Err(said(format!(
                "`kind` is {}; give base, reasonmaxxer or grpo",
                kind.map_or_else(|| "missing".to_owned(), |k| k.to_string())
            )));
        }
    };
    Ok(arm)
}

fn check_reasonmaxxer(arm: &ReasonMaxxerArm) -> Result<(), String> {
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

fn check_grpo(arm: &GrpoArm) -> Result<(), String> {
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

/// `10`, or `"10x"`.
fn factor(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.strip_suffix('x').and_then(|t| t.parse().ok()),
        _ => None,
    };
    number.filter(|n| *n > 0.0 && *n <= 1e6).ok_or_else(|| {
        format!("`budget` is {value}; give a multiple of the store's rollouts, as in \"10x\"")
    })
}

/// A value as the only field of an object.
fn object(name: &str, value: &impl Serialize) -> Result<Map<String, Value>, String> {
    let value = serde_json::to_value(value).map_err(|e| e.to_string())?;
    Ok(Map::from_iter([(name.to_owned(), value)]))
}

/// Settings from merged ones over the defaults. Fields of an object that is
/// given in part keep their defaults because every part has its own.
fn typed<T: DeserializeOwned + Default + Serialize>(
    given: Map<String, Value>,
) -> Result<T, String> {
    let defaults = match serde_json::to_value(T::default()) {
        Ok(Value::Object(map)) => map,
        Ok(_) => Map::new(),
        Err(e) => return Err(e.to_string()),
    };
    for (name, value) in &given {
        // Complaints name the field; serde's own name what it expected instead.
        if let (Some(Value::Object(_)), false) = (defaults.get(name), value.is_object()) {
            return Err(format!("`{name}` is {value}; give an object"));
        }
    }
    let all = Value::Object(merged(&[&defaults, &given]));
    serde_json::from_value(all).map_err(|e| e.to_string())
}
