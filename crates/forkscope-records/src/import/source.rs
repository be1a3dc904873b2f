//! The bytes of an input file and what kind of file they are.
//!
//! The content decides, not the name: `PAR1` is Parquet, an array or an object
//! is JSON, one object per line is JSON Lines.

use std::fs;
use std::path::Path;

use crate::RecordsError;

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Parquet,
    /// A JSON array, or an object that does not end with its line.
    Document,
    /// One JSON object per line.
    Lines,
}

/// A file's bytes.
pub(super) fn load(path: &Path) -> Result<Vec<u8>, RecordsError> {
    fs::read(path).map_err(RecordsError::read(path))
}

/// The kind of a file, and its text without a byte order mark (the bytes as
/// they are, for Parquet).
pub(super) fn classify<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Kind, &'a [u8]), RecordsError> {
    if bytes.starts_with(b"PAR1") {
        return Ok((Kind::Parquet, bytes));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(RecordsError::json(
            path,
            "the file is UTF-16; save it as UTF-8",
        ));
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let start = text.trim_ascii_start();
    match start.first() {
        None => Err(RecordsError::json(path, "the file is empty")),
        Some(b'[') => Ok((Kind::Document, text)),
        Some(b'{') if first_line_is_whole(start) => Ok((Kind::Lines, text)),
        // A broken first line of JSON Lines looks like the start of a document; the name decides.
        Some(b'{')
            if path
                .extension()
                .is_some_and(|e| e == "jsonl" || e == "ndjson") =>
        {
            Ok((Kind::Lines, text))
        }
        Some(b'{') => Ok((Kind::Document, text)),
        Some(_) => Ok((Kind::Lines, text)),
    }
}

/// Whether the first line is a JSON value of its own.
fn first_line_is_whole(text: &[u8]) -> bool {
    let line = text.split(|b| *b == b'\n').next().unwrap_or(text);
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// The lines that are not blank, counted from 1.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    (1u64..)
        .zip(text.split(|b| *b == b'\n'))
        .filter_map(|(number, line)| {
            let line = line.trim_ascii();
            (!line.is_empty()).then_some((number, line))
        })
}

/// serde_json's words without the line it always calls 1.
pub(super) fn line_reason(e: &serde_json::Error) -> String {
    let text = e.to_string();
    let short = text.split(" at line ").next().unwrap_or(&text);
    format!("{short} at column {}", e.column())
}
