//! Cluster bootstrap: intervals of any statistic when units come in clusters.
//!
//! Tokens of one problem are not independent, problems are. So each replicate
//! draws as many clusters as there are, with replacement, and takes *all* units
//! of a cluster as often as it was drawn (Davison and Hinkley 1997, section
//! 3.8; Field and Welsh 2007). The interval is the percentile interval: type 7
//! quantiles of the replicates at (1 - level)/2 and (1 + level)/2.
//!
//! Replicate r draws from stream r of the key (seed, purpose
//! `cluster-bootstrap`), so the replicates do not depend on threads, and the
//! first 100 of 1000 are those of a run with 100. With few clusters (below about
//! twenty) percentile intervals are somewhat too narrow; with one there is none.

use rayon::prelude::*;

use super::{Interval, StatsError, open_unit, quantile_of_sorted};
use crate::rng::Key;

/// How a bootstrap is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapSettings {
    /// Seed of the draws.
    pub seed: u64,
    /// Number of replicates.
    pub replicates: u32,
    /// Confidence level of the interval.
    pub level: f64,
}

impl Default for BootstrapSettings {
    fn default() -> Self {
        Self {
            seed: 42,
            replicates: 1000,
            level: 0.95,
        }
    }
}

/// Result of a bootstrap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Percentile interval over the replicates in which the statistic is defined.
    pub interval: Interval,
    /// Replicates drawn.
    pub replicates: usize,
    /// Replicates in which the statistic is undefined (no unit in a
    /// denominator, for instance); at most a tenth.
    pub undefined: usize,
}

/// Percentile interval of `statistic` over clusters drawn with replacement.
///
/// `statistic` gets the multiplicity of each cluster and returns the statistic
/// of that resample, or `None` where it is undefined. Where speed matters and
/// the statistic is a sum, a ranking or a quantile, use
/// [`Resampler`](super::Resampler): the same replicates, eight at a time.
///
/// # Errors
/// Fewer than two clusters, no replicate, a level outside (0, 1), or more than a
/// tenth of the replicates undefined.
pub fn cluster_bootstrap<F>(
    n_clusters: usize,
    settings: &BootstrapSettings,
    statistic: F,
) -> Result<Bootstrap, StatsError>
where
    F: Fn(&[u32]) -> Option<f64> + Sync,
{
    if n_clusters < 2 {
        return Err(StatsError::TooFew {
            what: "clusters",
            needed: 2,
        });
    }
    let key = bootstrap_key(settings.seed);
    let values: Vec<Option<f64>> = (0..settings.replicates)
        .into_par_iter()
        .map(|replicate| {
            let mut counts = vec![0; n_clusters];
            draw_clusters(&key, replicate, n_clusters, |cluster| counts[cluster] += 1);
            statistic(&counts)
        })
        .collect();
    percentile_interval(&values, settings.level)
}

/// Percentile interval of replicates, of which `None` ones are undefined.
/// A NaN or infinite replicate counts as undefined.
///
/// # Errors
/// No replicate, a level outside (0, 1), or more than a tenth undefined.
pub fn percentile_interval(
    replicates: &[Option<f64>],
    level: f64,
) -> Result<Bootstrap, StatsError> {
    let tail = (1.0 - open_unit("level", level)?) / 2.0;
    if replicates.is_empty() {
        return Err(StatsError::TooFew {
            what: "replicates",
            needed: 1,
        });
    }
    let mut defined: Vec<f64> = replicates
        .iter()
        .flatten()
        .copied()
        .filter(|value| value.is_finite())
        .collect();
    let undefined = replicates.len() - defined.len();
    if undefined * 10 > replicates.len() {
        return Err(StatsError::Undefined {
            undefined,
            replicates: replicates.len(),
        });
    }
    defined.sort_unstable_by(f64::total_cmp);
    Ok(Bootstrap {
        interval: Interval {
            low: quantile_of_sorted(&defined, tail)?,
            high: quantile_of_sorted(&defined, 1.0 - tail)?,
            level,
        },
        replicates: replicates.len(),
        undefined,
    })
}

/// The key of all cluster draws under a seed.
pub(super) fn bootstrap_key(seed: u64) -> Key {
    Key::new(seed, "", 0, "cluster-bootstrap")
}

/// Calls `take` with each of the clusters drawn for one replicate.
pub(super) fn draw_clusters(
    key: &Key,
    replicate: u32,
    n_clusters: usize,
    mut take: impl FnMut(usize),
) {
    let mut draws = key.rng_at(u64::from(replicate));
    for _ in 0..n_clusters {
        take(draws.below(n_clusters as u64) as usize);
    }
}
