//! A cell of a Parquet table as a JSON value, so that problems in Parquet and
//! in JSON are read by the same rules.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use serde_json::{Map, Value};

/// Lists in structs in lists deeper than this are no problem.
const MAX_DEPTH: usize = 8;

/// The value of one cell, or what stands in the way.
pub(super) fn cell(array: &ArrayRef, row: usize) -> Result<Value, String> {
    nested(array, row, 0)
}

fn nested(array: &ArrayRef, row: usize, depth: usize) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
    }
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    macro_rules! number {
        ($t:ty) => {
            Value::from(array.as_primitive::<$t>().value(row))
        };
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => number!(Float32Type),
        DataType::Float64 => number!(Float64Type),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::List(_) => list(&array.as_list::<i32>().value(row), depth)?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row), depth)?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns().iter().zip(fields.iter());
            let entries = columns.map(|(c, f)| Ok((f.name().clone(), nested(c, row, depth + 1)?)));
            Value::Object(entries.collect::<Result<Map<_, _>, String>>()?)
        }
        other => return Err(format!("holds {other}, which no problem is made of")),
    })
}

fn list(values: &ArrayRef, depth: usize) -> Result<Value, String> {
    let items = (0..values.len()).map(|i| nested(values, i, depth + 1));
    items.collect::<Result<Vec<_>, _>>().map(Value::Array)
}
