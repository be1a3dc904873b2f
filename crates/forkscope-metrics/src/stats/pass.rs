//! Accuracy of several samples per problem: pass@k, maj@k, avg@k.
//!
//! A problem has n samples, c of them correct. Per problem, as shares in [0, 1],
//! higher is better:
//!
//! - `pass@k` = 1 - C(n-c, k) / C(n, k): the chance that k samples drawn without
//!   replacement from the n hold a correct one. Unbiased for the chance that k
//!   fresh samples do (Chen et al., arXiv 2107.03374, section 2.1), which
//!   1 - (1 - c/n)^k is not. Computed as 1 - prod_{i = n-c+1..n} (1 - k/i).
//! - `maj@k` = 1 if the answer that most of the first k samples give is correct
//!   (self-consistency, arXiv 2203.11171). A tie goes to the answer whose
//!   earliest sample is earlier; samples without an answer do not vote, and
//!   without a vote the problem counts 0. It looks at one subset, the first k
//!   samples, because the expectation over all subsets is costly.
//! - `avg@k` = share of the first k samples that are correct. avg@n = pass@1.
//!
//! Over problems the mean is taken, and its interval is the percentile
//! [`cluster_bootstrap`] over problems: the problem is the unit of inference,
//! samples of one problem are not independent.

use std::collections::HashMap;

use super::{Bootstrap, BootstrapSettings, StatsError, cluster_bootstrap, finite};

/// Unbiased pass@k of a problem with `correct` of `samples` correct.
///
/// # Errors
/// k outside 1..=samples, or more correct than samples.
pub fn pass_at_k(samples: u64, correct: u64, k: u64) -> Result<f64, StatsError> {
    if k == 0 || k > samples {
        return Err(StatsError::OutOfRange {
            what: "k",
            value: k as f64,
            range: "[1, number of samples]",
        });
    }
    if correct > samples {
        return Err(StatsError::OutOfRange {
            what: "number of correct samples",
            value: correct as f64,
            range: "[0, number of samples]",
        });
    }
    let wrong = samples - correct;
    if wrong < k {
        return Ok(1.0);
    }
    // Two ways to write C(n-c, k) / C(n, k), of c or of k factors: the shorter.
    let missed: f64 = if correct <= k {
        (wrong + 1..=samples)
            .map(|i| 1.0 - k as f64 / i as f64)
            .product()
    } else {
        (samples - k + 1..=samples)
            .map(|i| 1.0 - correct as f64 / i as f64)
            .product()
    };
    Ok(1.0 - missed)
}

/// Sample whose answer wins the vote: the earliest that gave the most frequent
/// answer; ties go to the answer that came earliest. A vote is any number that
/// equal answers share; `None` does not vote. `None` if nobody votes.
pub fn majority(votes: &[Option<usize>]) -> Option<usize> {
    let mut counted: HashMap<usize, (usize, usize)> = HashMap::new();
    for (sample, vote) in votes.iter().enumerate() {
        if let Some(vote) = vote {
            counted.entry(*vote).or_insert((0, sample)).0 += 1;
        }
    }
    let best = counted
        .into_values()
        .max_by_key(|(count, first)| (*count, usize::MAX - first));
    best.map(|(_, first)| first)
}

