//! One record of a contrast set to one [`ContrastItem`].

use serde_json::{Map, Value};

use super::problem::messages;
use crate::types::{ContrastContext, ContrastItem, ProblemPrompt};

/// Fields that hold the prompt; the first that is there counts. The forms in
/// which a set was put to models come before what they were made from.
const PROMPTS: [&str; 9] = [
    "text",
    "formatted_prompt",
    "rewritten",
    "first_turn",
    "prompt",
    "messages",
    "problem",
    "question",
    "problem_text",
];
const SOURCES: [&str; 3] = ["source", "wording", "label"];
const CLUSTERS: [&str; 2] = ["cluster", "pair"];
const USES: [&str; 2] = ["wording_use", "use"];

/// What the place of a record says where its fields do not.
#[derive(Debug, Clone, Default)]
pub(super) struct Defaults {
    pub(super) context: Option<ContrastContext>,
    pub(super) format: Option<String>,
    /// Folder that the record is from: before its identifier and its source.
    pub(super) folder: Option<String>,
}

/// Whether a column of that name is read at all.
pub(super) fn is_known(name: &str) -> bool {
    let lists: [&[&str]; 5] = [
        &PROMPTS,
        &SOURCES,
        &CLUSTERS,
        &USES,
        &["id", "context", "format", "answer"],
    ];
    lists.iter().any(|list| list.contains(&name))
}

/// The item in a record; the error is a sentence about the record.
pub(super) fn item(
    record: &Map<String, Value>,
    row: usize,
    defaults: &Defaults,
) -> Result<ContrastItem, String> {
    let folder = defaults.folder.as_deref();
    let named = text(record, &["id"])?;
    let id = match (&named, folder) {
        (_, Some(folder)) => format!("{folder}/{row}"),
        (Some(id), None) => id.clone(),
        (None, None) => row.to_string(),
    };
    let source = match (text(record, &SOURCES)?, folder) {
        (Some(source), Some(folder)) => format!("{folder}/{source}"),
        (Some(source), None) => source,
        (None, Some(folder)) => folder.to_owned(),
        (None, None) => {
            return Err(missing(
                "source",
                "the benchmark, corpus or wording it is from",
            ));
        }
    };
    let format = match (text(record, &["format"])?, &defaults.format) {
        (Some(format), _) => format,
        (None, Some(format)) => format.clone(),
        (None, None) => return Err(missing("format", "e.g. benchmark or free-form")),
    };
    let cluster = match (text(record, &CLUSTERS)?, named) {
        (Some(cluster), _) => cluster,
        (None, Some(id)) => id,
        (None, None) => id.clone(),
    };
    Ok(ContrastItem {
        id,
        prompt: prompt(record)?,
        answer: text(record, &["answer"])?,
        context: context(record, defaults)?,
        format,
        source,
        cluster,
        fit: usage(record)?,
    })
}

fn missing(field: &str, what: &str) -> String {
    format!("the field {field} is missing or empty; a contrast set needs it ({what})")
}

fn context(record: &Map<String, Value>, defaults: &Defaults) -> Result<ContrastContext, String> {
    match text(record, &["context"])? {
        Some(word) => ContrastContext::parse(&word).ok_or_else(|| {
            let word: String = word.chars().take(40).collect();
            format!("context is {word:?}; write evaluation or deployment")
        }),
        None => defaults
            .context
            .ok_or_else(|| missing("context", "evaluation or deployment")),
    }
}

fn usage(record: &Map<String, Value>) -> Result<Option<bool>, String> {
    Ok(match text(record, &USES)?.as_deref() {
        None => None,
        Some("fit" | "train") => Some(true),
        Some("held-out" | "held_out" | "test") => Some(false),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            return Err(format!(
                "wording_use is {other:?}; write fit or held-out, or leave the column out"
            ));
        }
    })
}

/// The first of these fields that is there and not empty, as text.
fn text(record: &Map<String, Value>, names: &[&str]) -> Result<Option<String>, String> {
    for name in names {
        match record.get(*name) {
            None | Some(Value::Null) => {}
            Some(Value::String(s)) if s.trim().is_empty() => {}
            Some(Value::String(s)) => return Ok(Some(s.clone())),
            Some(Value::Number(n)) => return Ok(Some(n.to_string())),
            Some(Value::Bool(b)) => return Ok(Some(b.to_string())),
            Some(_) => return Err(format!("field {name} is neither text nor a number")),
        }
    }
    Ok(None)
}

fn prompt(record: &Map<String, Value>) -> Result<ProblemPrompt, String> {
    let there = |name: &&&str| match record.get(**name) {
        None | Some(Value::Null) => false,
        Some(Value::String(s)) => !s.trim().is_empty(),
        Some(_) => true,
    };
    let Some(name) = PROMPTS.iter().find(there) else {
        return Err(format!(
            "no prompt: none of the fields {} is there",
            PROMPTS.join(", ")
        ));
    };
    match record.get(*name) {
        Some(Value::String(s)) if *name != "messages" => Ok(ProblemPrompt::Text(s.clone())),
        // A cell of a CSV table holds messages as JSON.
        Some(Value::String(s)) => match serde_json::from_str(s) {
            Ok(Value::Array(items)) if !items.is_empty() => messages(name, &items),
            _ => Err("field messages is text that is no JSON list of messages".into()),
        },
        Some(Value::Array(items)) if !items.is_empty() => messages(name, items),
        _ => Err(format!(
            "field {name} is neither text nor a list of messages"
        )),
    }
}
