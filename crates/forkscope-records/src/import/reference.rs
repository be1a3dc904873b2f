//! The rollout JSON of the reference implementation of arXiv 2605.06241, read:
//! as it was sampled, as it was scored, and as it was processed for training.
//!
//! `{"rollouts": [{problem_id, gen_index, tokens | input_ids, prompt_length,
//! correct, truncated?, num_completion_tokens?, entropies?, text?, prompt_text?,
//! decision_positions?, advantage?, reward?, completion_length?,
//! generation_pred_start?}]}`; unknown fields are ignored. The reference counts
//! the *predicting* position p; here a position is the index of the predicted
//! token, t = p + 1. `entropies` are nats, one per completion token. Lengths
//! follow from the token ids; a recorded one that contradicts them is an error.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::answer::number_text;
use super::python_json;
use super::source::load;
use crate::RecordsError;
use crate::documents::parse;
use crate::table::checked_rollout;
use crate::types::{FinishReason, Rollout, Validity};

/// A rollout with what the reference's files say beyond it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceRollout {
    /// The rollout.
    pub rollout: Rollout,
    /// H in nats of the base at each completion token, as recorded; NaN where
    /// the file has null or NaN.
    pub entropies_nats: Option<Vec<f64>>,
    /// The prompt's text, for reading only.
    pub prompt_text: Option<String>,
    /// Decision positions t (indices of predicted tokens), as recorded.
    pub decisions: Option<Vec<u32>>,
    /// Advantage of the rollout, as recorded.
    pub advantage: Option<f64>,
    /// Reward of the rollout, as recorded.
    pub reward: Option<f64>,
}

impl From<Rollout> for ReferenceRollout {
    fn from(rollout: Rollout) -> Self {
        Self {
            rollout,
            entropies_nats: None,
            prompt_text: None,
            decisions: None,
            advantage: None,
            reward: None,
        }
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(alias = "processed", alias = "processed_rollouts", alias = "data")]
    rollouts: Vec<Entry>,
}

/// One rollout as it stands in the file. Numbers that Python wrote as NaN have
/// become null.
#[derive(Debug, Deserialize)]
struct Entry {
    problem_id: Value,
    #[serde(default, alias = "sample")]
    gen_index: Option<u32>,
    #[serde(default)]
    tokens: Option<Vec<u32>>,
    #[serde(default)]
    input_ids: Option<Vec<u32>>,
    prompt_length: usize,
    #[serde(default)]
    correct: Option<Value>,
    #[serde(default)]
    entropies: Option<Vec<Option<f64>>>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    prompt_text: Option<String>,
    #[serde(default)]
    decision_positions: Option<Vec<u32>>,
    #[serde(default)]
    advantage: Option<f64>,
    #[serde(default)]
    reward: Option<f64>,
    #[serde(default)]
    truncated: Option<bool>,
    #[serde(default)]
    num_completion_tokens: Option<u64>,
    #[serde(default)]
    completion_length: Option<u64>,
    #[serde(default)]
    generation_pred_start: Option<u64>,
}

impl Entry {
    /// `tokens`, or `input_ids` where that is missing or empty.
    fn take_ids(&mut self) -> Result<Vec<u32>, Refused> {
        let tokens = self.tokens.take().filter(|ids| !ids.is_empty());
        tokens
            .or_else(|| self.input_ids.take())
            .filter(|ids| !ids.is_empty())
            .ok_or_else(|| {
                let reason = "there are no token ids, neither as `tokens` nor as `input_ids`; \
                              score the rollouts first, which writes them";
                ("tokens", reason.to_owned())
            })
    }

    /// Refuses lengths that are not those of the ids.
    fn check_lengths(&self, completion: usize) -> Result<(), Refused> {
        let start = self.prompt_length.saturating_sub(1) as u64;
        let of_ids = completion as u64;
        // Processed without entropies, a completion has length 0 there.
        let completion_length = self.completion_length.filter(|n| *n != 0);
        for (name, recorded, expected) in [
            ("num_completion_tokens", self.num_completion_tokens, of_ids),
            ("completion_length", completion_length, of_ids),
            ("generation_pred_start", self.generation_pred_start, start),
        ] {
            if let Some(n) = recorded.filter(|n| *n != expected) {
                let reason =
                    format!("is {n}, but the token ids and `prompt_length` say {expected}");
                return Err((name, reason));
            }
        }
        Ok(())
    }
}

/// Reads the reference's rollout JSON, raw or processed.
pub fn read_reference(path: &Path) -> Result<Vec<ReferenceRollout>, RecordsError> {
    read_reference_bytes(&load(path)?, path)
}

