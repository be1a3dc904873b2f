//! The passes: what both policies hold at the chosen rows, then the receiver
//! again with one value of the donor's.

use std::collections::BTreeMap;

use forkscope_metrics::rng::Key;
use forkscope_metrics::{PairMetrics, pair_rows, score_rows};
use forkscope_policy::{
    ActivationRequest, ActivationRows, Activations, Patch, PatchRequest, Policy, Site, Sites,
    Variant,
};
use forkscope_records::types::{PatchArm, PatchDirection, PatchingRow, Rollout};

use super::choose::{PatchPlace, PatchingCounts, PatchingSettings, choose};
use crate::AuditError;

/// Places whose passes are made together.
const BLOCK: usize = 16;

/// Everything that is patched, and what both policies hold there.
#[derive(Debug)]
pub struct PatchingPlan<'a> {
    base: &'a Policy,
    tuned: &'a Policy,
    rollouts: &'a [Rollout],
    places: Vec<PatchPlace>,
    /// Of each decision: a random decision of another problem.
    partners: Vec<Option<usize>>,
    sites: Vec<Site>,
    held: [Activations; 2],
    counts: PatchingCounts,
}

/// One row to be: a place, an arm, a site.
#[derive(Clone, Copy)]
struct Cell {
    place: usize,
    arm: PatchArm,
    site: usize,
}

impl<'a> PatchingPlan<'a> {
    /// Chooses positions of the rollouts (which [`crate::windows::check`] has
    /// seen) and computes both policies there. `problem` names the problem of an
    /// identifier: several may be wordings of one.
    pub fn new(
        base: &'a Policy,
        tuned: &'a Policy,
        rollouts: &'a [Rollout],
        problem: &dyn Fn(&str) -> String,
        settings: &PatchingSettings,
    ) -> Result<Self, AuditError> {
        same_shape(base, tuned)?;
        let (places, counts) = choose(base, tuned, rollouts, problem, settings)?;
        let c = base.config();
        let blocks: Vec<usize> = match settings.heads {
            true => (1..=c.layers).collect(),
            false => Vec::new(),
        };
        let heads = blocks
            .iter()
            .flat_map(|block| (0..c.heads).map(move |head| (*block, head)));
        let sites = (0..=c.layers)
            .map(|layer| Site::Residual { layer })
            .chain(heads.map(|(block, head)| Site::Head { block, head }))
            .collect();
        let captured = Sites {
            layers: (0..=c.layers).collect(),
            blocks,
        };
        let requests = requests(&places, rollouts);
        let held = [
            base.activations(&requests, &captured)?,
            tuned.activations(&requests, &captured)?,
        ];
        let partners = partners(&places, rollouts, problem, settings.seed);
        Ok(Self {
            base,
            tuned,
            rollouts,
            places,
            partners,
            sites,
            held,
            counts,
        })
    }

    /// What was looked at and chosen.
    pub fn counts(&self) -> PatchingCounts {
        self.counts
    }

    /// Blocks of work: first all that patch the base, then all that patch the
    /// tuned policy; within, places in the order of rollouts and positions.
    pub fn blocks(&self) -> usize {
        2 * self.places.len().div_ceil(BLOCK)
    }

    /// Rows that block `i` yields.
    pub fn rows_of(&self, i: usize) -> usize {
        self.block(i).map_or(0, |(_, places)| {
            places.map(|p| self.arms(p).len() * self.sites.len()).sum()
        })
    }

    /// Rows in all.
    pub fn rows(&self) -> usize {
        (0..self.blocks()).map(|i| self.rows_of(i)).sum()
    }

