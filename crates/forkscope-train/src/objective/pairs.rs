//! Preference data: a prompt, a completion that is preferred, one that is not.
//!
//! JSON Lines, one object per line:
//! - ids: `prompt_ids`, `chosen_ids`, `rejected_ids`;
//! - text: `prompt`, `chosen`, `rejected`, all strings (TRL's standard format);
//! - conversation: the same three as lists of `{role, content}`, or without
//!   `prompt` where `chosen` and `rejected` begin with the same messages (TRL's
//!   conversational formats).
//!
//! Optional: `id` (else the 0-based number of the row), `ref_chosen_logps` and
//! `ref_rejected_logps` (both or none; sums of ln p under the reference, nats).
//! Other fields are ignored. A pair whose two completions are the same ids
//! teaches nothing: it is left out and counted. Every other row that cannot be
//! used is refused with its line, or left out and counted.

mod text;

use std::collections::HashMap;
use std::path::Path;

use forkscope_policy::text::{PromptStyle, TextSide};
use serde_json::{Map, Value};

use self::text::Tokenised;
use super::reading::row::ids;
use crate::TrainError;

/// A pair, ready to be learned from.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Its name.
    pub id: String,
    /// Prompt ids, shared by both completions.
    pub prompt: Vec<u32>,
    /// Ids of the preferred completion.
    pub chosen: Vec<u32>,
    /// Ids of the other one.
    pub rejected: Vec<u32>,
    /// Recorded sums of ln p under the reference (chosen, rejected), nats.
    pub reference: Option<(f64, f64)>,
}

impl Pair {
    /// Rows that it takes in a pack: the prompt once, and each completion but
    /// for its last token.
    pub fn rows(&self) -> usize {
        let own = |ids: &[u32]| ids.len().saturating_sub(1);
        self.prompt.len() + own(&self.chosen) + own(&self.rejected)
    }

    /// Tokens of the prompt and the longer completion.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.chosen.len().max(self.rejected.len())
    }

    /// Whether it has no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses what a model cannot take.
    pub fn check(&self, vocab: usize, context: usize) -> Result<(), TrainError> {
        let refuse = |what: String| {
            let id = self.id.escape_debug();
            Err(TrainError::Setting(format!("pair `{id}` {what}")))
        };
        let sides = [
            ("prompt", &self.prompt),
            ("chosen completion", &self.chosen),
            ("rejected completion", &self.rejected),
        ];
        for (side, ids) in sides {
            if ids.is_empty() {
                return refuse(format!("has an empty {side}; leave it out"));
            }
            if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
                return refuse(format!(
                    "has token id {id} in its {side}, outside the vocabulary of {vocab}; \
                     tokenise it with the model's own tokenizer"
                ));
            }
        }
        let len = self.len();
        if len - 1 > context {
            return refuse(format!(
                "has {len} tokens, more than the model's context of {context}; cut it or leave \
                 it out"
            ));
        }
        Ok(())
    }
}

/// What happens to rows that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BrokenRows {
    /// The first is an error.
    #[default]
    Refuse,
    /// They are left out and counted.
    Skip,
}

/// The pairs of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairFile {
    /// In file order.
    pub pairs: Vec<Pair>,
    /// Rows left out because both completions are the same.
    pub identical: u64,
    /// Rows left out because they could not be used.
    pub broken: u64,
    /// The first of those: line, and what is wrong with it.
    pub first_broken: Option<(u64, String)>,
    /// Pairs with a completion that was tokenised by itself, because together
    /// with the prompt its first characters would change the prompt's last token.
    pub apart: u64,
    /// Pairs left out because they are too long.
    pub dropped: u64,
}

impl PairFile {
    /// Leaves out and counts pairs whose prompt and longer completion have more
    /// than `max_len` tokens together. (Cutting a completion would teach it
    /// without its end.)
    pub fn drop_longer(&mut self, max_len: usize) {
        let before = self.pairs.len();
        self.pairs.retain(|pair| pair.len() <= max_len);
        self.dropped += (before - self.pairs.len()) as u64;
    }
}

/// Reads preference data. Texts and conversations need the model's `text` side;
/// texts become prompts by `style`; `vocab` is the model's vocabulary.
pub fn read_pairs(
    path: &Path,
    text: Option<&TextSide>,
    vocab: usize,
    style: &PromptStyle,
    broken: BrokenRows,
) -> Result<PairFile, TrainError> {
    let bytes = std::fs::read(path).map_err(|source| TrainError::read(path, source))?;
    read_pairs_bytes(&bytes, path, text, vocab, style, broken)
}

