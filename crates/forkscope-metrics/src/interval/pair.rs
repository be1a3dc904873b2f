//! Divergences of two partly reported policies.
//!
//! Each divergence is a sum of f(p, b) over tokens, f convex and homogeneous
//! (KL(p||b): p ln(p/b) - p + b; KL(b||p) with the roles swapped; JS; TV:
//! |p - b|/2).
//!
//! **Lower bounds** by duality. A tangent plane of f at any ratio p/b = t lies
//! below it, f(p, b) >= a p + c b, so with sum p = sum b = 1
//!
//!   D >= a + c + sum over listed tokens of min (f(p, b) - a p - c b),
//!
//! the minimum being over what p and b may be there: a range where listed, 0 to
//! the cap where not. It is 0 where p = t b is possible, else at the corner
//! nearest to it. Best at the ratio that the two tails can share, found by
//! bisection; then it is attained.
//!
//! **Upper bounds**: JS and TV are greatest where the tails meet no token of the
//! other policy: ln 2 + sum over tokens listed by both of max (f - (p + b) ln 2/2),
//! and 1 - sum min(p, b). KL is +inf wherever the reference may have a tail
//! token of probability 0 that the other allows, which is nearly always.

use super::{Interval, PartialRow, RankInterval};
use crate::reference::g;
use std::f64::consts::LN_2;

/// Tangents are taken at ratios within e^+-12, where they keep their digits.
const WIDEST_LN_RATIO: f64 = 12.0;

/// Bounds for a pair at one position, p = tuned, b = base, nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairIntervals {
    /// H(b).
    pub entropy_base: Interval,
    /// H(p).
    pub entropy_tuned: Interval,
    /// KL(p||b); the upper bound may be +inf.
    pub kl_tuned_base: Interval,
    /// KL(b||p); the upper bound may be +inf.
    pub kl_base_tuned: Interval,
    /// Jensen-Shannon divergence.
    pub js: Interval,
    /// Total variation.
    pub tv: Interval,
    /// Rank under the base of the tuned argmax; `None` where rounding leaves
    /// the argmax open.
    pub base_rank_of_tuned_argmax: Option<RankInterval>,
}

impl PairIntervals {
    /// Bounds from what was reported of each policy. Token ids mean the same
    /// token in both.
    pub fn new(base: &PartialRow, tuned: &PartialRow) -> Self {
        let cells = cells(base, tuned);
        let ln_ratio = common_ln_ratio(base, tuned, &cells);
        let swapped: Vec<Cell> = cells.iter().map(Cell::swap).collect();
        let lower = |f: fn(f64, f64) -> f64, slopes: fn(f64) -> (f64, f64)| {
            let at = |ln_ratio| dual(&cells, f, slopes(ln_ratio), ln_ratio);
            at(ln_ratio).max(at(0.0)).max(0.0)
        };
        Self {
            entropy_base: base.entropy(),
            entropy_tuned: tuned.entropy(),
            kl_tuned_base: Interval {
                low: lower(kl, |u| (u, -u.exp_m1())),
                high: kl_upper(&cells, tuned, base),
            },
            kl_base_tuned: Interval {
                low: lower(|p, b| kl(b, p), |u| (-(-u).exp_m1(), -u)),
                high: kl_upper(&swapped, base, tuned),
            },
            js: Interval {
                low: lower(js, |u| (0.5 * ln_share(u), 0.5 * ln_share(-u))),
                high: js_upper(&cells),
            },
            tv: tv(&cells),
            base_rank_of_tuned_argmax: tuned.argmax().map(|id| base.rank(id)),
        }
    }
}

/// What p and b of one listed token may be.
struct Cell {
    p: Interval,
    b: Interval,
    listed: [bool; 2],
}

impl Cell {
    fn swap(&self) -> Self {
        let [p_listed, b_listed] = self.listed;
        Self {
            p: self.b,
            b: self.p,
            listed: [b_listed, p_listed],
        }
    }

    fn corners(&self) -> [(f64, f64); 4] {
        let Self { p, b, .. } = self;
        [
            (p.low, b.low),
            (p.low, b.high),
            (p.high, b.low),
            (p.high, b.high),
        ]
    }

    /// The allowed (p, b) nearest in ratio to t, or `None` where p = t b is
    /// allowed.
    fn nearest(&self, t: f64) -> Option<(f64, f64)> {
        if self.p.low > t * self.b.high {
            Some((self.p.low, self.b.high))
        } else if self.p.high < t * self.b.low {
            Some((self.p.high, self.b.low))
        } else {
            None
        }
    }
}

/// One cell per token that either policy lists.
fn cells(base: &PartialRow, tuned: &PartialRow) -> Vec<Cell> {
    let mut ids: Vec<u32> = base
        .listed
        .iter()
        .chain(&tuned.listed)
        .map(|token| token.id)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.iter()
        .map(|&id| Cell {
            p: tuned.probability(id),
            b: base.probability(id),
            listed: [tuned.find(id).is_some(), base.find(id).is_some()],
        })
        .collect()
}

