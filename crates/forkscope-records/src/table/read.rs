//! Reading a table, batch by batch.
//!
//! The file is read into memory once (Parquet is compact; what is decoded from
//! it is not) and decoded 4,096 rows at a time.

use std::fs;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::guard::{check_claims, check_schema};
use super::{Columns, Record};
use crate::RecordsError;

const BATCH_ROWS: usize = 4096;

/// A table being read: an iterator over batches of rows.
pub struct TableReader<R> {
    path: PathBuf,
    batches: Batches,
    total: u64,
    read: u64,
    row: PhantomData<R>,
}

impl<R: Record> TableReader<R> {
    /// Opens a table and checks its claims.
    pub fn open(path: &Path) -> Result<Self, RecordsError> {
        let bytes = fs::read(path).map_err(RecordsError::read(path))?;
        Self::from_bytes(bytes.into(), path)
    }

    /// A table whose bytes somebody has read (and perhaps digested) already;
    /// `path` is for messages.
    pub fn from_bytes(bytes: Bytes, path: &Path) -> Result<Self, RecordsError> {
        let known = R::schema()?;
        let (batches, total) =
            open_batches(bytes, path, |name| known.field_with_name(name).is_ok())?;
        // Missing columns are missing in a table without rows too.
        let empty = RecordBatch::new_empty(batches.schema());
        R::from_columns(&Columns {
            batch: &empty,
            path,
            first_row: 0,
        })?;
        Ok(Self {
            path: path.to_owned(),
            batches,
            total,
            read: 0,
            row: PhantomData,
        })
    }

    /// Rows of the whole table.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether the table has no rows.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

impl<R: Record> Iterator for TableReader<R> {
    type Item = Result<Vec<R>, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.batches.next(&self.path)? {
            Ok(batch) => batch,
            Err(e) => return Some(Err(e)),
        };
        let columns = Columns {
            batch: &batch,
            path: &self.path,
            first_row: self.read,
        };
        self.read += batch.num_rows() as u64;
        Some(R::from_columns(&columns))
    }
}

/// All rows of a table.
pub fn read_table<R: Record>(path: &Path) -> Result<Vec<R>, RecordsError> {
    read_all(TableReader::open(path)?)
}

pub(crate) fn read_table_bytes<R: Record>(
    bytes: Bytes,
    path: &Path,
) -> Result<Vec<R>, RecordsError> {
    read_all(TableReader::from_bytes(bytes, path)?)
}

fn read_all<R: Record>(reader: TableReader<R>) -> Result<Vec<R>, RecordsError> {
    let mut rows = Vec::new();
    for batch in reader {
        rows.append(&mut batch?);
    }
    Ok(rows)
}

/// Batches of one file; after an error it yields nothing more.
pub(crate) struct Batches(Option<ParquetRecordBatchReader>);

impl Batches {
    /// The columns that are read.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.0
            .as_ref()
            .map_or_else(|| Arc::new(Schema::empty()), |reader| reader.schema())
    }

    pub(crate) fn next(&mut self, path: &Path) -> Option<Result<RecordBatch, RecordsError>> {
        let reader = self.0.as_mut()?;
        let batch = guarded(path, || {
            reader
                .next()
                .transpose()
                .map_err(|e| RecordsError::table(path, e))
        });
        if !matches!(batch, Ok(Some(_))) {
            self.0 = None;
        }
        batch.transpose()
    }
}

/// Opens the batches of a file, top-level columns `wanted` only, after its
/// claims were checked; gives the number of rows too.
pub(crate) fn open_batches(
    bytes: Bytes,
    path: &Path,
    wanted: impl Fn(&str) -> bool,
) -> Result<(Batches, u64), RecordsError> {
    if bytes.is_empty() {
        return Err(RecordsError::table(path, "the file is empty"));
    }
    guarded(path, || {
        let fail = |e| RecordsError::table(path, e);
        check_schema(path, &bytes)?;
        // The Arrow schema that some writers add is their own business: types
        // follow from Parquet's, dictionaries come decoded.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options)
            .map_err(fail)?;
        check_claims(path, &bytes, builder.metadata())?;
        let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let roots = builder
            .parquet_schema()
            .root_schema()
            .get_fields()
            .iter()
            .enumerate();
        let roots: Vec<usize> = roots
            .filter(|(_, f)| wanted(f.name()))
            .map(|(i, _)| i)
            .collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(fail)?;
        Ok((Batches(Some(reader)), rows))
    })
}

/// The decoder is not ours and meets hostile bytes: should it panic, that is an
/// error of the file, not the end of the process.
pub(crate) fn guarded<T>(
    path: &Path,
    f: impl FnOnce() -> Result<T, RecordsError>,
) -> Result<T, RecordsError> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|_| Err(RecordsError::table(path, "its bytes contradict each other")))
}
