//! What changed between two policies, which changes matter, what they cost to
//! undo, and what was not looked at.

pub mod attest;
pub mod awareness;
pub mod coverage;
mod error;
pub mod findings;
pub mod gates;
pub mod hardened;
pub mod intervene;
pub mod revert;
mod scoring;
pub mod windows;

pub use error::AuditError;
pub use scoring::{DiffSettings, diff_window, prompt_rows, score_window, score_window_keeping};
