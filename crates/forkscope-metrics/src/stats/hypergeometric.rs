//! How many units of a finite population are marked, from a simple random
//! sample without replacement: exact bounds, no approximation.
//!
//! X, the marked units in a sample of n from N of which K are marked, has
//! `P(X = x) = C(K, x) C(N-K, n-x) / C(N, n)`. The upper bound is the greatest K
//! with `P(X <= found | K) > 1 - level`, the lower the least K with
//! `P(X >= found | K) > 1 - level`: the inverted exact tail tests (Wright 1991,
//! "Exact Confidence Bounds when Sampling from Small Finite Universes"). Each is
//! one-sided: it holds with probability `level` or more whatever K is; both
//! together hold at `2 level - 1`.
//!
//! ln P is a sum of three binomial log-probabilities in Loader's saddle-point
//! form (2000, "Fast and Accurate Computation of Binomial Probabilities"), whose
//! error does not grow with N as a difference of log-gammas would: at N = 10^9
//! those cancel to about five digits. A tail is summed by the ratio of
//! neighbouring terms, O(standard deviation) of them.

use statrs::function::gamma::ln_gamma;

use super::proportion::within_reach;
use super::{StatsError, open_unit};

/// P(X <= found) when `marked` of `population` are marked and `sample` are drawn.
///
/// # Errors
/// More marked or drawn than there are, or a population above 10^9.
pub fn hypergeometric_cdf(
    found: u64,
    marked: u64,
    sample: u64,
    population: u64,
) -> Result<f64, StatsError> {
    at_most("the number of marked units", marked, population)?;
    let urn = Urn::new(sample, population)?;
    Ok(urn.at_most(found, marked))
}

/// The greatest number of marked units in the population that a sample with
/// `found` marked ones does not reject: a one-sided upper confidence bound.
/// A sample of none bounds nothing; a sample of all is exact.
///
/// # Errors
/// More found than drawn, more drawn than there are, a population above 10^9,
/// or a level outside (0, 1).
pub fn hypergeometric_upper(
    found: u64,
    sample: u64,
    population: u64,
    level: f64,
) -> Result<u64, StatsError> {
    let (urn, tail) = checked(found, sample, population, level)?;
    // Kept: the greatest K that is not rejected so far; above `last` none is possible.
    let (mut kept, mut last) = (found, population - (sample - found));
    while kept < last {
        let middle = kept + (last - kept).div_ceil(2);
        if urn.at_most(found, middle) > tail {
            kept = middle;
        } else {
            last = middle - 1;
        }
    }
    Ok(kept)
}

/// The least number of marked units that the sample does not reject: a
/// one-sided lower confidence bound.
///
/// # Errors
/// As [`hypergeometric_upper`].
pub fn hypergeometric_lower(
    found: u64,
    sample: u64,
    population: u64,
    level: f64,
) -> Result<u64, StatsError> {
    checked(found, sample, population, level)?;
    // The unmarked units are counted as well as the marked ones.
    let unmarked = hypergeometric_upper(sample - found, sample, population, level)?;
    Ok(population - unmarked)
}

fn checked(found: u64, sample: u64, population: u64, level: f64) -> Result<(Urn, f64), StatsError> {
    at_most("the number of marked units in the sample", found, sample)?;
    Ok((
        Urn::new(sample, population)?,
        1.0 - open_unit("level", level)?,
    ))
}

fn at_most(what: &'static str, value: u64, most: u64) -> Result<(), StatsError> {
    if value <= most {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        what,
        value: value as f64,
        range: "[0, the number of units it is part of]",
    })
}

/// A population of which a sample is drawn.
struct Urn {
    sample: u64,
    population: u64,
}

impl Urn {
    fn new(sample: u64, population: u64) -> Result<Self, StatsError> {
        if population == 0 {
            return Err(StatsError::TooFew {
                what: "units of the population",
                needed: 1,
            });
        }
        within_reach(population)?;
        at_most("the size of the sample", sample, population)?;
        Ok(Self { sample, population })
    }

