//! A window of rollouts as shards: which positions decide, which anchor, and
//! which rollouts share a pack.
//!
//! How a window is cut depends on its rollouts and `shard_rows` alone, never on
//! threads. Rollouts of one problem share their prompt's rows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use forkscope_metrics::rng::Key;

use super::base::{Base, BaseRows, Place};
use super::objective::Push;
use super::rollout::PoolRollout;
use super::settings::{Anchor, DecisionMean, ReasonMaxxerSettings, Variant};
use super::shard::{AnchorSite, Decision, Item, PoolShard, Teacher, Weights};
use crate::TrainError;
use crate::engine::{Pack, Shard, Site};
use crate::objective::split;

/// Tokens that a bucketed anchor lists.
const LISTED: usize = 64;

/// A window is cut into at least so many shards, where it has as many rollouts.
const SHARDS: usize = 4;

/// The terms of one rollout of a window; losses are not divided by the window's
/// size.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MicroBatch {
    /// Problem identifier.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// Decision loss + lambda KL (+ lambda_D KL at decisions).
    pub loss: f64,
    /// Mean decision loss.
    pub decision_loss: f64,
    /// Mean KL(base || tuned) over the anchors, nats.
    pub kl_loss: f64,
    /// Decision positions.
    pub decision_tokens: u64,
    /// Those of right rollouts (A > 0).
    pub pos_tokens: u64,
    /// Those of wrong rollouts (A < 0).
    pub neg_tokens: u64,
    /// Anchor positions, whether they were drawn or not.
    pub anchor_tokens: u64,
    /// Sum of ln p - ln b at decisions of right rollouts, nats.
    pub delta_logp_pos_sum: f64,
    /// Sum of ln p - ln b at decisions of wrong rollouts, nats.
    pub delta_logp_neg_sum: f64,
    /// Sum of pressures at decisions of right rollouts.
    pub pos_pressure: f64,
    /// Sum of pressures at decisions of wrong rollouts.
    pub neg_pressure: f64,
}

/// A window, ready to be learned from.
pub(super) struct Built {
    /// In the order of summation.
    pub shards: Vec<Box<dyn Shard + Send>>,
    /// Where the rollouts' terms will be found.
    pub found: Arc<Mutex<Vec<MicroBatch>>>,
}

/// What building a window needs.
pub(super) struct Builder<'a> {
    pub rollouts: &'a [PoolRollout],
    /// Weight of each rollout.
    pub weights: &'a [f64],
    pub settings: &'a ReasonMaxxerSettings,
    pub epoch: u64,
    /// Today's.
    pub beta_neg: f64,
}

/// A rollout with what is done at its positions.
struct Planned {
    rollout: usize,
    push: Option<Push>,
    /// Positions of its decisions, empty without a push.
    decisions: Vec<u32>,
    n_anchors: usize,
    /// Drawn ones, ascending.
    anchors: Vec<u32>,
}