    /// Computes the rows of a block.
    pub fn run(&self, i: usize) -> Result<Vec<PatchingRow>, AuditError> {
        let Some((direction, places)) = self.block(i) else {
            return Ok(Vec::new());
        };
        let (receiver, donor) = self.sides(direction);
        let places: Vec<usize> = places.collect();
        let donors = self.untouched(donor, &places)?;
        let targets: Vec<u32> = places.iter().map(|p| self.pair(direction, *p).0).collect();
        let own = Untouched {
            receiver: self.untouched(receiver, &places)?,
            donor_logprobs: score_rows(&donors.values, donors.vocab, &targets, 0)
                .map_err(AuditError::Metrics)?
                .iter()
                .map(|m| m.logprob)
                .collect(),
            donor: donors,
        };
        let cells: Vec<Cell> = places
            .iter()
            .flat_map(|place| {
                let arms = self.arms(*place).iter();
                arms.flat_map(move |arm| {
                    (0..self.sites.len()).map(move |site| Cell {
                        place: *place,
                        arm: *arm,
                        site,
                    })
                })
            })
            .collect();
        let hidden = self.patched(direction, &cells)?;
        let policy = self.policy(receiver);
        let (vocab, width) = (policy.vocab_size(), policy.config().hidden_size);
        let (mut logits, mut rows) = (Vec::new(), Vec::with_capacity(cells.len()));
        let block = policy.block_rows();
        let first = places.first().copied().unwrap_or(0);
        for (cells, hidden) in cells.chunks(block).zip(hidden.chunks(block * width)) {
            policy.logits(hidden, &mut logits);
            let mut untouched = Vec::with_capacity(logits.len());
            let mut targets = Vec::with_capacity(cells.len());
            for cell in cells {
                untouched.extend_from_slice(own.receiver.row(cell.place - first));
                targets.push(self.pair(direction, cell.place).0);
            }
            let found = pair_rows(&untouched, vocab, &logits, vocab, &targets, 0)
                .map_err(|e| self.broken(cells, e))?;
            for ((cell, found), patched) in cells.iter().zip(found).zip(logits.chunks_exact(vocab))
            {
                rows.push(self.row(direction, *cell, &found, patched, &own, first)?);
            }
        }
        Ok(rows)
    }

    /// Direction and places of a block.
    fn block(&self, i: usize) -> Option<(PatchDirection, std::ops::Range<usize>)> {
        let per_direction = self.places.len().div_ceil(BLOCK);
        let direction = PatchDirection::ALL.get(i.checked_div(per_direction)?)?;
        let from = (i % per_direction) * BLOCK;
        Some((*direction, from..(from + BLOCK).min(self.places.len())))
    }