/// ln of the ratio p/b that the unlisted tokens of both have where the policies
/// are as close as they can be.
///
/// At ratio t a token that only the tuned list names takes b = p/t of the base's
/// tail (or the cap), one that only the base names p = t b of the tuned's; what
/// remains of the tails must have ratio t itself, and the excess of its p over t
/// times its b falls in t.
fn common_ln_ratio(base: &PartialRow, tuned: &PartialRow, cells: &[Cell]) -> f64 {
    let middle = |interval: Interval| 0.5 * (interval.low + interval.high);
    let excess = |ln_ratio: f64| {
        let t = ln_ratio.exp();
        let (mut p, mut b) = (middle(tuned.tail), middle(base.tail));
        for cell in cells {
            match cell.listed {
                [true, false] => b -= (middle(cell.p) / t).min(cell.b.high),
                [false, true] => p -= (middle(cell.b) * t).min(cell.p.high),
                _ => {}
            }
        }
        p - t * b
    };
    let (mut low, mut high) = (-WIDEST_LN_RATIO, WIDEST_LN_RATIO);
    for _ in 0..60 {
        let at = 0.5 * (low + high);
        if excess(at) > 0.0 {
            low = at;
        } else {
            high = at;
        }
    }
    0.5 * (low + high)
}

/// The bound of the tangent with slopes (a, c) at a ratio, less what rounding
/// may have added to it.
fn dual(cells: &[Cell], f: fn(f64, f64) -> f64, (a, c): (f64, f64), ln_ratio: f64) -> f64 {
    let t = ln_ratio.exp();
    let gaps = cells.iter().filter_map(|cell| cell.nearest(t));
    let bound = a
        + c
        + gaps
            .map(|(p, b)| (f(p, b) - a * p - c * b).max(0.0))
            .sum::<f64>();
    let rounding = f64::EPSILON * (a.abs() + c.abs()) * (2 + cells.len()) as f64;
    bound - rounding
}

/// p ln(p/b) - p + b.
fn kl(p: f64, b: f64) -> f64 {
    if p == 0.0 {
        return b;
    }
    if b == 0.0 {
        return f64::INFINITY;
    }
    let x = (p / b).ln();
    if x.abs() < 1.0 {
        p * g(x)
    } else {
        p * x - p + b
    }
}

/// The token's part of JS.
fn js(p: f64, b: f64) -> f64 {
    let m = 0.5 * (p + b);
    if p == 0.0 || b == 0.0 {
        m * LN_2
    } else {
        0.5 * (kl(p, m) + kl(b, m))
    }
}

/// ln(2t/(1 + t)) for t = e^u.
fn ln_share(u: f64) -> f64 {
    LN_2 - (-u).exp().ln_1p()
}

/// Greatest KL(p||b); `p_row` and `b_row` are whose p and b are.
fn kl_upper(cells: &[Cell], p_row: &PartialRow, b_row: &PartialRow) -> f64 {
    let greatest = |cell: &Cell| {
        cell.corners()
            .map(|(p, b)| kl(p, b))
            .into_iter()
            .fold(0.0, f64::max)
    };
    let listed: f64 = cells.iter().map(greatest).sum();
    // Tokens that neither lists.
    let only_b = cells.iter().filter(|cell| !cell.listed[0]).count() as u64;
    let none_left = p_row.tail_tokens.is_some_and(|tokens| tokens <= only_b);
    if none_left {
        return listed;
    }
    let (p, floor) = (p_row.tail.high, b_row.floor());
    let moved = match (p > 0.0, floor > 0.0) {
        (false, _) => 0.0,
        (true, false) => f64::INFINITY,
        (true, true) => p * (p_row.cap / floor).ln().max(0.0),
    };
    listed + moved + b_row.tail.high
}

/// Greatest JS: tails disjoint.
fn js_upper(cells: &[Cell]) -> f64 {
    let gap = |(p, b): (f64, f64)| js(p, b) - 0.5 * LN_2 * (p + b);
    let shared = cells.iter().filter(|cell| cell.listed == [true, true]);
    let gaps = shared.map(|cell| {
        cell.corners()
            .map(gap)
            .into_iter()
            .fold(f64::NEG_INFINITY, f64::max)
    });
    (LN_2 + gaps.sum::<f64>()).max(0.0)
}

/// TV: the mass that must move, up or down, and one minus what must overlap.
fn tv(cells: &[Cell]) -> Interval {
    let rises: f64 = cells
        .iter()
        .map(|cell| (cell.p.low - cell.b.high).max(0.0))
        .sum();
    let falls: f64 = cells
        .iter()
        .map(|cell| (cell.b.low - cell.p.high).max(0.0))
        .sum();
    let overlap: f64 = cells.iter().map(|cell| cell.p.low.min(cell.b.low)).sum();
    let low = rises.max(falls);
    Interval {
        low,
        high: (1.0 - overlap).max(low),
    }
}
