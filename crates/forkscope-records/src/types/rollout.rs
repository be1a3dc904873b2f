//! A rollout: one prompt with one completion, as token ids.

use serde::{Deserialize, Serialize};

use super::Validity;

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end-of-sequence token was produced (and is part of `token_ids`).
    Eos,
    /// A stop string was produced.
    Stop,
    /// The token limit was reached.
    Length,
    /// The context window of the model was full.
    Context,
    /// The source of the rollout did not say.
    Unknown,
}

impl FinishReason {
    /// The word that files hold.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Eos => "eos",
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Context => "context",
            Self::Unknown => "unknown",
        }
    }

    /// The reason that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "eos" => Self::Eos,
            "stop" => Self::Stop,
            "length" => Self::Length,
            "context" => Self::Context,
            "unknown" => Self::Unknown,
            _ => return None,
        })
    }
}

/// One prompt with one completion. The token ids are the record; `text` is
/// derived from them and kept for reading only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Identifier of the problem, unique within the problem file.
    pub problem_id: String,
    /// Index of the sample among the problem's rollouts, from 0.
    pub sample: u32,
    /// Prompt ids followed by completion ids.
    pub token_ids: Vec<u32>,
    /// Number of leading ids that are the prompt.
    pub prompt_len: usize,
    /// Why the completion ended.
    pub finish_reason: FinishReason,
    /// Decoded completion, for reading only.
    pub text: String,
    /// Whether the answer was graded correct; `None` if nobody graded it.
    pub correct: Option<bool>,
    /// Whether the rollout may enter a number.
    pub validity: Validity,
    /// ln p of each completion token under the policy that sampled it: raw
    /// logits, T = 1, whatever the sampling settings. Length
    /// `token_ids.len() - prompt_len`; `None` if the source did not record it.
    pub logprobs: Option<Vec<f32>>,
}

impl Rollout {
    /// The completion's token ids.
    pub fn completion(&self) -> &[u32] {
        self.token_ids.get(self.prompt_len..).unwrap_or(&[])
    }
}
