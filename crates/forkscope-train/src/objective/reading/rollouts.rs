//! Rollouts as examples: token ids as they were recorded.

use std::path::Path;

use forkscope_records::import::read_rollouts_bytes;
use forkscope_records::types::{Rollout, Validity};
use serde_json::Value;

use super::{ExampleFile, Parsed, ReadSettings};
use crate::TrainError;
use crate::objective::examples::Example;

/// Whether the bytes are a table of rollouts or the reference's JSON, and not
/// JSON Lines.
pub(super) fn are_in(bytes: &[u8], path: &Path) -> bool {
    if bytes.starts_with(b"PAR1") {
        return true;
    }
    let start = bytes.trim_ascii_start();
    let line = start.split(|b| *b == b'\n').next().unwrap_or(start);
    match serde_json::from_slice::<Value>(line) {
        Ok(value) => value.get("rollouts").is_some_and(Value::is_array),
        // A document over many lines, unless the name says otherwise.
        Err(_) => path.extension().is_some_and(|e| e == "json"),
    }
}

pub(super) fn read(
    bytes: Vec<u8>,
    path: &Path,
    vocab: usize,
    settings: &ReadSettings,
    out: &mut ExampleFile,
) -> Result<(), TrainError> {
    let rollouts = read_rollouts_bytes(bytes.into(), path)?;
    if settings.only_correct && rollouts.iter().all(|r| r.correct.is_none()) {
        return Err(TrainError::bad(
            path,
            "no rollout was graded (`correct` is null throughout)",
            "sample with problems that have answers, or take all rollouts",
        ));
    }
    for (number, rollout) in (1u64..).zip(rollouts) {
        let valid = match rollout.validity {
            Validity::Ok => true,
            Validity::Truncated => settings.with_truncated,
            _ => false,
        };
        if !valid {
            out.rows += 1;
            out.invalid += 1;
            continue;
        }
        if settings.only_correct && rollout.correct != Some(true) {
            out.rows += 1;
            out.incorrect += 1;
            continue;
        }
        let Rollout {
            problem_id,
            sample,
            token_ids,
            prompt_len,
            ..
        } = rollout;
        let place = {
            let problem = problem_id.escape_debug().to_string();
            move || format!("problem {problem}, sample {sample}")
        };
        let example = Example {
            ids: token_ids,
            prompt_len,
            weights: None,
        };
        let parsed = Ok(Parsed {
            example,
            apart: false,
        });
        out.add(
            path,
            number,
            place,
            (problem_id, sample),
            parsed,
            vocab,
            settings,
        )?;
    }
    Ok(())
}
