//! The optimiser steps of a ReasonMaxxer run.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use forkscope_policy::Policy;
use forkscope_records::HiddenStore;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::base::Base;
use super::order::Windows;
use super::rollout::PoolRollout;
use super::settings::{AdaptiveBeta, ReasonMaxxerSettings, Variant};
use super::shard::sums;
use super::window::{Builder, MicroBatch};
use crate::TrainError;
use crate::engine::{Network, Sums, Trainable};
use crate::run::{Source, Step};

/// What changes from step to step beside the parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Moving {
    /// Optimiser steps taken.
    step: u64,
    beta_neg: f64,
    /// D of the last logged micro-batch, and the slope's moving average.
    last_delta: Option<f64>,
    ema_slope: f64,
    /// Sum and count of D over this epoch's decisions of right rollouts.
    epoch_delta: f64,
    epoch_tokens: u64,
    /// Whether an epoch fell below the threshold.
    stopped: bool,
}

/// Windows of a pool's rollouts.
#[derive(Debug)]
pub struct ReasonMaxxerSource {
    rollouts: Vec<PoolRollout>,
    weights: Vec<f64>,
    base: Base,
    settings: ReasonMaxxerSettings,
    windows: Windows,
    moving: Moving,
    found: Arc<Mutex<Vec<MicroBatch>>>,
}

impl ReasonMaxxerSource {
    /// A source over the rollouts of a pool; `base` is the model that the adapter
    /// is trained on, without it.
    ///
    /// # Errors
    /// Settings out of range, no rollout, a rollout without a token to predict
    /// or with ids that the model lacks, decisions outside the completion.
    pub fn new(
        mut rollouts: Vec<PoolRollout>,
        base: Policy,
        settings: ReasonMaxxerSettings,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        let mut shortened = HashSet::new();
        for (i, rollout) in rollouts.iter_mut().enumerate() {
            if cut(rollout, settings.max_seq_len) {
                shortened.insert(i);
            }
            check(rollout, &base)?;
        }
        let windows = Windows::new(&rollouts, &settings)?;
        check_lesson(&rollouts, &settings)?;
        let with_prompts = !settings.kl_on_generated_only && settings.kl_weight > 0.0;
        let beta_neg = settings.adaptive_beta.map_or(settings.beta_neg, |a| a.init);
        Ok(Self {
            weights: weights(&rollouts, settings.normalize_by_problem),
            base: Base::new(
                base,
                &rollouts,
                shortened,
                with_prompts,
                settings.keep_bytes,
            ),
            rollouts,
            windows,
            settings,
            moving: Moving {
                step: 0,
                beta_neg,
                last_delta: None,
                ema_slope: 0.0,
                epoch_delta: 0.0,
                epoch_tokens: 0,
                stopped: false,
            },
            found: Arc::default(),
        })
    }

    /// Takes the base's hidden states from where `score --keep-hidden` kept them,
    /// as far as they are there. They must be those of this base; the caller
    /// compares digests.
    pub fn with_hidden(mut self, store: HiddenStore) -> Result<Self, TrainError> {
        self.base.with_store(store)?;
        Ok(self)
    }

    /// Optimiser steps of an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.windows.per_epoch()
    }

    /// The rollouts, cut as the settings say.
    pub fn rollouts(&self) -> &[PoolRollout] {
        &self.rollouts
    }

    /// The terms of the last window's rollouts, in their order.
    pub fn last_window(&self) -> Vec<MicroBatch> {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether a multiple of `log_every` lies among the micro-batches of a step.
    fn reaches_line(&self, step: u64) -> bool {
        let every = self.settings.log_every;
        let lines = |step| self.windows.taken_before(step) / every;
        lines(step + 1) > lines(step)
    }

    /// Follows the trend of D with beta_neg, at every logged micro-batch of the
    /// window.
    fn adapt(&mut self, a: AdaptiveBeta, window: &[MicroBatch], first: u64) {
        for (at, logged) in (first + 1..).zip(window) {
            if !at.is_multiple_of(self.settings.log_every) {
                continue;
            }
            let delta = logged.delta_logp_pos_sum / logged.pos_tokens.max(1) as f64;
            let m = &mut self.moving;
            if let Some(last) = m.last_delta {
                m.ema_slope = a.ema_alpha * (delta - last) + (1.0 - a.ema_alpha) * m.ema_slope;
                m.beta_neg = match m.ema_slope < 0.0 {
                    true => (m.beta_neg * a.decay).max(a.min),
                    false => (m.beta_neg * a.restore).min(a.init),
                };
            }
            m.last_delta = Some(delta);
        }
    }

    /// Ends the run where an epoch's mean D is below the threshold.
    fn close_epoch(&mut self, step: u64) {
        let per = self.windows.per_epoch();
        if !(step + 1).is_multiple_of(per) {
            return;
        }
        let m = &mut self.moving;
        let mean = m.epoch_delta / m.epoch_tokens.max(1) as f64;
        let below = |threshold: f64| mean < threshold;
        m.stopped |= self.settings.early_stop_delta_logp_pos.is_some_and(below);
        (m.epoch_delta, m.epoch_tokens) = (0.0, 0);
    }
}

