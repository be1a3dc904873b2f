//! What a file holds, by its extension and its content.

use std::path::Path;

use crate::RecordsError;
use crate::logprobs::json::{self, Json};
use crate::logprobs::response::Collector;
use crate::logprobs::{Layout, Recorded, table};

/// How the documents stand in the text.
enum Documents {
    /// One JSON document.
    One(Json),
    /// One JSON document per line, with its line number from 1.
    Lines(Vec<(u64, Json)>),
    /// No JSON at all.
    Separated,
}

pub(super) fn parse(
    path: &Path,
    text: &str,
    layout: Option<Layout>,
) -> Result<Recorded, RecordsError> {
    match documents(path, text, layout)? {
        Documents::Separated => Ok(Recorded::Table {
            layout: Layout::Csv,
            rows: table::from_csv(path, text)?,
        }),
        Documents::One(document) => one(path, &document, layout),
        Documents::Lines(lines) => many(path, &lines, layout),
    }
}

fn documents(path: &Path, text: &str, layout: Option<Layout>) -> Result<Documents, RecordsError> {
    let extension = path
        .extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    match (layout, extension.as_str()) {
        (Some(Layout::Csv), _) | (None, "csv" | "tsv") => return Ok(Documents::Separated),
        (Some(Layout::Jsonl), _) | (None, "jsonl" | "ndjson") => return lines(path, text),
        _ => {}
    }
    if layout.is_none() && !text.trim_start().starts_with(['{', '[']) {
        return Ok(Documents::Separated);
    }
    match json::parse(text) {
        Ok(document) => Ok(Documents::One(document)),
        Err(_) if layout != Some(Layout::Json) && json::first_line_is_whole(text) => {
            lines(path, text)
        }
        Err(e) => Err(RecordsError::json(
            path,
            format!("not JSON: {e}; check that the file is whole"),
        )),
    }
}

fn lines(path: &Path, text: &str) -> Result<Documents, RecordsError> {
    let mut documents = Vec::new();
    for (line, content) in (1u64..).zip(text.lines()) {
        if content.trim().is_empty() {
            continue;
        }
        let document = json::parse(content).map_err(|e| {
            RecordsError::line(
                path,
                line,
                format!("not JSON: {e}; repair or remove the line"),
            )
        })?;
        documents.push((line, document));
    }
    Ok(Documents::Lines(documents))
}

fn one(path: &Path, document: &Json, layout: Option<Layout>) -> Result<Recorded, RecordsError> {
    let as_response = layout.map_or_else(|| is_response(document), |l| !l.is_table());
    if !as_response {
        let rows = table::from_json(path, document)?;
        if rows.is_empty() {
            return Err(RecordsError::json(
                path,
                "the table has no rows; give at least one distribution",
            ));
        }
        return Ok(Recorded::Table {
            layout: Layout::Json,
            rows,
        });
    }
    let mut collector = Collector::new(path, layout);
    match document {
        // A list of responses, rather than the list under prompt_logprobs.
        Json::List(items) if items.iter().all(is_response) => {
            for (i, item) in items.iter().enumerate() {
                collector.stand_at(format!("[{i}]."));
                collector.document(item)?;
            }
        }
        document => collector.document(document)?,
    }
    recorded(collector)
}

fn many(
    path: &Path,
    lines: &[(u64, Json)],
    layout: Option<Layout>,
) -> Result<Recorded, RecordsError> {
    let first_is_response = lines
        .first()
        .is_some_and(|(_, document)| is_response(document));
    if !layout.map_or(first_is_response, |l| !l.is_table()) {
        let rows = lines
            .iter()
            .map(|(line, document)| table::from_line(path, *line, document));
        return Ok(Recorded::Table {
            layout: Layout::Jsonl,
            rows: rows.collect::<Result<_, _>>()?,
        });
    }
    let mut collector = Collector::new(path, layout);
    for (line, document) in lines {
        if layout.is_none() && !is_response(document) {
            let reason = "this line is not a log-prob response, and the first one is; give one kind of lines";
            return Err(RecordsError::line(path, *line, reason));
        }
        collector.stand_at(format!("line {line}: "));
        collector.document(document)?;
    }
    recorded(collector)
}

fn recorded(collector: Collector<'_>) -> Result<Recorded, RecordsError> {
    let (layouts, positions, rounding) = collector.finish()?;
    Ok(Recorded::Logprobs {
        layouts,
        positions,
        rounding,
    })
}

/// Whether a document is a response, by the kind of its well-known fields: a
/// table may well have a row named `choices`.
fn is_response(document: &Json) -> bool {
    let list_of = |key: &str, holds: fn(&Json) -> bool| {
        document
            .get(key)
            .and_then(Json::list)
            .is_some_and(|list| list.iter().all(holds))
    };
    match document {
        Json::List(items) => {
            let by_token = |item: &Json| match item {
                Json::Null => true,
                Json::Object(pairs) => {
                    pairs.iter().all(|(_, v)| v.get("logprob").is_some()) && !pairs.is_empty()
                }
                _ => false,
            };
            !items.is_empty() && (items.iter().all(is_response) || items.iter().all(by_token))
        }
        Json::Object(_) => {
            let object = |item: &Json| item.object().is_some();
            let object_or_null = |item: &Json| matches!(item, Json::Object(_) | Json::Null);
            list_of("choices", object)
                || list_of("outputs", object)
                || list_of("prompt_logprobs", object_or_null)
                || list_of("content", object)
                || document.get("token_logprobs").is_some() && document.get("tokens").is_some()
                || document
                    .get("response")
                    .is_some_and(|r| r.get("body").is_some())
                || document.get("error").is_some_and(|e| e.object().is_some())
                || document.get("object").and_then(Json::text) == Some("error")
        }
        _ => false,
    }
}