/// Mean of one value per problem, with its bootstrap interval over problems.
///
/// # Errors
/// No value, a value that is not finite. The interval is an error of its own:
/// with one problem there is a mean and no interval.
pub fn mean_over_problems(
    values: &[f64],
    settings: &BootstrapSettings,
) -> Result<(f64, Result<Bootstrap, StatsError>), StatsError> {
    finite("values per problem", values, 1)?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let interval = cluster_bootstrap(values.len(), settings, |counts| {
        let drawn = counts.iter().map(|c| f64::from(*c)).sum::<f64>();
        let total = counts.iter().zip(values).map(|(c, v)| f64::from(*c) * v);
        (drawn > 0.0).then(|| total.sum::<f64>() / drawn)
    });
    Ok((mean, interval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Share of all k-subsets of n samples that hold one of the first c.
    fn counted(n: u32, c: u32, k: u32) -> f64 {
        let subsets = (0u32..1 << n).filter(|s| s.count_ones() == k);
        let (mut all, mut hits) = (0.0, 0.0);
        for subset in subsets {
            all += 1.0;
            hits += f64::from(u8::from(subset & ((1 << c) - 1) != 0));
        }
        hits / all
    }

    #[test]
    fn pass_at_k_is_the_share_of_subsets_with_a_correct_sample() {
        for n in 1..=9 {
            for c in 0..=n {
                for k in 1..=n {
                    let found = pass_at_k(n.into(), c.into(), k.into()).unwrap();
                    assert!(
                        (found - counted(n, c, k)).abs() < 1e-12,
                        "{n} {c} {k}: {found}"
                    );
                }
            }
        }
    }

    #[test]
    fn golden_values_and_huge_counts() {
        // 1 - C(190, 100) / C(200, 100) in exact rationals.
        let found = pass_at_k(200, 10, 100).unwrap();
        assert!((found - 0.999_228_973_937_282_2).abs() < 1e-14, "{found}");
        assert_eq!(pass_at_k(100_000, 0, 100_000).unwrap(), 0.0);
        assert_eq!(pass_at_k(100_000, 1, 100_000).unwrap(), 1.0);
        assert!((pass_at_k(100_000, 1, 1).unwrap() - 1e-5).abs() < 1e-15);
        assert!(pass_at_k(4, 1, 0).is_err());
        assert!(pass_at_k(4, 1, 5).is_err());
        assert!(pass_at_k(4, 5, 1).is_err());
    }

    #[test]
    fn votes() {
        assert_eq!(majority(&[]), None);
        assert_eq!(majority(&[None, None]), None);
        assert_eq!(majority(&[None, Some(7), Some(3), Some(3)]), Some(2));
        // A tie: the answer that came first.
        assert_eq!(majority(&[Some(9), Some(1), Some(1), Some(9)]), Some(0));
        assert_eq!(majority(&[None, Some(2), Some(1), None]), Some(1));
    }

    #[test]
    fn one_problem_has_a_mean_and_no_interval() {
        let settings = BootstrapSettings::default();
        let (mean, interval) = mean_over_problems(&[0.25], &settings).unwrap();
        assert_eq!(mean, 0.25);
        assert!(interval.is_err());
        assert!(mean_over_problems(&[], &settings).is_err());
        assert!(mean_over_problems(&[f64::NAN], &settings).is_err());
        let (_, interval) = mean_over_problems(&[0.0, 1.0, 1.0, 0.0], &settings).unwrap();
        let found = interval.unwrap().interval;
        assert!(found.low < 0.5 && found.high > 0.5, "{found:?}");
    }

    proptest! {
        #[test]
        fn pass_rises_with_k_and_starts_at_the_mean(n in 1u64..400, c in 0u64..400, k in 1u64..400) {
            let (c, k) = (c.min(n), k.min(n));
            let at = |k| pass_at_k(n, c, k).unwrap();
            prop_assert!((at(1) - c as f64 / n as f64).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&at(k)));
            if k < n {
                prop_assert!(at(k) <= at(k + 1) + 1e-12);
            }
        }

        #[test]
        fn the_winner_has_most_votes(votes in prop::collection::vec(prop::option::of(0usize..4), 0..30)) {
            let count = |class| votes.iter().filter(|v| **v == Some(class)).count();
            match majority(&votes) {
                None => prop_assert!(votes.iter().all(Option::is_none)),
                Some(first) => {
                    let class = votes[first].unwrap();
                    prop_assert_eq!(votes.iter().position(|v| *v == Some(class)), Some(first));
                    for other in 0..4 {
                        prop_assert!(count(other) <= count(class));
                        if count(other) == count(class) && other != class {
                            prop_assert!(votes.iter().position(|v| *v == Some(other)).unwrap() > first);
                        }
                    }
                }
            }
        }
    }
}
