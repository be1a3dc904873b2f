//! Reading hidden states: the rows are mapped, not read.
//!
//! The files are somebody's claim. Sizes are checked when they are opened, a
//! rollout's rows (digest, and that every value is finite) when they are first
//! asked for. The mapping is private and read-only; a file that is cut while it
//! is mapped ends the process, as every mapped file does.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use memmap2::{Mmap, UncheckedAdvice};

use super::{Entry, INDEX, Index, ROWS, bytes_of_rows, ids_digest};
use crate::RecordsError;
use crate::digest::sha256_bytes;
use crate::documents::read_document;

/// Rows of a rollout's prompt, and of its completion.
pub type PromptAndCompletion<'a> = (&'a [f32], &'a [f32]);

/// The hidden states of a run.
#[derive(Debug)]
pub struct HiddenStore {
    path: PathBuf,
    /// `None` if there is not one row.
    map: Option<Mmap>,
    width: usize,
    model: String,
    rollouts: Vec<Stored>,
    place: HashMap<(String, u32), usize>,
}

/// Where a rollout's rows are.
#[derive(Debug)]
struct Stored {
    entry: Entry,
    /// The rollout that holds the prompt rows: itself or one before.
    owner: usize,
    /// Bytes of the prompt rows.
    prompt: Range<usize>,
    /// Bytes of the completion rows.
    rows: Range<usize>,
    prompt_checked: AtomicBool,
    rows_checked: AtomicBool,
}

impl HiddenStore {
    /// Whether a run has hidden states.
    pub fn is_in(run: &Path) -> bool {
        run.join(INDEX).is_file()
    }

    /// Maps the hidden states of the run at `run`.
    pub fn open(run: &Path) -> Result<Self, RecordsError> {
        let (path, index_path) = (run.join(ROWS), run.join(INDEX));
        let index: Index = read_document(&index_path)?;
        if index.schema != Index::SCHEMA {
            let reason = format!(
                "schema {:?} is not {:?}; it was written by another version of forkscope",
                index.schema,
                Index::SCHEMA
            );
            return Err(RecordsError::json(&index_path, reason));
        }
        if cfg!(target_endian = "big") {
            let reason = "the rows are little endian and are mapped, which this machine cannot do; leave the file out";
            return Err(RecordsError::entry(&path, "byte order", reason));
        }
        let file = File::open(&path).map_err(RecordsError::read(&path))?;
        let len = file.metadata().map_err(RecordsError::read(&path))?.len();
        if index.width == 0 || bytes_of_rows(index.rows, index.width) != Some(len) {
            let reason = format!(
                "it has {len} bytes where {INDEX} says {} rows of {} f32; score the rollouts again with --keep-hidden",
                index.rows, index.width
            );
            return Err(RecordsError::entry(&path, "length", reason));
        }
        let map = match len {
            0 => None,
            // Safety: read-only; see the module's note on files that are cut.
            _ => Some(unsafe { Mmap::map(&file) }.map_err(RecordsError::read(&path))?),
        };
        let (rollouts, place) = places(&index_path, &index)?;
        Ok(Self {
            path,
            map,
            // `rows` of this width fit the mapped file.
            width: usize::try_from(index.width).unwrap_or(usize::MAX),
            model: index.model,
            rollouts,
            place,
        })
    }

    /// Values per row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Digest of the model that computed the rows, as `run.json` names it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Number of rollouts that have rows.
    pub fn len(&self) -> usize {
        self.rollouts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rollouts.is_empty()
    }

