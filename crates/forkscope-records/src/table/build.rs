//! From rows to Arrow arrays, one function per kind of column.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, ListArray, StringArray, UInt32Array,
};
use arrow_buffer::{NullBufferBuilder, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};

use crate::RecordsError;

type Column = (Field, ArrayRef);

/// A column of unsigned integers.
pub(super) fn u32s<R>(name: &str, rows: &[R], get: impl Fn(&R) -> u32) -> Column {
    let array = UInt32Array::from_iter_values(rows.iter().map(get));
    (Field::new(name, DataType::UInt32, false), Arc::new(array))
}

/// A column of unsigned integers that may be absent.
pub(super) fn opt_u32s<R>(name: &str, rows: &[R], get: impl Fn(&R) -> Option<u32>) -> Column {
    let array: UInt32Array = rows.iter().map(get).collect();
    (Field::new(name, DataType::UInt32, true), Arc::new(array))
}

/// A column of doubles; NaN and infinities are kept as they are.
pub(super) fn f64s<R>(name: &str, rows: &[R], get: impl Fn(&R) -> f64) -> Column {
    let array = Float64Array::from_iter_values(rows.iter().map(get));
    (Field::new(name, DataType::Float64, false), Arc::new(array))
}

/// A column of doubles that may be undefined.
pub(super) fn opt_f64s<R>(name: &str, rows: &[R], get: impl Fn(&R) -> Option<f64>) -> Column {
    let array: Float64Array = rows.iter().map(get).collect();
    (Field::new(name, DataType::Float64, true), Arc::new(array))
}

/// A column of floats.
pub(super) fn f32s<R>(name: &str, rows: &[R], get: impl Fn(&R) -> f32) -> Column {
    let array = Float32Array::from_iter_values(rows.iter().map(get));
    (Field::new(name, DataType::Float32, false), Arc::new(array))
}

/// A column of truth values that may be unknown.
pub(super) fn opt_bools<R>(name: &str, rows: &[R], get: impl Fn(&R) -> Option<bool>) -> Column {
    let array: BooleanArray = rows.iter().map(get).collect();
    (Field::new(name, DataType::Boolean, true), Arc::new(array))
}

/// A column of text.
pub(super) fn texts<R>(
    name: &str,
    rows: &[R],
    get: impl Fn(&R) -> &str,
) -> Result<Column, RecordsError> {
    let bytes: usize = rows.iter().map(|r| get(r).len()).sum();
    within_offsets(name, bytes)?;
    let array = StringArray::from_iter_values(rows.iter().map(get));
    Ok((Field::new(name, DataType::Utf8, false), Arc::new(array)))
}

/// A column of lists of unsigned integers.
pub(super) fn u32_lists<R>(
    name: &str,
    rows: &[R],
    get: impl Fn(&R) -> &[u32],
) -> Result<Column, RecordsError> {
    let (values, offsets) = flatten(name, rows, get)?;
    Ok(list(
        name,
        DataType::UInt32,
        Arc::new(UInt32Array::from(values)),
        offsets,
        None,
    ))
}

/// A column of lists of floats.
pub(super) fn f32_lists<R>(
    name: &str,
    rows: &[R],
    get: impl Fn(&R) -> &[f32],
) -> Result<Column, RecordsError> {
    let (values, offsets) = flatten(name, rows, get)?;
    Ok(list(
        name,
        DataType::Float32,
        Arc::new(Float32Array::from(values)),
        offsets,
        None,
    ))
}

/// A column of lists of floats that may be missing.
pub(super) fn opt_f32_lists<R>(
    name: &str,
    rows: &[R],
    get: impl Fn(&R) -> Option<&[f32]>,
) -> Result<Column, RecordsError> {
    let mut present = NullBufferBuilder::new(rows.len());
    for row in rows {
        present.append(get(row).is_some());
    }
    let (values, offsets) = flatten(name, rows, |r| get(r).unwrap_or(&[]))?;
    let nulls = Some(present);
    Ok(list(
        name,
        DataType::Float32,
        Arc::new(Float32Array::from(values)),
        offsets,
        nulls,
    ))
}

fn flatten<'a, R, T: Copy + 'a>(
    name: &str,
    rows: &'a [R],
    get: impl Fn(&'a R) -> &'a [T],
) -> Result<(Vec<T>, Vec<i32>), RecordsError> {
    let total: usize = rows.iter().map(|r| get(r).len()).sum();
    within_offsets(name, total)?;
    let mut values = Vec::with_capacity(total);
    let mut offsets = Vec::with_capacity(rows.len() + 1);
    offsets.push(0i32);
    for row in rows {
        values.extend_from_slice(get(row));
        offsets.push(values.len() as i32);
    }
    Ok((values, offsets))
}

/// Arrow's 32-bit offsets bound what one row group can hold.
fn within_offsets(name: &str, total: usize) -> Result<(), RecordsError> {
    if i32::try_from(total).is_ok() {
        return Ok(());
    }
    Err(RecordsError::encode(
        name,
        format!(
            "{total} elements in one row group are more than 2147483647; choose smaller row groups"
        ),
    ))
}

fn list(
    name: &str,
    element: DataType,
    values: ArrayRef,
    offsets: Vec<i32>,
    nulls: Option<NullBufferBuilder>,
) -> Column {
    let nullable = nulls.is_some();
    let item = Arc::new(Field::new("element", element, false));
    let field = Field::new(name, DataType::List(item.clone()), nullable);
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let nulls = nulls.and_then(|mut b| b.finish());
    (
        field,
        Arc::new(ListArray::new(item, offsets, values, nulls)),
    )
}
