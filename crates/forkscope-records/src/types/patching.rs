//! Rows of activation patching: one value of one policy put into the other at
//! one position, and what the next token's distribution became.

use serde::{Deserialize, Serialize};

/// Into which policy values are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchDirection {
    /// The tuned policy's values into the base.
    IntoBase,
    /// The base's values into the tuned policy.
    IntoTuned,
}

impl PatchDirection {
    /// Both, in the order of rows.
    pub const ALL: [Self; 2] = [Self::IntoBase, Self::IntoTuned];

    /// The word that files hold.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IntoBase => "into_base",
            Self::IntoTuned => "into_tuned",
        }
    }

    /// The direction that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.as_str() == word)
    }
}

/// What is patched with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchArm {
    /// A decision position, with the donor's own value there.
    Decision,
    /// The same position, with the receiver's value plus what donor and receiver
    /// differ by at a random decision position of another problem.
    RandomValue,
    /// A random position at which both prefer the same token, with the donor's
    /// own value there.
    RandomPosition,
}

impl PatchArm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Decision, Self::RandomValue, Self::RandomPosition];

    /// The word that files hold.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::RandomValue => "random_value",
            Self::RandomPosition => "random_position",
        }
    }

    /// The arm that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == word)
    }
}

/// One patch and what it did. x = the donor's choice (argmax), y = the
/// receiver's; where both prefer the same token x, y is the next best of the
/// receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatchingRow {
    /// Into which policy.
    pub direction: PatchDirection,
    /// With what.
    pub arm: PatchArm,
    /// Blocks before the value: the residual stream after `layer` blocks, or a
    /// head of block `layer` (from 1).
    pub layer: u32,
    /// Head (from 0); `None` for the residual stream.
    pub head: Option<u32>,
    /// Problem.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// Index of the predicted token; the row that predicts it is patched.
    pub t: u32,
    /// x.
    pub donor_id: u32,
    /// y.
    pub receiver_id: u32,
    /// z_x - z_y of the untouched receiver, logits.
    pub difference_receiver: f64,
    /// z_x - z_y of the donor, logits.
    pub difference_donor: f64,
    /// z_x - z_y of the patched receiver, logits.
    pub difference_patched: f64,
    /// ln p(x) of the untouched receiver, nats.
    pub logprob_receiver: f64,
    /// ln p(x) of the donor, nats.
    pub logprob_donor: f64,
    /// ln p(x) of the patched receiver, nats.
    pub logprob_patched: f64,
    /// Argmax of the patched receiver.
    pub argmax_patched_id: u32,
    /// Jensen-Shannon divergence of the patched receiver from the untouched one,
    /// nats: how far the patch moved it, wherever to.
    pub moved_js_nats: f64,
}
