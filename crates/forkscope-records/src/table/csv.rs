//! Any table as CSV (RFC 4180, comma, LF, header row).
//!
//! Lists are JSON arrays in one cell. A null is an empty cell. Text cells that
//! a spreadsheet would run as a formula (first character `= + - @`, tab or
//! carriage return) get a leading apostrophe; numbers never do.

use std::fs;
use std::io::Write;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::read::open_batches;
use crate::RecordsError;

/// Writes the table at `path` to `out` and says how many rows it had. A pipe
/// that the reader has closed is an error of `out`, named by `out_name`.
pub fn export_csv(path: &Path, out: impl Write, out_name: &Path) -> Result<u64, RecordsError> {
    let bytes = fs::read(path).map_err(RecordsError::read(path))?;
    let (mut batches, _) = open_batches(bytes.into(), path, |_| true)?;
    let mut writer = csv::Writer::from_writer(out);
    let failed = |e: csv::Error| RecordsError::Write {
        path: out_name.to_owned(),
        source: e.into(),
    };
    let mut rows = 0u64;
    let mut cell = String::new();
    writer
        .write_record(batches.schema().fields().iter().map(|f| f.name()))
        .map_err(failed)?;
    while let Some(batch) = batches.next(path) {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            for (array, field) in batch.columns().iter().zip(batch.schema().fields()) {
                cell.clear();
                write_cell(&mut cell, array, row)
                    .ok_or_else(|| unsupported(path, field.name(), array.data_type()))?;
                writer.write_field(&cell).map_err(failed)?;
            }
            writer.write_record(None::<&[u8]>).map_err(failed)?;
        }
        rows += batch.num_rows() as u64;
    }
    writer.flush().map_err(RecordsError::write(out_name))?;
    Ok(rows)
}

fn unsupported(path: &Path, column: &str, kind: &DataType) -> RecordsError {
    RecordsError::column(
        path,
        column,
        format!("holds {kind}, which has no CSV form here"),
    )
}

/// Appends one cell; `None` if its type has no CSV form.
fn write_cell(cell: &mut String, array: &ArrayRef, row: usize) -> Option<()> {
    use std::fmt::Write as _;
    if array.is_null(row) {
        return Some(());
    }
    let written = match array.data_type() {
        DataType::Null => Ok(()),
        DataType::Boolean => write!(cell, "{}", array.as_boolean().value(row)),
        DataType::UInt32 => write!(cell, "{}", array.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => write!(cell, "{}", array.as_primitive::<UInt64Type>().value(row)),
        DataType::Int32 => write!(cell, "{}", array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => write!(cell, "{}", array.as_primitive::<Int64Type>().value(row)),
        // Debug prints the shortest text that reads back, with an exponent where that is shorter.
        DataType::Float32 => write!(cell, "{:?}", array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => write!(cell, "{:?}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => push_text(cell, array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => push_text(cell, array.as_string::<i64>().value(row)),
        DataType::Utf8View => push_text(cell, array.as_string_view().value(row)),
        DataType::List(_) => return write_list(cell, &array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => return write_list(cell, &array.as_list::<i64>().value(row)),
        _ => return None,
    };
    written.ok()
}

/// Lists of numbers only: their cells need no quotes inside.
fn write_list(cell: &mut String, values: &ArrayRef) -> Option<()> {
    if !values.data_type().is_primitive() {
        return None;
    }
    cell.push('[');
    for i in 0..values.len() {
        if i > 0 {
            cell.push(',');
        }
        if values.is_null(i) {
            cell.push_str("null");
        }
        write_cell(cell, values, i)?;
    }
    cell.push(']');
    Some(())
}

fn push_text(cell: &mut String, text: &str) -> std::fmt::Result {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        cell.push('\'');
    }
    cell.push_str(text);
    Ok(())
}
