//! A table of which only the footer is held: rows are read where somebody
//! looks, a row group and a few columns at a time.
//!
//! What is held is the footer (a few hundred bytes per column chunk); what is
//! read at a time are the column chunks asked for, checked like a whole file
//! before they are decoded, 4,096 rows at once. A table of any length can so be
//! looked through in bounded memory, provided that its row groups are small
//! (4,096 rows are this program's own).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use bytes::{Buf, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::Columns;
use super::guard::{
    check_depth, check_footer, check_pages, chunk_range, footer_len, most_bytes, no_footer,
};
use super::read::guarded;
use crate::RecordsError;

const BATCH_ROWS: usize = 4096;
/// Most bytes of a footer. A hundred million rows of this program's own have
/// a smaller one.
const FOOTER_BYTES: u64 = 256 << 20;
/// Most bytes of the column chunks that one call reads.
const CHUNK_BYTES: u64 = 256 << 20;

/// A table on the disk.
pub struct PagedTable {
    path: PathBuf,
    file: Mutex<File>,
    len: u64,
    metadata: ArrowReaderMetadata,
    /// Rows before each row group, and after the last.
    starts: Vec<u64>,
}

impl PagedTable {
    /// Reads and checks the footer.
    pub fn open(path: &Path) -> Result<Self, RecordsError> {
        let mut file = File::open(path).map_err(RecordsError::read(path))?;
        let len = file.metadata().map_err(RecordsError::read(path))?.len();
        let footer = read_footer(path, &mut file, len)?;
        check_depth(path, &footer)?;
        let metadata = guarded(path, || {
            let fail = |e| RecordsError::table(path, e);
            // Statistics of the first column, the problem, lead to a rollout;
            // the others are not worth their memory.
            let kept = ParquetMetaDataOptions::new()
                .with_column_stats_policy(ParquetStatisticsPolicy::skip_except(&[0]))
                .with_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll)
                .with_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
            let parsed = ParquetMetaDataReader::decode_metadata_with_options(&footer, Some(&kept))
                .map_err(fail)?;
            check_footer(path, len, &parsed)?;
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            ArrowReaderMetadata::try_new(Arc::new(parsed), options).map_err(fail)
        })?;
        let mut starts = vec![0u64];
        let mut rows = 0u64;
        for group in metadata.metadata().row_groups() {
            rows = rows.saturating_add(u64::try_from(group.num_rows()).unwrap_or(0));
            starts.push(rows);
        }
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
            len,
            metadata,
            starts,
        })
    }

    /// Rows of the whole table.
    pub fn rows(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Number of row groups.
    pub fn groups(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The rows of the table that a row group holds; empty for one that is not there.
    pub fn rows_of(&self, group: usize) -> Range<u64> {
        match (self.starts.get(group), self.starts.get(group + 1)) {
            (Some(&from), Some(&to)) => from..to,
            _ => 0..0,
        }
    }

    /// The row groups that hold those rows.
    pub fn groups_of(&self, rows: Range<u64>) -> Range<usize> {
        let first = self.starts.partition_point(|&start| start <= rows.start);
        let last = self.starts.partition_point(|&start| start < rows.end);
        first.saturating_sub(1)..last.min(self.groups())
    }

    /// Whether there is such a column.
    pub fn has(&self, column: &str) -> bool {
        self.roots().any(|(_, name)| name == column)
    }

    /// Whether a row group may hold that text in its first column, by the
    /// bounds that its writer noted; `true` where it noted none. A hint: writers
    /// of old order bytes otherwise.
    pub fn may_hold(&self, group: usize, text: &str) -> bool {
        let groups = self.metadata.metadata().row_groups();
        let column = groups.get(group).and_then(|g| g.columns().first());
        match column.and_then(ColumnChunkMetaData::statistics) {
            Some(Statistics::ByteArray(bounds)) => {
                let below = bounds.min_bytes_opt().is_some_and(|b| text.as_bytes() < b);
                let above = bounds.max_bytes_opt().is_some_and(|b| text.as_bytes() > b);
                !below && !above
            }
            _ => true,
        }
    }

    /// Hands the rows of one row group that lie in `rows` (counted over the
    /// whole table) to `f`, batch by batch, with those of the named columns
    /// that the table has.
    pub fn read(
        &self,
        group: usize,
        columns: &[&str],
        rows: Range<u64>,
        mut f: impl FnMut(&Columns<'_>) -> Result<(), RecordsError>,
    ) -> Result<(), RecordsError> {
        let own = self.rows_of(group);
        let (from, to) = (rows.start.max(own.start), rows.end.min(own.end));
        if from >= to {
            return Ok(());
        }
        let roots: Vec<usize> = self
            .roots()
            .filter(|(_, name)| columns.contains(name))
            .map(|(i, _)| i)
            .collect();
        let schema = self.metadata.parquet_schema();
        let mask = ProjectionMask::roots(schema, roots);
        let chunks = self.fetch(group, &mask)?;
        let skip = usize::try_from(from - own.start).unwrap_or(usize::MAX);
        let take = usize::try_from(to - from).unwrap_or(usize::MAX);
        let fail = |e| RecordsError::table(&self.path, e);
        let mut reader = guarded(&self.path, || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, self.metadata.clone())
                .with_row_groups(vec![group])
                .with_projection(mask)
                .with_batch_size(BATCH_ROWS.min(take))
                .with_offset(skip)
                .with_limit(take)
                .build()
                .map_err(fail)
        })?;
        let mut first_row = from;
        loop {
            let batch: Option<RecordBatch> = guarded(&self.path, || {
                let next = reader.next().transpose();
                next.map_err(|e| RecordsError::table(&self.path, e))
            })?;
            let Some(batch) = batch else {
                return Ok(());
            };
            f(&Columns {
                batch: &batch,
                path: &self.path,
                first_row,
            })?;
            first_row += batch.num_rows() as u64;
        }
    }

    fn roots(&self) -> impl Iterator<Item = (usize, &str)> {
        let schema = self.metadata.parquet_schema().root_schema();
        schema.get_fields().iter().map(|f| f.name()).enumerate()
    }

    /// The column chunks of one row group, checked.
    fn fetch(&self, group: usize, mask: &ProjectionMask) -> Result<Chunks, RecordsError> {
        let groups = self.metadata.metadata().row_groups();
        let columns = groups.get(group).map_or(&[][..], |g| g.columns());
        let all = || columns.iter().enumerate();
        let wanted = || all().filter(|(i, _)| mask.leaf_included(*i));
        let total = wanted()
            .filter_map(|(_, c)| chunk_range(c))
            .fold(0u64, |sum, (_, n)| sum.saturating_add(n as u64));
        if total > CHUNK_BYTES {
            let reason = format!(
                "row group {group} takes {total} bytes, more than {CHUNK_BYTES} at a time; \
                 write the table again with smaller row groups"
            );
            return Err(RecordsError::TooLarge {
                path: self.path.clone(),
                reason,
            });
        }
        let mut parts = Vec::new();
        for (_, column) in wanted() {
            let chunk = chunk_range(column)
                .map(|(start, n)| Ok((start as u64, self.bytes(start as u64, n)?)))
                .transpose()?;
            let bytes = chunk.as_ref().and_then(|(_, b)| b.as_deref());
            check_pages(&self.path, bytes, column, most_bytes(self.len))?;
            if let Some((start, Some(bytes))) = chunk {
                parts.push((start, bytes));
            }
        }
        Ok(Chunks {
            len: self.len,
            parts,
        })
    }

    /// Bytes of the file; `None` where it has none there.
    fn bytes(&self, start: u64, n: usize) -> Result<Option<Bytes>, RecordsError> {
        if start.checked_add(n as u64).is_none_or(|end| end > self.len) {
            return Ok(None);
        }
        let mut bytes = vec![0; n];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(RecordsError::read(&self.path))?;
        Ok(Some(bytes.into()))
    }
}

