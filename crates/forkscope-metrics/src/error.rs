//! What can be wrong with the rows that are handed in.

use crate::pair::Side;

/// Why a metric could not be computed. Rows and ids are 0-based.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The vocabulary has no token.
    #[error("the {0} vocabulary is empty: give rows of at least one logit")]
    EmptyVocabulary(Side),
    /// The vocabulary has more tokens than a 32-bit id can name.
    #[error("the {side} vocabulary of {vocab} tokens is larger than 32-bit token ids allow")]
    VocabularyTooLarge {
        /// Whose.
        side: Side,
        /// Its size.
        vocab: usize,
    },
    /// The matrix of logits does not have one row per target.
    #[error(
        "the {side} logits hold {got} values, but {rows} target tokens need {rows} rows of {vocab}: \
         give one row of logits per target"
    )]
    Shape {
        /// Whose.
        side: Side,
        /// Values given.
        got: usize,
        /// Number of targets.
        rows: usize,
        /// Values per row.
        vocab: usize,
    },
    /// A target token that the (shared) vocabulary does not have.
    #[error("row {row}: target token {target} is outside the shared vocabulary of {vocab} tokens")]
    TargetOutside {
        /// Row.
        row: usize,
        /// Token id.
        target: u32,
        /// Tokens that both policies have.
        vocab: usize,
    },
    /// A logit that is NaN or +inf. -inf is a masked token and allowed.
    #[error(
        "row {row}: the {side} policy gives logit {value} to token {token}: only finite logits, and \
         -inf for masked tokens, have a softmax"
    )]
    NotFinite {
        /// Row.
        row: usize,
        /// Whose.
        side: Side,
        /// First such token.
        token: usize,
        /// "NaN" or "+inf".
        value: &'static str,
    },
    /// Every token is masked.
    #[error("row {row}: the {side} policy masks every token (all logits are -inf)")]
    AllMasked {
        /// Row.
        row: usize,
        /// Whose.
        side: Side,
    },
    /// A sampling temperature that is no temperature.
    #[error("inverse temperature {0} is not a finite number >= 0")]
    Temperature(f64),
    /// A recorded log-prob or probability that cannot be one.
    #[error("{what} is {value}: {remedy}")]
    Recorded {
        /// Which field.
        what: String,
        /// Its value.
        value: f64,
        /// What would be right.
        remedy: &'static str,
    },
    /// A list of most probable tokens that is no such list.
    #[error("the top-k list {0}")]
    TopK(String),
}
