//! Mathematics in answers: from text to tokens to a tree, and what two trees
//! have to do with each other.
//!
//! ```text
//! text --lex--> tokens --parse--> expression --exact | value--> number
//! ```

pub(crate) mod approx;
pub(crate) mod exact;
pub(crate) mod expr;
pub(crate) mod fuel;
pub(crate) mod lex;
pub(crate) mod literal;
pub(crate) mod magnitude;
pub(crate) mod numeral;
pub(crate) mod parse;
pub(crate) mod points;
pub(crate) mod rational;
pub(crate) mod scalar;
pub(crate) mod token;
pub(crate) mod value;
pub(crate) mod words;
