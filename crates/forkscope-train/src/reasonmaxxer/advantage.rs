//! Advantages of graded rollouts, and their controls.
//!
//! Over the n rollouts of a problem that are in the pool, c of them right:
//!
//! A = (r - c/n) / max(sigma, 1e-8),  sigma² = c (n - c) / n²
//!
//! with r = 1 for a right rollout and 0 for a wrong one; sigma is the
//! population's standard deviation. A single rollout has sigma = 0. Where all
//! rollouts have one outcome, A = 0.
//!
//! The published program takes sigma from Python's `statistics.pstdev` (3.11
//! and later), which computes the variance as an exact fraction and rounds its
//! square root once. With rewards of 0 and 1 the fraction is c (n - c) / n²:
//! here its root is taken in integers, cut to 55 bits with the rest folded into
//! the last one, and rounded to an f64 once. `sqrt(c (n - c)) / n` in floating
//! point would round twice and differ in the last bit for some (c, n).
//!
//! Source: the published data preparation of arXiv 2605.06241.

use std::collections::HashMap;

use forkscope_metrics::rng::Key;
use serde::{Deserialize, Serialize};

/// Least standard deviation that is divided by.
pub const EPS: f64 = 1e-8;

/// What is done to the advantages in a control arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdvantageControl {
    /// Nothing: they are as computed.
    #[default]
    None,
    /// Permuted among each problem's rollouts.
    ShuffledWithinProblem,
    /// Permuted among all rollouts.
    ShuffledGlobally,
    /// Wrong rollouts are left out, right ones have A = 1.
    PositivesOnly,
}

/// Population standard deviation of n rewards, c of them 1 and the rest 0,
/// rounded once. c <= n; 0 for n = 0.
pub fn reward_std(c: u32, n: u32) -> f64 {
    let (c, n) = (u128::from(c.min(n)), u128::from(n));
    let (over, under) = (c * (n - c), n * n);
    if over == 0 {
        return 0.0;
    }
    // sigma = 2^-shift sqrt(over 4^shift / under), with 109 or 110 bits below
    // the root; over / under is at most 1/4, so that the shift is positive.
    let shift = (111 + under.ilog2() - over.ilog2()) / 2;
    let (quotient, rest) = divide_shifted(over, under, 2 * shift);
    let root = quotient.isqrt();
    // Everything below the last bit is folded into it: rounding sees whether
    // the value lies above a midpoint.
    let inexact = rest || root * root != quotient;
    let sticky = root | u128::from(inexact);
    sticky as f64 * 0.5f64.powi(shift as i32)
}

/// floor(over 2^shift / under), and whether anything is left; a bit at a time,
/// because over 2^shift may need more than 128 bits.
fn divide_shifted(over: u128, under: u128, shift: u32) -> (u128, bool) {
    let mut quotient = over / under;
    let mut rest = over % under;
    for _ in 0..shift {
        rest <<= 1;
        quotient <<= 1;
        if rest >= under {
            rest -= under;
            quotient |= 1;
        }
    }
    (quotient, rest != 0)
}

/// Advantage of a rollout of a problem with n rollouts in the pool, c of them
/// right.
pub fn advantage(right: bool, c: u32, n: u32) -> f64 {
    let mean = f64::from(c) / f64::from(n.max(1));
    let reward = if right { 1.0 } else { 0.0 };
    (reward - mean) / reward_std(c, n).max(EPS)
}

/// Advantages of graded rollouts, given as (problem, right), in their order.
pub fn advantages(graded: &[(&str, bool)]) -> Vec<f64> {
    let mut count: HashMap<&str, (u32, u32)> = HashMap::new();
    for (problem, right) in graded {
        let (c, n) = count.entry(problem).or_default();
        *c = c.saturating_add(u32::from(*right));
        *n = n.saturating_add(1);
    }
    let of = |(problem, right): &(&str, bool)| {
        let (c, n) = count.get(problem).copied().unwrap_or((0, 0));
        advantage(*right, c, n)
    };
    graded.iter().map(of).collect()
}

/// Permutes advantages among the rollouts of each problem.
pub(super) fn shuffle_within(problems: &[&str], advantages: &mut [f64], seed: u64) {
    let mut members: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, problem) in problems.iter().enumerate() {
        members.entry(problem).or_default().push(at);
    }
    for (problem, places) in members {
        let key = Key::new(seed, problem, 0, "advantages within a problem");
        permute(advantages, &places, &key);
    }
}

