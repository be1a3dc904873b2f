//! Bounds on the mean of bounded values by betting against it.
//!
//! For a candidate mean m of values x_1, x_2, ... scaled to [0, 1], the capital
//! `C_t(m) = prod_{i <= t} (1 + λ_i (m_i - x_i))` of somebody who bets that values
//! fall short of m is a non-negative martingale where m is the mean, as long as
//! λ_i is chosen before x_i is seen and `λ_i <= 1 / (1 - m_i)`; so `max_t C_t(m)`
//! reaches 1/α with probability at most α (Ville), and the m that it does not
//! reach are a confidence set. m_i is the mean of x_i given what was seen: m for
//! independent values, `(N m - Σ_{j<i} x_j) / (N - i + 1)` for a simple random
//! sample without replacement from N units (Waudby-Smith and Ramdas 2024,
//! "Estimating means of bounded random variables by betting", J. R. Stat. Soc. B
//! 86(1), theorem 3 and section 5). Bets on both sides, half the error each, are
//! their hedged capital.
//!
//! The bets are predictable plug-ins of theirs with the variance of a sparse
//! value kept apart: `λ_i = min(d / (v + d (1 - a)), 0.99 / (1 - m_i))`, with
//! `d = sqrt(2 v L / n) + L / n`, `L = ln(1/α)`, a and v the running mean and
//! variance before i (from 1/2 and 1/4), n the number of values. What the bets
//! are changes the width, never the guarantee. λ_i depends on m through its cap
//! only, so C_t grows with m and the set is an interval that bisection finds.
//!
//! The order of the values enters; it must be that of drawing.

use super::{Interval, StatsError, finite, open_unit};

/// Share of the greatest bet that cannot ruin.
const CAP: f64 = 0.99;

/// One-sided upper confidence bound on the mean of values in `[lowest, highest]`.
/// `population`: `None` for independent draws; `Some(N)` for a simple random
/// sample without replacement from N units, whose mean it is then about.
///
/// # Errors
/// No value, one outside the range, an empty range, more values than units, or a
/// level outside (0, 1).
pub fn betting_upper(
    values: &[f64],
    range: (f64, f64),
    population: Option<u64>,
    level: f64,
) -> Result<f64, StatsError> {
    let width = check(values, range, population)?;
    let alpha = 1.0 - open_unit("level", level)?;
    let scaled = values.iter().map(|x| (x - range.0) / width).collect();
    let upper = Bets::new(scaled, population, alpha).upper();
    Ok((range.0 + width * upper).min(range.1))
}

/// One-sided lower confidence bound: the upper bound of what is missing to the
/// highest value.
///
/// # Errors
/// As [`betting_upper`].
pub fn betting_lower(
    values: &[f64],
    range: (f64, f64),
    population: Option<u64>,
    level: f64,
) -> Result<f64, StatsError> {
    let width = check(values, range, population)?;
    let alpha = 1.0 - open_unit("level", level)?;
    let missing = values.iter().map(|x| (range.1 - x) / width).collect();
    let upper = Bets::new(missing, population, alpha).upper();
    Ok((range.1 - width * upper).max(range.0))
}

/// Two-sided interval: both bounds, half the error each.
///
/// # Errors
/// As [`betting_upper`].
pub fn betting_interval(
    values: &[f64],
    range: (f64, f64),
    population: Option<u64>,
    level: f64,
) -> Result<Interval, StatsError> {
    let side = 0.5 + open_unit("level", level)? / 2.0;
    Ok(Interval {
        low: betting_lower(values, range, population, side)?,
        high: betting_upper(values, range, population, side)?,
        level,
    })
}

fn check(values: &[f64], range: (f64, f64), population: Option<u64>) -> Result<f64, StatsError> {
    let width = super::concentration::check_range(values, range, 1)?;
    finite("values", values, 1)?;
    match population {
        Some(n) if n < values.len() as u64 => Err(StatsError::OutOfRange {
            what: "the number of units",
            value: n as f64,
            range: "[number of values, inf)",
        }),
        _ => Ok(width),
    }
}

/// Values in [0, 1] with the bet on each before its cap.
struct Bets {
    values: Vec<f64>,
    wanted: Vec<f64>,
    population: Option<f64>,
    /// ln(1/α).
    log: f64,
}

impl Bets {
    fn new(values: Vec<f64>, population: Option<u64>, alpha: f64) -> Self {
        let (n, log) = (values.len() as f64, -alpha.ln());
        let (mut mean, mut variance) = (0.5, 0.25);
        let (mut total, mut squares) = (0.5, 0.25);
        let mut wanted = Vec::with_capacity(values.len());
        for (i, x) in values.iter().enumerate() {
            let far = (2.0 * variance * log / n).sqrt() + log / n;
            wanted.push(far / (variance + far * (1.0 - mean)));
            total += x;
            mean = total / (i + 2) as f64;
            squares += (x - mean) * (x - mean);
            variance = squares / (i + 2) as f64;
        }
        Self {
            values,
            wanted,
            population: population.map(|n| n as f64),
            log,
        }
    }

    /// Whether the values reject that the mean is as high as `m`.
    fn rejects(&self, m: f64) -> bool {
        let (mut capital, mut seen) = (0.0f64, 0.0f64);
        for (i, (x, wanted)) in self.values.iter().zip(&self.wanted).enumerate() {
            let expected = self.expected(m, seen, i);
            if expected > 1.0 {
                return true;
            }
            if expected < 0.0 {
                return false;
            }
            let bet = wanted.min(CAP / (1.0 - expected));
            capital += (bet * (expected - x)).ln_1p();
            if capital >= self.log {
                return true;
            }
            seen += x;
        }
        match self.population {
            // The units that are left can add one each at most.
            Some(n) => n * m - seen > n - self.values.len() as f64,
            None => false,
        }
    }

    /// Mean of the value with index `i`, if the mean of all is `m` and those
    /// before sum to `seen`.
    fn expected(&self, m: f64, seen: f64, i: usize) -> f64 {
        match self.population {
            Some(n) => (n * m - seen) / (n - i as f64),
            None => m,
        }
    }

    /// The least m above all that are not rejected, to the last bit but few.
    fn upper(&self) -> f64 {
        // A mean of 1 is rejected only by a capital, or by units that fell short.
        if !self.rejects(1.0) {
            return 1.0;
        }
        // What was seen is certain: the units that are left cannot take it back,
        // whatever the capital says.
        let certain = match self.population {
            Some(n) => self.values.iter().sum::<f64>() / n,
            None => 0.0,
        };
        let (mut low, mut high) = (0.0, 1.0);
        while high - low > 1e-12 {
            let middle = 0.5 * (low + high);
            if self.rejects(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high.max(certain)
    }
}
