//! A policy: tokenizer, chat template, weights and adapter. Scores given token
//! ids, samples new ones, and hands out hidden states.
//!
//! This crate knows models; it knows neither audits nor tasks.

mod error;
mod files;
pub mod hub;
mod model;
pub mod ops;
mod policy;
mod sample;
mod score;
mod sequences;
pub mod text;

pub use error::PolicyError;
pub use files::{Blob, BlobReader, EmbeddedFile, ModelFiles};
pub use model::{
    Adapter, Architecture, Model, ModelConfig, Projection, RopeConfig, RopeTable, Tensor, Weights,
};
pub use policy::Policy;
pub use sample::{Completion, Ended, SamplePrompt, SampleSettings, Sampling};
pub use score::{HiddenRows, PromptGroup};
pub use sequences::{SequenceId, Sequences};
