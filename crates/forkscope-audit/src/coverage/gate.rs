//! What puts positions first.

use serde::{Deserialize, Serialize};

use super::learned::Logistic;
use super::population::Population;
use crate::AuditError;

/// Which score a gate looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// H(b).
    Entropy,
    /// The logit of a [`Logistic`].
    Learned,
}

/// Puts positions in order by what the base alone knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Highest H(b) first.
    Entropy,
    /// Most probably changed first.
    Learned(Logistic),
}

impl Gate {
    /// Which it is.
    pub fn kind(&self) -> GateKind {
        match self {
            Self::Entropy => GateKind::Entropy,
            Self::Learned(_) => GateKind::Learned,
        }
    }

    /// As a sentence says it.
    pub fn words(&self) -> &'static str {
        match self {
            Self::Entropy => "highest base entropy first",
            Self::Learned(_) => "learned gate first (logistic on base-only features)",
        }
    }

    /// The score of every position; higher is audited first.
    pub fn scores(&self, population: &Population) -> Result<Vec<f64>, AuditError> {
        match self {
            Self::Entropy => Ok(population.positions.iter().map(|p| p.entropy).collect()),
            Self::Learned(model) => population
                .positions
                .iter()
                .map(|p| model.score(population, p))
                .collect(),
        }
    }
}

/// Indices by descending score; of equals the earlier first.
pub(super) fn order(scores: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    let score = |i: u32| scores.get(i as usize).copied().unwrap_or(f64::NEG_INFINITY);
    order.sort_by(|a, b| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
    order
}
