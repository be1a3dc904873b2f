//! Contrast sets: JSON Lines, JSON, Parquet, CSV, or a folder of them.
//!
//! A table has a prompt (`text|prompt|messages|problem|question|...`), `context`
//! (`evaluation|deployment`), `format`, `source` (or `wording`), and perhaps
//! `id`, `answer`, `cluster` (items that share a problem) and `wording_use`
//! (`fit|held-out`).
//!
//! In a folder every subfolder or table is a cell, and its name says context and
//! format: of the parts between `_`, one is `eval`, `evaluation`, `deploy` or
//! `deployment`, and the first that is not, is the format (`bench_eval`,
//! `casual_deploy_matched`). That is the layout of the 2x2 data of arXiv
//! 2603.19426. The source is then `NAME/` with the record's `source` or
//! `label`, if it has one.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::contrast_field::{Defaults, is_known, item};
use super::source::{Kind, classify, line_reason, lines, load};
use super::{arrow_json, python_json};
use crate::RecordsError;
use crate::table::open_batches;
use crate::types::{ContrastContext, ContrastItem};

/// Most items of a set: a bound on what a file can make us hold.
const MOST: usize = 1_000_000;

/// Reads a contrast set whose bytes somebody has read already; `path` is for
/// messages and tells CSV from JSON Lines.
pub fn read_contrast_bytes(bytes: Bytes, path: &Path) -> Result<Vec<ContrastItem>, RecordsError> {
    let items = read_with(bytes, path, &Defaults::default())?;
    unique(&items, path)?;
    Ok(items)
}

/// A file with the bytes that were read from it.
pub type ReadFile = (PathBuf, Bytes);

/// Reads a folder of cells; gives the items with the files that were read and
/// their bytes, in order of name.
pub fn read_contrast_folder(
    dir: &Path,
) -> Result<(Vec<ContrastItem>, Vec<ReadFile>), RecordsError> {
    let mut files = Vec::new();
    for path in sorted(dir)? {
        if path.is_dir() {
            let inner = sorted(&path)?.into_iter().filter(|p| is_table(p));
            files.extend(inner.map(|file| (path.clone(), file)));
        } else if is_table(&path) {
            files.push((path.clone(), path));
        }
    }
    let (mut items, mut read) = (Vec::new(), Vec::new());
    for (cell, file) in files {
        let name = stem(&cell);
        let Some((context, format)) = cell_of(&name) else {
            return Err(RecordsError::json(
                &cell,
                "the name says no context; name cells like bench_eval or casual_deploy, with eval or deploy between underscores",
            ));
        };
        let defaults = Defaults {
            context: Some(context),
            format: Some(format),
            folder: Some(name),
        };
        let bytes: Bytes = load(&file)?.into();
        items.extend(read_with(bytes.clone(), &file, &defaults)?);
        read.push((file, bytes));
    }
    if items.is_empty() {
        return Err(RecordsError::json(
            dir,
            "the folder holds no table; put Parquet, JSON Lines or CSV files into it, or folders of them",
        ));
    }
    let mut seen: HashMap<String, usize> = HashMap::new();
    for item in &mut items {
        // Two files of one cell count their rows from 0 each.
        let times = seen.entry(item.id.clone()).or_default();
        *times += 1;
        if *times > 1 {
            item.id = format!("{}#{times}", item.id);
        }
    }
    Ok((items, read))
}

/// Context and format of a cell's name.
fn cell_of(name: &str) -> Option<(ContrastContext, String)> {
    let parts: Vec<String> = name
        .split(['_', '.'])
        .map(str::to_ascii_lowercase)
        .collect();
    let context = |part: &String| match part.as_str() {
        "eval" | "evaluation" | "deploy" | "deployment" => ContrastContext::parse(part),
        _ => None,
    };
    let found = parts.iter().find_map(context)?;
    let format = parts.iter().find(|part| context(part).is_none())?;
    Some((found, format.clone()))
}

fn sorted(dir: &Path) -> Result<Vec<PathBuf>, RecordsError> {
    let entries = fs::read_dir(dir).map_err(RecordsError::read(dir))?;
    let paths = entries.map(|e| Ok(e.map_err(RecordsError::read(dir))?.path()));
    let paths: Result<BTreeSet<PathBuf>, RecordsError> = paths.collect();
    Ok(paths?.into_iter().collect())
}

fn is_table(path: &Path) -> bool {
    let known = ["parquet", "jsonl", "ndjson", "json", "csv"];
    path.is_file()
        && path
            .extension()
            .and_then(|e| e.to_str())
            .is_some_and(|e| known.contains(&e))
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn unique(items: &[ContrastItem], path: &Path) -> Result<(), RecordsError> {
    let mut seen = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        if let Some(first) = seen.insert(item.id.as_str(), i) {
            let reason = format!(
                "the identifier {:?} is that of item {first} too; identifiers must be unique",
                item.id
            );
            return Err(RecordsError::entry(path, format!("item {i}"), reason));
        }
    }
    Ok(())
}