impl Builder<'_> {
    /// The shards of a window.
    pub fn build(&self, window: &[usize], base: &mut Base) -> Result<Built, TrainError> {
        let planned: Vec<Planned> = window.iter().map(|i| self.plan(*i)).collect();
        let rows = base.rows(window, self.rollouts)?;
        let found = Arc::new(Mutex::new(vec![MicroBatch::default(); window.len()]));
        let divisors = self.divisors(&planned);
        // Rollouts of one prompt side by side, prompts as they first come.
        let mut order: Vec<usize> = (0..window.len()).collect();
        let first_of = |slot: &usize| {
            let prompt = base.prompt_of(window[*slot]);
            window.iter().position(|i| base.prompt_of(*i) == prompt)
        };
        order.sort_by_key(|slot| (first_of(slot), *slot));
        let lengths: Vec<usize> = order
            .iter()
            .map(|slot| {
                self.rollouts[window[*slot]]
                    .token_ids
                    .len()
                    .saturating_sub(1)
            })
            .collect();
        let total: usize = lengths.iter().sum();
        let target = total.div_ceil(SHARDS).min(self.settings.shard_rows).max(1);
        let mut shards: Vec<Box<dyn Shard + Send>> = Vec::new();
        for range in split(&lengths, target) {
            let part = Part {
                slots: &order[range],
                planned: &planned,
                divisors: &divisors,
                rows: &rows,
                found: &found,
            };
            shards.push(Box::new(self.shard(&part, base)?));
        }
        Ok(Built { shards, found })
    }

    /// What is done at a rollout's positions.
    fn plan(&self, i: usize) -> Planned {
        let (rollout, s) = (&self.rollouts[i], self.settings);
        let clip = |a: f64| match s.adv_clip {
            0.0 => a,
            c => a.clamp(-c, c),
        };
        let advantage = clip(rollout.advantage);
        let decides = advantage > 0.0 || (advantage < 0.0 && s.learns_from_wrong());
        let len = rollout.token_ids.len() as u32;
        let start = rollout.prompt_len as u32;
        let decisions: Vec<u32> = match s.variant {
            _ if !decides => Vec::new(),
            Variant::Fullseq => (start..len).collect(),
            Variant::Gated => rollout.decisions.clone(),
        };
        let from = if s.kl_on_generated_only { start } else { 1 };
        let is_decision = |t: &u32| decisions.binary_search(t).is_ok();
        let mut anchors: Vec<u32> = (from.max(1)..len).filter(|t| !is_decision(t)).collect();
        let n_anchors = anchors.len();
        if s.kl_weight == 0.0 {
            anchors.clear();
        } else if s.anchor_share < 1.0 {
            let n = ((s.anchor_share * n_anchors as f64).round() as usize).max(1);
            Key::new(s.seed, &rollout.problem_id, rollout.sample, "anchor sample")
                .rng_at(self.epoch)
                .shuffle(&mut anchors);
            anchors.truncate(n);
            anchors.sort_unstable();
        }
        Planned {
            rollout: i,
            push: (!decisions.is_empty()).then(|| Push::new(s, advantage, self.beta_neg)),
            decisions,
            n_anchors,
            anchors,
        }
    }

    /// What each rollout's sum of decision losses is divided by, where it is not
    /// its number of decisions.
    fn divisors(&self, planned: &[Planned]) -> Vec<Option<f64>> {
        let s = self.settings;
        let signed = |positive: bool| {
            planned
                .iter()
                .filter(|p| p.push.is_some_and(|push| push.is_positive() == positive))
                .map(|p| p.decisions.len())
                .sum::<usize>() as f64
        };
        let (pos, neg) = (signed(true), signed(false));
        let n = planned.len() as f64;
        let one = |p: &Planned| match s.decision_mean {
            DecisionMean::Decisions => None,
            DecisionMean::Completion => {
                Some(self.rollouts[p.rollout].completion().len().max(1) as f64)
            }
            DecisionMean::Window => {
                let positive = p.push.is_some_and(|push| push.is_positive());
                let own = if positive { pos } else { neg };
                Some(match (s.balance_pos_neg, s.separate_pos_neg_norm) {
                    (true, _) if pos > 0.0 && neg > 0.0 => 2.0 * own / n,
                    (true, _) | (_, true) => own / n,
                    (false, false) => (pos + neg) / n,
                })
            }
        };
        planned.iter().map(one).collect()
    }

    fn shard(&self, part: &Part<'_>, base: &mut Base) -> Result<PoolShard, TrainError> {
        let s = self.settings;
        let mut layout = Layout::default();
        layout.place(self.rollouts, part, base)?;
        let mut items = Vec::with_capacity(part.slots.len());
        let mut anchors: BTreeMap<usize, (AnchorSite, Place)> = BTreeMap::new();
        let mut hidden: BTreeMap<usize, &[f32]> = BTreeMap::new();
        let mut decision_hidden = Vec::new();
        let with_decisions = s.kl_decision_weight > 0.0 || s.neg_prob_floor > 0.0;
        for (j, slot) in part.slots.iter().enumerate() {
            let (planned, rows) = (&part.planned[*slot], &part.rows[*slot]);
            let i = planned.rollout;
            let rollout = &self.rollouts[i];
            let known = base.log_probs(i, rollout, &planned.decisions, rows)?;
            let mut decisions = Vec::with_capacity(planned.decisions.len());
            for (t, base) in planned.decisions.iter().zip(known.iter()) {
                let site = layout.site(j, *t as usize, rollout)?;
                decisions.push(Decision { site, base: *base });
                if with_decisions {
                    decision_hidden.extend_from_slice(rows.predicting(*t as usize));
                }
            }
            for t in &planned.anchors {
                let site = layout.site(j, *t as usize, rollout)?;
                let (anchor, _) = anchors.entry(site.row).or_insert_with(|| {
                    let items = Vec::new();
                    hidden.insert(site.row, rows.predicting(*t as usize));
                    (AnchorSite { site, items }, base.place(i, rollout, *t))
                });
                anchor.items.push(j);
            }
            items.push(Item {
                slot: *slot,
                problem_id: rollout.problem_id.clone(),
                sample: rollout.sample,
                weight: self.weights[i] / s.grad_accum_steps as f64,
                push: planned.push,
                divisor: part.divisors[*slot],
                n_anchors: planned.n_anchors,
                n_sampled: planned.anchors.len(),
                decisions,
            });
        }
        let (anchors, places): (Vec<AnchorSite>, Vec<Place>) = anchors.into_values().unzip();
        let hidden: Vec<f32> = hidden.into_values().flatten().copied().collect();
        let decided = items.iter().flat_map(|item| &item.decisions);
        let mut sites: Vec<Site> = decided.map(|d| d.site).collect();
        sites.extend(anchors.iter().map(|a| a.site));
        Ok(PoolShard {
            pack: layout.pack,
            items,
            teacher: match s.anchor {
                Anchor::Exact => Teacher::Hidden(hidden),
                Anchor::Bucketed => Teacher::Listed(base.listed(&places, &hidden, LISTED)?),
            },
            anchors,
            decision_hidden,
            base: base.policy().clone(),
            weights: Weights {
                kl: s.kl_weight,
                kl_decision: s.kl_decision_weight,
                floor: s.neg_prob_floor,
            },
            sites,
            found: part.found.clone(),
        })
    }
}

