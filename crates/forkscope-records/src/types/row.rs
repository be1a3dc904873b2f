//! One row per predicted position.
//!
//! Position `t` is the index of the predicted token in `token_ids` (0-based):
//! completion tokens are `prompt_len <= t < len`.

use serde::{Deserialize, Serialize};

/// Whether a row or rollout may enter a number. Invalid ones are kept, counted
/// and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// Counts.
    Ok,
    /// The completion was cut by the token limit.
    Truncated,
    /// The completion has no token.
    Empty,
    /// Longer than the model's context.
    ContextExceeded,
    /// Ids that the scoring policy's vocabulary does not have, or another
    /// tokenizer than the policy's.
    TokenizerMismatch,
    /// A recorded number is NaN or infinite where it may not be.
    NonFinite,
}

impl Validity {
    /// The word that files hold.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Truncated => "truncated",
            Self::Empty => "empty",
            Self::ContextExceeded => "context_exceeded",
            Self::TokenizerMismatch => "tokenizer_mismatch",
            Self::NonFinite => "non_finite",
        }
    }

    /// The validity that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "ok" => Self::Ok,
            "truncated" => Self::Truncated,
            "empty" => Self::Empty,
            "context_exceeded" => Self::ContextExceeded,
            "tokenizer_mismatch" => Self::TokenizerMismatch,
            "non_finite" => Self::NonFinite,
            _ => return None,
        })
    }
}

/// The k most probable tokens, most probable first, ties by lowest id.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TopK {
    /// Token ids.
    pub ids: Vec<u32>,
    /// ln p of each, raw logits, T = 1.
    pub logprobs: Vec<f32>,
}

/// Class of a position after arXiv 2605.06241.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShiftClass {
    /// Both policies have the same argmax.
    Unshifted,
    /// The tuned argmax differs and lies within the base's top k (default 5).
    Reranked,
    /// The tuned argmax lies outside the base's top k.
    Shifted,
}

impl ShiftClass {
    /// The word that files hold.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unshifted => "unshifted",
            Self::Reranked => "reranked",
            Self::Shifted => "shifted",
        }
    }

    /// The class that a word stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "unshifted" => Self::Unshifted,
            "reranked" => Self::Reranked,
            "shifted" => Self::Shifted,
            _ => return None,
        })
    }
}

/// What `score` records of one policy at one position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRow {
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
    /// H(p) in nats.
    pub entropy_nats: f64,
    /// ln p of `token_id`.
    pub logprob: f32,
    /// 1 + number of tokens with strictly greater logit than `token_id`.
    pub rank: u32,
    /// Lowest id among the tokens of greatest logit.
    pub argmax_id: u32,
    /// Most probable tokens.
    pub topk: TopK,
}

/// What `diff` records of two policies at one position. p = tuned, b = base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiffRow {
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
    /// H(b) in nats.
    pub entropy_base_nats: f64,
    /// H(p) in nats.
    pub entropy_tuned_nats: f64,
    /// KL(p || b) in nats; `None` where only the base masks a token that the tuned policy allows.
    pub kl_tuned_base_nats: Option<f64>,
    /// KL(b || p) in nats; `None` where only the tuned policy masks a token that the base allows.
    pub kl_base_tuned_nats: Option<f64>,
    /// Jensen-Shannon divergence in nats, in [0, ln 2].
    pub js_nats: f64,
    /// Total variation, in [0, 1].
    pub tv: f64,
    /// -sum b ln p in nats; `None` where infinite.
    pub ce_base_tuned_nats: Option<f64>,
    /// ln p(x_t) - ln b(x_t); `None` where either masks the token.
    pub delta_logprob: Option<f64>,
    /// ln b(x_t).
    pub logprob_base: f32,
    /// ln p(x_t).
    pub logprob_tuned: f32,
    /// Rank of x_t under the base.
    pub rank_base: u32,
    /// Rank of x_t under the tuned policy.
    pub rank_tuned: u32,
    /// Argmax of the base.
    pub argmax_base_id: u32,
    /// Argmax of the tuned policy.
    pub argmax_tuned_id: u32,
    /// Rank under the base of the tuned policy's argmax.
    pub base_rank_of_tuned_argmax: u32,
    /// Class of the position.
    pub class: ShiftClass,
    /// Base probability of ids that the tuned vocabulary lacks (padding of the
    /// embedding); all other numbers are of the shared ids, renormalised.
    pub mass_outside_base: f64,
    /// Tuned probability of ids that the base vocabulary lacks.
    pub mass_outside_tuned: f64,
    /// Base's most probable tokens.
    pub topk_base: TopK,
    /// Tuned policy's most probable tokens.
    pub topk_tuned: TopK,
}
