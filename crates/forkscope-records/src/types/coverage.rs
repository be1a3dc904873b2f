//! Rows of an audit plan and of the noise floor.

use serde::{Deserialize, Serialize};

use super::Validity;

/// Why a position is in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stratum {
    /// The gate chose it: it is audited whatever is drawn.
    Certain,
    /// It was drawn at random from the rest.
    Sampled,
}

impl Stratum {
    /// As tables write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Sampled => "sampled",
        }
    }

    /// From the text in a table.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "certain" => Some(Self::Certain),
            "sampled" => Some(Self::Sampled),
            _ => None,
        }
    }
}

/// A position to audit under one budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRow {
    /// Problem identifier.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// Index of the predicted token in `token_ids`.
    pub t: u32,
    /// Budget, as a share of the units of the design.
    pub budget: f64,
    /// Why it is in the plan.
    pub stratum: Stratum,
    /// Probability that it is in the plan: 1 in the certain stratum.
    pub inclusion_probability: f64,
    /// H(b) in nats.
    pub entropy_base_nats: f64,
    /// Score of the gate; higher is audited first.
    pub score: f64,
}

/// What bf16 alone does to the base at one position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseRow {
    /// Problem identifier.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// Index of the predicted token in `token_ids`.
    pub t: u32,
    /// The predicted token.
    pub token_id: u32,
    /// Validity of the row.
    pub validity: Validity,
    /// H(b) in nats, b in f32.
    pub entropy_base_nats: f64,
    /// JS of b against b with its weights rounded to bf16.
    pub js_weights_nats: f64,
    /// JS of b against b with its activations rounded to bf16.
    pub js_activations_nats: f64,
    /// Argmax in f32.
    pub argmax_base_id: u32,
    /// Argmax with rounded weights.
    pub argmax_weights_id: u32,
    /// Argmax with rounded activations.
    pub argmax_activations_id: u32,
}

/// Whether the tuned policy differs at a position by more than bf16 does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BeyondNoiseRow {
    /// Problem identifier.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// Index of the predicted token in `token_ids`.
    pub t: u32,
    /// The predicted token.
    pub token_id: u32,
    /// Validity of the row.
    pub validity: Validity,
    /// Tenth of H(b) over all positions, 0 to 9.
    pub entropy_decile: u32,
    /// JS of base against tuned.
    pub js_nats: f64,
    /// (1 + noise values of the decile that are as large) / (1 + noise values of the decile).
    pub p_value: f64,
    /// Adjusted by Benjamini and Hochberg over all positions.
    pub p_adjusted: f64,
    /// Whether the adjusted p-value is at most the false-discovery rate.
    pub changed: bool,
}
