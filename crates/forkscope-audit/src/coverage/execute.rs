//! Both policies at the positions of a plan, and nowhere else.
//!
//! A rollout is forwarded up to its last planned position, and the heads look at
//! planned positions only. A row depends on its own prefix alone, so the rows
//! are bit for bit those of a whole diff.

use forkscope_metrics::pair_rows;
use forkscope_policy::{HiddenRows, Policy};
use forkscope_records::types::{DiffRow, Rollout};

use crate::AuditError;
use crate::scoring::{DiffSettings, bad_row, diff_row, row_of, rows_of, targets};
use crate::windows::groups;

/// Rows of the diff at chosen offsets (ascending) of each rollout, in order.
///
/// # Errors
/// An offset outside a completion; a policy that breaks.
pub fn audit_window(
    base: &Policy,
    tuned: &Policy,
    wanted: &[(&Rollout, Vec<u32>)],
    settings: DiffSettings,
) -> Result<Vec<DiffRow>, AuditError> {
    let cut: Vec<Rollout> = wanted
        .iter()
        .map(|(rollout, offsets)| shortened(&[base, tuned], rollout, offsets))
        .collect::<Result<_, _>>()?;
    let views: Vec<&Rollout> = cut.iter().collect();
    let targets = targets(&views);
    let places = places(wanted, &cut)?;
    let hidden = |policy: &Policy| {
        let all = policy.hidden_rows(&groups(&views))?;
        let kept = places.iter().flat_map(|p| rows_of(&all, p.row, 1));
        Ok::<_, AuditError>(HiddenRows {
            values: kept.copied().collect(),
            width: all.width,
        })
    };
    let base_hidden = hidden(base)?;
    let shared = base.shares_weights_with(tuned);
    if !shared {
        base.release();
    }
    let tuned_hidden = hidden(tuned)?;
    if !shared {
        tuned.release();
    }
    let block = base.block_rows().min(tuned.block_rows());
    let (mut base_logits, mut tuned_logits) = (Vec::new(), Vec::new());
    let mut out = Vec::with_capacity(places.len());
    for (i, places) in places.chunks(block).enumerate() {
        let first = i * block;
        base.logits(rows_of(&base_hidden, first, places.len()), &mut base_logits);
        tuned.logits(
            rows_of(&tuned_hidden, first, places.len()),
            &mut tuned_logits,
        );
        let tokens: Vec<u32> = places
            .iter()
            .filter_map(|p| targets.get(p.row).copied())
            .collect();
        let metrics = pair_rows(
            &base_logits,
            base.vocab_size(),
            &tuned_logits,
            tuned.vocab_size(),
            &tokens,
            settings.record_topk,
        )
        .map_err(|e| {
            let row = row_of(&e).unwrap_or(0);
            let at = places.get(row).map_or(0, |p| p.row);
            bad_row(e, &views, at.saturating_sub(row))
        })?;
        for ((metrics, place), token) in metrics.into_iter().zip(places).zip(&tokens) {
            out.push(diff_row(
                place.rollout,
                place.t,
                *token,
                metrics,
                settings.class_k,
            ));
        }
    }
    if !shared {
        base.release();
        tuned.release();
    }
    Ok(out)
}

/// A planned position: its row among all positions of the shortened rollouts.
struct Place<'r> {
    rollout: &'r Rollout,
    t: u32,
    row: usize,
}

fn places<'r>(
    wanted: &[(&'r Rollout, Vec<u32>)],
    cut: &[Rollout],
) -> Result<Vec<Place<'r>>, AuditError> {
    let mut out = Vec::new();
    let mut before = 0;
    for ((rollout, offsets), cut) in wanted.iter().zip(cut) {
        for offset in offsets {
            let t = u32::try_from(rollout.prompt_len + *offset as usize);
            out.push(Place {
                rollout,
                t: t.map_err(|_| outside(rollout, *offset))?,
                row: before + *offset as usize,
            });
        }
        before += cut.completion().len();
    }
    Ok(out)
}

/// The rollout up to its last planned position; the whole where numbers depend
/// on the length of a sequence.
fn shortened(
    policies: &[&Policy],
    rollout: &Rollout,
    offsets: &[u32],
) -> Result<Rollout, AuditError> {
    let last = offsets.last().copied().unwrap_or(0) as usize;
    if last >= rollout.completion().len() {
        return Err(outside(rollout, last as u32));
    }
    let len = rollout.token_ids.len();
    let mut cut = rollout.clone();
    cut.logprobs = None;
    cut.text.clear();
    if !policies
        .iter()
        .any(|p| p.config().rope.depends_on_length(len))
    {
        cut.token_ids.truncate(rollout.prompt_len + last + 1);
    }
    Ok(cut)
}

fn outside(rollout: &Rollout, offset: u32) -> AuditError {
    AuditError::Coverage(format!(
        "the plan wants completion position {offset} of rollout {} of problem {:?}, which has {}; execute a plan on the rollouts that it was made for",
        rollout.sample,
        rollout.problem_id,
        rollout.completion().len()
    ))
}
