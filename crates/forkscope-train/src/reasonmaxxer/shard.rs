//! The loss on the rollouts of one pack.
//!
//! Per rollout, with w its weight and W the window's nominal size:
//!
//! w / W (sum_{t in D} f_t / N + lambda_D mean_{t in D} KL_t + lambda mean_{t in V} KL_t)
//!
//! where D are its decision positions, V the others that are looked at, N what
//! the settings divide by, KL_t = KL(b || p) over the vocabulary (or its
//! bucketed lower bound). A decision of a wrong rollout that the probability
//! floor takes out of D is in V.

use std::sync::{Arc, Mutex, PoisonError};

use forkscope_policy::Policy;

use super::objective::Push;
use super::window::MicroBatch;
use crate::TrainError;
use crate::engine::{Head, Pack, Shard, Site, Sums};
use crate::objective::rows::{
    Bucketed, kl_bucketed, kl_teacher_student, log_prob_gradient, normaliser,
};

/// Names of the sums that a shard adds to; [`Sums::LOSS`] beside them.
pub(super) mod sums {
    /// Sum of decision losses over W.
    pub const DECISION: &str = "decision_loss";
    /// Sum of mean KLs over W.
    pub const KL: &str = "kl_loss";
    /// Sum of mean KLs at decisions over W.
    pub const DECISION_KL: &str = "decision_kl_loss";
}

/// Values of the base's logits that are held at a time: as many rows as let a
/// large head be read seldom.
const HELD: usize = 32_000_000;

/// A rollout in a shard.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its place in the window.
    pub slot: usize,
    pub problem_id: String,
    pub sample: u32,
    /// w / W.
    pub weight: f64,
    /// How its decisions are pushed; `None` where A = 0 or they are anchors.
    pub push: Option<Push>,
    /// N, where it is not the number of decisions itself.
    pub divisor: Option<f64>,
    /// Anchor positions, of which those in the shard's list are a sample.
    pub n_anchors: usize,
    /// Those in the list.
    pub n_sampled: usize,
    pub decisions: Vec<Decision>,
}

/// A decision position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decision {
    pub site: Site,
    /// ln b(x_t).
    pub base: f64,
}

/// An anchor position; of a shared prompt it belongs to several rollouts.
#[derive(Debug, Clone)]
pub(super) struct AnchorSite {
    pub site: Site,
    /// Indices into the shard's items.
    pub items: Vec<usize>,
}

/// What the base says at the anchors, in their order.
#[derive(Debug, Clone)]
pub(super) enum Teacher {
    /// Hidden states, rows x width.
    Hidden(Vec<f32>),
    Listed(Vec<Bucketed>),
}

/// The weights that hold for every rollout.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    /// lambda.
    pub kl: f64,
    /// lambda_D.
    pub kl_decision: f64,
    /// Probability at or below which a wrong rollout's decision is an anchor.
    pub floor: f64,
}

/// Rollouts of a window in one pack.
#[derive(Debug)]
pub(super) struct PoolShard {
    pub pack: Pack,
    pub items: Vec<Item>,
    pub anchors: Vec<AnchorSite>,
    /// At the anchors.
    pub teacher: Teacher,
    /// At the decisions of all items, in order; empty where neither the floor nor
    /// the KL at decisions asks for it.
    pub decision_hidden: Vec<f32>,
    pub base: Policy,
    pub weights: Weights,
    /// All sites, for the engine.
    pub sites: Vec<Site>,
    /// Where the terms of each rollout of the window go.
    pub found: Arc<Mutex<Vec<MicroBatch>>>,
}

/// Sums of one item.
#[derive(Debug, Clone, Default)]
struct Tally {
    decisions: u64,
    decision: f64,
    decision_kl: f64,
    floored: u64,
    floored_kl: f64,
    kl: f64,
    delta: f64,
    pressure: f64,
}

impl Shard for PoolShard {
    fn pack(&self) -> &Pack {
        &self.pack
    }

