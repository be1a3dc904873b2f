//! A gate that is learned from one diff, for others: logistic regression of
//! "changed" on what the base alone knows.
//!
//! Features of a position: H(b), greatest probability, its margin over the
//! second, ln(1 + offset), and nine marks of the tenth of the completion that it
//! lies in (the first tenth has none). They are standardised; the weights
//! minimise `-Σ ln P(label) + |w|²/2` (ridge 1, intercept free) by Newton's
//! method. The score is the logit. Of more than 200,000 rows, every k-th is
//! used.

use serde::{Deserialize, Serialize};

use super::population::{Population, Position};
use crate::AuditError;

/// Features of a position.
pub(super) const FEATURES: usize = 13;

/// Their names, in order.
const NAMES: [&str; FEATURES] = [
    "entropy_nats",
    "top_probability",
    "margin",
    "ln_1_plus_offset",
    "tenth_1",
    "tenth_2",
    "tenth_3",
    "tenth_4",
    "tenth_5",
    "tenth_6",
    "tenth_7",
    "tenth_8",
    "tenth_9",
];

const MOST_ROWS: usize = 200_000;
const STEPS: usize = 50;
const RIDGE: f64 = 1.0;
/// Weights and intercept.
const SIZE: usize = FEATURES + 1;

/// A fitted gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logistic {
    /// Names of the features.
    pub features: Vec<String>,
    /// Mean of each.
    pub means: Vec<f64>,
    /// Standard deviation of each; 1 where it does not vary.
    pub deviations: Vec<f64>,
    /// Weight of each standardised feature.
    pub weights: Vec<f64>,
    /// Intercept.
    pub intercept: f64,
    /// Positions that it was fitted on.
    pub rows: u64,
    /// Changed ones among them.
    pub positives: u64,
}

/// The features of a position; an error without a recorded second probability.
pub(super) fn features(
    population: &Population,
    position: &Position,
) -> Result<[f64; FEATURES], AuditError> {
    let Some(margin) = position.margin else {
        return Err(AuditError::Coverage(
            "the learned gate needs the base's two most probable tokens at every position; make the diff with --record-topk 2 or more".into(),
        ));
    };
    let length = population
        .member_of(position)
        .map_or(1, |m| m.completion.max(1));
    let tenth = (10 * u64::from(position.offset) / u64::from(length)) as usize;
    let mut out = [0.0; FEATURES];
    out[0] = position.entropy;
    out[1] = position.top;
    out[2] = margin;
    out[3] = f64::from(position.offset).ln_1p();
    if let Some(mark) = out.get_mut(3 + tenth).filter(|_| tenth > 0) {
        *mark = 1.0;
    }
    Ok(out)
}

impl Logistic {
    /// Fits `changed` on positions for which `take` says so.
    ///
    /// # Errors
    /// No changed or no unchanged position; no margin recorded.
    pub fn fit(
        population: &Population,
        changed: &[bool],
        take: impl Fn(&Position) -> bool,
    ) -> Result<Self, AuditError> {
        let mut rows: Vec<([f64; FEATURES], bool)> = Vec::new();
        for (position, changed) in population.positions.iter().zip(changed) {
            if take(position) {
                rows.push((features(population, position)?, *changed));
            }
        }
        let every = rows.len().div_ceil(MOST_ROWS).max(1);
        let rows: Vec<_> = rows.into_iter().step_by(every).collect();
        let positives = rows.iter().filter(|(_, y)| *y).count();
        if positives == 0 || positives == rows.len() {
            return Err(AuditError::Coverage(format!(
                "a gate cannot be learned from {} positions of which {positives} are changed; give another calibration, or --gate entropy",
                rows.len()
            )));
        }
        let (means, deviations) = moments(&rows);
        let standard: Vec<([f64; FEATURES], bool)> = rows
            .iter()
            .map(|(x, y)| (standardised(x, &means, &deviations), *y))
            .collect();
        let solution = newton(&standard);
        Ok(Self {
            features: NAMES.iter().map(|n| (*n).to_owned()).collect(),
            means: means.to_vec(),
            deviations: deviations.to_vec(),
            weights: solution[..FEATURES].to_vec(),
            intercept: solution[FEATURES],
            rows: rows.len() as u64,
            positives: positives as u64,
        })
    }

    /// The logit of "changed" at a position.
    pub fn score(&self, population: &Population, position: &Position) -> Result<f64, AuditError> {
        let x = features(population, position)?;
        let parts = x.iter().zip(&self.means).zip(&self.deviations);
        let sum: f64 = parts
            .zip(&self.weights)
            .map(|(((x, m), d), w)| w * (x - m) / d)
            .sum();
        Ok(self.intercept + sum)
    }
}

