//! Sequences that answers grow on, and strings that end them.

use std::collections::BTreeSet;

use forkscope_policy::{SamplePrompt, SequenceId, Sequences};

use super::Start;
use crate::AuditError;

/// A sequence per start: a fork of its prompt's, which is computed when it is
/// first asked for, or one of its own.
pub(super) fn open(
    sequences: &mut Sequences<'_>,
    roots: &mut [Option<SequenceId>],
    prompts: &[SamplePrompt],
    starts: &[Start],
) -> Result<Vec<SequenceId>, AuditError> {
    let of_prompt = starts.iter().filter(|s| s.instead.is_none());
    let missing: BTreeSet<usize> = of_prompt
        .map(|s| s.prompt)
        .filter(|p| roots.get(*p) == Some(&None))
        .collect();
    let ids: Vec<&[u32]> = missing
        .iter()
        .filter_map(|p| prompts.get(*p).map(|p| p.ids.as_slice()))
        .collect();
    for (prompt, id) in missing.iter().zip(sequences.open(&ids)?) {
        if let Some(root) = roots.get_mut(*prompt) {
            *root = Some(id);
        }
    }
    let instead: Vec<&[u32]> = starts.iter().filter_map(|s| s.instead.as_deref()).collect();
    let mut instead = sequences.open(&instead)?.into_iter();
    let lost = || AuditError::Internal("a prompt was not opened".into());
    let mut opened = Vec::with_capacity(starts.len());
    for start in starts {
        opened.push(match (&start.instead, roots.get(start.prompt)) {
            (Some(_), _) => instead.next().ok_or_else(lost)?,
            (None, Some(Some(root))) => sequences.fork(*root)?,
            (None, _) => return Err(lost()),
        });
    }
    Ok(opened)
}

/// Whether a stop string occurs in `text`, of which all but the last `added`
/// bytes have been searched before.
pub(super) fn ends_in_stop(text: &str, added: usize, stop: &[String]) -> bool {
    stop.iter().any(|s| {
        let mut from = text.len().saturating_sub(added + s.len());
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        text.get(from..)
            .is_some_and(|tail| tail.contains(s.as_str()))
    })
}
