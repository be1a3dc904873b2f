//! Writing hidden states, rollout by rollout.
//!
//! Until [`HiddenWriter::finish`], the rows lie below `.spool/` beside a journal
//! of one line of JSON per rollout. A line is appended after its rows are on the
//! disk. Whoever goes on digests the rows of each line; the first that is not
//! whole, and all behind it, are cut off.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Entry, INDEX, Index, Prompt, ROWS, bytes_of_rows, ids_digest, little_endian};
use crate::digest::{sha256_bytes, sha256_reader};
use crate::documents::{read_document, to_bytes};
use crate::run::{remove_file, sync_dir, write_whole};
use crate::{RecordsError, RunDir};

/// A rollout with its rows.
#[derive(Debug, Clone, Copy)]
pub struct HiddenRollout<'a> {
    /// Problem identifier.
    pub problem_id: &'a str,
    /// Sample index among the problem's rollouts.
    pub sample: u32,
    /// Prompt ids followed by completion ids.
    pub token_ids: &'a [u32],
    /// Number of leading ids that are the prompt; at least 1.
    pub prompt_len: usize,
    /// `prompt_len - 1` rows; `None` for those of the rollout before, which has
    /// the same prompt.
    pub prompt_rows: Option<&'a [f32]>,
    /// A row per completion token.
    pub completion_rows: &'a [f32],
}

/// Hidden states being written into a run.
#[derive(Debug)]
pub struct HiddenWriter {
    target: PathBuf,
    index: PathBuf,
    aside: PathBuf,
    /// `None` if both files are in place already.
    spool: Option<Spool>,
    model: String,
    width: u64,
    entries: Vec<Entry>,
    kept: usize,
    rows: u64,
    _lock: Arc<File>,
}

#[derive(Debug)]
struct Spool {
    rows_path: PathBuf,
    rows: File,
    journal_path: PathBuf,
    journal: File,
    /// Where the next line goes.
    journal_end: u64,
    /// Lines of rollouts whose rows may not be on the disk yet.
    lines: Vec<u8>,
}

impl HiddenWriter {
    /// Rows of width `width` of the model with that digest, continued where they
    /// were left.
    pub fn open(run: &RunDir, model: &str, width: usize) -> Result<Self, RecordsError> {
        let (target, aside, lock) = run.spooled(ROWS)?;
        let (index, _, _) = run.spooled(INDEX)?;
        let mut writer = Self {
            target,
            index,
            aside,
            spool: None,
            model: model.to_owned(),
            width: width as u64,
            entries: Vec::new(),
            kept: 0,
            rows: 0,
            _lock: lock,
        };
        // A name ending in `.rows` keeps the run from being completed without it.
        let rows_path = writer.aside.join(format!("{ROWS}.rows"));
        let journal_path = writer.aside.join(format!("{ROWS}.journal"));
        if writer.index.exists() {
            let found: Index = read_document(&writer.index)?;
            writer.rows = found.rows;
            writer.entries = found.rollouts;
            remove_file(&journal_path)?;
        } else {
            if writer.target.exists() {
                // Whole but for its index.
                fs::rename(&writer.target, &rows_path).map_err(RecordsError::write(&rows_path))?;
            }
            let (spool, entries) = Spool::open(rows_path, journal_path, writer.width)?;
            writer.rows = entries.iter().filter_map(Entry::stored_rows).sum();
            (writer.spool, writer.entries) = (Some(spool), entries);
        }
        writer.kept = writer.entries.len();
        Ok(writer)
    }

    /// Rollouts that were safely on the disk when the file was opened: the
    /// caller goes on with the one after these.
    pub fn rollouts_kept(&self) -> usize {
        self.kept
    }

    /// Whether both files are in place.
    pub fn is_whole(&self) -> bool {
        self.spool.is_none()
    }

    /// Whether the next rollout, of this prompt, comes with prompt rows: the
    /// rollout before has another prompt.
    pub fn needs_prompt(&self, prompt: &[u32]) -> bool {
        let last = self.entries.iter().rev().find_map(|e| e.prompt.as_ref());
        last.is_none_or(|p| p.ids_sha256 != ids_digest(prompt))
    }

    /// Appends a rollout's rows.
    pub fn append(&mut self, r: &HiddenRollout<'_>) -> Result<(), RecordsError> {
        let entry = self.entry(r)?;
        let stored = entry.stored_rows().unwrap_or(0);
        let Some(spool) = &mut self.spool else {
            return Err(misuse("has all its rows"));
        };
        let at = bytes_of_rows(self.rows, self.width).ok_or_else(|| misuse("is too large"))?;
        let written = spool
            .rows
            .seek(SeekFrom::Start(at))
            .and_then(|_| {
                spool
                    .rows
                    .write_all(&little_endian(r.prompt_rows.unwrap_or(&[])))
            })
            .and_then(|()| spool.rows.write_all(&little_endian(r.completion_rows)));
        written.map_err(RecordsError::write(&self.target))?;
        serde_json::to_writer(&mut spool.lines, &entry)
            .map_err(|e| RecordsError::encode(ROWS, e))?;
        spool.lines.push(b'\n');
        self.entries.push(entry);
        self.rows += stored;
        Ok(())
    }