fn moments(rows: &[([f64; FEATURES], bool)]) -> ([f64; FEATURES], [f64; FEATURES]) {
    let n = rows.len() as f64;
    let (mut means, mut deviations) = ([0.0; FEATURES], [0.0; FEATURES]);
    for (x, _) in rows {
        for (mean, x) in means.iter_mut().zip(x) {
            *mean += x / n;
        }
    }
    for (x, _) in rows {
        for ((sum, x), mean) in deviations.iter_mut().zip(x).zip(&means) {
            *sum += (x - mean) * (x - mean) / n;
        }
    }
    for deviation in &mut deviations {
        *deviation = match deviation.sqrt() {
            d if d > 1e-12 => d,
            _ => 1.0,
        };
    }
    (means, deviations)
}

fn standardised(
    x: &[f64; FEATURES],
    means: &[f64; FEATURES],
    deviations: &[f64; FEATURES],
) -> [f64; FEATURES] {
    std::array::from_fn(|i| (x[i] - means[i]) / deviations[i])
}

/// Minimises the penalised loss from nothing; steps that do not lower it are
/// halved.
fn newton(rows: &[([f64; FEATURES], bool)]) -> [f64; SIZE] {
    let mut w = [0.0; SIZE];
    let mut before = loss(rows, &w);
    for _ in 0..STEPS {
        let (gradient, hessian) = derivatives(rows, &w);
        let step = solve(hessian, gradient);
        let mut scale = 1.0;
        let (next, after) = loop {
            let next: [f64; SIZE] = std::array::from_fn(|i| w[i] - scale * step[i]);
            let after = loss(rows, &next);
            if after <= before || scale < 1e-6 {
                break (next, after);
            }
            scale *= 0.5;
        };
        if before - after <= 1e-10 * before.abs() {
            break;
        }
        (w, before) = (next, after);
    }
    w
}

fn logit(x: &[f64; FEATURES], w: &[f64; SIZE]) -> f64 {
    w[FEATURES] + x.iter().zip(w).map(|(x, w)| x * w).sum::<f64>()
}

fn loss(rows: &[([f64; FEATURES], bool)], w: &[f64; SIZE]) -> f64 {
    let penalty: f64 = w[..FEATURES].iter().map(|w| w * w).sum();
    let data: f64 = rows
        .iter()
        .map(|(x, y)| {
            let z = logit(x, w);
            let z = if *y { -z } else { z };
            // ln(1 + e^z)
            z.max(0.0) + (-z.abs()).exp().ln_1p()
        })
        .sum();
    data + 0.5 * RIDGE * penalty
}

#[allow(clippy::needless_range_loop, reason = "indices of a matrix")]
fn derivatives(
    rows: &[([f64; FEATURES], bool)],
    w: &[f64; SIZE],
) -> ([f64; SIZE], [[f64; SIZE]; SIZE]) {
    let (mut gradient, mut hessian) = ([0.0; SIZE], [[0.0; SIZE]; SIZE]);
    for (x, y) in rows {
        let p = 1.0 / (1.0 + (-logit(x, w)).exp());
        let (error, weight) = (p - f64::from(u8::from(*y)), p * (1.0 - p));
        let x: [f64; SIZE] = std::array::from_fn(|i| x.get(i).copied().unwrap_or(1.0));
        for i in 0..SIZE {
            gradient[i] += error * x[i];
            for j in 0..=i {
                hessian[i][j] += weight * x[i] * x[j];
            }
        }
    }
    for i in 0..SIZE {
        for j in 0..i {
            hessian[j][i] = hessian[i][j];
        }
    }
    for i in 0..FEATURES {
        gradient[i] += RIDGE * w[i];
        hessian[i][i] += RIDGE;
    }
    (gradient, hessian)
}

/// Solves a symmetric positive definite system by elimination with pivots.
#[allow(clippy::needless_range_loop, reason = "indices of a matrix")]
fn solve(mut a: [[f64; SIZE]; SIZE], mut b: [f64; SIZE]) -> [f64; SIZE] {
    for column in 0..SIZE {
        let pivot = (column..SIZE)
            .max_by(|i, j| a[*i][column].abs().total_cmp(&a[*j][column].abs()))
            .unwrap_or(column);
        a.swap(column, pivot);
        b.swap(column, pivot);
        let lead = a[column][column];
        if lead.abs() < 1e-300 {
            continue;
        }
        for row in column + 1..SIZE {
            let factor = a[row][column] / lead;
            for k in column..SIZE {
                a[row][k] -= factor * a[column][k];
            }
            b[row] -= factor * b[column];
        }
    }
    let mut x = [0.0; SIZE];
    for row in (0..SIZE).rev() {
        let known: f64 = (row + 1..SIZE).map(|k| a[row][k] * x[k]).sum();
        x[row] = match a[row][row] {
            lead if lead.abs() < 1e-300 => 0.0,
            lead => (b[row] - known) / lead,
        };
    }
    x
}
