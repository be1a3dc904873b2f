//! The noise floor: what bf16 alone does to the base, position by position, and
//! which differences of the tuned policy lie beyond it.
//!
//! At every position the base in f32 is compared with the base whose weights,
//! and with the base whose activations, are rounded to bf16
//! ([`forkscope_policy::Rounding`]); the noise value is the greater JS of the two.
//! Noise grows with entropy, so positions are compared within tenths of H(b)
//! (edges at the order statistics of index floor(k n / 10); an entropy on an
//! edge lies above it). With n noise values in its tenth, a position's
//! `p = (1 + #{noise >= JS}) / (1 + n)`, and it is changed if p, adjusted by
//! Benjamini and Hochberg over all positions, is at most the false-discovery
//! rate. p is valid as far as the position would be exchangeable with the noise
//! of its tenth were there no change; the noise values are shared by all tests,
//! which keeps the tests positively dependent, as the procedure needs (Bates et
//! al. 2023, arXiv 2104.08279).

use forkscope_metrics::stats::benjamini_hochberg;
use forkscope_metrics::{PairMetrics, pair_rows};
use forkscope_policy::Policy;
use forkscope_records::types::{BeyondNoiseRow, DiffRow, NoiseRow, Rollout, Validity};
use serde::{Deserialize, Serialize};

use crate::AuditError;
use crate::scoring::{Places, bad_row, rows_of, targets};
use crate::windows::groups;

/// Bins of entropy.
pub const DECILES: usize = 10;

/// Noise values by tenth of base entropy.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseFloor {
    /// Lower edges of all tenths but the first.
    edges: Vec<f64>,
    /// Noise of each tenth, ascending.
    noise: Vec<Vec<f64>>,
}

/// A threshold on JS per tenth of entropy: all but a share `p` of the noise lies
/// below it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseRule {
    /// p-value that a changed position falls to.
    pub p: f64,
    /// Lower edges of all tenths of base entropy but the first, nats.
    pub edges: Vec<f64>,
    /// JS in nats that a changed position exceeds, per tenth.
    pub thresholds: Vec<f64>,
    /// Noise values per tenth.
    pub values: Vec<u64>,
}

/// Noise of every completion position of the rollouts, in order. `weights` and
/// `activations` are the base, rounded.
pub fn noise_window(
    base: &Policy,
    weights: &Policy,
    activations: &Policy,
    rollouts: &[&Rollout],
) -> Result<Vec<NoiseRow>, AuditError> {
    let groups = groups(rollouts);
    let hidden = base.hidden_rows(&groups)?;
    let by_weights = weights.hidden_rows(&groups)?;
    let by_activations = activations.hidden_rows(&groups)?;
    let targets = targets(rollouts);
    let (mut plain, mut other) = (Vec::new(), Vec::new());
    let mut out = Vec::with_capacity(targets.len());
    let mut places = Places::new(rollouts);
    let block = base.block_rows();
    let (vocab, width) = (base.vocab_size(), targets.len());
    for first in (0..width).step_by(block) {
        let targets = targets
            .get(first..(first + block).min(width))
            .unwrap_or(&[]);
        base.logits(rows_of(&hidden, first, targets.len()), &mut plain);
        let mut against = |policy: &Policy, hidden| {
            policy.logits(rows_of(hidden, first, targets.len()), &mut other);
            pair_rows(&plain, vocab, &other, vocab, targets, 1)
                .map_err(|e| bad_row(e, rollouts, first))
        };
        let weights = against(weights, &by_weights)?;
        let activations = against(activations, &by_activations)?;
        for ((w, a), token_id) in weights.into_iter().zip(activations).zip(targets) {
            let (rollout, t) = places.next_place()?;
            out.push(row(rollout, t, *token_id, &w, &a));
        }
    }
    Ok(out)
}

fn row(rollout: &Rollout, t: u32, token_id: u32, w: &PairMetrics, a: &PairMetrics) -> NoiseRow {
    NoiseRow {
        problem_id: rollout.problem_id.clone(),
        sample: rollout.sample,
        t,
        token_id,
        validity: Validity::Ok,
        entropy_base_nats: w.base.entropy_nats,
        js_weights_nats: w.js_nats,
        js_activations_nats: a.js_nats,
        argmax_base_id: w.base.argmax,
        argmax_weights_id: w.tuned.argmax,
        argmax_activations_id: a.tuned.argmax,
    }
}

