//! Tables: one Rust type per row, one fixed list of columns per type.
//!
//! The columns are a contract with every other reader of the files (pandas,
//! DuckDB, Polars); they are listed in `docs/formats.md`. Order of rows:
//! (problem in file order, sample, t).

mod awareness;
mod build;
mod columns;
mod coverage;
mod csv;
mod diff;
mod encode;
mod feature;
mod guard;
mod intervention;
mod paged;
mod patching;
mod read;
mod reversion;
mod rollout;
mod rows;
mod score;
mod thrift;

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};

pub use columns::Columns;
pub use csv::export_csv;
pub(crate) use encode::{assemble, encode_group};
pub use paged::PagedTable;
pub use read::{TableReader, read_table};
pub(crate) use read::{open_batches, read_table_bytes};
pub(crate) use rollout::checked as checked_rollout;
pub use rows::{RowColumn, canonical_rows};

use crate::RecordsError;

/// A row type that has a table.
pub trait Record: Sized {
    /// Name of the row type, for messages.
    const NAME: &'static str;

    /// The columns in file order, filled from `rows`.
    fn columns(rows: &[Self]) -> Result<Vec<(Field, ArrayRef)>, RecordsError>;

    /// Rows from a batch that may come from any writer: what is missing, null
    /// or of another type is an error that names file and column.
    fn from_columns(columns: &Columns<'_>) -> Result<Vec<Self>, RecordsError>;

    /// The Arrow schema.
    fn schema() -> Result<SchemaRef, RecordsError> {
        let fields: Vec<Field> = Self::columns(&[])?
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Rows as one Arrow batch.
    fn to_batch(rows: &[Self]) -> Result<RecordBatch, RecordsError> {
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) =
            Self::columns(rows)?.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|e| RecordsError::encode(Self::NAME, e))
    }
}
