//! In how few units a total sits, and how far a bounded mean can be off.

use super::{Interval, StatsError, finite, open_unit};

/// Gini coefficient of non-negative values: 0 if all are equal, (n-1)/n if one
/// holds everything.
///
/// `G = Σ_{i,j} |x_i - x_j| / (2 n Σ x)`, computed from the values in
/// descending order as `Σ x_i (S_{i-1} + S_i) / (n S) - 1` with running totals
/// S_i (the trapezoid under the concentration curve). No small-sample factor
/// n/(n-1). Ties do not matter.
///
/// # Errors
/// No value, a negative or non-finite one, or a total of zero.
pub fn gini(values: &[f64]) -> Result<f64, StatsError> {
    let (sorted, total) = descending(values)?;
    let (mut sum, mut area) = (0.0, 0.0);
    for value in &sorted {
        let before = sum;
        sum += value;
        area += before + sum;
    }
    Ok(area / (sorted.len() as f64 * total) - 1.0)
}

/// Lorenz curve: the points `(i/n, share of the total held by the i smallest)`,
/// i = 0..=n; straight lines between them.
///
/// # Errors
/// As [`gini`].
pub fn lorenz_curve(values: &[f64]) -> Result<Vec<(f64, f64)>, StatsError> {
    let (sorted, _) = descending(values)?;
    let n = sorted.len() as f64;
    let mut points = vec![(0.0, 0.0)];
    let mut sum = 0.0;
    for (i, value) in sorted.iter().rev().enumerate() {
        sum += value;
        points.push(((i + 1) as f64 / n, sum));
    }
    // Divided by the total summed in this order, so that the curve ends at 1.
    for point in &mut points {
        point.1 /= sum;
    }
    Ok(points)
}

/// Share of the total held by the largest `fraction` of the values:
/// `1 - L(1 - fraction)` with L the Lorenz curve, so a fraction between two
/// units takes part of the next value.
///
/// # Errors
/// As [`gini`], or a fraction outside [0, 1].
pub fn top_share(values: &[f64], fraction: f64) -> Result<f64, StatsError> {
    super::closed_unit("fraction", fraction)?;
    let (sorted, total) = descending(values)?;
    let units = fraction * sorted.len() as f64;
    let whole = units.floor() as usize;
    let mut sum: f64 = sorted.iter().take(whole).sum();
    if let Some(next) = sorted.get(whole) {
        sum += (units - units.floor()) * next;
    }
    Ok(sum / total)
}

/// Values in descending order with their total.
fn descending(values: &[f64]) -> Result<(Vec<f64>, f64), StatsError> {
    finite("values", values, 1)?;
    if let Some(&value) = values.iter().find(|&&value| value < 0.0) {
        return Err(StatsError::OutOfRange {
            what: "a value",
            value,
            range: "[0, inf)",
        });
    }
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let total: f64 = sorted.iter().sum();
    if !total.is_finite() {
        return Err(StatsError::OutOfRange {
            what: "the sum of the values",
            value: total,
            range: "[0, 1.8e308)",
        });
    }
    if total > 0.0 {
        Ok((sorted, total))
    } else {
        Err(StatsError::ZeroTotal { what: "values" })
    }
}

/// Two-sided empirical-Bernstein interval of the mean of independent values in
/// `[lowest, highest]`: with probability at least `level`
/// `|mean - μ| <= sqrt(2 V L / n) + 7 (highest - lowest) L / (3 (n - 1))`,
/// `L = ln(4 / (1 - level))`, V the variance with divisor n - 1.
///
/// Maurer and Pontil 2009 (arXiv 0907.3740), theorem 4, for both sides by a
/// union bound. Holds for every n, without a normal approximation. Units must be
/// independent: one value per problem. The mean cannot lie outside the range,
/// so the interval is intersected with it.
///
/// # Errors
/// Fewer than two values, one outside the range, an empty range, or a level
/// outside (0, 1).
pub fn empirical_bernstein(
    values: &[f64],
    range: (f64, f64),
    level: f64,
) -> Result<Interval, StatsError> {
    let width = check_range(values, range, 2)?;
    let log = (4.0 / (1.0 - open_unit("level", level)?)).ln();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = (2.0 * variance * log / n).sqrt() + 7.0 * width * log / (3.0 * (n - 1.0));
    Ok(Interval {
        low: range.0.max(mean - half),
        high: range.1.min(mean + half),
        level,
    })
}

