//! What it takes to bring a behaviour back: one row per attempt of a method on
//! one answer.

use serde::{Deserialize, Serialize};

use super::{FinishReason, Validity};

/// A set of words that a column holds.
macro_rules! words {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$inner])* $variant),* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word that files hold.
            pub fn as_str(&self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// What a word stands for.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// Which way the behaviour is pushed.
    ReversionDirection {
        /// The tuned policy shows the behaviour: it is to lose it.
        Undo = "undo",
        /// The tuned policy does not show it: it is to show it.
        Induce = "induce",
    }
}

words! {
    /// How the behaviour is pushed, and what the price counts.
    ReversionMethod {
        /// Nothing is done: the tuned policy's own answer. Its `positions` are
        /// those where the donor would have chosen another token.
        Tuned = "tuned",
        /// Nothing is done: the base's own answer.
        Base = "base",
        /// Donor tokens forced where the two policies differ most (JS), each
        /// found on the text that the one before left.
        Tokens = "tokens",
        /// Donor tokens forced at the first disagreements.
        TokensFirst = "tokens_first",
        /// The least number of forced tokens, where smaller ones were all tried.
        TokensMinimal = "tokens_minimal",
        /// Leading donor tokens that are put before the answer.
        Prefill = "prefill",
        /// Weight of the base in a geometric mixture at every position.
        Alpha = "alpha",
        /// Logit shift in nats at the forced decisions.
        Nats = "nats",
        /// Tokens added to the prompt by a search.
        Prompt = "prompt",
    }
}

words! {
    /// What stands in the place of the informed choice.
    ReversionControl {
        /// Nothing: the method itself.
        None = "none",
        /// As many donor tokens at positions drawn at random.
        RandomPositions = "random_positions",
        /// The same rule for positions, tokens drawn from the donor's most
        /// probable ones.
        RandomTokens = "random_tokens",
        /// The opening of another prompt's donor answer.
        OtherPrompt = "other_prompt",
        /// The logit shift with its entries permuted over the vocabulary.
        Permuted = "permuted",
        /// The best of as many random insertions of the same length.
        RandomSearch = "random_search",
        /// One random insertion of the same length.
        RandomPrompt = "random_prompt",
    }
}

words! {
    /// What became of an attempt.
    ReversionStatus {
        /// The price is known.
        Reached = "reached",
        /// Not reached within the cap.
        NotReached = "not_reached",
        /// No statement: what would have to be tried was more than the limit.
        NotVerified = "not_verified",
        /// There was nothing to try.
        NotApplicable = "not_applicable",
        /// The row is an answer by itself, not an attempt.
        Untouched = "untouched",
    }
}

/// One method (or control) on one answer of one problem. Lists named after
/// positions are of equal length; all logarithms are natural.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reversion {
    /// Which way.
    pub direction: ReversionDirection,
    /// How.
    pub method: ReversionMethod,
    /// Instead of what.
    pub control: ReversionControl,
    /// Problem identifier.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// What became of it.
    pub status: ReversionStatus,
    /// The least price at which the behaviour turned; `None` unless reached.
    pub price: Option<f64>,
    /// Largest price tried; not reached within it is censored there.
    pub cap: f64,
    /// Unit of `price` and `cap`: `tokens`, `alpha` or `nats`.
    pub unit: String,
    /// Sum over forced tokens of -ln p_tuned(token), nats: the KL of the forced
    /// choices to the tuned policy. `None` where no token is forced.
    pub kl_nats: Option<f64>,
    /// Completions that were generated to find this out.
    pub tries: u32,
    /// Index in `token_ids` of each forced token (of each decision, for `tuned`).
    pub positions: Vec<u32>,
    /// The donor's token at each of `positions`.
    pub donor_ids: Vec<u32>,
    /// ln p(own choice) - ln p(donor's token) of the tuned policy at each of
    /// `positions`, nats: the logit shift that makes the two equal.
    pub margins_nats: Vec<f32>,
    /// Jensen-Shannon divergence at each of `positions`, nats.
    pub js_nats: Vec<f32>,
    /// Prices that were tried, in order (`tokens_minimal`: positions that were
    /// tried alone).
    pub levels: Vec<f32>,
    /// At each of `levels`: 1 the behaviour turned, 0 it did not, 2 undecided.
    pub turned: Vec<u32>,
    /// Prompt and completion: at the price where it was reached, else the last
    /// that was tried.
    pub token_ids: Vec<u32>,
    /// Number of leading ids that are the prompt.
    pub prompt_len: usize,
    /// Why that completion ended.
    pub finish_reason: FinishReason,
    /// Decoded completion, for reading only.
    pub text: String,
    /// Whether that completion shows the behaviour; `None` if undecided.
    pub behaviour: Option<bool>,
    /// Of that completion.
    pub validity: Validity,
}
