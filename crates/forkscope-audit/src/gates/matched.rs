//! Controls that match their reference's positions in more than their number.
//!
//! Position bins are fifths of the completion, bin = floor(5 o / L). Entropy bins
//! are tenths of H over all positions of all rollouts; equal values share a bin.
//! The draw avoids the reference's own positions as long as there are others.

use super::calibrate::ScoreCurve;
use super::rules::ascending;

/// Bins of relative position.
pub const POSITION_BINS: usize = 5;

/// Bins of entropy.
pub const ENTROPY_BINS: usize = 10;

/// What a matched control keeps of its reference, per rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Matching {
    /// The number of positions in each position bin.
    Position,
    /// The number in each cell of position bin x entropy bin.
    PositionAndEntropy,
}

/// The position bin of offset `at` of `len`.
pub(crate) fn position_bin(at: u32, len: usize) -> usize {
    let bin = at as usize * POSITION_BINS / len.max(1);
    bin.min(POSITION_BINS - 1)
}

/// Tenths of H.
#[derive(Debug, Clone)]
pub(crate) struct EntropyBins {
    edges: Vec<f64>,
}

impl EntropyBins {
    /// One bin for everything.
    pub(crate) fn one() -> Self {
        Self { edges: Vec::new() }
    }

    pub(crate) fn tenths(curve: &ScoreCurve) -> Self {
        let edge = |i: usize| curve.quantile(i as f64 / ENTROPY_BINS as f64);
        Self {
            edges: (1..ENTROPY_BINS).map(edge).collect(),
        }
    }

    pub(crate) fn bins(&self) -> usize {
        self.edges.len() + 1
    }

    pub(crate) fn of(&self, entropy: f64) -> usize {
        self.edges.partition_point(|edge| *edge < entropy)
    }
}

/// A rollout whose reference is to be matched.
pub(crate) struct Draw<'a> {
    /// H of every position.
    pub(crate) entropies: &'a [f64],
    /// The reference's offsets, ascending.
    pub(crate) reference: &'a [u32],
    /// Random order of the positions: lowest first.
    pub(crate) order: &'a [u64],
}

impl Draw<'_> {
    fn entropy(&self, at: u32) -> f64 {
        self.entropies.get(at as usize).copied().unwrap_or(0.0)
    }

    /// The offsets of each of `cells` cells in reverse random order, so that the
    /// next to be drawn is the last: the others', and the reference's own.
    fn pools(&self, cells: usize, cell: impl Fn(u32) -> usize) -> [Vec<Vec<u32>>; 2] {
        let mut order: Vec<(u64, u32)> = self.order.iter().copied().zip(0..).collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        let mut pools = [vec![Vec::new(); cells], vec![Vec::new(); cells]];
        for (_, at) in order {
            let own = usize::from(self.reference.binary_search(&at).is_ok());
            if let Some(pool) = pools[own].get_mut(cell(at)) {
                pool.push(at);
            }
        }
        pools
    }

    /// The reference's count in every cell; where a cell has too few others, the
    /// rest comes from the nearest: same position bin and next entropy bin
    /// first (of two equally near the lower), then the next position bin (of two
    /// the earlier). Only when no other position is left, the reference's own
    /// are drawn in the same way.
    pub(crate) fn by_cells(&self, bins: &EntropyBins) -> Vec<u32> {
        let len = self.entropies.len();
        let width = bins.bins();
        let cell = |at: u32| position_bin(at, len) * width + bins.of(self.entropy(at));
        let mut pools = self.pools(POSITION_BINS * width, cell);
        let mut chosen = Vec::with_capacity(self.reference.len());
        let mut missing = Vec::new();
        for wanted in self.reference.iter().map(|at| cell(*at)) {
            match pools[0].get_mut(wanted).and_then(Vec::pop) {
                Some(at) => chosen.push(at),
                None => missing.push(wanted),
            }
        }
        missing.sort_unstable();
        for wanted in missing {
            let drawn = pools
                .iter_mut()
                .find_map(|pools| nearest(pools, wanted, width));
            chosen.extend(drawn);
        }
        ascending(chosen.into_iter())
    }

    /// Others, position bin by position bin, until their sum of H reaches the
    /// reference's up to that bin; the one that goes beyond is kept where that is
    /// nearer. What is missing or too much at a bin's end is carried to the next,
    /// and from the last to any bin that has positions left.
    pub(super) fn by_mass(&self) -> Vec<u32> {
        let len = self.entropies.len();
        let mut mass = [0.0; POSITION_BINS];
        for at in self.reference {
            mass[position_bin(*at, len)] += self.entropy(*at);
        }
        let [mut others, _] = self.pools(POSITION_BINS, |at| position_bin(at, len));
        let mut target = 0.0;
        let mut sum = 0.0;
        let mut chosen = Vec::new();
        let mut fill = |pool: &mut Vec<u32>, target: f64| {
            while let Some(at) = pool.last().copied() {
                let next = sum + self.entropy(at);
                if sum >= target || next - target > target - sum {
                    break;
                }
                pool.pop();
                sum = next;
                chosen.push(at);
            }
        };
        for (pool, mass) in others.iter_mut().zip(mass) {
            target += mass;
            fill(pool, target);
        }
        let rank = |at: &u32| self.order.get(*at as usize).copied();
        let mut left: Vec<u32> = others.into_iter().flatten().collect();
        left.sort_unstable_by(|a, b| (rank(b), b).cmp(&(rank(a), a)));
        fill(&mut left, target);
        ascending(chosen.into_iter())
    }
}

/// Draws from the cell nearest to `wanted` that has something left.
fn nearest(pools: &mut [Vec<u32>], wanted: usize, width: usize) -> Option<u32> {
    let (position, entropy) = (wanted / width, wanted % width);
    let distance = |cell: usize| {
        let (p, e) = (cell / width, cell % width);
        (
            p.abs_diff(position),
            e.abs_diff(entropy),
            p > position,
            e > entropy,
        )
    };
    let filled = (0..pools.len()).filter(|cell| pools.get(*cell).is_some_and(|p| !p.is_empty()));
    let cell = filled.min_by_key(|cell| distance(*cell))?;
    pools.get_mut(cell)?.pop()
}