/// As [`read_pairs`], from bytes that somebody has read (and perhaps digested)
/// already; `path` is for messages.
pub fn read_pairs_bytes(
    bytes: &[u8],
    path: &Path,
    text: Option<&TextSide>,
    vocab: usize,
    style: &PromptStyle,
    broken: BrokenRows,
) -> Result<PairFile, TrainError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut out = PairFile::default();
    let mut seen: HashMap<String, u64> = HashMap::new();
    let lines = (1u64..)
        .zip(bytes.split(|b| *b == b'\n'))
        .map(|(number, line)| (number, line.trim_ascii()))
        .filter(|(_, line)| !line.is_empty());
    for (row, (number, line)) in (0u64..).zip(lines) {
        let pair = parse(line, row, text, style).and_then(|(pair, apart)| {
            let fits = pair.check(vocab, usize::MAX);
            fits.map_err(|error| error.to_string())?;
            match seen.insert(pair.id.clone(), number) {
                Some(first) => Err(format!(
                    "`id` {:?} is that of line {first} too; give every pair its own",
                    pair.id
                )),
                None => Ok((pair, apart)),
            }
        });
        match (pair, broken) {
            (Ok((pair, _)), _) if pair.chosen == pair.rejected => out.identical += 1,
            (Ok((pair, apart)), _) => {
                out.pairs.push(pair);
                out.apart += u64::from(apart);
            }
            (Err(reason), BrokenRows::Refuse) => {
                return Err(TrainError::bad(
                    path,
                    format!("line {number}: {reason}"),
                    "mend the row, or have broken rows skipped and counted",
                ));
            }
            (Err(reason), BrokenRows::Skip) => {
                out.broken += 1;
                out.first_broken.get_or_insert((number, reason));
            }
        }
    }
    if out.pairs.is_empty() {
        let (broken, identical) = (out.broken, out.identical);
        return Err(TrainError::bad(
            path,
            format!(
                "no pair to learn from ({broken} rows broken, {identical} with two equal completions)"
            ),
            "give one object per line with `prompt`, `chosen` and `rejected`",
        ));
    }
    Ok(out)
}

fn parse(
    line: &[u8],
    row: u64,
    text: Option<&TextSide>,
    style: &PromptStyle,
) -> Result<(Pair, bool), String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        let words = error.to_string();
        let reason = words.split(" at line ").next().unwrap_or_default();
        format!("not JSON: {reason} at column {}", error.column())
    })?;
    let Value::Object(fields) = value else {
        return Err("the row is not a JSON object".into());
    };
    let id = match fields.get("id") {
        None | Some(Value::Null) => row.to_string(),
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(_) => return Err("`id` is neither a string nor a number".into()),
    };
    let found = if fields.contains_key("prompt_ids") {
        Tokenised {
            prompt: ids(&fields, "prompt_ids")?,
            chosen: ids(&fields, "chosen_ids")?,
            rejected: ids(&fields, "rejected_ids")?,
            apart: false,
        }
    } else {
        let text = text.ok_or(
            "the row is text and the model has no tokenizer.json; give `prompt_ids`, \
             `chosen_ids` and `rejected_ids`",
        )?;
        text::tokenise(&fields, text, style)?
    };
    let pair = Pair {
        id,
        prompt: found.prompt,
        chosen: found.chosen,
        rejected: found.rejected,
        reference: reference(&fields)?,
    };
    Ok((pair, found.apart))
}

/// Recorded log-probs of the reference.
fn reference(fields: &Map<String, Value>) -> Result<Option<(f64, f64)>, String> {
    let number = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .filter(|l| l.is_finite() && *l <= 0.0)
            .map(Some)
            .ok_or_else(|| format!("`{name}` is not a number of at most 0")),
    };
    match (number("ref_chosen_logps")?, number("ref_rejected_logps")?) {
        (Some(chosen), Some(rejected)) => Ok(Some((chosen, rejected))),
        (None, None) => Ok(None),
        _ => Err("of `ref_chosen_logps` and `ref_rejected_logps` one is missing".into()),
    }
}

#[cfg(test)]
mod tests;
