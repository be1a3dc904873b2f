//! Writing one table of a run, row group by row group.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{remove_file, sync_dir};
use super::spool::{Segment, Spool};
use crate::RecordsError;
use crate::table::{Record, TableReader, assemble, encode_group, read_table, read_table_bytes};

/// A table being written. Rows are kept in memory until a row group is full,
/// then encoded once and spooled; [`TableWriter::finish`] makes the file.
#[derive(Debug)]
pub struct TableWriter<R> {
    path: PathBuf,
    row_group_rows: usize,
    pending: Vec<R>,
    rows_kept: u64,
    /// `None` if the file is in place already.
    spool: Option<Spool>,
    /// Keeps the run locked as long as a table of it is written.
    _lock: Arc<File>,
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
        let new = |rows_kept, spool| Self {
            path: path.clone(),
            row_group_rows,
            pending: Vec::new(),
            rows_kept,
            spool,
            _lock: lock,
        };
        if path.exists() {
            let rows = TableReader::<R>::open(&path)?.len();
            remove_file(&spool)?;
            return Ok(new(rows, None));
        }
        let spool = Spool::open(spool)?;
        check_group_size(&spool, row_group_rows as u64)?;
        Ok(new(spool.rows(), Some(spool)))
    }

    /// Rows that were safely on the disk when the table was opened: the caller
    /// goes on with the row after these.
    pub fn rows_kept(&self) -> u64 {
        self.rows_kept
    }

    /// Whether all rows were on the disk when the table was opened; then there
    /// is nothing to append, and [`TableWriter::finish`] is still to be called.
    pub fn is_whole(&self) -> bool {
        self.spool.as_ref().is_none_or(Spool::is_whole)
    }

    /// The rows that were kept, read back.
    pub fn read_kept(&self) -> Result<Vec<R>, RecordsError> {
        let Some(spool) = &self.spool else {
            return read_table(&self.path);
        };
        let mut rows = Vec::new();
        for segment in spool.segments().iter().filter(|s| s.rows > 0) {
            rows.append(&mut read_table_bytes(spool.read(segment)?, spool.path())?);
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
            self.spool_pending(false)?;
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
        if !self.is_whole() {
            self.spool_pending(true)?;
        }
        let Some(spool) = &self.spool else {
            return Ok(self.rows_kept);
        };
        let temporary = spool.path().with_extension("tmp");
        let file = File::create(&temporary).map_err(RecordsError::write(&self.path))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let groups = spool
            .segments()
            .iter()
            .filter(|s| s.rows > 0)
            .map(|s| spool.read(s));
        assemble::<R>(&self.path, groups, &mut out)?;
        let flushed = out.flush().and_then(|()| out.get_ref().sync_all());
        flushed.map_err(RecordsError::write(&self.path))?;
        fs::rename(&temporary, &self.path).map_err(RecordsError::write(&self.path))?;
        sync_dir(self.path.parent().unwrap_or(Path::new(".")))?;
        remove_file(spool.path())?;
        Ok(spool.rows())
    }

    fn spool_pending(&mut self, last: bool) -> Result<(), RecordsError> {
        let Some(spool) = &mut self.spool else {
            return Ok(());
        };
        let bytes = encode_group(&self.pending)?;
        spool.append(&bytes, self.pending.len() as u64, last)?;
        self.pending.clear();
        Ok(())
    }
}

/// Row groups of another size would make other bytes.
fn check_group_size(spool: &Spool, size: u64) -> Result<(), RecordsError> {
    let fits = |s: &&Segment| {
        if s.last {
            s.rows < size
        } else {
            s.rows == size
        }
    };
    match spool.segments().iter().find(|s| !fits(s)) {
        None => Ok(()),
        Some(odd) => Err(RecordsError::SettingDiffers {
            path: spool.path().to_owned(),
            setting: "row_group_rows".into(),
            recorded: odd.rows.to_string(),
            given: size.to_string(),
        }),
    }
}
