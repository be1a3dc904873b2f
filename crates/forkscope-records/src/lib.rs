//! Run directories: typed rows, Parquet, crash-safe append, digests,
//! importers and exporters.
//!
//! This crate knows how records are kept; it does not know what numbers mean.

pub mod types;
