//! Entropy from whole distributions and from listed log-probs.

use forkscope_metrics::{Interval, MetricsError, PartialRow, interval};
use forkscope_records::logprobs::Listed;

use super::Unit;

/// What is known of a number. Whole distributions give a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub low: f64,
    pub high: f64,
}

impl Bounds {
    pub fn point(value: f64) -> Self {
        Self {
            low: value,
            high: value,
        }
    }

    /// The number, where it is known exactly.
    pub fn value(self) -> Option<f64> {
        (self.low == self.high).then_some(self.low)
    }

    pub fn in_unit(self, unit: Unit) -> Self {
        Self {
            low: unit.of_nats(self.low),
            high: unit.of_nats(self.high),
        }
    }
}

/// H = -Σ p ln p of a whole distribution, in nats, as it is listed.
pub fn of_distribution(probs: &[f64]) -> Bounds {
    Bounds::point(
        probs
            .iter()
            .filter(|&&p| p > 0.0)
            .fold(0.0, |sum, p| sum - p * p.ln()),
    )
}

/// Bounds of H from what a response lists, in nats: they hold for every
/// completion of the tail.
pub fn of_listed(
    listed: &Listed,
    rounding: f64,
    vocab: Option<u64>,
) -> Result<Bounds, MetricsError> {
    let logprobs = listed.leading.iter().chain(&listed.beyond);
    // Which token is which does not matter for an entropy, only that they differ.
    let tokens: Vec<interval::Listed> = (0u32..)
        .zip(logprobs)
        .map(|(id, &logprob)| interval::Listed {
            id,
            logprob,
            error: rounding,
        })
        .collect();
    let vocab = vocab.and_then(|v| usize::try_from(v).ok());
    let Interval { low, high } = PartialRow::new(&tokens, listed.leading.len(), vocab)?.entropy();
    Ok(Bounds { low, high })
}