/// Permutes advantages among all rollouts.
pub(super) fn shuffle_all(advantages: &mut [f64], seed: u64) {
    let places: Vec<usize> = (0..advantages.len()).collect();
    permute(advantages, &places, &Key::new(seed, "", 0, "advantages"));
}

/// Permutes the values at `places`.
fn permute(values: &mut [f64], places: &[usize], key: &Key) {
    let mut drawn: Vec<f64> = places
        .iter()
        .filter_map(|p| values.get(*p).copied())
        .collect();
    key.rng_at(0).shuffle(&mut drawn);
    for (place, value) in places.iter().zip(drawn) {
        if let Some(slot) = values.get_mut(*place) {
            *slot = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python 3.11: `repr(statistics.pstdev([1.0] * c + [0.0] * (n - c)))`. In
    /// those of 1 in 3 and 1 in 7, `sqrt(c (n - c)) / n` is one bit off, in that of
    /// 5 in 17 `sqrt(c (n - c) / n²)` is.
    #[test]
    #[allow(clippy::excessive_precision, reason = "as Python prints them")]
    fn the_deviation_is_rounded_once() {
        for (c, n, expected) in [
            (1, 2, 0.5),
            (1, 3, 0.4714045207910317),
            (2, 6, 0.4714045207910317),
            (1, 7, 0.3499271061118826),
            (3, 7, 0.4948716593053935),
            (1, 20, 0.21794494717703367),
            (13, 20, 0.47696960070847283),
            (5, 17, 0.45564509955381377),
            (999, 1000, 0.03160696125855822),
            (1, u32::MAX, 1.52587890625e-05),
        ] {
            assert_eq!(reward_std(c, n), expected, "{c} of {n}");
            assert_eq!(reward_std(n - c, n), expected, "{} of {n}", n - c);
        }
        assert_eq!((reward_std(0, 0), reward_std(7, 7)), (0.0, 0.0));
        // The bits of all of them up to n = 128, h <- 31 h + bits, from Python too.
        let pairs = (2..=128).flat_map(|n| (1..n).map(move |c| (c, n)));
        let hash = pairs.fold(0u64, |h, (c, n)| {
            h.wrapping_mul(31).wrapping_add(reward_std(c, n).to_bits())
        });
        assert_eq!(hash, 0x91d2_7ed3_f38b_c180);
    }

    #[test]
    fn one_outcome_and_one_rollout_have_no_advantage() {
        assert_eq!(advantage(true, 1, 1), 0.0);
        assert_eq!(advantage(false, 0, 5), 0.0);
        assert_eq!(advantage(true, 5, 5), 0.0);
        assert_eq!(advantages(&[("a", true), ("b", false)]), [0.0, 0.0]);
    }

    #[test]
    fn advantages_of_a_problem_add_up_to_nothing() {
        for n in 2..40u32 {
            for c in 1..n {
                let sum = f64::from(c) * advantage(true, c, n)
                    + f64::from(n - c) * advantage(false, c, n);
                assert!(sum.abs() < 1e-12 * f64::from(n), "{c} of {n}: {sum}");
            }
        }
    }

    #[test]
    fn shuffles_permute_and_depend_on_the_seed_alone() {
        let problems: Vec<&str> = (0..60)
            .map(|i| if i % 3 == 0 { "a" } else { "b" })
            .collect();
        let start: Vec<f64> = (0..60).map(f64::from).collect();
        let run = |seed: u64, within: bool| {
            let mut a = start.clone();
            match within {
                true => shuffle_within(&problems, &mut a, seed),
                false => shuffle_all(&mut a, seed),
            }
            a
        };
        for within in [true, false] {
            assert_eq!(run(1, within), run(1, within));
            assert_ne!(run(1, within), run(2, within));
            let mut sorted = run(1, within);
            assert_ne!(sorted, start);
            sorted.sort_by(f64::total_cmp);
            assert_eq!(sorted, start);
        }
        for (at, value) in run(3, true).iter().enumerate() {
            assert_eq!(at % 3 == 0, (*value as usize).is_multiple_of(3));
        }
    }
}