    fn sites(&self) -> Option<&[Site]> {
        Some(&self.sites)
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let mut tallies = vec![Tally::default(); self.items.len()];
        let out = self.floored(head);
        for (tally, out) in tallies.iter_mut().zip(&out) {
            tally.floored = out.iter().filter(|o| **o).count() as u64;
        }
        self.decisions(head, &out, &mut tallies)?;
        self.anchors(head, &mut tallies)?;
        self.sums(&tallies)
    }
}

impl PoolShard {
    /// Of every item's decisions: whether the floor takes them out.
    fn floored(&self, head: &mut Head<'_>) -> Vec<Vec<bool>> {
        let none = |item: &Item| vec![false; item.decisions.len()];
        let mut out: Vec<Vec<bool>> = self.items.iter().map(none).collect();
        if self.weights.floor <= 0.0 {
            return out;
        }
        for (item, out) in self.items.iter().zip(&mut out) {
            if item.push.as_ref().is_none_or(Push::is_positive) {
                continue;
            }
            let sites: Vec<Site> = item.decisions.iter().map(|d| d.site).collect();
            head.scan(&sites, |i, logits| {
                let p = libm::exp(normaliser(logits).log_prob(logits, sites[i].token));
                // NaN stays in, and is found by the loss.
                out[i] = p <= self.weights.floor;
            });
        }
        out
    }

    fn decisions(
        &self,
        head: &mut Head<'_>,
        out: &[Vec<bool>],
        tallies: &mut [Tally],
    ) -> Result<(), TrainError> {
        let mut first = 0;
        let mut base = BaseLogits::new(&self.base, &self.decision_hidden);
        for ((item, out), tally) in self.items.iter().zip(out).zip(tallies) {
            let n = item.decisions.len();
            let from = first;
            first += n;
            let Some(push) = item.push.filter(|_| n > 0) else {
                continue;
            };
            let held = n as u64 - tally.floored;
            let by = item.divisor.unwrap_or(held as f64);
            let all = item.n_anchors as f64 + tally.floored as f64;
            let sites: Vec<Site> = item.decisions.iter().map(|d| d.site).collect();
            let mut copy = Vec::new();
            let mut broken = None;
            head.pull(&sites, |i, logits| {
                let decision = item.decisions[i];
                let normaliser = normaliser(logits);
                let log_prob = normaliser.log_prob(logits, decision.site.token);
                if out[i] {
                    let teacher = base.row(from + i);
                    let w = item.weight * self.weights.kl / all;
                    tally.floored_kl += kl_teacher_student(logits, teacher, w).kl;
                    return;
                }
                let term = push.term(log_prob, decision.base);
                tally.decisions += 1;
                tally.decision += term.loss / by;
                tally.delta += log_prob - decision.base;
                tally.pressure += term.pressure;
                if !term.loss.is_finite() {
                    broken.get_or_insert((decision.site, term.loss));
                }
                if self.weights.kl_decision > 0.0 {
                    copy.clear();
                    copy.extend_from_slice(logits);
                    let w = item.weight * self.weights.kl_decision / held as f64;
                    let kl = kl_teacher_student(&mut copy, base.row(from + i), w).kl;
                    tally.decision_kl += kl / held as f64;
                }
                let slope = item.weight * term.slope / by;
                log_prob_gradient(logits, decision.site.token, &normaliser, slope);
                for (g, kl) in logits.iter_mut().zip(&copy) {
                    *g += kl;
                }
            });
            if let Some((site, loss)) = broken {
                return Err(TrainError::NonFinite(format!(
                    "the decision loss of token {} of problem `{}`, sample {} is {loss}",
                    site.token,
                    item.problem_id.escape_debug(),
                    item.sample
                )));
            }
        }
        Ok(())
    }

