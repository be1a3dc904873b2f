//! Statistics over numbers that others made: rankings, concentration,
//! quantiles, intervals and tests.
//!
//! Rules that hold for every function here: an empty or degenerate input is an
//! error ([`StatsError`]), never NaN; a NaN or infinite input is an error that
//! names its index; nothing is clamped or dropped; results do not depend on the
//! number of threads. The unit of inference is the cluster (the problem), so
//! intervals of anything measured on tokens come from [`cluster_bootstrap`] or
//! [`Resampler`], and the binomial intervals are for one trial per cluster.
//!
//! | question | function |
//! |---|---|
//! | does a score rank positives above negatives? | [`auroc`], [`average_precision`] |
//! | in how few units does a total sit? | [`gini`], [`lorenz_curve`], [`top_share`] |
//! | a quantile | [`quantile`], [`weighted_quantile`] |
//! | an interval over clusters | [`cluster_bootstrap`], [`Resampler`] |
//! | an interval of a proportion | [`clopper_pearson`], [`wilson`] |
//! | how many of a finite population, from a sample? | [`hypergeometric_upper`], [`hypergeometric_lower`] |
//! | an interval of a bounded mean | [`empirical_bernstein`], [`predictable_bernstein`], [`betting_interval`] |
//! | the same for a sample without replacement | [`predictable_bernstein_finite`], [`betting_interval`] |
//! | do paired arms differ? | [`sign_flip_test`], [`mcnemar_exact`] |
//! | accuracy of several samples per problem | [`pass_at_k`], [`majority`], [`mean_over_problems`] |
//! | which of many? | [`benjamini_hochberg`] |

mod betting;
mod bootstrap;
mod concentration;
mod fdr;
mod hypergeometric;
mod labelled;
mod paired;
mod pass;
mod proportion;
mod quantile;
mod ranking;
mod resample;
mod simd;
mod weighted;

pub use betting::{betting_interval, betting_lower, betting_upper};
pub use bootstrap::{Bootstrap, BootstrapSettings, cluster_bootstrap, percentile_interval};
pub use concentration::{
    empirical_bernstein, gini, lorenz_curve, predictable_bernstein, predictable_bernstein_finite,
    top_share,
};
pub use fdr::{Discoveries, benjamini_hochberg};
pub use hypergeometric::{hypergeometric_cdf, hypergeometric_lower, hypergeometric_upper};
pub use labelled::RankedLabels;
pub use paired::{Alternative, SignFlip, SignFlipSettings, mcnemar_exact, sign_flip_test};
pub use pass::{majority, mean_over_problems, pass_at_k};
pub use proportion::{clopper_pearson, wilson};
pub use quantile::{quantile, quantile_of_sorted, weighted_quantile};
pub use ranking::{auroc, average_precision};
pub use resample::{LANES, Lanes, Replicated, Resampler};
pub use weighted::Descending;

/// An interval with its confidence level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Confidence level, e.g. 0.95.
    pub level: f64,
}

/// Why a statistic is undefined.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// Nothing was given.
    #[error("{what} are empty; at least {needed} needed")]
    TooFew {
        /// What was given.
        what: &'static str,
        /// How many are needed.
        needed: usize,
    },
    /// Two inputs that belong together differ in length.
    #[error("{what} have {found} entries where {expected} are expected")]
    Length {
        /// What was given.
        what: &'static str,
        /// Entries given.
        found: usize,
        /// Entries needed.
        expected: usize,
    },
    /// NaN or an infinity.
    #[error("{what}[{index}] is {value}; give finite numbers")]
    NotFinite {
        /// What was given.
        what: &'static str,
        /// Where.
        index: usize,
        /// The number.
        value: f64,
    },
    /// A number outside the range where the statistic is defined.
    #[error("{what} is {value}; it must lie in {range}")]
    OutOfRange {
        /// What was given.
        what: &'static str,
        /// The number.
        value: f64,
        /// Where it must lie.
        range: &'static str,
    },
    /// Positives or negatives are missing.
    #[error("labels hold {positives} positives and {negatives} negatives; {needed}")]
    OneClass {
        /// Positives given.
        positives: usize,
        /// Negatives given.
        negatives: usize,
        /// What is needed.
        needed: &'static str,
    },
    /// The total is zero, so that shares of it are undefined.
    #[error("{what} sum to zero, so shares of their total are undefined")]
    ZeroTotal {
        /// What was given.
        what: &'static str,
    },
    /// Too few bootstrap replicates are defined for an interval.
    #[error("the statistic is undefined in {undefined} of {replicates} bootstrap replicates")]
    Undefined {
        /// Replicates in which the statistic is undefined.
        undefined: usize,
        /// Replicates drawn.
        replicates: usize,
    },
}

/// The values if all are finite and there are at least `needed` of them.
fn finite(what: &'static str, values: &[f64], needed: usize) -> Result<(), StatsError> {
    if values.len() < needed {
        return Err(StatsError::TooFew { what, needed });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(StatsError::NotFinite {
            what,
            index,
            value: values[index],
        }),
        None => Ok(()),
    }
}

/// `value` if it lies strictly between 0 and 1.
fn open_unit(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if value > 0.0 && value < 1.0 {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange {
            what,
            value,
            range: "(0, 1)",
        })
    }
}

/// `value` if it lies in [0, 1].
fn closed_unit(what: &'static str, value: f64) -> Result<f64, StatsError> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(StatsError::OutOfRange {
            what,
            value,
            range: "[0, 1]",
        })
    }
}

#[cfg(test)]
mod tests;
