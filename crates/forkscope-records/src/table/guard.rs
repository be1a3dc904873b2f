//! What a Parquet file may claim, checked before anything is decoded.
//!
//! Run-length and dictionary coding let a few bytes stand for billions of
//! values, and a page header is believed by the decoder. So the claims of the
//! footer and of every page header are held against the length of the file:
//! at most `VALUES_PER_BYTE` values and `INFLATION` uncompressed bytes per byte
//! of file, with a floor that no honest small file meets.

use std::path::Path;

use bytes::Bytes;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::thrift::{page_header, schema_depth};
use crate::RecordsError;

/// Values of one column per byte of file.
const VALUES_PER_BYTE: u64 = 64;
/// Values of one column that any file may claim.
const VALUES_FLOOR: u64 = 1 << 22;
/// Uncompressed bytes of all columns per byte of file.
const INFLATION: u64 = 256;
/// Uncompressed bytes that any file may claim.
const BYTES_FLOOR: u64 = 1 << 26;

/// Groups in groups of a schema; the decoder goes down them on its stack.
const SCHEMA_DEPTH: usize = 32;

/// Refuses a schema so deep that decoding it would exhaust the stack.
pub(super) fn check_schema(path: &Path, file: &Bytes) -> Result<(), RecordsError> {
    let footer = file.split_last_chunk::<8>().and_then(|(rest, tail)| {
        let len = footer_len(tail)?;
        rest.get(rest.len().checked_sub(len)?..)
    });
    check_depth(path, footer.ok_or_else(|| no_footer(path))?)
}

/// Length of the footer that a file's last eight bytes announce.
pub(super) fn footer_len(tail: &[u8; 8]) -> Option<usize> {
    let (len, magic) = tail.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    (magic == b"PAR1").then_some(len)
}

/// The error of a file without a footer.
pub(super) fn no_footer(path: &Path) -> RecordsError {
    RecordsError::table(path, "it does not end as one (is it truncated?)")
}

/// Refuses a footer whose schema is so deep that decoding it would exhaust the
/// stack.
pub(super) fn check_depth(path: &Path, footer: &[u8]) -> Result<(), RecordsError> {
    match schema_depth(footer, SCHEMA_DEPTH) {
        Some(depth) if depth <= SCHEMA_DEPTH => Ok(()),
        Some(_) => Err(too_large(
            path,
            format!("nests columns deeper than {SCHEMA_DEPTH} levels"),
        )),
        None => Err(RecordsError::table(path, "its schema cannot be read")),
    }
}

/// Refuses a file whose claims its length cannot carry.
pub(super) fn check_claims(
    path: &Path,
    file: &Bytes,
    metadata: &ParquetMetaData,
) -> Result<(), RecordsError> {
    check_footer(path, file.len() as u64, metadata)?;
    for column in metadata.row_groups().iter().flat_map(|g| g.columns()) {
        let range = chunk_range(column);
        let chunk = range.and_then(|(s, n)| file.get(s..s.checked_add(n)?));
        check_pages(path, chunk, column, most_bytes(file.len() as u64))?;
    }
    Ok(())
}

/// Where a column chunk lies in its file: its first byte and its length.
pub(super) fn chunk_range(column: &ColumnChunkMetaData) -> Option<(usize, usize)> {
    let start = column
        .dictionary_page_offset()
        .unwrap_or_else(|| column.data_page_offset());
    let start = usize::try_from(start).ok()?;
    Some((start, usize::try_from(column.compressed_size()).ok()?))
}

/// Uncompressed bytes that a file of that length may claim.
pub(super) fn most_bytes(len: u64) -> u64 {
    BYTES_FLOOR.max(len.saturating_mul(INFLATION))
}

/// Refuses a footer whose claims the length of its file cannot carry.
pub(super) fn check_footer(
    path: &Path,
    len: u64,
    metadata: &ParquetMetaData,
) -> Result<(), RecordsError> {
    let most_values = VALUES_FLOOR.max(len.saturating_mul(VALUES_PER_BYTE));
    let most_bytes = most_bytes(len);
    let columns = metadata.file_metadata().schema_descr().num_columns();
    let mut values = vec![0u64; columns];
    let mut total = 0u64;
    for group in metadata.row_groups() {
        let rows = claim(path, "rows of a row group", group.num_rows())?;
        if rows > most_values {
            return Err(too_large(
                path,
                format!("claims {rows} rows in {len} bytes"),
            ));
        }
        for (column, values) in group.columns().iter().zip(&mut values) {
            let name = column.column_path().string();
            let n = claim(path, "values", column.num_values())?;
            *values = values.saturating_add(n);
            if *values > most_values {
                return Err(too_large(
                    path,
                    format!("column {name} claims {values} values in {len} bytes"),
                ));
            }
            total = total.saturating_add(claim(
                path,
                "uncompressed bytes",
                column.uncompressed_size(),
            )?);
            if total > most_bytes {
                return Err(too_large(
                    path,
                    format!("claims {total} uncompressed bytes in {len} bytes"),
                ));
            }
        }
    }
    Ok(())
}

/// Refuses a column chunk whose pages claim other than the footer does; `None`
/// is one that lies outside its file.
pub(super) fn check_pages(
    path: &Path,
    chunk: Option<&[u8]>,
    column: &ColumnChunkMetaData,
    most_bytes: u64,
) -> Result<(), RecordsError> {
    let values = claim(path, "values", column.num_values())?;
    let name = column.column_path().string();
    let broken = |what: &str| RecordsError::table(path, format!("column {name}: {what}"));
    let chunk = chunk.ok_or_else(|| broken("its data lies outside the file (is it truncated?)"))?;
    let (mut at, mut seen, mut bytes) = (0usize, 0u64, 0u64);
    while let Some(rest) = chunk.get(at..).filter(|rest| !rest.is_empty()) {
        let (page, header) =
            page_header(rest).ok_or_else(|| broken("a page header cannot be read"))?;
        let (Ok(compressed), Ok(raw), Ok(n)) = (
            usize::try_from(page.compressed),
            u64::try_from(page.uncompressed),
            u64::try_from(page.values),
        ) else {
            return Err(broken("a page claims a negative size"));
        };
        if u64::try_from(page.dictionary).map_or(true, |d| d > raw.saturating_mul(8)) {
            return Err(broken(
                "a dictionary page claims more entries than it holds",
            ));
        }
        seen = seen.saturating_add(n);
        bytes = bytes.saturating_add(raw);
        if bytes > most_bytes || seen > values {
            return Err(broken("its pages claim more than the footer does"));
        }
        at = at.saturating_add(header).saturating_add(compressed);
    }
    if at != chunk.len() {
        return Err(broken("a page reaches beyond its column chunk"));
    }
    Ok(())
}

fn claim(path: &Path, what: &str, n: i64) -> Result<u64, RecordsError> {
    u64::try_from(n).map_err(|_| RecordsError::table(path, format!("claims {n} {what}")))
}

fn too_large(path: &Path, claims: String) -> RecordsError {
    let reason = format!(
        "{claims}, more than an honest file of that size holds; it is refused to protect memory"
    );
    RecordsError::TooLarge {
        path: path.to_owned(),
        reason,
    }
}
