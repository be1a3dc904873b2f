//! The batch of a step that gave no finite loss or gradient, kept for
//! inspection.
//!
//! `failed-batch.json`: `schema`, `step` (from 1), `reason`, `sums` (what the
//! objective summed; null if it did not get so far), `log` (the source's values
//! of the step) and `batch`, what the source says about the data.

use forkscope_records::RunDir;
use serde_json::{Value, json};

use super::log::number;
use super::source::Step;
use crate::TrainError;
use crate::engine::Sums;

/// File that keeps the batch.
pub const FAILED_BATCH: &str = "failed-batch.json";

/// Writes the file; the error that ends the run. `step` counts from 0.
pub(super) fn keep(
    run: &RunDir,
    step: u64,
    work: &Step,
    sums: Option<&Sums>,
    reason: &str,
) -> Result<TrainError, TrainError> {
    let step = step + 1;
    let sums: Option<Value> = sums.map(|s| s.iter().map(named).collect());
    let log = work.log.iter().map(|(name, x)| named((name.as_str(), *x)));
    let document = json!({
        "schema": "forkscope/failed-batch/1",
        "step": step,
        "reason": reason,
        "sums": sums,
        "log": log.collect::<Value>(),
        "batch": work.inspect,
    });
    let mut text =
        serde_json::to_vec_pretty(&document).map_err(|e| TrainError::Internal(e.to_string()))?;
    text.push(b'\n');
    run.write_atomic(FAILED_BATCH, &text)?;
    Ok(TrainError::NonFinite(format!(
        "step {step}: {reason}; see {}",
        run.path().join(FAILED_BATCH).display()
    )))
}

fn named((name, value): (&str, f64)) -> (String, Value) {
    (name.to_owned(), number(value))
}
