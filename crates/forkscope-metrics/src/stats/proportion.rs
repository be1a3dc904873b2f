//! Intervals of a proportion from independent trials: one trial per problem,
//! never tokens drawn in clusters.

use statrs::distribution::{ContinuousCDF, Normal};
use statrs::function::gamma::ln_gamma;

use super::{Interval, StatsError, open_unit};

/// Clopper-Pearson interval of `successes` in `trials`: exact, never below its
/// level, wider than need be.
///
/// `low = B(α/2; k, n-k+1)`, `high = B(1-α/2; k+1, n-k)`, B the beta quantile;
/// low is 0 at k = 0 and high is 1 at k = n (Clopper and Pearson 1934).
///
/// # Errors
/// No trial, more successes than trials, or a level outside (0, 1).
pub fn clopper_pearson(successes: u64, trials: u64, level: f64) -> Result<Interval, StatsError> {
    let (k, n) = counts(successes, trials)?;
    let tail = (1.0 - open_unit("level", level)?) / 2.0;
    let low = match successes {
        0 => 0.0,
        _ => beta_quantile(k, n - k + 1.0, tail),
    };
    let high = match trials - successes {
        0 => 1.0,
        _ => beta_quantile(k + 1.0, n - k, 1.0 - tail),
    };
    Ok(Interval { low, high, level })
}

/// Wilson score interval of `successes` in `trials`, without continuity
/// correction:
/// `(k + z²/2 ± z sqrt(k(n-k)/n + z²/4)) / (n + z²)`, z the normal quantile at
/// (1 + level)/2 (Wilson 1927).
///
/// # Errors
/// As [`clopper_pearson`].
pub fn wilson(successes: u64, trials: u64, level: f64) -> Result<Interval, StatsError> {
    let (k, n) = counts(successes, trials)?;
    let z = Normal::standard().inverse_cdf(0.5 + open_unit("level", level)? / 2.0);
    let centre = k + z * z / 2.0;
    let half = z * (k * (n - k) / n + z * z / 4.0).sqrt();
    let (low, high) = ((centre - half) / (n + z * z), (centre + half) / (n + z * z));
    Ok(Interval {
        // The formula gives exactly 0 and 1 here; its rounding does not.
        low: if successes == 0 { 0.0 } else { low },
        high: if successes == trials { 1.0 } else { high },
        level,
    })
}

/// Most trials that the incomplete beta function below is fit for.
const MOST_TRIALS: u64 = 1_000_000_000;

fn counts(successes: u64, trials: u64) -> Result<(f64, f64), StatsError> {
    if trials == 0 {
        return Err(StatsError::TooFew {
            what: "trials",
            needed: 1,
        });
    }
    within_reach(trials)?;
    if successes > trials {
        return Err(StatsError::OutOfRange {
            what: "the number of successes",
            value: successes as f64,
            range: "[0, trials]",
        });
    }
    Ok((successes as f64, trials as f64))
}

/// `trials` if the exact distributions can be computed for so many.
pub(super) fn within_reach(trials: u64) -> Result<(), StatsError> {
    if trials <= MOST_TRIALS {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        what: "the number of trials",
        value: trials as f64,
        range: "[1, 1e9]",
    })
}

/// Quantile of the beta distribution, by bisection of its distribution function
/// down to neighbouring doubles.
fn beta_quantile(a: f64, b: f64, probability: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    loop {
        let middle = (low + high) / 2.0;
        if middle <= low || middle >= high {
            return middle;
        }
        if incomplete_beta(a, b, middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// Regularised incomplete beta function I_x(a, b) for a, b >= 1/2, 0 < x < 1:
/// the distribution function of the beta distribution.
///
/// The continued fraction of DLMF 8.17.22 by Lentz's method, on the side of the
/// mean where it converges. It takes O(sqrt(a + b)) terms; statrs, whose
/// function stops after 140, is wrong without an error from about 10^7 trials.
pub(super) fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    let front = |a: f64, b: f64, x: f64| {
        let log = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p();
        log.exp() / a
    };
    if x < (a + 1.0) / (a + b + 2.0) {
        front(a, b, x) / beta_fraction(a, b, x)
    } else {
        1.0 - front(b, a, 1.0 - x) / beta_fraction(b, a, 1.0 - x)
    }
}

/// `1 + d_1/(1 + d_2/(1 + ...))` with
/// `d_{2m} = m (b - m) x / ((a + 2m - 1)(a + 2m))`,
/// `d_{2m+1} = -(a + m)(a + b + m) x / ((a + 2m)(a + 2m + 1))`.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let apart = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut fraction, mut numerator, mut denominator) = (1.0f64, 1.0f64, 0.0f64);
    let terms = 1000.0 + 20.0 * (a + b).sqrt();
    let mut m = 0.0;
    while m < terms {
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        m += 1.0;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let mut step = 1.0;
        for term in [odd, even] {
            denominator = 1.0 / apart(1.0 + term * denominator);
            numerator = apart(1.0 + term / numerator);
            step *= numerator * denominator;
        }
        fraction *= step;
        if (step - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    fraction
}