    fn arms(&self, place: usize) -> &'static [PatchArm] {
        match (
            self.places.get(place).map(PatchPlace::is_decision),
            self.partners.get(place).copied().flatten(),
        ) {
            (Some(true), Some(_)) => &[PatchArm::Decision, PatchArm::RandomValue],
            (Some(true), None) => &[PatchArm::Decision],
            _ => &[PatchArm::RandomPosition],
        }
    }

    /// Receiver and donor: 0 is the base, 1 the tuned policy.
    fn sides(&self, direction: PatchDirection) -> (usize, usize) {
        match direction {
            PatchDirection::IntoBase => (0, 1),
            PatchDirection::IntoTuned => (1, 0),
        }
    }

    fn policy(&self, side: usize) -> &'a Policy {
        if side == 0 { self.base } else { self.tuned }
    }

    /// The donor's choice x and the receiver's y.
    fn pair(&self, direction: PatchDirection, place: usize) -> (u32, u32) {
        let Some(p) = self.places.get(place) else {
            return (0, 0);
        };
        match (direction, p.is_decision()) {
            (PatchDirection::IntoBase, true) => (p.tuned.0, p.base.0),
            (PatchDirection::IntoTuned, true) => (p.base.0, p.tuned.0),
            (PatchDirection::IntoBase, false) => p.base,
            (PatchDirection::IntoTuned, false) => p.tuned,
        }
    }

    /// Logits of a policy at places, from passes that patch nothing: the
    /// embedding with its own value.
    fn untouched(&self, side: usize, places: &[usize]) -> Result<Logits, AuditError> {
        let held = &self.held[side];
        let mut requests: Vec<PatchRequest<'_>> = Vec::new();
        for place in places {
            let values = held.layer(*place, 0).ok_or_else(missing)?;
            let site = Site::Residual { layer: 0 };
            self.add(&mut requests, *place, site, values)?;
        }
        let policy = self.policy(side);
        let hidden = policy.patched_rows(&requests)?;
        let mut values = Vec::new();
        policy.logits(&hidden.values, &mut values);
        Ok(Logits {
            values,
            vocab: policy.vocab_size(),
        })
    }

    /// Final hidden states of the receiver, one per cell.
    fn patched(&self, direction: PatchDirection, cells: &[Cell]) -> Result<Vec<f32>, AuditError> {
        let (receiver, donor) = self.sides(direction);
        let pushes: Vec<Option<Vec<f32>>> = cells
            .iter()
            .map(|c| match c.arm {
                PatchArm::RandomValue => self.pushed(*c, receiver, donor).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<_, _>>()?;
        let mut requests = Vec::new();
        for (cell, push) in cells.iter().zip(&pushes) {
            let values = match push {
                Some(values) => values.as_slice(),
                None => self.value(donor, cell.place, cell.site)?,
            };
            let site = *self.sites.get(cell.site).ok_or_else(missing)?;
            self.add(&mut requests, cell.place, site, values)?;
        }
        Ok(self.policy(receiver).patched_rows(&requests)?.values)
    }

    /// The receiver's value plus donor - receiver of the place's partner.
    fn pushed(&self, cell: Cell, receiver: usize, donor: usize) -> Result<Vec<f32>, AuditError> {
        let partner = self.partners.get(cell.place).copied().flatten();
        let partner = partner.ok_or_else(missing)?;
        let own = self.value(receiver, cell.place, cell.site)?;
        let from = self.value(receiver, partner, cell.site)?;
        let to = self.value(donor, partner, cell.site)?;
        let change = to.iter().zip(from).map(|(a, b)| a - b);
        Ok(own.iter().zip(change).map(|(x, d)| x + d).collect())
    }

    fn value(&self, side: usize, place: usize, site: usize) -> Result<&[f32], AuditError> {
        let held = &self.held[side];
        match self.sites.get(site) {
            Some(Site::Residual { layer }) => held.layer(place, *layer),
            Some(Site::Head { block, head }) => held.head(place, *block, *head),
            None => None,
        }
        .ok_or_else(missing)
    }

    /// Adds a pass; places come in order, so that passes over one rollout share
    /// what goes before.
    fn add<'v>(
        &self,
        requests: &mut Vec<PatchRequest<'v>>,
        place: usize,
        site: Site,
        values: &'v [f32],
    ) -> Result<(), AuditError>
    where
        'a: 'v,
    {
        let p = self.places.get(place).ok_or_else(missing)?;
        let rollout = self.rollouts.get(p.rollout).ok_or_else(missing)?;
        let row = p.t.checked_sub(1).ok_or_else(missing)?;
        let variant = Variant {
            patches: vec![Patch { site, row, values }],
            rows: vec![row],
        };
        match requests.last_mut() {
            Some(last) if std::ptr::eq(last.ids, rollout.token_ids.as_slice()) => {
                last.variants.push(variant);
            }
            _ => requests.push(PatchRequest {
                ids: &rollout.token_ids,
                prompt_len: rollout.prompt_len,
                variants: vec![variant],
            }),
        }
        Ok(())
    }

    fn row(
        &self,
        direction: PatchDirection,
        cell: Cell,
        found: &PairMetrics,
        patched: &[f32],
        own: &Untouched,
        first: usize,
    ) -> Result<PatchingRow, AuditError> {
        let p = self.places.get(cell.place).ok_or_else(missing)?;
        let rollout = self.rollouts.get(p.rollout).ok_or_else(missing)?;
        let (x, y) = self.pair(direction, cell.place);
        let difference = |row: &[f32]| match (row.get(x as usize), row.get(y as usize)) {
            (Some(x), Some(y)) => Ok(f64::from(*x) - f64::from(*y)),
            _ => Err(missing()),
        };
        let donor = own.donor.row(cell.place - first);
        let (layer, head) = match self.sites.get(cell.site) {
            Some(Site::Residual { layer }) => (*layer, None),
            Some(Site::Head { block, head }) => (*block, Some(*head as u32)),
            None => return Err(missing()),
        };
        Ok(PatchingRow {
            direction,
            arm: cell.arm,
            layer: layer as u32,
            head,
            problem_id: rollout.problem_id.clone(),
            sample: rollout.sample,
            t: p.t as u32,
            donor_id: x,
            receiver_id: y,
            difference_receiver: difference(own.receiver.row(cell.place - first))?,
            difference_donor: difference(donor)?,
            difference_patched: difference(patched)?,
            logprob_receiver: found.base.logprob,
            logprob_donor: own
                .donor_logprobs
                .get(cell.place - first)
                .copied()
                .ok_or_else(missing)?,
            logprob_patched: found.tuned.logprob,
            argmax_patched_id: found.tuned.argmax,
            moved_js_nats: found.js_nats,
        })
    }

    fn broken(&self, cells: &[Cell], source: forkscope_metrics::MetricsError) -> AuditError {
        let place = cells.first().and_then(|c| self.places.get(c.place));
        match place.and_then(|p| Some((p, self.rollouts.get(p.rollout)?))) {
            Some((p, rollout)) => AuditError::Broken {
                problem_id: rollout.problem_id.clone(),
                sample: rollout.sample,
                t: p.t,
                source,
            },
            None => AuditError::Metrics(source),
        }
    }
}