    /// Prompt rows and completion rows of a rollout (prompt_len - 1 and len -
    /// prompt_len of them); `None` if it is not here. Other ids under the same
    /// name, and rows that are not what was written, are errors.
    pub fn rollout(
        &self,
        problem_id: &str,
        sample: u32,
        token_ids: &[u32],
    ) -> Result<Option<PromptAndCompletion<'_>>, RecordsError> {
        let key = (problem_id.to_owned(), sample);
        let found = self.place.get(&key).and_then(|i| self.rollouts.get(*i));
        let Some(stored) = found else {
            return Ok(None);
        };
        if stored.entry.ids_sha256 != ids_digest(token_ids)
            || token_ids.len() != ids_of(&stored.entry)
        {
            let reason = "the rows were computed for other token ids; score these rollouts again with --keep-hidden";
            return Err(RecordsError::entry(&self.path, name(&stored.entry), reason));
        }
        let owner = self.rollouts.get(stored.owner).unwrap_or(stored);
        let prompt = match &owner.entry.prompt {
            Some(p) => self.rows(&owner.prompt, &p.sha256, &owner.prompt_checked, stored)?,
            None => &[],
        };
        let rows = self.rows(
            &stored.rows,
            &stored.entry.sha256,
            &stored.rows_checked,
            stored,
        )?;
        Ok(Some((prompt, rows)))
    }

    /// Gives the memory of the mapped rows back to the system until they are
    /// used again.
    pub fn release(&self) {
        if let Some(map) = &self.map {
            // Safety: a read-only mapping of a file is read again from the file.
            // That it could not be advised changes nothing but memory.
            let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }

    /// A stretch of the file as rows, checked when it is first asked for.
    fn rows(
        &self,
        at: &Range<usize>,
        sha256: &str,
        checked: &AtomicBool,
        of: &Stored,
    ) -> Result<&[f32], RecordsError> {
        let bad = |reason: &str| RecordsError::entry(&self.path, name(&of.entry), reason);
        let bytes = self.map.as_deref().unwrap_or(&[]);
        let bytes = bytes
            .get(at.clone())
            .ok_or_else(|| bad("its rows lie outside the file"))?;
        let rows: &[f32] = bytemuck::try_cast_slice(bytes)
            .map_err(|_| bad("its rows do not begin at a multiple of four bytes"))?;
        if !checked.load(Ordering::Relaxed) {
            if sha256_bytes(bytes) != sha256 {
                return Err(bad(
                    "its rows are not those that were written; score the rollouts again with --keep-hidden",
                ));
            }
            if !rows.iter().all(|x| x.is_finite()) {
                return Err(bad(
                    "its rows hold a value that is not finite; score the rollouts again with --keep-hidden",
                ));
            }
            checked.store(true, Ordering::Relaxed);
        }
        Ok(rows)
    }
}

/// Ids of a rollout: its rows and the first one, which nothing predicts.
fn ids_of(entry: &Entry) -> usize {
    let ids = entry
        .prompt_rows
        .saturating_add(entry.rows)
        .saturating_add(1);
    usize::try_from(ids).unwrap_or(usize::MAX)
}

fn name(entry: &Entry) -> String {
    format!(
        "rollout {} of problem `{}`",
        entry.sample,
        entry.problem_id.escape_debug()
    )
}

type Places = (Vec<Stored>, HashMap<(String, u32), usize>);

/// Where every rollout's rows are; together they are the file.
fn places(path: &Path, index: &Index) -> Result<Places, RecordsError> {
    let mut stored: Vec<Stored> = Vec::with_capacity(index.rollouts.len());
    let mut place = HashMap::with_capacity(index.rollouts.len());
    let mut row = 0u64;
    for (i, entry) in index.rollouts.iter().enumerate() {
        let bad = |reason: &str| RecordsError::entry(path, format!("rollouts[{i}]"), reason);
        let beyond = || bad("it ends beyond the rows of the file");
        let stretch = |from: u64, n: u64| {
            let end = from.checked_add(n).filter(|end| *end <= index.rows)?;
            let bytes = |rows| usize::try_from(bytes_of_rows(rows, index.width)?).ok();
            Some((bytes(from)?..bytes(end)?, end))
        };
        let (owner, prompt) = match (&entry.prompt, stored.last()) {
            (Some(_), _) => {
                let (at, end) = stretch(row, entry.prompt_rows).ok_or_else(beyond)?;
                row = end;
                (i, at)
            }
            (None, Some(before)) if before.entry.prompt_rows == entry.prompt_rows => {
                (before.owner, before.prompt.clone())
            }
            (None, _) => {
                return Err(bad(
                    "it has no `prompt`, and no rollout before it has as many prompt rows",
                ));
            }
        };
        let (rows, end) = stretch(row, entry.rows).ok_or_else(beyond)?;
        row = end;
        if place
            .insert((entry.problem_id.clone(), entry.sample), i)
            .is_some()
        {
            return Err(bad("`problem_id` and `sample` are those of another entry"));
        }
        stored.push(Stored {
            entry: entry.clone(),
            owner,
            prompt,
            rows,
            prompt_checked: AtomicBool::new(false),
            rows_checked: AtomicBool::new(false),
        });
    }
    match row == index.rows {
        true => Ok((stored, place)),
        false => Err(RecordsError::entry(
            path,
            "rows",
            format!("it is {} where the rollouts have {row}", index.rows),
        )),
    }
}