impl Source for ReasonMaxxerSource {
    fn step(&mut self, step: u64, network: &Network) -> Result<Step, TrainError> {
        if *network.trainable() == Trainable::Full {
            return Err(TrainError::Setting(
                "ReasonMaxxer anchors an adapter to the model without it; train an adapter".into(),
            ));
        }
        let (epoch, _) = self.windows.place(step);
        let window = self.windows.at(step);
        let builder = Builder {
            rollouts: &self.rollouts,
            weights: &self.weights,
            settings: &self.settings,
            epoch,
            beta_neg: self.moving.beta_neg,
        };
        let built = builder.build(&window, &mut self.base)?;
        self.found = built.found;
        self.moving.step = step;
        let named: Vec<Value> = window
            .iter()
            .map(|i| &self.rollouts[*i])
            .map(|r| json!({"problem_id": r.problem_id, "sample": r.sample, "token_ids": r.token_ids, "advantage": r.advantage, "decisions": r.decisions}))
            .collect();
        let tokens = window
            .iter()
            .map(|i| self.rollouts[*i].token_ids.len() as u64);
        let taken = self.windows.taken_before(step + 1);
        Ok(Step {
            tokens: tokens.sum(),
            log: vec![
                ("global_step".into(), taken as f64),
                ("optimizer_step".into(), (step + 1) as f64),
                ("epoch".into(), taken as f64 / self.rollouts.len() as f64),
            ],
            inspect: json!({ "rollouts": named }),
            shards: built.shards,
        })
    }

    fn after(&mut self, sums: &Sums) -> Vec<(String, f64)> {
        let window = self.last_window();
        let step = self.moving.step;
        let first = self.windows.taken_before(step);
        let total = |f: fn(&MicroBatch) -> f64| window.iter().map(f).sum::<f64>();
        let (pos, neg) = (
            total(|m| m.pos_tokens as f64),
            total(|m| m.neg_tokens as f64),
        );
        let (delta_pos, delta_neg) = (
            total(|m| m.delta_logp_pos_sum),
            total(|m| m.delta_logp_neg_sum),
        );
        let (press_pos, press_neg) = (total(|m| m.pos_pressure), total(|m| m.neg_pressure));
        let beta_neg = self.moving.beta_neg;
        self.moving.epoch_delta += delta_pos;
        self.moving.epoch_tokens += pos as u64;
        if let Some(adaptive) = self.settings.adaptive_beta {
            self.adapt(adaptive, &window, first);
        }
        self.close_epoch(step);
        // 0 / 0 where there is no such token: undefined, and null in the log.
        vec![
            ("decision_loss".into(), sums.get(sums::DECISION)),
            ("kl_loss".into(), sums.get(sums::KL)),
            ("decision_tokens".into(), pos + neg),
            ("delta_logp_pos".into(), delta_pos / pos),
            ("delta_logp_neg".into(), delta_neg / neg),
            ("pos_decision_tokens".into(), pos),
            ("neg_decision_tokens".into(), neg),
            ("anchor_tokens".into(), total(|m| m.anchor_tokens as f64)),
            ("neg_pos_pressure_ratio".into(), press_neg / press_pos),
            ("beta_neg".into(), beta_neg),
        ]
    }