    /// Waits until everything appended is on the disk.
    pub fn sync(&mut self) -> Result<(), RecordsError> {
        match &mut self.spool {
            Some(spool) => spool.sync().map_err(RecordsError::write(&self.target)),
            None => Ok(()),
        }
    }

    /// Gives the files their names. Returns the number of rows.
    pub fn finish(mut self) -> Result<u64, RecordsError> {
        self.sync()?;
        let Some(spool) = self.spool.take() else {
            return Ok(self.rows);
        };
        let index = Index {
            schema: Index::SCHEMA.into(),
            model: self.model,
            width: self.width,
            rows: self.rows,
            rollouts: self.entries,
        };
        fs::rename(&spool.rows_path, &self.target).map_err(RecordsError::write(&self.target))?;
        write_whole(
            &self.aside.join(format!("{INDEX}.tmp")),
            &self.index,
            &to_bytes(&index)?,
        )?;
        sync_dir(self.target.parent().unwrap_or(Path::new(".")))?;
        remove_file(&spool.journal_path)?;
        Ok(self.rows)
    }

    /// What the index says of a rollout, checked.
    fn entry(&self, r: &HiddenRollout<'_>) -> Result<Entry, RecordsError> {
        let completion = r.token_ids.len().checked_sub(r.prompt_len);
        let (Some(completion), Some(prompt)) = (completion, r.prompt_len.checked_sub(1)) else {
            return Err(misuse("was given a rollout without a prompt"));
        };
        let width = self.width as usize;
        let fits = |rows: &[f32], n: usize| n.checked_mul(width) == Some(rows.len());
        if !fits(r.completion_rows, completion)
            || r.prompt_rows.is_some_and(|rows| !fits(rows, prompt))
        {
            return Err(misuse("was given rows that do not fit the ids"));
        }
        let prompt_ids = r.token_ids.get(..r.prompt_len).unwrap_or(&[]);
        if r.prompt_rows.is_none() && self.needs_prompt(prompt_ids) {
            return Err(misuse("was given a new prompt without its rows"));
        }
        Ok(Entry {
            problem_id: r.problem_id.to_owned(),
            sample: r.sample,
            prompt_rows: prompt as u64,
            prompt: r.prompt_rows.map(|rows| Prompt {
                ids_sha256: ids_digest(prompt_ids),
                sha256: sha256_bytes(&little_endian(rows)),
            }),
            rows: completion as u64,
            ids_sha256: ids_digest(r.token_ids),
            sha256: sha256_bytes(&little_endian(r.completion_rows)),
        })
    }
}

fn misuse(what: &str) -> RecordsError {
    RecordsError::Misuse(format!("{ROWS} {what}"))
}

impl Spool {
    fn open(
        rows_path: PathBuf,
        journal_path: PathBuf,
        width: u64,
    ) -> Result<(Self, Vec<Entry>), RecordsError> {
        let open = |path: &Path| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            options.open(path).map_err(RecordsError::write(path))
        };
        let (rows, journal) = (open(&rows_path)?, open(&journal_path)?);
        let (entries, rows_end, journal_end) =
            recover(&rows, &journal, width).map_err(RecordsError::read(&rows_path))?;
        rows.set_len(rows_end)
            .map_err(RecordsError::write(&rows_path))?;
        journal
            .set_len(journal_end)
            .map_err(RecordsError::write(&journal_path))?;
        let spool = Self {
            rows_path,
            rows,
            journal_path,
            journal,
            journal_end,
            lines: Vec::new(),
        };
        Ok((spool, entries))
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.rows.sync_data()?;
        self.journal.seek(SeekFrom::Start(self.journal_end))?;
        self.journal.write_all(&self.lines)?;
        self.journal.sync_data()?;
        self.journal_end += self.lines.len() as u64;
        self.lines.clear();
        Ok(())
    }
}

/// The rollouts whose line and rows are whole, and where these end.
fn recover(rows: &File, journal: &File, width: u64) -> std::io::Result<(Vec<Entry>, u64, u64)> {
    let len = rows.metadata()?.len();
    let mut rows = BufReader::with_capacity(1 << 16, rows);
    let mut lines = BufReader::new(journal);
    let (mut entries, mut rows_end, mut journal_end) = (Vec::<Entry>::new(), 0u64, 0u64);
    loop {
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            break;
        }
        let Ok(entry) = serde_json::from_slice::<Entry>(&line) else {
            break;
        };
        let bytes = entry.stored_rows().and_then(|n| bytes_of_rows(n, width));
        let Some(end) = bytes.and_then(|b| b.checked_add(rows_end)) else {
            break;
        };
        if end > len || (entries.is_empty() && entry.prompt.is_none()) {
            break;
        }
        let mut stretches = vec![(entry.rows, &entry.sha256)];
        if let Some(prompt) = &entry.prompt {
            stretches.insert(0, (entry.prompt_rows, &prompt.sha256));
        }
        let mut whole = true;
        for (n, sha256) in stretches {
            let bytes = bytes_of_rows(n, width).unwrap_or(0);
            let (found, read) = sha256_reader((&mut rows).take(bytes))?;
            whole &= read == bytes && found == *sha256;
        }
        if !whole {
            break;
        }
        rows_end = end;
        journal_end += line.len() as u64 + 1;
        entries.push(entry);
    }
    Ok((entries, rows_end, journal_end))
}