/// Logits of both policies at the places of a block.
struct Untouched {
    receiver: Logits,
    donor: Logits,
    /// ln p of the donor's choices.
    donor_logprobs: Vec<f64>,
}

struct Logits {
    values: Vec<f32>,
    vocab: usize,
}

impl Logits {
    fn row(&self, i: usize) -> &[f32] {
        self.values
            .get(i * self.vocab..(i + 1) * self.vocab)
            .unwrap_or(&[])
    }
}

fn missing() -> AuditError {
    AuditError::Internal("a place of a patch is not there".into())
}

/// Values of one policy fit into the other only where both have one shape.
fn same_shape(base: &Policy, tuned: &Policy) -> Result<(), AuditError> {
    let shape = |p: &Policy| {
        let c = p.config();
        (c.layers, c.hidden_size, c.heads, c.head_dim)
    };
    let (b, t) = (shape(base), shape(tuned));
    if b == t {
        return Ok(());
    }
    Err(AuditError::Patching(format!(
        "the policies have {b:?} and {t:?} (layers, width, heads, width of a head); values of one fit into the other only where both have one shape"
    )))
}

/// One request per rollout, rows in the order of places.
fn requests<'r>(places: &[PatchPlace], rollouts: &'r [Rollout]) -> Vec<ActivationRequest<'r>> {
    places
        .chunk_by(|a, b| a.rollout == b.rollout)
        .filter_map(|places| {
            let rollout = rollouts.get(places.first()?.rollout)?;
            let rows: Vec<usize> = places.iter().map(|p| p.t.saturating_sub(1)).collect();
            Some(ActivationRequest {
                ids: &rollout.token_ids,
                prompt_len: rollout.prompt_len,
                rows: ActivationRows::At(rows),
            })
        })
        .collect()
}

/// A random decision of another problem, for each decision.
fn partners(
    places: &[PatchPlace],
    rollouts: &[Rollout],
    problem: &dyn Fn(&str) -> String,
    seed: u64,
) -> Vec<Option<usize>> {
    let problem = |p: &PatchPlace| rollouts.get(p.rollout).map(|r| problem(&r.problem_id));
    let mut others: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
    let decisions = || places.iter().enumerate().filter(|(_, p)| p.is_decision());
    for (i, p) in decisions() {
        others.entry(problem(p)).or_default().push(i);
    }
    let all: Vec<usize> = decisions().map(|(i, _)| i).collect();
    places
        .iter()
        .map(|p| {
            let r = rollouts.get(p.rollout).filter(|_| p.is_decision())?;
            let own = others.get(&problem(p)).map_or(&[][..], Vec::as_slice);
            let n = all.len().checked_sub(own.len()).filter(|n| *n > 0)?;
            let key = Key::new(seed, &r.problem_id, r.sample, "patching.value");
            let drawn = key.rng_at(p.t as u64).below(n as u64) as usize;
            all.iter().copied().filter(|i| !own.contains(i)).nth(drawn)
        })
        .collect()
}