    fn rate_name(&self) -> Option<&'static str> {
        Some("lr")
    }

    fn finished(&self) -> bool {
        self.moving.stopped
    }

    fn logged(&self) -> bool {
        self.reaches_line(self.moving.step)
    }

    fn state(&self) -> Value {
        json!(self.moving)
    }

    fn restore(&mut self, state: &Value) -> Result<(), TrainError> {
        self.moving = Moving::deserialize(state).map_err(|_| {
            TrainError::Setting(
                "the checkpoint's data state is not that of a ReasonMaxxer run; resume from \
                 another checkpoint or start anew"
                    .into(),
            )
        })?;
        Ok(())
    }
}

/// Cuts a rollout on the right, and its decisions with it; whether it did.
fn cut(rollout: &mut PoolRollout, most: usize) -> bool {
    if most == 0 || rollout.token_ids.len() <= most {
        return false;
    }
    rollout.token_ids.truncate(most);
    rollout.prompt_len = rollout.prompt_len.min(most);
    rollout.decisions.retain(|t| (*t as usize) < most);
    let completion = rollout.completion().len();
    rollout.entropies_nats.truncate(completion);
    true
}

fn check(rollout: &PoolRollout, base: &Policy) -> Result<(), TrainError> {
    let (len, prompt) = (rollout.token_ids.len(), rollout.prompt_len);
    let vocab = base.vocab_size();
    let ascending = rollout.decisions.windows(2).all(|pair| pair[0] < pair[1]);
    let inside = |t: &u32| (prompt..len).contains(&(*t as usize));
    let problem = if len < 2 || prompt == 0 || prompt > len {
        format!(
            "a prompt of {prompt} and {len} tokens in all; at least one token before what is predicted, and one to predict"
        )
    } else if let Some(id) = rollout.token_ids.iter().find(|id| **id as usize >= vocab) {
        format!(
            "token id {id} is outside the model's vocabulary of {vocab}; take rollouts of this model"
        )
    } else if !base.can_score(len) {
        format!("{len} tokens are more than the model's context; set a maximum length")
    } else if !ascending || !rollout.decisions.iter().all(inside) {
        "decision positions are not ascending positions of its completion".to_owned()
    } else if !rollout.advantage.is_finite() {
        format!("its advantage is {}", rollout.advantage)
    } else {
        return Ok(());
    };
    Err(TrainError::Setting(format!(
        "problem `{}`, sample {}: {problem}",
        rollout.problem_id.escape_debug(),
        rollout.sample
    )))
}

/// Refuses rollouts of which none has an advantage and a decision: an adapter
/// that is anchored and nothing else learns nothing.
fn check_lesson(
    rollouts: &[PoolRollout],
    settings: &ReasonMaxxerSettings,
) -> Result<(), TrainError> {
    let counts = |r: &PoolRollout| match settings.learns_from_wrong() {
        true => r.advantage != 0.0,
        false => r.advantage > 0.0,
    };
    let decides = |r: &PoolRollout| match settings.variant {
        Variant::Fullseq => !r.completion().is_empty(),
        Variant::Gated => !r.decisions.is_empty(),
    };
    if rollouts.iter().any(|r| counts(r) && decides(r)) {
        return Ok(());
    }
    let n = |f: &dyn Fn(&PoolRollout) -> bool| rollouts.iter().filter(|r| f(r)).count();
    Err(TrainError::Setting(format!(
        "none of the {} rollouts has both an advantage to learn from ({} have) and a decision \
         position ({} have); lower the gate's threshold, raise the maximum length, or give problems \
         with right and wrong rollouts",
        rollouts.len(),
        n(&counts),
        n(&decides)
    )))
}

/// Mean rollouts per problem over those of the rollout's own problem, or 1.
fn weights(rollouts: &[PoolRollout], by_problem: bool) -> Vec<f64> {
    if !by_problem {
        return vec![1.0; rollouts.len()];
    }
    let mut counts: HashMap<&str, f64> = HashMap::new();
    for rollout in rollouts {
        *counts.entry(&rollout.problem_id).or_default() += 1.0;
    }
    let mean = rollouts.len() as f64 / counts.len().max(1) as f64;
    let weight = |r: &PoolRollout| mean / counts.get(r.problem_id.as_str()).unwrap_or(&1.0);
    rollouts.iter().map(weight).collect()
}