fn read_footer(path: &Path, file: &mut File, len: u64) -> Result<Vec<u8>, RecordsError> {
    if len == 0 {
        return Err(RecordsError::table(path, "the file is empty"));
    }
    let mut tail = [0u8; 8];
    let end = len.checked_sub(8).ok_or_else(|| no_footer(path))?;
    file.seek(SeekFrom::Start(end))
        .and_then(|_| file.read_exact(&mut tail))
        .map_err(RecordsError::read(path))?;
    let size = footer_len(&tail).ok_or_else(|| no_footer(path))?;
    let start = end
        .checked_sub(size as u64)
        .ok_or_else(|| no_footer(path))?;
    if size as u64 > FOOTER_BYTES {
        return Err(RecordsError::TooLarge {
            path: path.to_owned(),
            reason: format!(
                "its footer takes {size} bytes, more than {FOOTER_BYTES}; \
                 write the table again with larger row groups"
            ),
        });
    }
    let mut footer = vec![0; size];
    file.seek(SeekFrom::Start(start))
        .and_then(|_| file.read_exact(&mut footer))
        .map_err(RecordsError::read(path))?;
    Ok(footer)
}

/// The parts of a file that are in memory, as the decoder wants a file.
struct Chunks {
    len: u64,
    parts: Vec<(u64, Bytes)>,
}

impl Chunks {
    /// What is in memory from `start` on.
    fn from(&self, start: u64) -> parquet::errors::Result<Bytes> {
        let found = self.parts.iter().find_map(|(at, bytes)| {
            let skip = usize::try_from(start.checked_sub(*at)?).ok()?;
            (skip < bytes.len()).then(|| bytes.slice(skip..))
        });
        found.ok_or_else(|| ParquetError::EOF(format!("byte {start} is in no column chunk")))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Chunks {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let bytes = self.from(start)?;
        if length > bytes.len() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} reach beyond their column chunk"
            )));
        }
        Ok(bytes.slice(..length))
    }
}
