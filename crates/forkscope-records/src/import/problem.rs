//! One record of a problem file to one [`Problem`].

use serde_json::{Map, Value};

use super::answer::{answer_text, number_text, reference_answer};
use crate::types::{Message, Problem, ProblemPrompt};

/// Fields that hold what is asked; the first that is there counts.
const PROMPTS: [&str; 5] = ["problem", "question", "prompt", "problem_text", "messages"];
/// Fields that hold the answer; the first that is there and not empty counts.
const ANSWERS: [&str; 4] = ["answer", "ground_truth", "final_answer", "solution"];
/// Where data sets for reinforcement learning keep the answer: an object, of
/// which the first of [`ANSWERS`] counts. Asked last.
const REWARD_MODEL: &str = "reward_model";
/// Fields that hold the identifier.
const IDS: [&str; 2] = ["id", "problem_id"];

/// Whether a field of that name is read at all.
pub(super) fn is_known(name: &str) -> bool {
    name == "category"
        || name == REWARD_MODEL
        || [&PROMPTS[..], &ANSWERS, &IDS]
            .iter()
            .any(|l| l.contains(&name))
}

/// The problem in a record; `row` is the identifier of one that has none. The
/// error is a sentence about the record.
pub(super) fn from_record(record: &Map<String, Value>, row: u64) -> Result<Problem, String> {
    Ok(Problem {
        id: identifier(record, row)?,
        prompt: prompt(record)?,
        answer: answer(record)?,
        category: category(record)?,
    })
}

fn present<'a>(record: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    record.get(name).filter(|v| !v.is_null())
}

fn identifier(record: &Map<String, Value>, row: u64) -> Result<String, String> {
    let Some((name, value)) = IDS.iter().find_map(|n| Some((n, present(record, n)?))) else {
        return Ok(row.to_string());
    };
    match value {
        Value::String(s) if !s.is_empty() => Ok(s.clone()),
        Value::Number(_) => number_text(value).ok_or_else(|| format!("field {name} is no number")),
        _ => Err(format!(
            "field {name} must be a text that is not empty, or a number"
        )),
    }
}

fn prompt(record: &Map<String, Value>) -> Result<ProblemPrompt, String> {
    let Some((name, value)) = PROMPTS.iter().find_map(|n| Some((n, present(record, n)?))) else {
        return Err(format!(
            "no problem text: none of the fields {} is there",
            PROMPTS.join(", ")
        ));
    };
    match value {
        Value::String(s) if *name == "messages" => Err(format!(
            "field messages is text ({} bytes), not a list of messages",
            s.len()
        )),
        Value::String(s) if s.trim().is_empty() => Err(format!("field {name} is empty")),
        Value::String(s) => Ok(ProblemPrompt::Text(s.clone())),
        Value::Array(items) if !items.is_empty() => messages(name, items),
        _ => Err(format!(
            "field {name} is neither text nor a list of messages"
        )),
    }
}

/// A conversation in a field.
pub(super) fn messages(field: &str, items: &[Value]) -> Result<ProblemPrompt, String> {
    let messages = items
        .iter()
        .enumerate()
        .map(|(i, item)| message(field, i, item));
    messages
        .collect::<Result<_, _>>()
        .map(ProblemPrompt::Messages)
}

fn message(field: &str, index: usize, item: &Value) -> Result<Message, String> {
    let text = |key: &str| {
        let value = item.get(key).and_then(Value::as_str);
        value
            .map(str::to_owned)
            .ok_or_else(|| format!("{field}[{index}] has no text field {key}"))
    };
    Ok(Message {
        role: text("role")?,
        content: text("content")?,
    })
}

fn answer(record: &Map<String, Value>) -> Result<Option<String>, String> {
    match (stated(record)?, present(record, REWARD_MODEL)) {
        (None, Some(Value::Object(inner))) => stated(inner),
        (found, _) => Ok(found),
    }
}

fn stated(record: &Map<String, Value>) -> Result<Option<String>, String> {
    for name in ANSWERS {
        let Some(value) = present(record, name) else {
            continue;
        };
        let text = answer_text(value).map_err(|e| format!("field {name} {e}"))?;
        let found = text.and_then(|t| reference_answer(&t, name == "solution"));
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn category(record: &Map<String, Value>) -> Result<Option<String>, String> {
    match present(record, "category") {
        None => Ok(None),
        Some(Value::String(s)) => Ok((!s.is_empty()).then(|| s.clone())),
        Some(v @ Value::Number(_)) => Ok(number_text(v)),
        Some(Value::Bool(b)) => Ok(Some(b.to_string())),
        Some(_) => Err("field category is neither text nor a number".into()),
    }
}
