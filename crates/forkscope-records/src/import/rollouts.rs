//! Rollouts, wherever they are: a run, a `rollouts.parquet`, the reference's
//! JSON.

use std::path::Path;

use bytes::Bytes;

use super::reference::{check_unique, read_reference_bytes};
use super::source::{Kind, classify, load};
use crate::RecordsError;
use crate::table::read_table_bytes;
use crate::types::Rollout;

/// Reads rollouts in file order. Those that may not enter a number are marked
/// by their validity and kept; a rollout that cannot exist (a prompt longer
/// than its sequence, log-probs of another length) is an error.
pub fn read_rollouts(path: &Path) -> Result<Vec<Rollout>, RecordsError> {
    let table = path.join("rollouts.parquet");
    let path = if path.is_dir() { &table } else { path };
    read_rollouts_bytes(load(path)?.into(), path)
}

/// Reads rollouts from bytes that somebody has read (and perhaps digested)
/// already; `path` is for messages.
pub fn read_rollouts_bytes(bytes: Bytes, path: &Path) -> Result<Vec<Rollout>, RecordsError> {
    let rollouts: Vec<Rollout> = match classify(path, &bytes)? {
        (Kind::Parquet, _) => {
            let rollouts = read_table_bytes::<Rollout>(bytes, path)?;
            check_unique(path, rollouts.iter())?;
            rollouts
        }
        (_, text) => read_reference_bytes(text, path)?
            .into_iter()
            .map(|r| r.rollout)
            .collect(),
    };
    if rollouts.is_empty() {
        return Err(RecordsError::json(path, "the file has no rollouts"));
    }
    Ok(rollouts)
}
