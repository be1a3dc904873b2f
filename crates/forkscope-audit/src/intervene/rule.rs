//! A guide as it decides, one position after the other.

use std::collections::VecDeque;

use forkscope_metrics::rng::Key;

use super::experiment::Trace;
use super::guide::Signal;

/// A guide with its threshold, for one rollout.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    /// The generator alone.
    Never,
    /// Every position.
    Always,
    /// Signal > tau, strictly; no more than `left` of them.
    Above {
        signal: Signal,
        tau: f64,
        left: Option<u32>,
    },
    /// x > tau and x > lambda x mean of the `window` values before.
    Dual {
        signal: Signal,
        tau: f64,
        lambda: f64,
        window: usize,
        before: VecDeque<f64>,
    },
    /// The first so many positions.
    First(usize),
    /// Another argmax.
    Changed,
    /// Each position with this probability; no more than `left` of them.
    Chance {
        p: f64,
        left: Option<u32>,
        key: Box<Key>,
    },
}

impl Rule {
    /// Whether the guide chooses this position, `offset` into the completion.
    pub(crate) fn chooses(&mut self, at: &Trace, generator: usize, offset: usize) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Above { signal, tau, left } => at.signal(*signal, generator) > *tau && take(left),
            Self::Dual {
                signal,
                tau,
                lambda,
                window,
                before,
            } => {
                let x = at.signal(*signal, generator);
                // Summed afresh, so that no rounding is carried along.
                let mean = before.iter().sum::<f64>() / before.len() as f64;
                let chosen = x > *tau && (before.is_empty() || x > *lambda * mean);
                if before.len() >= *window {
                    before.pop_front();
                }
                before.push_back(x);
                chosen
            }
            Self::First(k) => offset < *k,
            Self::Changed => at.changed,
            Self::Chance { p, left, key } => key.uniform(offset as u64) < *p && take(left),
        }
    }
}

/// One less, where there is a bound; false where nothing is left.
fn take(left: &mut Option<u32>) -> bool {
    match left {
        None => true,
        Some(0) => false,
        Some(n) => {
            *n -= 1;
            true
        }
    }
}
