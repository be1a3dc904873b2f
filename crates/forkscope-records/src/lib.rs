//! Run directories: typed rows, Parquet, crash-safe append, digests,
//! importers and exporters.
//!
//! This crate knows how records are kept; it does not know what numbers mean.

pub mod digest;
mod documents;
mod error;
mod hidden;
pub mod import;
pub mod logprobs;
mod pieces;
pub mod run;
pub mod table;
pub mod types;

pub use documents::{read_findings, write_findings};
pub use error::RecordsError;
pub use hidden::{HiddenRollout, HiddenStore, HiddenWriter, PromptAndCompletion};
pub use import::{read_problems, read_reference, read_rollouts, write_reference};
pub use pieces::TokenPieces;
pub use run::{Mode, Opened, RunDir, RunJson, RunManifest, RunStatus, TableWriter, read_run_json};
pub use table::{PagedTable, Record, TableReader, export_csv, read_table};
