//! Which rollouts are scored together, and where a resumed run goes on.
//!
//! A window is a stretch of rollouts in the order of the rows. It is the unit
//! of work between two looks at the disk, and its size changes no number.

use forkscope_policy::{Policy, PromptGroup};
use forkscope_records::types::{Rollout, Validity};

use crate::AuditError;

/// Positions per window, unless one rollout is longer: the size of a row group,
/// and few enough that two sets of hidden states are small.
const WINDOW: usize = 4096;

/// Orders rollouts as rows are ordered: problems as they first appear, then by
/// sample.
pub fn in_row_order(rollouts: &mut [Rollout]) {
    let mut first: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    for rollout in rollouts.iter() {
        let next = first.len();
        first.entry(rollout.problem_id.clone()).or_insert(next);
    }
    rollouts.sort_by_key(|r| (first.get(&r.problem_id).copied(), r.sample));
}

/// Checks rollouts against the policies that are to score them. Ids that a
/// vocabulary lacks and prompts that do not fit are errors; a rollout longer
/// than a context, or without a completion, is marked and yields no row.
pub fn check(rollouts: &mut [Rollout], policies: &[&Policy]) -> Result<(), AuditError> {
    let vocab = policies.iter().map(|p| p.vocab_size()).min().unwrap_or(0);
    for rollout in rollouts {
        let bad = |problem: String| AuditError::Rollout {
            problem_id: rollout.problem_id.clone(),
            sample: rollout.sample,
            problem,
        };
        let len = rollout.token_ids.len();
        if rollout.prompt_len == 0 || rollout.prompt_len > len {
            return Err(bad(format!(
                "`prompt_len` is {} for {len} token ids; it must lie between 1 and their number",
                rollout.prompt_len
            )));
        }
        if let Some(id) = rollout.token_ids.iter().find(|id| **id as usize >= vocab) {
            return Err(bad(format!(
                "token id {id} is outside the vocabulary of {vocab}; score rollouts with the model that made them"
            )));
        }
        if rollout.validity == Validity::NonFinite {
            // Somebody's recorded numbers; the ids are sound and scored anew.
            rollout.validity = Validity::Ok;
        }
        if len == rollout.prompt_len {
            rollout.validity = Validity::Empty;
        } else if policies.iter().any(|p| !p.can_score(len)) {
            rollout.validity = Validity::ContextExceeded;
        }
    }
    Ok(())
}

/// Whether the rollout yields rows.
pub fn yields_rows(rollout: &Rollout) -> bool {
    matches!(rollout.validity, Validity::Ok | Validity::Truncated)
        && !rollout.completion().is_empty()
}

/// Windows of about 4,096 rows over the rollouts that yield rows, leaving
/// out rollouts whose rows are all among the first `kept`. Each comes with the
/// number of its first rows that are kept already.
pub fn windows(rollouts: &[Rollout], kept: u64) -> Vec<(Vec<&Rollout>, usize)> {
    windows_of(rollouts, WINDOW, kept)
}

fn windows_of(rollouts: &[Rollout], positions: usize, kept: u64) -> Vec<(Vec<&Rollout>, usize)> {
    let mut out: Vec<(Vec<&Rollout>, usize)> = Vec::new();
    let mut kept = usize::try_from(kept).unwrap_or(usize::MAX);
    let mut size = usize::MAX;
    for rollout in rollouts.iter().filter(|r| yields_rows(r)) {
        let rows = rollout.completion().len();
        if kept >= rows {
            kept -= rows;
            continue;
        }
        if size.saturating_add(rows) > positions {
            out.push((Vec::new(), std::mem::take(&mut kept)));
            size = 0;
        }
        if let Some((window, _)) = out.last_mut() {
            window.push(rollout);
            size += rows;
        }
    }
    out
}

/// Rollouts with a common prompt, adjacent ones together.
pub(crate) fn groups<'r>(rollouts: &[&'r Rollout]) -> Vec<PromptGroup<'r>> {
    let mut out: Vec<PromptGroup<'r>> = Vec::new();
    for rollout in rollouts {
        let prompt = rollout.token_ids.get(..rollout.prompt_len).unwrap_or(&[]);
        match out.last_mut() {
            Some(group) if group.prompt == prompt => group.completions.push(rollout.completion()),
            _ => out.push(PromptGroup {
                prompt,
                completions: vec![rollout.completion()],
            }),
        }
    }
    out
}

/// The (rollout, t) of row `row` of a window.
pub(crate) fn place<'r>(rollouts: &[&'r Rollout], row: usize) -> Option<(&'r Rollout, usize)> {
    let mut at = row;
    for rollout in rollouts {
        let rows = rollout.completion().len();
        if at < rows {
            return Some((rollout, rollout.prompt_len + at));
        }
        at -= rows;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkscope_records::types::FinishReason;

    fn rollout(problem: &str, sample: u32, completion: usize) -> Rollout {
        Rollout {
            problem_id: problem.into(),
            sample,
            token_ids: vec![1; 3 + completion],
            prompt_len: 3,
            finish_reason: FinishReason::Eos,
            text: String::new(),
            correct: None,
            validity: Validity::Ok,
            logprobs: None,
        }
    }

    #[test]
    fn windows_cover_every_row_once_wherever_a_run_goes_on() {
        let rollouts: Vec<Rollout> = [5, 0, 7, 1, 12, 3]
            .iter()
            .enumerate()
            .map(|(i, n)| rollout("p", i as u32, *n))
            .collect();
        for size in [1, 6, 8, 100] {
            for kept in 0..=28 {
                let rows: usize = windows_of(&rollouts, size, kept)
                    .iter()
                    .map(|(w, skip)| w.iter().map(|r| r.completion().len()).sum::<usize>() - skip)
                    .sum();
                assert_eq!(rows as u64, 28 - kept, "size {size}, kept {kept}");
            }
        }
    }

    #[test]
    fn row_order_keeps_problems_as_they_come() {
        let mut rollouts = vec![rollout("b", 1, 1), rollout("a", 0, 1), rollout("b", 0, 1)];
        in_row_order(&mut rollouts);
        let order: Vec<(&str, u32)> = rollouts
            .iter()
            .map(|r| (r.problem_id.as_str(), r.sample))
            .collect();
        assert_eq!(order, [("b", 0), ("b", 1), ("a", 0)]);
    }
}