fn read_with(
    bytes: Bytes,
    path: &Path,
    defaults: &Defaults,
) -> Result<Vec<ContrastItem>, RecordsError> {
    let mut items = Vec::new();
    let mut take = |record: &Map<String, Value>, place: String| {
        if items.len() >= MOST {
            let reason = format!("has more than {MOST} items; give a smaller set");
            return Err(RecordsError::json(path, reason));
        }
        let read = item(record, items.len(), defaults);
        items.push(read.map_err(|e| RecordsError::entry(path, place, e))?);
        Ok(())
    };
    match classify(path, &bytes)? {
        (Kind::Parquet, _) => parquet(&bytes, path, &mut take)?,
        _ if path.extension().is_some_and(|e| e == "csv") => {
            comma_separated(&bytes, path, &mut take)?
        }
        (Kind::Lines, text) => json_lines(text, path, &mut take)?,
        (Kind::Document, text) => document(text, path, &mut take)?,
    }
    if items.is_empty() {
        return Err(RecordsError::json(path, "the file has no items"));
    }
    Ok(items)
}

type Take<'a> = dyn FnMut(&Map<String, Value>, String) -> Result<(), RecordsError> + 'a;

fn object(
    record: &Value,
    place: String,
    path: &Path,
    take: &mut Take<'_>,
) -> Result<(), RecordsError> {
    match record {
        Value::Object(fields) => take(fields, place),
        _ => Err(RecordsError::entry(
            path,
            place,
            "an item must be a JSON object",
        )),
    }
}

fn json_lines(text: &[u8], path: &Path, take: &mut Take<'_>) -> Result<(), RecordsError> {
    for (number, line) in lines(text) {
        let line = python_json::strict(line);
        let record: Value = serde_json::from_slice(&line)
            .map_err(|e| RecordsError::line(path, number, line_reason(&e)))?;
        // A whole document on one line is a document.
        match list_in(&record).filter(|_| record.get("context").is_none()) {
            Some(list) => entries(list, path, take)?,
            None => object(&record, format!("line {number}"), path, take)?,
        }
    }
    Ok(())
}

/// The list of items in an object that is no item itself.
fn list_in(document: &Value) -> Option<&Vec<Value>> {
    let fields = document.as_object()?;
    ["items", "data", "problems", "examples"]
        .iter()
        .find_map(|key| fields.get(*key)?.as_array())
}

fn entries(list: &[Value], path: &Path, take: &mut Take<'_>) -> Result<(), RecordsError> {
    (0..)
        .zip(list)
        .try_for_each(|(i, record): (u64, _)| object(record, format!("entry {i}"), path, take))
}

fn document(text: &[u8], path: &Path, take: &mut Take<'_>) -> Result<(), RecordsError> {
    let text = python_json::strict(text);
    let document: Value = serde_json::from_slice(&text).map_err(|e| RecordsError::json(path, e))?;
    let list = document.as_array().or_else(|| list_in(&document));
    let Some(list) = list else {
        return Err(RecordsError::json(
            path,
            "holds no list of items; give an array of objects",
        ));
    };
    entries(list, path, take)
}

fn comma_separated(bytes: &[u8], path: &Path, take: &mut Take<'_>) -> Result<(), RecordsError> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(false).from_reader(text);
    let names = reader.headers().map_err(|e| RecordsError::json(path, e))?;
    let names = names.clone();
    for (number, row) in (2u64..).zip(reader.records()) {
        let row = row.map_err(|e| RecordsError::line(path, number, e))?;
        let fields = names.iter().zip(row.iter());
        let fields = fields.map(|(name, cell)| (name.trim().to_owned(), Value::from(cell)));
        take(&fields.collect(), format!("record {}", number - 1))?;
    }
    Ok(())
}

fn parquet(bytes: &Bytes, path: &Path, take: &mut Take<'_>) -> Result<(), RecordsError> {
    let (mut batches, _) = open_batches(bytes.clone(), path, is_known)?;
    let mut row = 0u64;
    while let Some(batch) = batches.next(path) {
        let batch = batch?;
        let schema = batch.schema();
        for i in 0..batch.num_rows() {
            let mut fields = Map::new();
            for (field, array) in schema.fields().iter().zip(batch.columns()) {
                let value = arrow_json::cell(array, i)
                    .map_err(|e| RecordsError::column(path, field.name(), e))?;
                fields.insert(field.name().clone(), value);
            }
            take(&fields, format!("row {row}"))?;
            row += 1;
        }
    }
    Ok(())
}
