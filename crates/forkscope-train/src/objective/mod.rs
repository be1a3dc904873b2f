//! Objectives: what a step's loss is, and the data that it is computed on.
//!
//! Every objective is a [`crate::engine::Shard`] (a pack and a loss through the
//! token head) and a [`crate::run::Source`] that yields the shards of each
//! optimiser step. Formulas, denominators and how they compare with TRL:
//! `docs/objectives.md`.

mod batches;
mod cached;
mod distill;
pub mod dpo;
mod examples;
pub mod grpo;
pub mod pairs;
mod parts;
mod reading;
pub mod rows;
mod sft;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod tiny;
#[cfg(test)]
mod trl_tests;

pub use batches::{BatchSettings, Batches, Order};
pub use cached::{RecordedTop, cache_teacher, recorded_teacher};
pub use distill::{DistillSettings, DistillShard, DistillSource, Teacher, TeacherRows};
pub use examples::{Example, Examples};
pub use parts::{Denominator, split};
pub use reading::{
    ExampleFile, ReadSettings, TooLong, example_path, read_examples, read_examples_bytes,
};
pub use sft::{SftSettings, SftShard, SftSource};
