//! Positions that are patched: decisions, and random positions beside them.

use std::collections::{BTreeMap, BTreeSet};

use forkscope_metrics::rng::Key;
use forkscope_policy::Policy;
use forkscope_records::types::{DiffRow, Rollout, Validity};

use crate::AuditError;
use crate::scoring::{DiffSettings, diff_window};
use crate::windows::windows;

/// How positions are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchingSettings {
    /// Decision positions at most.
    pub positions: usize,
    /// Whether heads are patched too, each by itself; the residual stream
    /// always is.
    pub heads: bool,
    /// Seed of random positions and values.
    pub seed: u64,
}

impl Default for PatchingSettings {
    fn default() -> Self {
        Self {
            positions: 128,
            heads: true,
            seed: 42,
        }
    }
}

/// What was looked at and what was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchingCounts {
    /// Positions of the rollouts.
    pub scored: u64,
    /// Positions at which the argmaxes differ.
    pub changed: u64,
    /// Decision positions that are patched.
    pub chosen: u64,
    /// Random positions that are patched.
    pub random: u64,
}

/// A position that is patched.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchPlace {
    /// Index of the rollout.
    pub rollout: usize,
    /// Index of the predicted token.
    pub t: usize,
    /// What the base prefers, and next to that.
    pub base: (u32, u32),
    /// What the tuned policy prefers, and next to that.
    pub tuned: (u32, u32),
    /// Jensen-Shannon divergence, nats.
    pub js_nats: f64,
}

impl PatchPlace {
    /// Whether the policies prefer different tokens.
    pub fn is_decision(&self) -> bool {
        self.base.0 != self.tuned.0
    }
}

/// Places in the order of (rollout, t).
pub(super) fn choose(
    base: &Policy,
    tuned: &Policy,
    rollouts: &[Rollout],
    problem: &dyn Fn(&str) -> String,
    settings: &PatchingSettings,
) -> Result<(Vec<PatchPlace>, PatchingCounts), AuditError> {
    let mut counts = PatchingCounts::default();
    let mut by_problem: BTreeMap<String, Candidates> = BTreeMap::new();
    let index: BTreeMap<(&str, u32), usize> = rollouts
        .iter()
        .enumerate()
        .map(|(i, r)| ((r.problem_id.as_str(), r.sample), i))
        .collect();
    let recorded = DiffSettings {
        record_topk: 2,
        ..DiffSettings::default()
    };
    for (window, _) in windows(rollouts, 0) {
        for row in diff_window(base, tuned, &window, recorded)? {
            let Some(rollout) = index.get(&(row.problem_id.as_str(), row.sample)) else {
                return Err(AuditError::Internal("a row of no rollout".into()));
            };
            counts.scored += 1;
            let Some(place) = place(*rollout, &row) else {
                continue;
            };
            counts.changed += u64::from(place.is_decision());
            let problem = problem(&row.problem_id);
            by_problem.entry(problem).or_default().push(place);
        }
    }
    let mut chosen: Vec<(usize, PatchPlace)> = Vec::new();
    for candidates in by_problem.values_mut() {
        let ranked = candidates.ranked_decisions(rollouts);
        chosen.extend(ranked.into_iter().enumerate());
    }
    chosen.sort_by(|(i, a), (j, b)| {
        i.cmp(j)
            .then(b.js_nats.total_cmp(&a.js_nats))
            .then((a.rollout, a.t).cmp(&(b.rollout, b.t)))
    });
    chosen.truncate(settings.positions);
    counts.chosen = chosen.len() as u64;
    let mut places: Vec<PatchPlace> = chosen.into_iter().map(|(_, place)| place).collect();
    let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
    for place in &places {
        if let Some(rollout) = rollouts.get(place.rollout) {
            *wanted.entry(problem(&rollout.problem_id)).or_default() += 1;
        }
    }
    for (problem, n) in wanted {
        if let Some(candidates) = by_problem.get_mut(&problem) {
            let random = candidates.random_unchanged(rollouts, settings.seed, n);
            counts.random += random.len() as u64;
            places.extend(random);
        }
    }
    places.sort_by_key(|p| (p.rollout, p.t));
    Ok((places, counts))
}

fn place(rollout: usize, row: &DiffRow) -> Option<PatchPlace> {
    let next = |argmax: u32, ids: &[u32]| ids.iter().copied().find(|id| *id != argmax);
    if row.validity != Validity::Ok {
        return None;
    }
    Some(PatchPlace {
        rollout,
        t: row.t as usize,
        base: (
            row.argmax_base_id,
            next(row.argmax_base_id, &row.topk_base.ids)?,
        ),
        tuned: (
            row.argmax_tuned_id,
            next(row.argmax_tuned_id, &row.topk_tuned.ids)?,
        ),
        js_nats: row.js_nats,
    })
}

/// Positions of one problem, in the order of rows.
#[derive(Default)]
struct Candidates {
    decisions: Vec<PatchPlace>,
    unchanged: Vec<PatchPlace>,
}

impl Candidates {
    fn push(&mut self, place: PatchPlace) {
        match place.is_decision() {
            true => self.decisions.push(place),
            false => self.unchanged.push(place),
        }
    }

    /// Decisions by JS, highest first; of those with one prefix the first.
    fn ranked_decisions(&mut self, rollouts: &[Rollout]) -> Vec<PatchPlace> {
        let mut places = std::mem::take(&mut self.decisions);
        places.sort_by(|a, b| b.js_nats.total_cmp(&a.js_nats));
        first_of_prefix(places, rollouts)
    }

    /// Positions where both prefer the same token, in random order.
    fn random_unchanged(&mut self, rollouts: &[Rollout], seed: u64, n: usize) -> Vec<PatchPlace> {
        let mut drawn: Vec<(f64, PatchPlace)> = std::mem::take(&mut self.unchanged)
            .into_iter()
            .filter_map(|place| {
                let r = rollouts.get(place.rollout)?;
                let key = Key::new(seed, &r.problem_id, r.sample, "patching.position");
                Some((key.uniform(place.t as u64), place))
            })
            .collect();
        drawn.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let places = drawn.into_iter().map(|(_, place)| place).collect();
        let mut places = first_of_prefix(places, rollouts);
        places.truncate(n);
        places
    }
}

/// Samples of a problem share prefixes, and what one prefix says is said once.
fn first_of_prefix(places: Vec<PatchPlace>, rollouts: &[Rollout]) -> Vec<PatchPlace> {
    let mut seen: BTreeSet<&[u32]> = BTreeSet::new();
    places
        .into_iter()
        .filter(|p| {
            let prefix = rollouts.get(p.rollout).and_then(|r| r.token_ids.get(..p.t));
            prefix.is_some_and(|prefix| seen.insert(prefix))
        })
        .collect()
}
