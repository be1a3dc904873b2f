//! What changed between two policies: the pair diff and its findings.

pub mod awareness;
mod error;
pub mod findings;
pub mod gates;
mod scoring;
pub mod windows;

pub use error::AuditError;
pub use scoring::{DiffSettings, diff_window, prompt_rows, score_window, score_window_keeping};
