//! A rollout in which one policy's tokens were replaced by another's.

use serde::{Deserialize, Serialize};

use super::{FinishReason, Validity};

/// Whose tokens intrude into whose generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The base generates, tokens of the tuned policy intrude.
    Forward,
    /// The tuned policy generates, tokens of the base intrude.
    Reverse,
}

impl Direction {
    /// The word that files hold.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }

    /// The direction that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "forward" => Self::Forward,
            "reverse" => Self::Reverse,
            _ => return None,
        })
    }
}

/// One completion under one arm of an intervention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intervention {
    /// Name of the arm; `none` is the untouched generator, `other` the other
    /// policy on its own.
    pub arm: String,
    /// Whose tokens intrude.
    pub direction: Direction,
    /// What chooses positions, in the grammar of gates; `none` or `other` for
    /// those arms.
    pub gate: String,
    /// What the gate was calibrated to: a share of tokens (`5%`), a number of
    /// tokens per rollout (`8`), or empty where the gate has a threshold of its
    /// own.
    pub budget: String,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Identifier of the problem.
    pub problem_id: String,
    /// Index of the sample; rows of one (problem, sample, temperature) share
    /// their random numbers.
    pub sample: u32,
    /// Prompt ids followed by completion ids.
    pub token_ids: Vec<u32>,
    /// Number of leading ids that are the prompt.
    pub prompt_len: usize,
    /// Positions t at which the arm forced a token, ascending.
    pub touched: Vec<u32>,
    /// Of those, the ones where that token is not the generator's own.
    pub changed: Vec<u32>,
    /// Sum of the base's entropy over the positions touched, nats.
    pub touched_entropy_nats: f64,
    /// Why the completion ended.
    pub finish_reason: FinishReason,
    /// Decoded completion, for reading only.
    pub text: String,
    /// Whether the answer was graded correct; `None` without a reference answer.
    pub correct: Option<bool>,
    /// Whether the behaviour asked for occurred; `None` where it is undefined.
    pub behaviour: Option<bool>,
    /// Whether the rollout may enter a number.
    pub validity: Validity,
}

impl Intervention {
    /// The completion's token ids.
    pub fn completion(&self) -> &[u32] {
        self.token_ids.get(self.prompt_len..).unwrap_or(&[])
    }
}
