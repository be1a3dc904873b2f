//! A training run: steps, optimiser, checkpoints and logs.

mod source;

pub use source::{Source, Step};
