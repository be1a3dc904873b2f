//! Adapters as training leaves them: the low-rank difference of two checkpoints.
//!
//! Fine-tuning with LoRA (Hu et al., 2106.09685) and merging leaves
//! W_tuned = W_base + B·A with B·A of rank r, up to the rounding of W_tuned.
//! [`low_rank_adapter`] goes the way back: for each of the seven projections of
//! each layer, Δ = W_tuned - W_base, its thin singular value decomposition, and
//! the smallest rank whose relative Frobenius residual is within the tolerance.
//! What comes out is a PEFT LoRA adapter with scaling 1 (`lora_alpha = r`), and
//! the measured residual of every projection.
//!
//! This crate knows weights and files; it knows no terminal and runs no model.

pub mod engine;
pub mod lab;
pub mod objective;
pub mod run;

mod adapter;
mod checkpoint;
mod error;
mod factor;
mod held_out;
mod lowrank;
mod pieces;
mod warm;

pub use adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
pub use error::TrainError;
pub use factor::{Cut, Factors};
pub use held_out::{
    HeldOut, HeldOutEvaluation, HeldOutSettings, evaluate, refuse_shared, refuse_shared_prompts,
};
pub use lowrank::{Adapter, Module, RankPlan, low_rank_adapter};
pub use pieces::cut_documents;
pub use warm::{adapter_settings, start_from_adapter};
