//! What a budget buys, before anything of the tuned policy is seen: tokens
//! against bounds.

use forkscope_metrics::rng::Key;
use forkscope_metrics::stats::{betting_upper, hypergeometric_upper};
use serde::{Deserialize, Serialize};

use super::calibration::{Calibration, Expectation};
use super::cost::Cost;
use super::design::{Design, Draw, Drawn, Kind};
use super::population::Population;
use crate::AuditError;

/// Values that a betting bound is tried on at most.
const MOST_VALUES: usize = 200_000;

/// A budget of the design over positions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BudgetLine {
    /// Share of the positions.
    pub budget: f64,
    /// Positions of the certain stratum.
    pub certain: u64,
    /// Sampled positions.
    pub sampled: u64,
    /// What it costs, for one policy.
    pub cost: Cost,
    /// Share of the changed positions that the certain stratum is expected to
    /// hold; `None` where the calibration has no changed position.
    pub gate_coverage: Option<f64>,
    /// The same for everything that is looked at.
    pub coverage: Option<f64>,
    /// Upper bound on the changed share of what nobody looked at, if the sample
    /// has no changed position.
    pub bound_if_none: f64,
    /// The same, if the sample has as many as are expected.
    pub bound_expected: f64,
    /// The most that the bound can lie above the sample's share: where half of
    /// the sample is changed.
    pub margin_worst: f64,
    /// Lower bound on the share of the changed positions that are looked at, if
    /// everything is as expected.
    pub seen_expected: Option<f64>,
    /// Upper bound on the mean JS of what nobody looked at, nats, for a sample
    /// drawn from the calibration.
    pub js_expected: Option<f64>,
}

/// A budget of the design over problems.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProblemLine {
    /// Share of the problems.
    pub budget: f64,
    /// Problems.
    pub problems: u64,
    /// What they cost, for one policy.
    pub cost: Cost,
    /// Upper bound on the mean changed share of new problems, if no position is
    /// changed.
    pub bound_if_none: f64,
    /// The same for problems drawn from the calibration.
    pub bound_expected: Option<f64>,
    /// The most that the bound can lie above the mean: where half of the
    /// problems are changed throughout and half not at all.
    pub margin_worst: f64,
}

/// What a draw of positions is expected to buy. `design` is that of the draw;
/// `certain_share` and `seed` are what it was made with.
///
/// # Errors
/// A draw of another kind; a level outside (0, 1).
pub fn expect_positions(
    population: &Population,
    draw: &Draw,
    expectation: &Expectation,
    (certain_share, seed): (f64, u64),
    level: f64,
) -> Result<BudgetLine, AuditError> {
    let Drawn::Positions { certain, sampled } = &draw.drawn else {
        return Err(AuditError::Internal("a draw of another kind".into()));
    };
    let (c, s) = (certain.len() as u64, sampled.len() as u64);
    let n = population.len() as u64;
    let rest = n - c;
    let expected = match expectation {
        Expectation::Calibrated(k) => calibrated(k, draw.budget, (certain_share, seed))?,
        Expectation::Assumed(a) => assumed(population, certain, a.changed_share),
    };
    let changed = expectation.changed_share() * n as f64;
    let in_certain = (changed * expected.gate_coverage.unwrap_or(0.0)).round() as u64;
    let found = ((s as f64 * expected.rest_share).round() as u64).min(s);
    let upper = |k: u64| hypergeometric_upper(k, s, rest, level);
    let unaudited = |k: u64| {
        let left = rest - s;
        Ok::<_, AuditError>(match left {
            0 => 0.0,
            _ => (upper(k)? - k) as f64 / left as f64,
        })
    };
    let half = s / 2;
    let sampled_part = s as f64 / rest.max(1) as f64;
    let most = (in_certain + upper(found)?) as f64;
    Ok(BudgetLine {
        budget: draw.budget,
        certain: c,
        sampled: s,
        cost: Cost::of(population, draw.positions(population).into_iter()),
        gate_coverage: expected.gate_coverage,
        coverage: expected
            .gate_coverage
            .map(|gate| gate + (1.0 - gate) * sampled_part),
        bound_if_none: unaudited(0)?,
        bound_expected: unaudited(found)?,
        margin_worst: (upper(half)? as f64 / rest as f64 - half as f64 / s as f64).max(0.0),
        seen_expected: (most > 0.0).then(|| (in_certain + found) as f64 / most),
        js_expected: match expected.js_rest {
            Some(values) => js_bound(values, (s, rest), seed, level)?,
            None => None,
        },
    })
}

