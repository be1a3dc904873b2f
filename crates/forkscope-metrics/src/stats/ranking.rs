//! How well a score ranks positives above negatives.

use super::{StatsError, finite};

/// Area under the ROC curve: the probability that a random positive scores
/// higher than a random negative, a tie counting half.
///
/// `AUROC = (R₊ - n₊(n₊+1)/2) / (n₊ n₋)` with R₊ the sum of the positives'
/// midranks (ties share the mean of their ranks): the Mann-Whitney U statistic
/// over its maximum (Hanley and McNeil 1982). 0.5 is chance, whatever the
/// prevalence.
///
/// # Errors
/// Different lengths, a score that is not finite, or one class only.
pub fn auroc(scores: &[f64], positive: &[bool]) -> Result<f64, StatsError> {
    let (groups, positives, negatives) = tie_groups(scores, positive)?;
    if positives == 0 || negatives == 0 {
        return Err(StatsError::OneClass {
            positives,
            negatives,
            needed: "the AUROC needs one of each",
        });
    }
    // Twice U stays a whole number: exact below 2^53.
    let (mut seen_negatives, mut twice_u) = (0usize, 0.0);
    for group in &groups {
        let below = negatives - seen_negatives - group.negatives;
        twice_u += group.positives as f64 * (2 * below + group.negatives) as f64;
        seen_negatives += group.negatives;
    }
    Ok(twice_u / (2.0 * positives as f64 * negatives as f64))
}

/// Average precision: `AP = Σ_k (R_k - R_{k-1}) P_k` over the distinct scores in
/// descending order, with recall R and precision P of "score at least this".
///
/// Equal scores enter together, so the value does not depend on the order of
/// the input (scikit-learn's definition; no interpolation). The baseline of a
/// random score is the prevalence.
///
/// # Errors
/// Different lengths, a score that is not finite, or no positive.
pub fn average_precision(scores: &[f64], positive: &[bool]) -> Result<f64, StatsError> {
    let (groups, positives, negatives) = tie_groups(scores, positive)?;
    if positives == 0 {
        return Err(StatsError::OneClass {
            positives,
            negatives,
            needed: "average precision needs a positive",
        });
    }
    let (mut hits, mut taken, mut sum) = (0usize, 0usize, 0.0);
    for group in &groups {
        hits += group.positives;
        taken += group.positives + group.negatives;
        sum += group.positives as f64 * (hits as f64 / taken as f64);
    }
    Ok(sum / positives as f64)
}

/// Units of one score.
struct TieGroup {
    positives: usize,
    negatives: usize,
}

/// Groups of equal scores, highest first, with the totals of both classes.
fn tie_groups(
    scores: &[f64],
    positive: &[bool],
) -> Result<(Vec<TieGroup>, usize, usize), StatsError> {
    if scores.len() != positive.len() {
        return Err(StatsError::Length {
            what: "labels",
            found: positive.len(),
            expected: scores.len(),
        });
    }
    finite("scores", scores, 1)?;
    let mut order: Vec<(f64, bool)> = scores
        .iter()
        .copied()
        .zip(positive.iter().copied())
        .collect();
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let groups: Vec<TieGroup> = order
        .chunk_by(|a, b| a.0 == b.0)
        .map(|tied| {
            let positives = tied.iter().filter(|unit| unit.1).count();
            TieGroup {
                positives,
                negatives: tied.len() - positives,
            }
        })
        .collect();
    let positives = groups.iter().map(|group| group.positives).sum();
    let negatives = groups.iter().map(|group| group.negatives).sum();
    Ok((groups, positives, negatives))
}
