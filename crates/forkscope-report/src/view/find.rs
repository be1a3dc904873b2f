//! Where the token rows of a rollout are, before the index knows.

use forkscope_records::{PagedTable, RecordsError};

use super::index::Entry;
use super::respond::Fault;

/// Most row groups that are looked through.
const MOST_GROUPS: usize = 24;

/// First row and number of rows of a rollout. Before the index knows, the row
/// groups near the place where it should start are looked through, of those
/// whose bounds admit the problem.
pub fn locate(
    tokens: &PagedTable,
    entry: &Entry,
    problem: &str,
    expected: u64,
) -> Result<(u64, u64), Fault> {
    if entry.rows > 0 {
        return Ok((entry.first_row, u64::from(entry.rows)));
    }
    let start = tokens.groups_of(expected..expected.saturating_add(1)).start;
    let mut near: Vec<usize> = (0..tokens.groups())
        .filter(|&g| tokens.may_hold(g, problem))
        .collect();
    near.sort_by_key(|g| g.abs_diff(start));
    let Some((group, first)) = first_row(tokens, &near, entry.sample, problem)? else {
        return Err(Fault::Later(
            "the token rows of this rollout have not been found yet; the index is still being built"
                .into(),
        ));
    };
    let (mut rows, mut start) = (0u64, first);
    // It may have begun in the group before, and goes on until another follows.
    for before in (0..group).rev() {
        let n = stretch(tokens, before, entry.sample, problem, true)?;
        start -= n;
        rows += n;
        if n < tokens.rows_of(before).end - tokens.rows_of(before).start {
            break;
        }
    }
    let own = stretch_from(tokens, first, entry.sample, problem)?;
    Ok((start, rows + own))
}

type Keys = Vec<bool>;

/// Which rows of a group are of that rollout.
fn keys(
    tokens: &PagedTable,
    group: usize,
    sample: u32,
    problem: &str,
) -> Result<Keys, RecordsError> {
    let mut keys = Vec::new();
    tokens.read(group, &["problem_id", "sample"], 0..u64::MAX, |c| {
        let pairs = c
            .identifiers("problem_id")?
            .into_iter()
            .zip(c.u32s("sample")?);
        keys.extend(pairs.map(|(p, s)| s == sample && p == problem));
        Ok(())
    })?;
    Ok(keys)
}

fn first_row(
    tokens: &PagedTable,
    groups: &[usize],
    sample: u32,
    problem: &str,
) -> Result<Option<(usize, u64)>, RecordsError> {
    for &group in groups.iter().take(MOST_GROUPS) {
        let keys = keys(tokens, group, sample, problem)?;
        if let Some(at) = keys.iter().position(|k| *k) {
            return Ok(Some((group, tokens.rows_of(group).start + at as u64)));
        }
    }
    Ok(None)
}

/// Rows of that rollout at the end (or the start) of a group.
fn stretch(
    tokens: &PagedTable,
    group: usize,
    sample: u32,
    problem: &str,
    at_end: bool,
) -> Result<u64, RecordsError> {
    let keys = keys(tokens, group, sample, problem)?;
    let n = match at_end {
        true => keys.iter().rev().take_while(|k| **k).count(),
        false => keys.iter().take_while(|k| **k).count(),
    };
    Ok(n as u64)
}

/// Rows of that rollout from one of its rows on.
fn stretch_from(
    tokens: &PagedTable,
    first: u64,
    sample: u32,
    problem: &str,
) -> Result<u64, RecordsError> {
    let group = tokens.groups_of(first..first.saturating_add(1)).start;
    let own = tokens.rows_of(group);
    let skip = usize::try_from(first - own.start).unwrap_or(0);
    let keys = keys(tokens, group, sample, problem)?;
    let mut rows = keys.iter().skip(skip).take_while(|k| **k).count() as u64;
    if first + rows < own.end {
        return Ok(rows);
    }
    for group in group + 1..tokens.groups() {
        let n = stretch(tokens, group, sample, problem, false)?;
        rows += n;
        let own = tokens.rows_of(group);
        if n < own.end - own.start {
            break;
        }
    }
    Ok(rows)
}
