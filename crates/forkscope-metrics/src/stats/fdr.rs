//! Which of many tests to believe.

use super::{StatsError, closed_unit, finite, open_unit};

/// What [`benjamini_hochberg`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Discoveries {
    /// Adjusted p-value of each test, in input order: the smallest false
    /// discovery rate at which it is rejected.
    pub adjusted: Vec<f64>,
    /// Whether each test is rejected at the rate asked for.
    pub rejected: Vec<bool>,
}

/// Benjamini-Hochberg step-up procedure at false discovery rate `rate`.
///
/// With p_(1) <= ... <= p_(m): `adjusted_(i) = min_{j >= i} min(1, m p_(j) / j)`,
/// rejected where adjusted <= rate (Benjamini and Hochberg 1995). Equal
/// p-values get equal adjusted values. Valid for independent or positively
/// dependent tests.
///
/// # Errors
/// No p-value, one outside [0, 1], or a rate outside (0, 1).
pub fn benjamini_hochberg(p_values: &[f64], rate: f64) -> Result<Discoveries, StatsError> {
    finite("p-values", p_values, 1)?;
    open_unit("the false discovery rate", rate)?;
    for &p in p_values {
        closed_unit("a p-value", p)?;
    }
    let m = p_values.len() as f64;
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut least = 1.0f64;
    for (i, &test) in order.iter().enumerate().rev() {
        // This order of operations keeps adjusted >= p in floating point.
        least = least.min(p_values[test] * (m / (i + 1) as f64));
        adjusted[test] = least;
    }
    let rejected = adjusted.iter().map(|&p| p <= rate).collect();
    Ok(Discoveries { adjusted, rejected })
}
