//! Prices as distributions: restricted means, survival, differences.
//!
//! With prices c_i of the subjects, infinite where not reached within the cap L:
//! the restricted mean is (1/n) Σ min(c_i, L), the share turned by k is
//! (1/n) #{c_i <= k}, survival is its complement. Censoring is at L only and for
//! everybody, so nothing has to be estimated. Intervals are percentile cluster
//! bootstraps over problems; a difference to a control is taken within subjects
//! and tested by flipping signs of whole problems.

use std::collections::BTreeMap;

use forkscope_metrics::stats::{
    BootstrapSettings, Interval, SignFlipSettings, cluster_bootstrap, quantile, sign_flip_test,
};

use crate::AuditError;

/// Prices of subjects that come in problems.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prices {
    /// Problem of each subject.
    clusters: Vec<usize>,
    /// Price of each subject; `None` where it was not reached.
    prices: Vec<Option<f64>>,
}

/// A number with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimated {
    /// The number; `None` where it is undefined.
    pub value: Option<f64>,
    /// Its interval; `None` with fewer than two problems.
    pub interval: Option<Interval>,
    /// Subjects in the denominator.
    pub n: usize,
    /// Problems they come from.
    pub n_clusters: usize,
}

/// Shares turned by each of some levels.
pub type Curve = Vec<(f64, Estimated)>;

impl Prices {
    /// Prices with the problem that each belongs to.
    pub fn new<'a>(of: impl IntoIterator<Item = (&'a str, Option<f64>)>) -> Self {
        let mut known: BTreeMap<&str, usize> = BTreeMap::new();
        let mut out = Self::default();
        for (problem, price) in of {
            let next = known.len();
            out.clusters.push(*known.entry(problem).or_insert(next));
            out.prices.push(price);
        }
        out
    }

    /// Number of subjects.
    pub fn len(&self) -> usize {
        self.prices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty()
    }

    /// Prices, in the order given.
    pub fn values(&self) -> &[Option<f64>] {
        &self.prices
    }

    /// (1/n) Σ min(price, cap).
    pub fn restricted_mean(&self, cap: f64, draws: &BootstrapSettings) -> Estimated {
        let capped = |price: &Option<f64>| price.map_or(cap, |p| p.min(cap));
        self.mean(draws, capped)
    }

    /// Share of subjects with a price of at most `level`.
    pub fn turned_by(&self, level: f64, draws: &BootstrapSettings) -> Estimated {
        let turned = |price: &Option<f64>| f64::from(u8::from(price.is_some_and(|p| p <= level)));
        self.mean(draws, turned)
    }

    /// Shares turned by each level.
    pub fn curve(&self, levels: &[f64], draws: &BootstrapSettings) -> Curve {
        let of = levels.iter();
        of.map(|level| (*level, self.turned_by(*level, draws)))
            .collect()
    }

    /// A quantile of the prices (type 7); undefined where it is not reached.
    pub fn quantile(&self, at: f64) -> Option<f64> {
        // A number above all prices stands for those that were not reached.
        let most = self.prices.iter().flatten().fold(0.0f64, |a, b| a.max(*b));
        let beyond = most + 1.0;
        let values: Vec<f64> = self.prices.iter().map(|p| p.unwrap_or(beyond)).collect();
        let found = quantile(&values, at).ok()?;
        (found <= most).then_some(found)
    }

    fn mean(&self, draws: &BootstrapSettings, value: impl Fn(&Option<f64>) -> f64) -> Estimated {
        let of = self.clusters.iter().zip(&self.prices);
        mean(of.map(|(cluster, price)| (*cluster, value(price))), draws)
    }
}

/// Mean over units that come in clusters.
pub(super) fn mean(
    units: impl Iterator<Item = (usize, f64)>,
    draws: &BootstrapSettings,
) -> Estimated {
    let mut sums: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (cluster, value) in units {
        let sum = sums.entry(cluster).or_default();
        sum.0 += value;
        sum.1 += 1.0;
    }
    let sums: Vec<(f64, f64)> = sums.into_values().collect();
    let ratio = |weights: &dyn Fn(usize) -> f64| {
        let add = |(a, b): (f64, f64), (i, s): (usize, &(f64, f64))| {
            let w = weights(i);
            (a + w * s.0, b + w * s.1)
        };
        let (value, n) = sums.iter().enumerate().fold((0.0, 0.0), add);
        (n > 0.0).then(|| value / n)
    };
    let drawn = (sums.len() >= 2 && draws.replicates > 0).then(|| {
        let weighted = |counts: &[u32]| ratio(&|i| counts.get(i).map_or(0.0, |c| f64::from(*c)));
        cluster_bootstrap(sums.len(), draws, weighted)
    });
    Estimated {
        value: ratio(&|_| 1.0),
        interval: drawn.and_then(Result::ok).map(|b| b.interval),
        n: sums.iter().map(|s| s.1 as usize).sum(),
        n_clusters: sums.len(),
    }
}

/// Mean difference of two lists of restricted prices of the same subjects,
/// `other - own`, with the p-value of the sign-flip test over problems.
pub(super) fn difference(
    own: &Prices,
    other: &Prices,
    cap: f64,
    draws: &BootstrapSettings,
) -> Result<(Estimated, Option<f64>), AuditError> {
    let capped = |p: &Option<f64>| p.map_or(cap, |p| p.min(cap));
    let pairs = own.prices.iter().zip(&other.prices);
    let units: Vec<(usize, f64)> = own
        .clusters
        .iter()
        .zip(pairs)
        .map(|(cluster, (a, b))| (*cluster, capped(b) - capped(a)))
        .collect();
    let estimated = mean(units.iter().copied(), draws);
    let mut per_problem: BTreeMap<usize, f64> = BTreeMap::new();
    for (cluster, value) in units {
        *per_problem.entry(cluster).or_default() += value;
    }
    let differences: Vec<f64> = per_problem.into_values().collect();
    if differences.is_empty() {
        return Ok((estimated, None));
    }
    let test = SignFlipSettings {
        seed: draws.seed,
        ..SignFlipSettings::default()
    };
    let tested = sign_flip_test(&differences, &test)?;
    Ok((estimated, Some(tested.p_value)))
}