/// Reads the reference's rollout JSON from bytes that somebody has read (and
/// perhaps digested) already; `path` is for messages.
pub fn read_reference_bytes(
    bytes: &[u8],
    path: &Path,
) -> Result<Vec<ReferenceRollout>, RecordsError> {
    let text = python_json::strict(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let entries = if text.trim_ascii_start().starts_with(b"[") {
        parse::<Vec<Entry>>(&text, path)?
    } else {
        parse::<Document>(&text, path)?.rollouts
    };
    let mut next: HashMap<String, u32> = HashMap::new();
    let mut rollouts = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let fail = |(field, reason): (&str, String)| {
            RecordsError::entry(path, format!("rollouts[{index}].{field}"), reason)
        };
        let id = identifier(&entry.problem_id).map_err(fail)?;
        let counter = next.entry(id.clone()).or_insert(0);
        let sample = entry.gen_index.unwrap_or(*counter);
        *counter = counter.saturating_add(1);
        rollouts.push(convert(entry, id, sample).map_err(fail)?);
    }
    check_unique(path, rollouts.iter().map(|r: &ReferenceRollout| &r.rollout))?;
    Ok(rollouts)
}

type Refused = (&'static str, String);

fn identifier(value: &Value) -> Result<String, Refused> {
    match value {
        Value::String(s) if !s.is_empty() => Ok(s.clone()),
        Value::Number(_) => Ok(number_text(value).unwrap_or_else(|| value.to_string())),
        _ => Err((
            "problem_id",
            "must be a text that is not empty, or a number".into(),
        )),
    }
}

fn convert(mut e: Entry, problem_id: String, sample: u32) -> Result<ReferenceRollout, Refused> {
    let token_ids = e.take_ids()?;
    let truncated = e.truncated == Some(true);
    let rollout = checked_rollout(Rollout {
        problem_id,
        sample,
        prompt_len: e.prompt_length,
        finish_reason: if truncated {
            FinishReason::Length
        } else {
            FinishReason::Unknown
        },
        text: e.text.take().unwrap_or_default(),
        correct: e.correct.as_ref().map_or(Ok(None), truth)?,
        validity: if truncated {
            Validity::Truncated
        } else {
            Validity::Ok
        },
        logprobs: None,
        token_ids,
    });
    let mut rollout = rollout.map_err(|(field, reason)| match field {
        "prompt_len" => ("prompt_length", reason),
        other => (other, reason),
    })?;
    let completion = rollout.completion().len();
    e.check_lengths(completion)?;
    let entropies_nats = match e.entropies {
        None => None,
        Some(list) if list.len() == completion => {
            if rollout.validity == Validity::Ok && list.iter().any(Option::is_none) {
                rollout.validity = Validity::NonFinite;
            }
            Some(list.into_iter().map(|h| h.unwrap_or(f64::NAN)).collect())
        }
        Some(list) => {
            let reason = format!("{} values for {completion} completion tokens", list.len());
            return Err(("entropies", reason));
        }
    };
    let decisions = e
        .decision_positions
        .map(|list| decisions(&list, &rollout))
        .transpose()?;
    Ok(ReferenceRollout {
        rollout,
        entropies_nats,
        prompt_text: e.prompt_text,
        decisions,
        advantage: e.advantage,
        reward: e.reward,
    })
}

/// t = p + 1, where prompt_len - 1 <= p <= len - 2.
fn decisions(predicting: &[u32], rollout: &Rollout) -> Result<Vec<u32>, Refused> {
    let (from, to) = (rollout.prompt_len, rollout.token_ids.len());
    let map = |&p: &u32| {
        let t = p
            .checked_add(1)
            .filter(|t| (from..to).contains(&(*t as usize)));
        t.ok_or_else(|| {
            let reason = format!(
                "{p} predicts no completion token: those are predicted at {}..{}",
                from - 1,
                to - 1
            );
            ("decision_positions", reason)
        })
    };
    predicting.iter().map(map).collect()
}

/// `true`, `false`, 0, 1 (whole or as floats), or null.
fn truth(value: &Value) -> Result<Option<bool>, Refused> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(b) => Ok(Some(*b)),
        Value::Number(n) if n.as_f64() == Some(0.0) => Ok(Some(false)),
        Value::Number(n) if n.as_f64() == Some(1.0) => Ok(Some(true)),
        _ => Err(("correct", "is neither true, false, 0, 1 nor null".into())),
    }
}

/// Refuses two rollouts of one name: rows are keyed by it.
pub(super) fn check_unique<'a>(
    path: &Path,
    rollouts: impl Iterator<Item = &'a Rollout>,
) -> Result<(), RecordsError> {
    let mut seen: HashSet<(&str, u32)> = HashSet::new();
    for (index, r) in rollouts.enumerate() {
        if !seen.insert((&r.problem_id, r.sample)) {
            let reason = format!(
                "sample {} of problem {:?} is there twice",
                r.sample, r.problem_id
            );
            return Err(RecordsError::entry(
                path,
                format!("rollout {index}"),
                reason,
            ));
        }
    }
    Ok(())
}
