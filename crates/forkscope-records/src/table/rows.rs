//! Canonical bytes of rows: what a digest of one row is taken over, whichever way
//! a Parquet file spells it.
//!
//! A row is its columns in file order, each as a tag and a value: `00` null,
//! `01` truth value (one byte), `02` unsigned and `03` signed integer (8 bytes),
//! `04` f32 and `05` f64 (their bits), `06` text and `07` bytes (length as 8 bytes,
//! then UTF-8 or the bytes), `08` list (number of entries as 8 bytes, then each as
//! tag and value). Integers are little-endian. Names and kinds of the columns are
//! told apart from the rows.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field};
use bytes::Bytes;

use super::read::open_batches;
use crate::RecordsError;

/// A column of a table: its name and the kind of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowColumn {
    /// Name.
    pub name: String,
    /// `bool`, `uint`, `int`, `f32`, `f64`, `text`, `bytes`, `null`, or `list of` one
    /// of these.
    pub kind: String,
}

/// Hands the canonical bytes of every row to `each`, in row order, and returns the
/// columns. `path` is for messages.
///
/// # Errors
/// A file that is no readable table, or a column of another type than those above.
pub fn canonical_rows(
    bytes: Bytes,
    path: &Path,
    each: &mut dyn FnMut(&[u8]),
) -> Result<Vec<RowColumn>, RecordsError> {
    let (mut batches, _) = open_batches(bytes, path, |_| true)?;
    let columns = batches
        .schema()
        .fields()
        .iter()
        .map(|field| column(field, path))
        .collect::<Result<_, _>>()?;
    let mut row = Vec::new();
    while let Some(batch) = batches.next(path) {
        let batch = batch?;
        for i in 0..batch.num_rows() {
            row.clear();
            for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                cell(array, i, &mut row).ok_or_else(|| unknown(field, path))?;
            }
            each(&row);
        }
    }
    Ok(columns)
}

fn column(field: &Field, path: &Path) -> Result<RowColumn, RecordsError> {
    let kind = match field.data_type() {
        DataType::List(inner) | DataType::LargeList(inner) => {
            kind(inner.data_type()).map(|kind| format!("list of {kind}"))
        }
        plain => kind(plain).map(str::to_owned),
    };
    Ok(RowColumn {
        name: field.name().clone(),
        kind: kind.ok_or_else(|| unknown(field, path))?,
    })
}

fn kind(of: &DataType) -> Option<&'static str> {
    Some(match of {
        DataType::Boolean => "bool",
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => "uint",
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => "int",
        DataType::Float32 => "f32",
        DataType::Float64 => "f64",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::LargeBinary => "bytes",
        DataType::Null => "null",
        _ => return None,
    })
}

fn unknown(field: &Field, path: &Path) -> RecordsError {
    let reason = format!(
        "holds {}, which has no canonical bytes; write it as numbers, text or lists of these",
        field.data_type()
    );
    RecordsError::column(path, field.name(), reason)
}

/// Appends one value; `None` where the type has no canonical bytes.
fn cell(array: &ArrayRef, i: usize, out: &mut Vec<u8>) -> Option<()> {
    if array.is_null(i) || *array.data_type() == DataType::Null {
        out.push(0);
        return Some(());
    }
    macro_rules! number {
        ($tag:literal, $arrow:ty, $as:ty) => {
            tagged(
                $tag,
                &<$as>::from(array.as_primitive::<$arrow>().value(i)).to_le_bytes(),
                out,
            )
        };
    }
    match array.data_type() {
        DataType::Boolean => tagged(1, &[u8::from(array.as_boolean().value(i))], out),
        DataType::UInt8 => number!(2, UInt8Type, u64),
        DataType::UInt16 => number!(2, UInt16Type, u64),
        DataType::UInt32 => number!(2, UInt32Type, u64),
        DataType::UInt64 => number!(2, UInt64Type, u64),
        DataType::Int8 => number!(3, Int8Type, i64),
        DataType::Int16 => number!(3, Int16Type, i64),
        DataType::Int32 => number!(3, Int32Type, i64),
        DataType::Int64 => number!(3, Int64Type, i64),
        DataType::Float32 => number!(4, Float32Type, f32),
        DataType::Float64 => number!(5, Float64Type, f64),
        DataType::Utf8 => sized(6, array.as_string::<i32>().value(i).as_bytes(), out),
        DataType::LargeUtf8 => sized(6, array.as_string::<i64>().value(i).as_bytes(), out),
        DataType::Utf8View => sized(6, array.as_string_view().value(i).as_bytes(), out),
        DataType::Binary => sized(7, array.as_binary::<i32>().value(i), out),
        DataType::LargeBinary => sized(7, array.as_binary::<i64>().value(i), out),
        DataType::List(_) => return list(&array.as_list::<i32>().value(i), out),
        DataType::LargeList(_) => return list(&array.as_list::<i64>().value(i), out),
        _ => return None,
    }
    Some(())
}

fn list(values: &ArrayRef, out: &mut Vec<u8>) -> Option<()> {
    tagged(8, &(values.len() as u64).to_le_bytes(), out);
    (0..values.len()).try_for_each(|i| match values.data_type() {
        DataType::List(_) | DataType::LargeList(_) => None,
        _ => cell(values, i, out),
    })
}

fn tagged(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn sized(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    tagged(tag, &(bytes.len() as u64).to_le_bytes(), out);
    out.extend_from_slice(bytes);
}