/// Predictable plug-in empirical-Bernstein interval of the mean of independent
/// values in `[lowest, highest]`; as [`empirical_bernstein`] but narrower.
///
/// For x scaled to [0, 1], α = 1 - level:
/// `Σ λ_i x_i / Σ λ_i ± (ln(2/α) + Σ 4 (x_i - μ_{i-1})² ψ(λ_i)) / Σ λ_i`,
/// `ψ(λ) = (-ln(1-λ) - λ)/4`, `λ_i = min(1/2, sqrt(2 ln(2/α) / (n σ²_{i-1})))`,
/// with running `μ_i = (1/2 + Σ x)/(i+1)`, `σ²_i = (1/4 + Σ (x_j - μ_j)²)/(i+1)`
/// (Waudby-Smith and Ramdas 2020, arXiv 2010.09686, theorem 2). The value
/// depends on the order of the input, which must not depend on the values.
///
/// # Errors
/// No value, one outside the range, an empty range, or a level outside (0, 1).
pub fn predictable_bernstein(
    values: &[f64],
    range: (f64, f64),
    level: f64,
) -> Result<Interval, StatsError> {
    let width = check_range(values, range, 1)?;
    let log = (2.0 / (1.0 - open_unit("level", level)?)).ln();
    let n = values.len() as f64;
    let (mut mean, mut variance) = (0.5, 0.25);
    let (mut total, mut squares) = (0.5, 0.25);
    let (mut bets, mut weighted, mut penalty) = (0.0, 0.0, 0.0);
    for (i, value) in values.iter().enumerate() {
        let x = (value - range.0) / width;
        let bet = (2.0 * log / (n * variance)).sqrt().min(0.5);
        bets += bet;
        weighted += bet * x;
        penalty += (x - mean).powi(2) * (-(-bet).ln_1p() - bet);
        total += x;
        mean = total / (i + 2) as f64;
        squares += (x - mean).powi(2);
        variance = squares / (i + 2) as f64;
    }
    let (centre, half) = (weighted / bets, (log + penalty) / bets);
    Ok(Interval {
        low: range.0.max(range.0 + width * (centre - half)),
        high: range.1.min(range.0 + width * (centre + half)),
        level,
    })
}

/// As [`predictable_bernstein`], for a simple random sample without replacement
/// from `population` units, whose mean it is about.
///
/// Given what was seen, the mean of x_i is `(N μ - S_{i-1}) / (N - i + 1)`, so
/// the centre is `Σ λ_i (x_i + S_{i-1}/(N-i+1)) / Σ λ_i N/(N-i+1)` and the half
/// width has the same denominator (Waudby-Smith and Ramdas 2020, "Confidence
/// sequences for sampling without replacement", arXiv 2006.04347, theorem 3.2).
/// The values stand in the order of drawing.
///
/// # Errors
/// As [`predictable_bernstein`], or more values than units.
pub fn predictable_bernstein_finite(
    values: &[f64],
    range: (f64, f64),
    population: u64,
    level: f64,
) -> Result<Interval, StatsError> {
    let width = check_range(values, range, 1)?;
    if population < values.len() as u64 {
        return Err(StatsError::OutOfRange {
            what: "the number of units",
            value: population as f64,
            range: "[number of values, inf)",
        });
    }
    let log = (2.0 / (1.0 - open_unit("level", level)?)).ln();
    let (n, units) = (values.len() as f64, population as f64);
    let (mut mean, mut variance) = (0.5, 0.25);
    let (mut total, mut squares, mut seen) = (0.5, 0.25, 0.0);
    let (mut bets, mut weighted, mut penalty) = (0.0, 0.0, 0.0);
    for (i, value) in values.iter().enumerate() {
        let x = (value - range.0) / width;
        let left = units - i as f64;
        let bet = (2.0 * log / (n * variance)).sqrt().min(0.5);
        bets += bet * units / left;
        weighted += bet * (x + seen / left);
        penalty += (x - mean).powi(2) * (-(-bet).ln_1p() - bet);
        seen += x;
        total += x;
        mean = total / (i + 2) as f64;
        squares += (x - mean).powi(2);
        variance = squares / (i + 2) as f64;
    }
    let (centre, half) = (weighted / bets, (log + penalty) / bets);
    // What was seen bounds the mean too: the rest lies in the range.
    let (least, most) = (seen / units, (seen + units - n) / units);
    Ok(Interval {
        low: range.0 + width * (centre - half).max(least),
        high: range.0 + width * (centre + half).min(most),
        level,
    })
}

/// Width of the range if it is not empty and holds every value.
pub(super) fn check_range(
    values: &[f64],
    range: (f64, f64),
    needed: usize,
) -> Result<f64, StatsError> {
    finite("values", values, needed)?;
    finite("range", &[range.0, range.1], 2)?;
    if range.0 >= range.1 {
        return Err(StatsError::OutOfRange {
            what: "the upper end of the range",
            value: range.1,
            range: "(lower end, inf)",
        });
    }
    match values.iter().find(|&&x| x < range.0 || x > range.1) {
        Some(&value) => Err(StatsError::OutOfRange {
            what: "a value",
            value,
            range: "the range given",
        }),
        None => Ok(range.1 - range.0),
    }
}
