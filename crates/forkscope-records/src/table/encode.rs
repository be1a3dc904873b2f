//! Row groups: encoded once, appended as they are.
//!
//! Every setting that reaches the bytes is fixed here, so that the same rows
//! in the same groups make the same file on every machine: writer name,
//! compression (zstd 1), encodings, chunk statistics, no page index, no Arrow
//! schema in the metadata. Floats are split by byte (they compress better and
//! a dictionary of them is a waste); everything else has a dictionary.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;

use super::Record;
use crate::RecordsError;

/// Version of the tables' layout; part of every file's `created_by`.
pub const TABLE_SCHEMA: u32 = 1;

/// What every table of one row type is written with.
struct Layout {
    descriptor: SchemaDescriptor,
    properties: WriterPropertiesPtr,
}

fn layout<R: Record>() -> Result<Layout, RecordsError> {
    let schema = R::schema()?;
    let descriptor = ArrowSchemaConverter::new()
        .convert(&schema)
        .map_err(|e| RecordsError::encode(R::NAME, e))?;
    let level = ZstdLevel::try_new(1).map_err(|e| RecordsError::encode(R::NAME, e))?;
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("forkscope/{TABLE_SCHEMA}"))
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None);
    for column in descriptor.columns() {
        if matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE) {
            builder = builder
                .set_column_dictionary_enabled(column.path().clone(), false)
                .set_column_encoding(column.path().clone(), Encoding::BYTE_STREAM_SPLIT);
        }
    }
    Ok(Layout {
        descriptor,
        properties: Arc::new(builder.build()),
    })
}

/// Rows as a Parquet file of one row group.
pub(crate) fn encode_group<R: Record>(rows: &[R]) -> Result<Vec<u8>, RecordsError> {
    let fail = |e: parquet::errors::ParquetError| RecordsError::encode(R::NAME, e);
    let batch = R::to_batch(rows)?;
    let layout = layout::<R>()?;
    let options = ArrowWriterOptions::new()
        .with_properties(layout.properties.as_ref().clone())
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).map_err(fail)?;
    writer.write(&batch).map_err(fail)?;
    writer.into_inner().map_err(fail)
}

/// Writes one Parquet file from one-group files, copying their encoded column
/// chunks. `groups` yields them in order, so that one is in memory at a time.
/// Errors of `out` surface as `Err(Err(io))`.
pub(crate) fn assemble<R: Record>(
    path: &Path,
    groups: impl Iterator<Item = Result<Bytes, RecordsError>>,
    out: impl Write + Send,
) -> Result<(), RecordsError> {
    let fail = |e| write_error(path, e);
    let layout = layout::<R>()?;
    let root = layout.descriptor.root_schema_ptr();
    let mut writer = SerializedFileWriter::new(out, root, layout.properties).map_err(fail)?;
    for group in groups {
        append_group(&mut writer, &group?).map_err(fail)?;
    }
    writer.finish().map_err(fail)?;
    Ok(())
}

fn append_group<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    bytes: &Bytes,
) -> parquet::errors::Result<()> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(bytes)?;
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let mut out = writer.next_row_group()?;
        for column in group.columns() {
            let close = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
                rows_written: rows,
                metadata: column.clone(),
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            };
            out.append_column(bytes, close)?;
        }
        out.close()?;
    }
    Ok(())
}

/// Parquet wraps the system's error; a full disk must still be named as such.
fn write_error(path: &Path, e: parquet::errors::ParquetError) -> RecordsError {
    if let parquet::errors::ParquetError::External(inner) = e {
        return match inner.downcast::<std::io::Error>() {
            Ok(source) => RecordsError::Write {
                path: path.to_owned(),
                source: *source,
            },
            Err(other) => RecordsError::table(path, other),
        };
    }
    RecordsError::table(path, e)
}