/// What is expected of a draw.
struct Expected {
    gate_coverage: Option<f64>,
    rest_share: f64,
    /// JS of the rest of a calibration.
    js_rest: Option<Vec<f64>>,
}

fn calibrated(
    calibration: &Calibration,
    budget: f64,
    (certain_share, seed): (f64, u64),
) -> Result<Expected, AuditError> {
    let Calibration {
        population,
        outcomes,
        scores,
        ..
    } = calibration;
    let design = Design::new(population, scores, certain_share, seed)?;
    let Drawn::Positions { certain, .. } = design.draw(Kind::Positions, budget)?.drawn else {
        return Err(AuditError::Internal("a draw of another kind".into()));
    };
    let mut inside = vec![false; outcomes.len()];
    for index in &certain {
        if let Some(mark) = inside.get_mut(*index as usize) {
            *mark = true;
        }
    }
    let split = || outcomes.iter().zip(&inside);
    let hit = split().filter(|(o, inside)| o.changed && **inside).count();
    let miss = split().filter(|(o, inside)| o.changed && !**inside).count();
    let rest = outcomes.len() - certain.len();
    Ok(Expected {
        gate_coverage: (hit + miss > 0).then(|| hit as f64 / (hit + miss) as f64),
        rest_share: miss as f64 / rest.max(1) as f64,
        js_rest: Some(split().filter(|(_, i)| !**i).map(|(o, _)| o.js).collect()),
    })
}

fn assumed(population: &Population, certain: &[u32], share: f64) -> Expected {
    let entropy = |i: &u32| {
        population
            .positions
            .get(*i as usize)
            .map_or(0.0, |p| p.entropy)
    };
    let all: f64 = population.positions.iter().map(|p| p.entropy).sum();
    let inside: f64 = certain.iter().map(entropy).sum();
    let n = population.len() as f64;
    let coverage = match all > 0.0 {
        true => inside / all,
        false => certain.len() as f64 / n,
    };
    let rest = (n - certain.len() as f64).max(1.0);
    Expected {
        gate_coverage: Some(coverage),
        rest_share: (share * n * (1.0 - coverage) / rest).min(1.0),
        js_rest: None,
    }
}

/// The bound on the unaudited mean for a sample of s from values like these.
fn js_bound(
    mut values: Vec<f64>,
    (s, rest): (u64, u64),
    seed: u64,
    level: f64,
) -> Result<Option<f64>, AuditError> {
    let wanted = s as usize;
    if values.is_empty() || wanted > MOST_VALUES || rest <= s {
        return Ok(None);
    }
    Key::new(seed, "", 0, "plan expectation")
        .rng_at(0)
        .shuffle(&mut values);
    let sample: Vec<f64> = values.iter().copied().cycle().take(wanted).collect();
    let high = betting_upper(&sample, (0.0, std::f64::consts::LN_2), Some(rest), level)?;
    let seen: f64 = sample.iter().sum();
    Ok(Some(
        (rest as f64 * high - seen).max(0.0) / (rest - s) as f64,
    ))
}

/// What a draw of problems is expected to buy.
///
/// # Errors
/// A draw of another kind; a level outside (0, 1).
pub fn expect_problems(
    population: &Population,
    draw: &Draw,
    expectation: &Expectation,
    seed: u64,
    level: f64,
) -> Result<ProblemLine, AuditError> {
    let Drawn::Problems(problems) = &draw.drawn else {
        return Err(AuditError::Internal("a draw of another kind".into()));
    };
    let m = problems.len();
    let upper = |values: &[f64]| betting_upper(values, (0.0, 1.0), None, level);
    let halves: Vec<f64> = (0..m).map(|i| (i % 2) as f64).collect();
    let mean = halves.iter().sum::<f64>() / m as f64;
    Ok(ProblemLine {
        budget: draw.budget,
        problems: m as u64,
        cost: Cost::of(population, draw.positions(population).into_iter()),
        bound_if_none: upper(&vec![0.0; m])?,
        bound_expected: match expectation {
            Expectation::Calibrated(c) => Some(upper(&resampled(c, m, seed))?),
            Expectation::Assumed(_) => None,
        },
        margin_worst: upper(&halves)? - mean,
    })
}

/// Changed shares of m problems drawn from the calibration, with replacement.
fn resampled(calibration: &Calibration, m: usize, seed: u64) -> Vec<f64> {
    let shares: Vec<f64> = calibration.problems().iter().map(|p| p.changed).collect();
    let mut draws = Key::new(seed, "", 0, "plan expectation").rng_at(1);
    (0..m)
        .filter_map(|_| shares.get(draws.below(shares.len() as u64) as usize))
        .copied()
        .collect()
}