impl NoiseFloor {
    /// Of the noise at these positions.
    ///
    /// # Errors
    /// No position, or a number that is none.
    pub fn new(rows: &[NoiseRow]) -> Result<Self, AuditError> {
        if rows.is_empty() {
            return Err(AuditError::Coverage(
                "there is no position to measure noise at; give rollouts with completions".into(),
            ));
        }
        for (number, row) in rows.iter().enumerate() {
            let numbers = [
                ("entropy_base_nats", row.entropy_base_nats),
                ("js_weights_nats", row.js_weights_nats),
                ("js_activations_nats", row.js_activations_nats),
            ];
            if let Some(&(field, value)) = numbers.iter().find(|(_, x)| !x.is_finite()) {
                return Err(AuditError::RowValue {
                    row: number,
                    problem_id: row.problem_id.clone(),
                    sample: row.sample,
                    t: row.t,
                    field,
                    value,
                    range: "the finite numbers",
                });
            }
        }
        let mut sorted: Vec<f64> = rows.iter().map(|r| r.entropy_base_nats).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let edge = |k: usize| sorted.get(k * sorted.len() / DECILES).copied();
        let edges: Vec<f64> = (1..DECILES).filter_map(edge).collect();
        let mut noise = vec![Vec::new(); DECILES];
        for row in rows {
            let value = row.js_weights_nats.max(row.js_activations_nats);
            if let Some(values) = noise.get_mut(decile(&edges, row.entropy_base_nats)) {
                values.push(value);
            }
        }
        for values in &mut noise {
            values.sort_unstable_by(f64::total_cmp);
        }
        Ok(Self { edges, noise })
    }

    /// Tenth of an entropy, 0 to 9.
    pub fn decile(&self, entropy: f64) -> usize {
        decile(&self.edges, entropy)
    }

    /// `(1 + #{noise >= js}) / (1 + n)` within the tenth of the entropy.
    pub fn p_value(&self, entropy: f64, js: f64) -> f64 {
        let values = self.values(entropy);
        let below = values.partition_point(|v| *v < js);
        (1 + values.len() - below) as f64 / (1 + values.len()) as f64
    }

    /// The least p-value that there is noise for.
    pub fn least_p_value(&self) -> f64 {
        let most = self.noise.iter().map(Vec::len).max().unwrap_or(0);
        1.0 / (1 + most) as f64
    }

    fn values(&self, entropy: f64) -> &[f64] {
        self.noise
            .get(self.decile(entropy))
            .map_or(&[], Vec::as_slice)
    }

    /// The thresholds at which a p-value falls to `p`.
    ///
    /// # Errors
    /// A p outside (0, 1), or a tenth with too few values to fall so low.
    pub fn rule(&self, p: f64) -> Result<NoiseRule, AuditError> {
        if !(p > 0.0 && p < 1.0) {
            return Err(AuditError::Setting {
                setting: "p-value of the rule on noise",
                value: p,
                range: "(0, 1)",
            });
        }
        let threshold = |values: &Vec<f64>| {
            // As many values may be as large.
            let may = p * (1 + values.len()) as f64 - 1.0;
            let at = (may >= 0.0).then(|| values.len().checked_sub(1 + may.floor() as usize));
            match at.flatten().and_then(|at| values.get(at)) {
                Some(threshold) => Ok(*threshold),
                None if values.is_empty() => Ok(f64::MAX),
                None => Err(AuditError::Coverage(format!(
                    "a tenth of the positions by entropy has {} of them, too few for p-values of {p}; give more rollouts, or noise:P with a P of {:.2e} or more",
                    values.len(),
                    1.0 / (1 + values.len()) as f64
                ))),
            }
        };
        Ok(NoiseRule {
            p,
            edges: self.edges.clone(),
            thresholds: self.noise.iter().map(threshold).collect::<Result<_, _>>()?,
            values: self.noise.iter().map(|v| v.len() as u64).collect(),
        })
    }
}

impl NoiseRule {
    /// Whether a JS lies beyond the noise of its tenth.
    pub fn exceeds(&self, entropy: f64, js: f64) -> bool {
        self.thresholds
            .get(decile(&self.edges, entropy))
            .is_some_and(|threshold| js > *threshold)
    }
}

fn decile(edges: &[f64], entropy: f64) -> usize {
    edges.partition_point(|edge| *edge <= entropy)
}

/// Which positions of a diff differ by more than noise, at a false-discovery
/// rate. Rows that are neither `ok` nor `truncated` are left out.
///
/// # Errors
/// A rate outside (0, 1), or no row.
pub fn beyond_noise(
    rows: &[DiffRow],
    floor: &NoiseFloor,
    rate: f64,
) -> Result<Vec<BeyondNoiseRow>, AuditError> {
    let rows: Vec<&DiffRow> = rows
        .iter()
        .filter(|r| matches!(r.validity, Validity::Ok | Validity::Truncated))
        .collect();
    let p_values: Vec<f64> = rows
        .iter()
        .map(|r| floor.p_value(r.entropy_base_nats, r.js_nats))
        .collect();
    let found = benjamini_hochberg(&p_values, rate)?;
    let made = rows.iter().zip(&p_values).zip(&found.adjusted);
    Ok(made
        .zip(&found.rejected)
        .map(|(((row, p_value), p_adjusted), changed)| BeyondNoiseRow {
            problem_id: row.problem_id.clone(),
            sample: row.sample,
            t: row.t,
            token_id: row.token_id,
            validity: row.validity,
            entropy_decile: floor.decile(row.entropy_base_nats) as u32,
            js_nats: row.js_nats,
            p_value: *p_value,
            p_adjusted: *p_adjusted,
            changed: *changed,
        })
        .collect())
}
