//! Writing one table of a run, row group by row group.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{remove_tree, sync_dir};
use super::segment::{Segment, read_segment, recover, write_segment};
use crate::RecordsError;
use crate::table::{Record, TableReader, assemble, encode_group, read_table, read_table_bytes};

/// A table being written. Rows are kept in memory until a row group is full,
/// then encoded once and spooled; [`TableWriter::finish`] makes the file.
#[derive(Debug)]
pub struct TableWriter<R> {
    path: PathBuf,
    spool: PathBuf,
    row_group_rows: usize,
    segments: Vec<Segment>,
    pending: Vec<R>,
    rows_kept: u64,
    whole: Whole,
    /// Keeps the run locked as long as a table of it is written.
    _lock: Arc<File>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// Rows are missing.
    No,
    /// All rows are spooled.
    Spooled,
    /// The file is in place.
    File,
}

impl<R: Record> TableWriter<R> {
    pub(super) fn open(
        path: PathBuf,
        spool: PathBuf,
        row_group_rows: usize,
        lock: Arc<File>,
    ) -> Result<Self, RecordsError> {
        if row_group_rows == 0 {
            return Err(RecordsError::Misuse(
                "a row group must have at least one row".into(),
            ));
        }
        let mut writer = Self {
            path,
            spool,
            row_group_rows,
            segments: Vec::new(),
            pending: Vec::new(),
            rows_kept: 0,
            whole: Whole::No,
            _lock: lock,
        };
        if writer.path.exists() {
            writer.rows_kept = TableReader::<R>::open(&writer.path)?.len();
            writer.whole = Whole::File;
            remove_tree(&writer.spool)?;
            return Ok(writer);
        }
        fs::create_dir_all(&writer.spool).map_err(RecordsError::write(&writer.spool))?;
        writer.segments = recover(&writer.spool)?;
        writer.check_group_size()?;
        writer.rows_kept = writer.segments.iter().map(|s| s.rows).sum();
        if writer.segments.last().is_some_and(|s| s.last) {
            writer.whole = Whole::Spooled;
        }
        Ok(writer)
    }

    /// Rows that were safely on the disk when the table was opened: the caller
    /// goes on with the row after these.
    pub fn rows_kept(&self) -> u64 {
        self.rows_kept
    }

    /// Whether all rows were on the disk when the table was opened; then there
    /// is nothing to append, and [`TableWriter::finish`] is still to be called.
    pub fn is_whole(&self) -> bool {
        self.whole != Whole::No
    }

    /// The rows that were kept, read back.
    pub fn read_kept(&self) -> Result<Vec<R>, RecordsError> {
        if self.whole == Whole::File {
            return read_table(&self.path);
        }
        let mut rows = Vec::new();
        for segment in &self.segments {
            rows.append(&mut read_table_bytes(
                read_segment(segment)?,
                &segment.path,
            )?);
        }
        Ok(rows)
    }

    /// Appends one row.
    pub fn append(&mut self, row: R) -> Result<(), RecordsError> {
        if self.is_whole() {
            return Err(RecordsError::Misuse(format!(
                "{} has all its rows",
                self.path.display()
            )));
        }
        if self.pending.capacity() == 0 {
            // The group size comes from the user: trust it only as far as rows come.
            self.pending
                .reserve(self.row_group_rows.min(super::ROW_GROUP_ROWS));
        }
        self.pending.push(row);
        if self.pending.len() >= self.row_group_rows {
            self.spool(false)?;
        }
        Ok(())
    }

    /// Appends rows in their order.
    pub fn append_all(&mut self, rows: impl IntoIterator<Item = R>) -> Result<(), RecordsError> {
        rows.into_iter().try_for_each(|row| self.append(row))
    }

    /// Spools what is pending and makes the file from all segments. Gives the
    /// number of rows.
    pub fn finish(mut self) -> Result<u64, RecordsError> {
        if self.whole == Whole::File {
            return Ok(self.rows_kept);
        }
        if self.whole == Whole::No {
            self.spool(true)?;
        }
        let rows = self.segments.iter().map(|s| s.rows).sum();
        let temporary = self.spool.join("table.tmp");
        let file = File::create(&temporary).map_err(RecordsError::write(&self.path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let groups = self
            .segments
            .iter()
            .filter(|s| s.rows > 0)
            .map(read_segment);
        assemble::<R>(&self.path, groups, &mut out)?;
        out.flush()
            .and_then(|()| out.get_ref().sync_all())
            .map_err(RecordsError::write(&self.path))?;
        fs::rename(&temporary, &self.path).map_err(RecordsError::write(&self.path))?;
        sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        remove_tree(&self.spool)?;
        Ok(rows)
    }

    fn spool(&mut self, last: bool) -> Result<(), RecordsError> {
        let bytes = encode_group(&self.pending)?;
        let rows = self.pending.len() as u64;
        self.segments.push(write_segment(
            &self.spool,
            self.segments.len(),
            bytes,
            rows,
            last,
        )?);
        self.pending.clear();
        Ok(())
    }

    /// Segments of another size would make other bytes.
    fn check_group_size(&self) -> Result<(), RecordsError> {
        let size = self.row_group_rows as u64;
        let fits = |s: &&Segment| {
            if s.last {
                s.rows < size
            } else {
                s.rows == size
            }
        };
        match self.segments.iter().find(|s| !fits(s)) {
            None => Ok(()),
            Some(odd) => Err(RecordsError::SettingDiffers {
                path: self.spool.clone(),
                setting: "row_group_rows".into(),
                recorded: odd.rows.to_string(),
                given: size.to_string(),
            }),
        }
    }
}
