//! From a share of positions to a threshold, and back.
//!
//! share_at(tau) = #{x > tau} / n. tau_for_share(s) is the least value of the
//! sample with share_at <= s (the inverse of the empirical distribution function
//! at 1 - s, no interpolation), so a strict threshold at it never chooses more
//! than s of the sample, and less only where values tie.

use serde::{Deserialize, Serialize};

use crate::AuditError;

/// A threshold and what it does on the sample that it was found on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Threshold, in the unit of the values (nats of entropy).
    pub tau: f64,
    /// Share asked for.
    pub share_asked: f64,
    /// Share of the sample strictly above `tau`; at most `share_asked`.
    pub share: f64,
    /// Values strictly above `tau`.
    pub selected: u64,
    /// Size of the sample.
    pub positions: u64,
}

/// The distribution of a score over positions, sorted once.
#[derive(Debug, Clone)]
pub struct ScoreCurve {
    sorted: Vec<f64>,
}

impl ScoreCurve {
    /// Takes the values of all positions; refuses NaN, and an empty sample.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Result<Self, AuditError> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        if let Some(at) = sorted.iter().position(|x| x.is_nan()) {
            return Err(AuditError::Calibration(format!(
                "value {at} of {} is not a number",
                sorted.len()
            )));
        }
        if sorted.is_empty() {
            return Err(AuditError::Calibration(
                "there is no position to calibrate on; give rollouts with completions".into(),
            ));
        }
        sorted.sort_unstable_by(f64::total_cmp);
        Ok(Self { sorted })
    }

    /// The number of positions.
    pub fn positions(&self) -> usize {
        self.sorted.len()
    }

    /// #{x > tau}.
    pub fn above(&self, tau: f64) -> usize {
        self.sorted.len() - self.sorted.partition_point(|x| *x <= tau)
    }

    /// #{x > tau} / n.
    pub fn share_at(&self, tau: f64) -> f64 {
        self.above(tau) as f64 / self.sorted.len() as f64
    }

    /// The value of rank ceil(q n) from below: the empirical quantile, without
    /// interpolation.
    pub fn quantile(&self, q: f64) -> f64 {
        let n = self.sorted.len();
        let below = at_most(q.clamp(0.0, 1.0), n);
        let exact = below as f64 / n as f64 >= q;
        let at = below.saturating_sub(usize::from(exact)).min(n - 1);
        self.sorted.get(at).copied().unwrap_or(f64::NAN)
    }

    /// The least threshold that chooses at most `share` of the positions.
    pub fn tau_for_share(&self, share: f64) -> Result<Calibration, AuditError> {
        if !(share > 0.0 && share < 1.0) {
            return Err(AuditError::Setting {
                setting: "share of positions",
                value: share,
                range: "(0, 1)",
            });
        }
        let n = self.sorted.len();
        let kept = at_most(share, n);
        let tau = self.sorted.get(n - 1 - kept).copied().unwrap_or(f64::NAN);
        let selected = self.above(tau);
        Ok(Calibration {
            tau,
            share_asked: share,
            share: selected as f64 / n as f64,
            selected: selected as u64,
            positions: n as u64,
        })
    }
}

/// The threshold on `values` that chooses at most `share` of them, with what it
/// achieves.
pub fn tau_for_share(values: &[f64], share: f64) -> Result<Calibration, AuditError> {
    ScoreCurve::new(values.iter().copied())?.tau_for_share(share)
}

/// The greatest k < n with k / n <= share, compared after division: 0.29 of 100
/// is 29, whatever 0.29 x 100 rounds to.
fn at_most(share: f64, n: usize) -> usize {
    let fits = |k: usize| k as f64 / n as f64 <= share;
    let mut k = ((share * n as f64) as usize).min(n.saturating_sub(1));
    while k > 0 && !fits(k) {
        k -= 1;
    }
    while k + 1 < n && fits(k + 1) {
        k += 1;
    }
    k
}

/// share x n rounded to nearest, halves up (judged after division as well); at
/// least 1 where n is.
pub(super) fn nearest_count(share: f64, n: usize) -> usize {
    let below = at_most(share, n);
    let up = (below as f64 + 0.5) / n.max(1) as f64 <= share;
    (below + usize::from(up)).max(1).min(n)
}
