//! Which tokens decide, and what the base would take instead.
//!
//! A token of the guarded answer decides if it is the first one, or if
//! JS(q, b) exceeds the gate there along the tuned policy's own answer. Its rival
//! is the base's most probable token at the prefix at hand, the token itself left
//! out (of a tie: the lowest id).

use forkscope_metrics::pair_rows;
use forkscope_policy::{Policy, PromptGroup};
use rayon::prelude::*;

use crate::TrainError;

/// Hidden states that predict what follows a prompt.
fn hidden(policy: &Policy, ids: &[u32], from: usize) -> Result<Vec<f32>, TrainError> {
    let (prompt, completion) = ids.split_at(from.min(ids.len()));
    let group = PromptGroup {
        prompt,
        completions: vec![completion],
    };
    Ok(policy.hidden_rows(&[group])?.values)
}

/// Indices, from 0, of the tokens of `answer` that decide; the first among them
/// unless there is none.
pub(super) fn deciding(
    base: &Policy,
    tuned: &Policy,
    prompt: &[u32],
    answer: &[u32],
    gate: f64,
) -> Result<Vec<usize>, TrainError> {
    const BLOCK: usize = 64;
    let ids = [prompt, answer].concat();
    let (of_base, of_tuned) = (
        hidden(base, &ids, prompt.len())?,
        hidden(tuned, &ids, prompt.len())?,
    );
    let (wide, width) = (tuned.config().hidden_size, base.config().hidden_size);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    for (b, tokens) in answer.chunks(BLOCK).enumerate() {
        let part = |hidden: &[f32], width: usize| -> Vec<f32> {
            let rows = hidden.chunks(width).skip(b * BLOCK).take(tokens.len());
            rows.flatten().copied().collect()
        };
        base.logits(&part(&of_base, width), &mut left);
        tuned.logits(&part(&of_tuned, wide), &mut right);
        let pairs = pair_rows(
            &left,
            base.vocab_size(),
            &right,
            tuned.vocab_size(),
            tokens,
            0,
        )
        .map_err(|e| TrainError::Setting(format!("the pair cannot be compared: {e}")))?;
        let above = pairs.iter().enumerate();
        found.extend(
            above
                .filter(|(i, pair)| b * BLOCK + i == 0 || pair.js_nats > gate)
                .map(|(i, _)| b * BLOCK + i),
        );
    }
    Ok(found)
}

/// The rival, below `vocab`, of each token of `ids` at `places`, ascending and at
/// least `from`.
pub(super) fn rivals(
    base: &Policy,
    vocab: usize,
    ids: &[u32],
    from: usize,
    places: &[usize],
) -> Result<Vec<u32>, TrainError> {
    let width = base.config().hidden_size;
    let states = hidden(base, ids, from)?;
    let mut rows = Vec::with_capacity(places.len() * width);
    for t in places {
        let row = t.saturating_sub(from) * width;
        rows.extend_from_slice(states.get(row..row + width).unwrap_or(&[]));
    }
    let mut logits = Vec::new();
    base.logits(&rows, &mut logits);
    let best = |(row, t): (&[f32], &usize)| {
        let own = ids.get(*t).map(|id| *id as usize);
        let mut best: Option<(usize, f32)> = None;
        for (id, z) in row.iter().enumerate().take(vocab) {
            if Some(id) != own && best.is_none_or(|(_, most)| *z > most) {
                best = Some((id, *z));
            }
        }
        best.map_or(0, |(id, _)| id as u32)
    };
    Ok(logits
        .par_chunks(base.vocab_size().max(1))
        .zip(places)
        .map(best)
        .collect())
}