/// The part of a window that goes into one shard.
struct Part<'a> {
    slots: &'a [usize],
    planned: &'a [Planned],
    divisors: &'a [Option<f64>],
    rows: &'a [BaseRows],
    found: &'a Arc<Mutex<Vec<MicroBatch>>>,
}

/// Where the rollouts of a shard lie in its pack.
#[derive(Default)]
struct Layout {
    pack: Pack,
    /// Of each rollout: the row of its prompt's first token, and the sites of
    /// its completion.
    places: Vec<(usize, Vec<Site>)>,
}

impl Layout {
    fn place(
        &mut self,
        rollouts: &[PoolRollout],
        part: &Part<'_>,
        base: &Base,
    ) -> Result<(), TrainError> {
        let of = |slot: &usize| part.planned[*slot].rollout;
        let groups = part
            .slots
            .chunk_by(|a, b| base.prompt_of(of(a)) == base.prompt_of(of(b)));
        for group in groups {
            let members: Vec<&PoolRollout> = group.iter().map(|s| &rollouts[of(s)]).collect();
            let Some(first) = members.first() else {
                continue;
            };
            let row = self.pack.len();
            let prompt = &first.token_ids[..first.prompt_len.min(first.token_ids.len())];
            let completions: Vec<&[u32]> = members.iter().map(|r| r.completion()).collect();
            let sites = self.pack.add_group(prompt, &completions)?;
            self.places.extend(sites.into_iter().map(|s| (row, s)));
        }
        Ok(())
    }

    /// Where the token at `t` of rollout `j` of the shard is predicted.
    fn site(&self, j: usize, t: usize, rollout: &PoolRollout) -> Result<Site, TrainError> {
        let place = self.places.get(j);
        let found = place.and_then(|(row, sites)| match t.checked_sub(rollout.prompt_len) {
            Some(k) => sites.get(k).copied(),
            None => Some(Site {
                row: row + t.checked_sub(1)?,
                token: *rollout.token_ids.get(t)?,
            }),
        });
        found.ok_or_else(|| {
            TrainError::Setting(format!(
                "problem `{}`, sample {}: position {t} is outside the {} tokens of the rollout",
                rollout.problem_id.escape_debug(),
                rollout.sample,
                rollout.token_ids.len()
            ))
        })
    }
}
