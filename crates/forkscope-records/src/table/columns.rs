//! From Arrow arrays to values, whoever wrote them.
//!
//! Integers of any width, floats of either, text of any Arrow string type and
//! lists of those are read; a null, a negative id or a wrong type is an error
//! that names file, column and row.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;

use crate::RecordsError;

/// A batch of rows with the file it came from.
pub struct Columns<'a> {
    pub(super) batch: &'a RecordBatch,
    pub(super) path: &'a Path,
    /// Rows of the file before this batch, so that messages count as the file does.
    pub(super) first_row: u64,
}

impl<'a> Columns<'a> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is such a column.
    pub fn has(&self, name: &str) -> bool {
        self.batch.column_by_name(name).is_some()
    }

    /// Unsigned 32-bit integers.
    pub fn u32s(&self, name: &str) -> Result<Vec<u32>, RecordsError> {
        let array = self.array(name)?;
        self.no_nulls(name, array)?;
        self.ids(name, array)
    }

    /// Unsigned 32-bit integers, `None` where null.
    pub fn opt_u32s(&self, name: &str) -> Result<Vec<Option<u32>>, RecordsError> {
        let array = self.array(name)?;
        if *array.data_type() == DataType::Null {
            return Ok(vec![None; array.len()]);
        }
        let wide = integers(array).ok_or_else(|| self.wrong(name, array, "integers"))?;
        let narrow = |(i, v): (usize, i128)| match array.is_valid(i) {
            true => u32::try_from(v)
                .map(Some)
                .map_err(|_| self.at(name, i, format!("{v} is not in 0..=4294967295"))),
            false => Ok(None),
        };
        wide.into_iter().enumerate().map(narrow).collect()
    }

    /// Doubles.
    pub fn f64s(&self, name: &str) -> Result<Vec<f64>, RecordsError> {
        let array = self.array(name)?;
        self.no_nulls(name, array)?;
        self.doubles(name, array)
    }

    /// Doubles, `None` where null.
    pub fn opt_f64s(&self, name: &str) -> Result<Vec<Option<f64>>, RecordsError> {
        let array = self.array(name)?;
        let values = self.doubles(name, array)?;
        Ok(values
            .into_iter()
            .enumerate()
            .map(|(i, v)| array.is_valid(i).then_some(v))
            .collect())
    }

    /// Floats; doubles are rounded to the nearest float.
    pub fn f32s(&self, name: &str) -> Result<Vec<f32>, RecordsError> {
        let array = self.array(name)?;
        self.no_nulls(name, array)?;
        self.floats(name, array)
    }

    /// Truth values, `None` where null. Integers 0 and 1 are read too.
    pub fn opt_bools(&self, name: &str) -> Result<Vec<Option<bool>>, RecordsError> {
        let array = self.array(name)?;
        match array.data_type() {
            DataType::Boolean => Ok(array.as_boolean().iter().collect()),
            DataType::Null => Ok(vec![None; array.len()]),
            _ => {
                let values = self.ids(name, array)?;
                let one = |(i, v): (usize, u32)| match (array.is_valid(i), v) {
                    (false, _) => Ok(None),
                    (true, 0) => Ok(Some(false)),
                    (true, 1) => Ok(Some(true)),
                    (true, v) => Err(self.at(name, i, format!("{v} is neither true nor false"))),
                };
                values.into_iter().enumerate().map(one).collect()
            }
        }
    }

    /// Text.
    pub fn texts(&self, name: &str) -> Result<Vec<&'a str>, RecordsError> {
        let array = self.array(name)?;
        self.no_nulls(name, array)?;
        Ok(self
            .strings(name, array)?
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect())
    }

    /// Text, `None` where null.
    pub fn opt_texts(&self, name: &str) -> Result<Vec<Option<&'a str>>, RecordsError> {
        self.strings(name, self.array(name)?)
    }

    /// Identifiers: text, or integers written out in decimals.
    pub fn identifiers(&self, name: &str) -> Result<Vec<String>, RecordsError> {
        let array = self.array(name)?;
        self.no_nulls(name, array)?;
        if array.data_type().is_integer() {
            return Ok(integers(array)
                .ok_or_else(|| self.wrong(name, array, "text"))?
                .into_iter()
                .map(|v| v.to_string())
                .collect());
        }
        Ok(self.texts(name)?.into_iter().map(str::to_owned).collect())
    }

    /// Text from a fixed set of words.
    pub fn words<T>(
        &self,
        name: &str,
        parse: fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, RecordsError> {
        let word = |(i, w): (usize, &str)| {
            parse(w).ok_or_else(|| self.at(name, i, format!("unknown value {:?}", clip(w))))
        };
        self.texts(name)?
            .into_iter()
            .enumerate()
            .map(word)
            .collect()
    }

    /// Lists of unsigned integers.
    pub fn u32_lists(&self, name: &str) -> Result<Vec<Vec<u32>>, RecordsError> {
        self.lists(name, Self::ids)?
            .into_iter()
            .enumerate()
            .map(|(i, list)| list.ok_or_else(|| self.at(name, i, "is null")))
            .collect()
    }

    /// Lists of floats.
    pub fn f32_lists(&self, name: &str) -> Result<Vec<Vec<f32>>, RecordsError> {
        self.opt_f32_lists(name)?
            .into_iter()
            .enumerate()
            .map(|(i, list)| list.ok_or_else(|| self.at(name, i, "is null")))
            .collect()
    }

    /// Lists of floats, `None` where null.
    pub fn opt_f32_lists(&self, name: &str) -> Result<Vec<Option<Vec<f32>>>, RecordsError> {
        self.lists(name, Self::floats)
    }

    /// Numbers of elements of lists, 0 where null.
    pub fn list_lengths(&self, name: &str) -> Result<Vec<usize>, RecordsError> {
        let array = self.array(name)?;
        let lengths = |i: usize, n: usize| if array.is_null(i) { 0 } else { n };
        let rows = 0..array.len();
        Ok(match array.data_type() {
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                rows.map(|i| lengths(i, usize::try_from(lists.value_length(i)).unwrap_or(0)))
                    .collect()
            }
            DataType::LargeList(_) => {
                let lists = array.as_list::<i64>();
                rows.map(|i| lengths(i, usize::try_from(lists.value_length(i)).unwrap_or(0)))
                    .collect()
            }
            DataType::Null => vec![0; array.len()],
            _ => return Err(self.wrong(name, array, "lists")),
        })
    }

    /// An error about one cell.
    pub fn at(&self, name: &str, row: usize, reason: impl ToString) -> RecordsError {
        let row = self.first_row + row as u64;
        RecordsError::column(
            self.path,
            name,
            format!("row {row}: {}", reason.to_string()),
        )
    }

    fn array(&self, name: &str) -> Result<&'a ArrayRef, RecordsError> {
        self.batch.column_by_name(name).ok_or_else(|| {
            RecordsError::column(
                self.path,
                name,
                "is missing; docs/formats.md lists the columns of each table",
            )
        })
    }

    fn no_nulls(&self, name: &str, array: &dyn Array) -> Result<(), RecordsError> {
        let null = (0..array.len()).find(|&i| array.is_null(i));
        match null {
            Some(i) if array.null_count() > 0 => Err(self.at(name, i, "is null")),
            _ => Ok(()),
        }
    }

    fn wrong(&self, name: &str, array: &dyn Array, expected: &str) -> RecordsError {
        RecordsError::column(
            self.path,
            name,
            format!("holds {}, not {expected}", array.data_type()),
        )
    }

    fn ids(&self, name: &str, array: &ArrayRef) -> Result<Vec<u32>, RecordsError> {
        if let Some(a) = array.as_primitive_opt::<UInt32Type>() {
            return Ok(a.values().to_vec());
        }
        let wide = integers(array).ok_or_else(|| self.wrong(name, array, "integers"))?;
        let narrow = |(i, v): (usize, i128)| {
            u32::try_from(v).map_err(|_| self.at(name, i, format!("{v} is not in 0..=4294967295")))
        };
        wide.into_iter().enumerate().map(narrow).collect()
    }

    fn doubles(&self, name: &str, array: &ArrayRef) -> Result<Vec<f64>, RecordsError> {
        if let Some(a) = array.as_primitive_opt::<Float64Type>() {
            return Ok(a.values().to_vec());
        }
        if let Some(a) = array.as_primitive_opt::<Float32Type>() {
            return Ok(a.values().iter().map(|&v| f64::from(v)).collect());
        }
        Err(self.wrong(name, array, "numbers"))
    }

    fn floats(&self, name: &str, array: &ArrayRef) -> Result<Vec<f32>, RecordsError> {
        if let Some(a) = array.as_primitive_opt::<Float32Type>() {
            return Ok(a.values().to_vec());
        }
        if let Some(a) = array.as_primitive_opt::<Float64Type>() {
            return Ok(a.values().iter().map(|&v| v as f32).collect());
        }
        Err(self.wrong(name, array, "numbers"))
    }

    fn strings(
        &self,
        name: &str,
        array: &'a ArrayRef,
    ) -> Result<Vec<Option<&'a str>>, RecordsError> {
        match array.data_type() {
            DataType::Utf8 => Ok(array.as_string::<i32>().iter().collect()),
            DataType::LargeUtf8 => Ok(array.as_string::<i64>().iter().collect()),
            DataType::Utf8View => Ok(array.as_string_view().iter().collect()),
            DataType::Null => Ok(vec![None; array.len()]),
            _ => Err(self.wrong(name, array, "text")),
        }
    }

    fn lists<T>(
        &self,
        name: &str,
        read: fn(&Self, &str, &ArrayRef) -> Result<Vec<T>, RecordsError>,
    ) -> Result<Vec<Option<Vec<T>>>, RecordsError>
    where
        T: Copy,
    {
        let array = self.array(name)?;
        let (values, offsets): (&ArrayRef, Vec<usize>) = match array.data_type() {
            DataType::List(_) => {
                let a = array.as_list::<i32>();
                (
                    a.values(),
                    a.value_offsets().iter().map(|&o| o as usize).collect(),
                )
            }
            DataType::LargeList(_) => {
                let a = array.as_list::<i64>();
                (
                    a.values(),
                    a.value_offsets().iter().map(|&o| o as usize).collect(),
                )
            }
            DataType::Null => return Ok((0..array.len()).map(|_| None).collect()),
            _ => return Err(self.wrong(name, array, "lists")),
        };
        if values.null_count() > 0 {
            return Err(RecordsError::column(
                self.path,
                name,
                "a list has a null in it",
            ));
        }
        let flat = read(self, name, values)?;
        let slice = |i: usize| {
            let (from, to) = (offsets.get(i)?, offsets.get(i + 1)?);
            flat.get(*from..*to).map(<[T]>::to_vec)
        };
        Ok((0..array.len())
            .map(|i| if array.is_null(i) { None } else { slice(i) })
            .collect())
    }
}

/// Integers of any width; the values under nulls are whatever lies there.
fn integers(array: &dyn Array) -> Option<Vec<i128>> {
    macro_rules! widen {
        ($($t:ty),*) => {
            $(if let Some(a) = array.as_primitive_opt::<$t>() {
                return Some(a.values().iter().map(|&v| i128::from(v)).collect());
            })*
        };
    }
    widen!(
        Int64Type, Int32Type, UInt64Type, UInt32Type, UInt16Type, Int16Type, UInt8Type, Int8Type
    );
    None
}

/// At most forty characters of a text from a file.
fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}
