//! Trains policies and makes the model organisms.
//!
//! ```text
//! objective (packs, losses) ─► engine (forward, backward) ─► run (AdamW, checkpoints, logs)
//!        ▲                                                     │
//!       lab (data, stages)                      held_out (what chooses a checkpoint)
//! ```
//! A step's loss is L = sum over its shards of the objective's loss on that shard;
//! the engine gives dL/dθ for every trained tensor θ, summed in the order of the
//! shards; the loop clips it and takes a step of AdamW. Formulas: [`objective`] for
//! the losses, [`engine`] for the operations, [`run`] for the optimiser.
//! [`low_rank_adapter`] makes an adapter of two checkpoints.
//!
//! This crate knows weights, objectives and files; it knows no terminal.

pub mod engine;
pub mod harden;
pub mod lab;
pub mod objective;
pub mod reasonmaxxer;
pub mod run;

mod error;
mod held_out;
mod lowrank;
mod pieces;
mod warm;

pub use error::TrainError;
pub use held_out::{
    HeldOut, HeldOutEvaluation, HeldOutSettings, evaluate, refuse_shared, refuse_shared_prompts,
};
pub use lowrank::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, Adapter, Cut, Factors, Module, RankPlan, low_rank_adapter,
};
pub use pieces::cut_documents;
pub use warm::{adapter_settings, start_from_adapter};