    /// P(X <= found | marked).
    fn at_most(&self, found: u64, marked: u64) -> f64 {
        let least = (self.sample + marked).saturating_sub(self.population);
        let most = self.sample.min(marked);
        if found >= most {
            return 1.0;
        }
        if found < least {
            return 0.0;
        }
        // Away from the mean, where the terms fall and the sum is the small tail.
        let mean = self.sample as f64 * (marked as f64 / self.population as f64);
        if (found as f64) < mean {
            self.sum(found, least, marked, Direction::Down)
        } else {
            1.0 - self.sum(found + 1, most, marked, Direction::Up)
        }
    }

    /// Sum of P(X = x) from `from` to `to` inclusive.
    fn sum(&self, from: u64, to: u64, marked: u64, direction: Direction) -> f64 {
        let (n, k) = (self.sample as f64, marked as f64);
        let outside = (self.population - marked) as f64 - n;
        let mut x = from as f64;
        let mut term = self.ln_probability(from, marked).exp();
        let mut sum = term;
        for _ in 0..from.abs_diff(to) {
            match direction {
                Direction::Down => {
                    term *= x * (outside + x) / ((k - x + 1.0) * (n - x + 1.0));
                    x -= 1.0;
                }
                Direction::Up => {
                    term *= (k - x) * (n - x) / ((x + 1.0) * (outside + x + 1.0));
                    x += 1.0;
                }
            }
            sum += term;
            if term <= sum * 1e-18 {
                break;
            }
        }
        sum.min(1.0)
    }

    /// ln P(X = x) for an x that can be.
    fn ln_probability(&self, x: u64, marked: u64) -> f64 {
        let (n, population) = (self.sample, self.population);
        if n == 0 || n == population {
            return 0.0;
        }
        let share = n as f64 / population as f64;
        let rest = (population - n) as f64 / population as f64;
        ln_binomial(x, marked, share, rest) + ln_binomial(n - x, population - marked, share, rest)
            - ln_binomial(n, population, share, rest)
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Down,
    Up,
}

/// `ln [C(n, x) p^x q^(n-x)]` with q = 1 - p, 0 < p < 1.
fn ln_binomial(x: u64, n: u64, p: f64, q: f64) -> f64 {
    let (count, trials) = (x as f64, n as f64);
    let plain = |trials: f64, p: f64, q: f64| {
        // n ln q, from whichever of the two is exact.
        if p < 0.1 {
            trials * (-p).ln_1p()
        } else {
            trials * q.ln()
        }
    };
    if x == 0 {
        return plain(trials, p, q);
    }
    if x == n {
        return plain(trials, q, p);
    }
    let exponent = stirling_error(n)
        - stirling_error(x)
        - stirling_error(n - x)
        - deviance(count, trials * p)
        - deviance(trials - count, trials * q);
    let spread = std::f64::consts::TAU.ln() + count.ln() + (-count / trials).ln_1p();
    exponent - 0.5 * spread
}

/// `ln n! - [ (n + 1/2) ln n - n + ln sqrt(2 pi) ]`.
fn stirling_error(n: u64) -> f64 {
    let value = n as f64;
    if n < 16 {
        return ln_gamma(value + 1.0) - (value + 0.5) * value.ln() + value
            - 0.5 * std::f64::consts::TAU.ln();
    }
    let inverse = 1.0 / value;
    let square = inverse * inverse;
    // Stirling's series; the next term is below 1e-15 of the sum from 16 on.
    let series = [
        1.0 / 12.0,
        -1.0 / 360.0,
        1.0 / 1260.0,
        -1.0 / 1680.0,
        1.0 / 1188.0,
        -691.0 / 360_360.0,
    ];
    inverse * series.iter().rev().fold(0.0, |sum, c| sum * square + c)
}

/// `x ln(x/m) + m - x`, without cancellation where x is near m.
fn deviance(x: f64, m: f64) -> f64 {
    let difference = x - m;
    if difference.abs() >= 0.1 * (x + m) {
        return x * (x / m).ln() - difference;
    }
    let v = difference / (x + m);
    let mut sum = difference * v;
    let mut power = 2.0 * x * v;
    for j in 1..1000 {
        power *= v * v;
        let next = sum + power / f64::from(2 * j + 1);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}
