//! Problem files: JSON Lines, JSON, Parquet.
//!
//! Fields: `id?`, `problem|question|prompt|problem_text|messages`,
//! `answer|ground_truth|final_answer|solution` (else those in `reward_model`),
//! `category?`; the first that is there counts, others are ignored. A record without an identifier gets its
//! 0-based index among the records. Two records of one identifier are refused:
//! everything that follows is keyed by it.

use std::collections::HashMap;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::problem::{from_record, is_known};
use super::source::{Kind, classify, line_reason, lines, load};
use super::{arrow_json, python_json};
use crate::RecordsError;
use crate::table::open_batches;
use crate::types::Problem;

/// Keys under which a JSON object keeps its list of problems.
const LISTS: [&str; 4] = ["problems", "data", "examples", "questions"];

/// Reads a problem file.
pub fn read_problems(path: &Path) -> Result<Vec<Problem>, RecordsError> {
    read_problems_bytes(load(path)?.into(), path)
}

/// Reads a problem file whose bytes somebody has read (and perhaps digested)
/// already; `path` is for messages.
pub fn read_problems_bytes(bytes: Bytes, path: &Path) -> Result<Vec<Problem>, RecordsError> {
    let mut found = Found::new(path);
    match classify(path, &bytes)? {
        (Kind::Parquet, _) => from_parquet(&bytes, &mut found)?,
        (Kind::Lines, text) => from_lines(text, &mut found)?,
        (Kind::Document, text) => from_document(text, &mut found)?,
    }
    if found.problems.is_empty() {
        return Err(RecordsError::json(path, "the file has no problems"));
    }
    Ok(found.problems)
}

/// Problems so far, and where each identifier was seen first.
struct Found<'a> {
    path: &'a Path,
    problems: Vec<Problem>,
    seen: HashMap<String, Place>,
}

/// Where a record stands in its file.
#[derive(Debug, Clone, Copy)]
enum Place {
    Line(u64),
    Entry(u64),
    Row(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line {n}"),
            Self::Entry(n) => write!(f, "entry {n}"),
            Self::Row(n) => write!(f, "row {n}"),
        }
    }
}

impl<'a> Found<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            problems: Vec::new(),
            seen: HashMap::new(),
        }
    }

    fn fail(&self, place: Place, reason: impl ToString) -> RecordsError {
        match place {
            Place::Line(n) => RecordsError::line(self.path, n, reason),
            _ => RecordsError::entry(self.path, place.to_string(), reason),
        }
    }

    fn add(&mut self, record: &Value, place: Place) -> Result<(), RecordsError> {
        match record {
            Value::Object(fields) => self.add_fields(fields, place),
            _ => Err(self.fail(place, "a problem must be a JSON object")),
        }
    }

    fn add_fields(
        &mut self,
        fields: &Map<String, Value>,
        place: Place,
    ) -> Result<(), RecordsError> {
        let row = self.problems.len() as u64;
        let problem = from_record(fields, row).map_err(|e| self.fail(place, e))?;
        if let Some(first) = self.seen.insert(problem.id.clone(), place) {
            let reason = format!(
                "the identifier {:?} is that of {first} too; identifiers must be unique",
                problem.id
            );
            return Err(self.fail(place, reason));
        }
        self.problems.push(problem);
        Ok(())
    }
}

fn from_lines(text: &[u8], found: &mut Found<'_>) -> Result<(), RecordsError> {
    for (number, line) in lines(text) {
        let place = Place::Line(number);
        let line = python_json::strict(line);
        let record: Value =
            serde_json::from_slice(&line).map_err(|e| found.fail(place, line_reason(&e)))?;
        // A whole document on one line is a document.
        match list_in(&record) {
            Some(list) if found.problems.is_empty() => from_list(list, found)?,
            _ => found.add(&record, place)?,
        }
    }
    Ok(())
}

fn from_document(text: &[u8], found: &mut Found<'_>) -> Result<(), RecordsError> {
    let text = python_json::strict(text);
    let document: Value =
        serde_json::from_slice(&text).map_err(|e| RecordsError::json(found.path, e))?;
    match (&document, list_in(&document)) {
        (Value::Array(list), _) => from_list(list, found),
        (_, Some(list)) => from_list(list, found),
        _ => found.add(&document, Place::Entry(0)),
    }
}

fn from_list(list: &[Value], found: &mut Found<'_>) -> Result<(), RecordsError> {
    (0u64..)
        .zip(list)
        .try_for_each(|(i, record)| found.add(record, Place::Entry(i)))
}

/// The list of problems in an object that is no problem itself.
fn list_in(document: &Value) -> Option<&Vec<Value>> {
    let object = document.as_object()?;
    let list = LISTS.iter().find_map(|key| object.get(*key)?.as_array())?;
    from_record(object, 0).is_err().then_some(list)
}

fn from_parquet(bytes: &Bytes, found: &mut Found<'_>) -> Result<(), RecordsError> {
    let (mut batches, _) = open_batches(bytes.clone(), found.path, is_known)?;
    let mut row = 0u64;
    while let Some(batch) = batches.next(found.path) {
        let batch = batch?;
        let schema = batch.schema();
        for i in 0..batch.num_rows() {
            let mut fields = Map::new();
            for (field, array) in schema.fields().iter().zip(batch.columns()) {
                let value = arrow_json::cell(array, i)
                    .map_err(|e| RecordsError::column(found.path, field.name(), e))?;
                fields.insert(field.name().clone(), value);
            }
            found.add_fields(&fields, Place::Row(row))?;
            row += 1;
        }
    }
    Ok(())
}
