//! Tests for paired arms: did the same problems do better under one of them?

use super::proportion::{incomplete_beta, within_reach};
use super::{StatsError, finite};
use crate::rng::Key;

/// Differences that are not zero up to which all sign patterns are enumerated.
const EXACT_LIMIT: usize = 30;

/// Relative rounding allowed when a permuted sum is compared with the observed
/// one; sums that are equal on paper differ by less, distinct ones by more.
const TIE_TOLERANCE: f64 = 1e-12;

/// Which deviation from zero counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alternative {
    /// Either sign: patterns with |sum| at least the observed |sum|.
    TwoSided,
    /// The mean difference is positive.
    Greater,
    /// The mean difference is negative.
    Less,
}

/// How a sign-flip test is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignFlipSettings {
    /// Seed of the Monte Carlo draws.
    pub seed: u64,
    /// Number of Monte Carlo draws, where patterns are not enumerated.
    pub draws: u32,
    /// Which deviation counts.
    pub alternative: Alternative,
}

impl Default for SignFlipSettings {
    fn default() -> Self {
        Self {
            seed: 42,
            draws: 10_000,
            alternative: Alternative::TwoSided,
        }
    }
}

/// Result of a sign-flip test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignFlip {
    /// Mean difference over all clusters, zeros included.
    pub mean: f64,
    /// p-value.
    pub p_value: f64,
    /// Monte Carlo draws; `None` if all patterns were enumerated.
    pub draws: Option<u32>,
}

/// Paired sign-flip (randomisation) test of one difference per cluster: under
/// the null hypothesis that the arms are exchangeable within a cluster, every
/// pattern of signs is equally likely.
///
/// `p = #{patterns whose sum is at least as extreme} / 2^m` over the m
/// differences that are not zero, enumerated for m <= 30 (sums of the two halves
/// are sorted and matched). Beyond, `p = (1 + #extreme) / (1 + draws)`, which
/// stays valid at any number of draws (Phipson and Smyth 2010). The observed
/// pattern and ties count as extreme. Fisher 1935.
///
/// # Errors
/// No difference, or one that is not finite; no draws where they are needed.
pub fn sign_flip_test(
    differences: &[f64],
    settings: &SignFlipSettings,
) -> Result<SignFlip, StatsError> {
    finite("differences", differences, 1)?;
    let sign = match settings.alternative {
        Alternative::Less => -1.0,
        _ => 1.0,
    };
    let flips: Vec<f64> = differences
        .iter()
        .filter(|&&d| d != 0.0)
        .map(|d| sign * d)
        .collect();
    let observed: f64 = flips.iter().sum();
    let slack = TIE_TOLERANCE * flips.iter().map(|d| d.abs()).sum::<f64>();
    let two_sided = settings.alternative == Alternative::TwoSided;
    let bar = if two_sided { observed.abs() } else { observed } - slack;
    let extreme = |sum: f64| sum >= bar || (two_sided && -sum >= bar);
    let (p_value, draws) = if flips.len() <= EXACT_LIMIT {
        (exact_p(&flips, bar, two_sided), None)
    } else if settings.draws == 0 {
        return Err(StatsError::TooFew {
            what: "draws",
            needed: 1,
        });
    } else {
        let hits = monte_carlo(&flips, settings, extreme);
        let p = (hits as f64 + 1.0) / (f64::from(settings.draws) + 1.0);
        (p, Some(settings.draws))
    };
    Ok(SignFlip {
        mean: differences.iter().sum::<f64>() / differences.len() as f64,
        p_value,
        draws,
    })
}

/// Share of all sign patterns whose sum reaches the bar (on either side).
fn exact_p(flips: &[f64], bar: f64, two_sided: bool) -> f64 {
    let (left, right) = flips.split_at(flips.len() / 2);
    let (left, right) = (signed_sums(left), signed_sums(right));
    let patterns = (left.len() * right.len()) as f64;
    let mut reaching = 0u64;
    let mut first = right.len();
    // As the left sum grows, the least right sum that reaches the bar falls.
    for sum in &left {
        while first > 0 && sum + right[first - 1] >= bar {
            first -= 1;
        }
        reaching += (right.len() - first) as u64;
    }
    // The patterns are symmetric about zero; both tails overlap only where the
    // bar is not above zero, and then every pattern is extreme.
    match (two_sided, bar > 0.0) {
        (true, true) => 2.0 * reaching as f64 / patterns,
        (true, false) => 1.0,
        (false, _) => reaching as f64 / patterns,
    }
}

/// The sums of all sign patterns, ascending.
fn signed_sums(values: &[f64]) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in values {
        sums = sums
            .iter()
            .flat_map(|sum| [sum - value, sum + value])
            .collect();
    }
    sums.sort_unstable_by(f64::total_cmp);
    sums
}

/// Number of drawn sign patterns that are extreme. Draw i takes its bits from
/// stream i of the key.
fn monte_carlo(flips: &[f64], settings: &SignFlipSettings, extreme: impl Fn(f64) -> bool) -> usize {
    let key = Key::new(settings.seed, "", 0, "sign-flip");
    (0..settings.draws)
        .filter(|&draw| {
            let mut draws = key.rng_at(u64::from(draw));
            let mut sum = 0.0;
            for chunk in flips.chunks(64) {
                let bits = draws.next_u64();
                for (i, value) in chunk.iter().enumerate() {
                    sum += if bits >> i & 1 == 1 { *value } else { -value };
                }
            }
            extreme(sum)
        })
        .count()
}

/// Exact two-sided McNemar test: `p = min(1, 2 P(X <= min(b, c)))`,
/// X ~ Binomial(b + c, 1/2), with b pairs that went from wrong to right and c
/// from right to wrong. 1 without discordant pairs.
///
/// For one sample per problem only: several samples of a problem are not
/// independent pairs, use [`sign_flip_test`] over problems there. McNemar 1947.
///
/// # Errors
/// More than 10^9 discordant pairs.
pub fn mcnemar_exact(wrong_to_right: u64, right_to_wrong: u64) -> Result<f64, StatsError> {
    let pairs = wrong_to_right.saturating_add(right_to_wrong);
    within_reach(pairs)?;
    if wrong_to_right == right_to_wrong {
        return Ok(1.0);
    }
    let least = wrong_to_right.min(right_to_wrong);
    // P(X <= k) = I_{1/2}(n - k, k + 1).
    let tail = incomplete_beta((pairs - least) as f64, least as f64 + 1.0, 0.5);
    Ok((2.0 * tail).min(1.0))
}
