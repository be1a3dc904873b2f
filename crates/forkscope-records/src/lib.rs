//! Run directories: typed rows, Parquet, crash-safe append, digests,
//! importers and exporters.
//!
//! This crate knows how records are kept; it does not know what numbers mean.

pub mod digest;
mod error;
pub mod logprobs;
pub mod run;
pub mod table;
pub mod types;

pub use error::RecordsError;
pub use run::{Mode, Opened, RunDir, RunManifest, TableWriter};
pub use table::{Record, TableReader, export_csv, read_table};
