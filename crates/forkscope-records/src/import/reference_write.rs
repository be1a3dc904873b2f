//! The rollout JSON of the reference implementation of arXiv 2605.06241,
//! written as its own programs write it: a rollout with decision positions in
//! the processed form (`input_ids`, `decision_positions`, ...), any other in the
//! scored one (`tokens`, `entropies`, ...).
//!
//! The reference's positions predict, so t becomes p = t - 1. Its programs read
//! `entropies` as numbers; one that is not finite becomes null, at which they
//! stop.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::reference::ReferenceRollout;
use crate::RecordsError;
use crate::types::{FinishReason, Validity};

/// A rollout before the gate.
#[derive(Serialize)]
struct Scored<'r> {
    problem_id: &'r str,
    gen_index: u32,
    tokens: &'r [u32],
    prompt_length: usize,
    num_tokens: usize,
    num_completion_tokens: usize,
    correct: Option<bool>,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    entropies: Option<Vec<Option<f64>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advantage: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<f64>,
    text: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_text: Option<&'r str>,
}

/// A rollout behind the gate.
#[derive(Serialize)]
struct Processed<'r> {
    problem_id: &'r str,
    gen_index: u32,
    input_ids: &'r [u32],
    prompt_length: usize,
    completion_length: usize,
    correct: Option<bool>,
    truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advantage: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entropies: Option<Vec<Option<f64>>>,
    generation_pred_start: usize,
    decision_positions: Vec<u32>,
    num_tokens: usize,
    num_pred_tokens: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_text: Option<&'r str>,
}

/// Writes rollouts as the reference reads them, one per line.
pub fn write_reference(
    mut out: impl Write,
    out_name: &Path,
    rollouts: &[ReferenceRollout],
) -> Result<(), RecordsError> {
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(RecordsError::write(out_name));
    put(b"{\"rollouts\": [")?;
    for (index, r) in rollouts.iter().enumerate() {
        put(if index == 0 { b"\n" } else { b",\n" })?;
        let line = match &r.decisions {
            Some(decisions) => serde_json::to_vec(&processed(r, decisions)),
            None => serde_json::to_vec(&scored(r)),
        };
        let line =
            line.map_err(|e| RecordsError::Misuse(format!("a rollout cannot be written: {e}")))?;
        put(&line)?;
    }
    put(b"\n]}\n")
}

fn scored(r: &ReferenceRollout) -> Scored<'_> {
    Scored {
        problem_id: &r.rollout.problem_id,
        gen_index: r.rollout.sample,
        tokens: &r.rollout.token_ids,
        prompt_length: r.rollout.prompt_len,
        num_tokens: r.rollout.token_ids.len(),
        num_completion_tokens: r.rollout.completion().len(),
        correct: r.rollout.correct,
        truncated: truncated(r),
        entropies: finite_entropies(r),
        advantage: r.advantage,
        reward: r.reward,
        text: &r.rollout.text,
        prompt_text: r.prompt_text.as_deref(),
    }
}

fn processed<'r>(r: &'r ReferenceRollout, decisions: &[u32]) -> Processed<'r> {
    let ids = &r.rollout.token_ids;
    Processed {
        problem_id: &r.rollout.problem_id,
        gen_index: r.rollout.sample,
        input_ids: ids,
        prompt_length: r.rollout.prompt_len,
        completion_length: r.rollout.completion().len(),
        correct: r.rollout.correct,
        truncated: truncated(r),
        reward: r.reward,
        advantage: r.advantage,
        entropies: finite_entropies(r),
        generation_pred_start: r.rollout.prompt_len.saturating_sub(1),
        decision_positions: decisions.iter().map(|t| t.saturating_sub(1)).collect(),
        num_tokens: ids.len(),
        num_pred_tokens: ids.len().saturating_sub(1),
        text: &r.rollout.text,
        prompt_text: r.prompt_text.as_deref(),
    }
}

fn truncated(r: &ReferenceRollout) -> bool {
    r.rollout.validity == Validity::Truncated
        || matches!(
            r.rollout.finish_reason,
            FinishReason::Length | FinishReason::Context
        )
}

fn finite_entropies(r: &ReferenceRollout) -> Option<Vec<Option<f64>>> {
    let finite = |h: &f64| h.is_finite().then_some(*h);
    let list = r.entropies_nats.as_ref()?;
    Some(list.iter().map(finite).collect())
}
