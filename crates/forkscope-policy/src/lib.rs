//! A policy: tokenizer, chat template, weights and adapter. Scores given token
//! ids, samples new ones, and hands out hidden states.
//!
//! This crate knows models; it knows neither audits nor tasks.

mod activations;
mod error;
mod files;
pub mod hub;
mod model;
pub mod numerics;
pub mod ops;
mod patching;
mod policy;
mod sample;
mod score;
mod sequences;
mod steering;
pub mod text;

pub use activations::{ActivationRequest, ActivationRows, Activations, Sites};
pub use error::PolicyError;
pub use files::{Blob, BlobReader, EmbeddedFile, ModelFiles};
pub use model::{
    Adapter, Architecture, Model, ModelConfig, Projection, RopeConfig, RopeTable, Rounding, Tensor,
    Weights, open_tensors,
};
pub use patching::{Patch, PatchRequest, Site, Variant};
pub use policy::Policy;
pub use sample::{Completion, Ended, SamplePrompt, SampleSettings, Sampling};
pub use score::{HiddenRows, PromptGroup};
pub use sequences::{SequenceId, Sequences};
pub use steering::{SteeredRows, Steering};