    fn anchors(&self, head: &mut Head<'_>, tallies: &mut [Tally]) -> Result<(), TrainError> {
        if self.weights.kl <= 0.0 || self.anchors.is_empty() {
            return Ok(());
        }
        // Weight of an item's sampled anchor within the mean over all of them.
        let share: Vec<f64> = self
            .items
            .iter()
            .zip(tallies.iter())
            .map(|(item, tally)| {
                let all = item.n_anchors as f64 + tally.floored as f64;
                item.n_anchors as f64 / all / item.n_sampled.max(1) as f64
            })
            .collect();
        let sites: Vec<Site> = self.anchors.iter().map(|a| a.site).collect();
        let hidden = match &self.teacher {
            Teacher::Hidden(values) => values.as_slice(),
            Teacher::Listed(_) => &[],
        };
        let mut base = BaseLogits::new(&self.base, hidden);
        let mut broken = None;
        head.pull(&sites, |i, logits| {
            let anchor = &self.anchors[i];
            let of = |j: &usize| self.items[*j].weight * self.weights.kl * share[*j];
            let w = anchor.items.iter().map(of).sum();
            let found = match &self.teacher {
                Teacher::Hidden(_) => kl_teacher_student(logits, base.row(i), w),
                Teacher::Listed(rows) => kl_bucketed(logits, &rows[i], w),
            };
            for j in &anchor.items {
                tallies[*j].kl += share[*j] * found.kl;
            }
            if !found.kl.is_finite() {
                broken.get_or_insert((anchor.site, found.kl));
            }
        });
        match broken {
            Some((site, kl)) => Err(TrainError::NonFinite(format!(
                "KL(base || tuned) after row {} of a shard is {kl}",
                site.row
            ))),
            None => Ok(()),
        }
    }

    fn sums(&self, tallies: &[Tally]) -> Result<Sums, TrainError> {
        let mut sums = Sums::default();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        for (item, tally) in self.items.iter().zip(tallies) {
            let all = (item.n_anchors as f64 + tally.floored as f64).max(1.0);
            let kl = tally.kl + tally.floored_kl / all;
            let kl = if self.weights.kl > 0.0 { kl } else { 0.0 };
            let loss = tally.decision
                + self.weights.kl * kl
                + self.weights.kl_decision * tally.decision_kl;
            sums.add(Sums::LOSS, item.weight * loss);
            sums.add(sums::DECISION, item.weight * tally.decision);
            sums.add(sums::KL, item.weight * kl);
            sums.add(sums::DECISION_KL, item.weight * tally.decision_kl);
            let positive = item.push.is_some_and(|p| p.is_positive());
            let one = |this: bool, value: f64| if this { value } else { 0.0 };
            if let Some(slot) = found.get_mut(item.slot) {
                *slot = MicroBatch {
                    problem_id: item.problem_id.clone(),
                    sample: item.sample,
                    loss,
                    decision_loss: tally.decision,
                    kl_loss: kl,
                    decision_tokens: tally.decisions,
                    pos_tokens: if positive { tally.decisions } else { 0 },
                    neg_tokens: if positive { 0 } else { tally.decisions },
                    anchor_tokens: item.n_anchors as u64 + tally.floored,
                    delta_logp_pos_sum: one(positive, tally.delta),
                    delta_logp_neg_sum: one(!positive, tally.delta),
                    pos_pressure: one(positive, tally.pressure),
                    neg_pressure: one(!positive, tally.pressure),
                };
            }
        }
        Ok(sums)
    }
}

/// The base's logits at given hidden rows, a block at a time, in order.
struct BaseLogits<'a> {
    policy: &'a Policy,
    hidden: &'a [f32],
    logits: Vec<f32>,
    /// Rows of a block.
    rows: usize,
    /// Block that `logits` holds.
    block: Option<usize>,
}

impl<'a> BaseLogits<'a> {
    fn new(policy: &'a Policy, hidden: &'a [f32]) -> Self {
        Self {
            policy,
            hidden,
            logits: Vec::new(),
            rows: (HELD / policy.vocab_size().max(1)).clamp(32, 256),
            block: None,
        }
    }

    fn row(&mut self, i: usize) -> &[f32] {
        let (width, vocab) = (self.policy.config().hidden_size, self.policy.vocab_size());
        let block = i / self.rows;
        if self.block != Some(block) {
            let step = self.rows * width;
            let from = (block * step).min(self.hidden.len());
            let to = ((block + 1) * step).min(self.hidden.len());
            self.policy.logits(&self.hidden[from..to], &mut self.logits);
            self.block = Some(block);
        }
        self.logits
            .get(i % self.rows * vocab..)
            .and_then(|rows| rows.get(..vocab))
            .unwrap_or(&[])
    }
}
