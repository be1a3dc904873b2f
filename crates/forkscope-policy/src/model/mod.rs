//! Weights and arithmetic of a decoder-only language model.

pub(crate) mod config;
pub(crate) mod decoder;
pub(crate) mod forward;
pub(crate) mod hooks;
pub(crate) mod linear;
pub(crate) mod lora;
pub(crate) mod rope;
pub(crate) mod rounding;
pub(crate) mod weights;

pub use config::{Architecture, ModelConfig};
pub use decoder::Model;
pub use lora::{Adapter, Projection};
pub use rope::{RopeConfig, RopeTable};
pub use rounding::Rounding;
pub use weights::{Tensor, Weights, open_tensors};
