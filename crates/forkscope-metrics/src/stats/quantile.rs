//! Quantiles, type 7 of Hyndman and Fan (1996): the default of numpy and R.
//!
//! For n values in ascending order x_0..x_{n-1} and h = (n - 1) q:
//! `Q(q) = x_⌊h⌋ + (h - ⌊h⌋) (x_⌊h⌋₊₁ - x_⌊h⌋)`.

use super::{StatsError, closed_unit, finite};

/// The q-quantile of values in any order.
///
/// # Errors
/// No value, a value that is not finite, or q outside [0, 1].
pub fn quantile(values: &[f64], q: f64) -> Result<f64, StatsError> {
    finite("values", values, 1)?;
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile_of_sorted(&sorted, q)
}

/// The q-quantile of values in ascending order.
///
/// # Errors
/// No value, or q outside [0, 1]. The order is the caller's promise.
pub fn quantile_of_sorted(sorted: &[f64], q: f64) -> Result<f64, StatsError> {
    closed_unit("q", q)?;
    let Some(last) = sorted.len().checked_sub(1) else {
        return Err(StatsError::TooFew {
            what: "values",
            needed: 1,
        });
    };
    let (lower, fraction) = place(last as f64, q);
    let lower = (lower as usize).min(last);
    Ok(between(
        sorted[lower],
        sorted[(lower + 1).min(last)],
        fraction,
    ))
}

/// The q-quantile of the multiset that holds `values[i]` `weights[i]` times:
/// what [`quantile`] gives for the values written out, without writing them out.
///
/// # Errors
/// Different lengths, a value that is not finite, q outside [0, 1], or weights
/// that sum to zero.
pub fn weighted_quantile(values: &[f64], weights: &[u32], q: f64) -> Result<f64, StatsError> {
    finite("values", values, 1)?;
    closed_unit("q", q)?;
    if values.len() != weights.len() {
        return Err(StatsError::Length {
            what: "weights",
            found: weights.len(),
            expected: values.len(),
        });
    }
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let Some(last) = total.checked_sub(1) else {
        return Err(StatsError::ZeroTotal { what: "weights" });
    };
    let mut order: Vec<(f64, u32)> = values
        .iter()
        .copied()
        .zip(weights.iter().copied())
        .collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (lower, fraction) = place(last as f64, q);
    let lower = (lower as u64).min(last);
    let value_at = |k: u64| {
        let mut seen = 0u64;
        order
            .iter()
            .find(|(_, weight)| {
                seen += u64::from(*weight);
                seen > k
            })
            .map_or(f64::NEG_INFINITY, |(value, _)| *value)
    };
    Ok(between(
        value_at(lower),
        value_at((lower + 1).min(last)),
        fraction,
    ))
}

/// ⌊h⌋ and h - ⌊h⌋ for h = last · q.
pub(super) fn place(last: f64, q: f64) -> (f64, f64) {
    let h = last * q;
    (h.floor(), h - h.floor())
}

/// The point at `fraction` of the way from `low` to `high`; exactly `low` at 0
/// and where both are equal.
pub(super) fn between(low: f64, high: f64, fraction: f64) -> f64 {
    let gap = high - low;
    if gap.is_finite() {
        low + fraction * gap
    } else {
        // The gap overflows although both ends are finite.
        low * (1.0 - fraction) + high * fraction
    }
}
