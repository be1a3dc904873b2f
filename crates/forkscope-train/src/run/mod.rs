//! A training run: steps, optimiser, checkpoints and logs.

mod optimiser;
mod schedule;
mod source;

pub use optimiser::{AdamW, AdamWSettings, Decayed, clip_factor, global_norm};
pub use schedule::Schedule;
pub use source::{Source, Step};
