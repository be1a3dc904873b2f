//! Examples from files.
//!
//! JSON Lines, one object per line, the first of these that is there:
//! - `prompt_ids`, `completion_ids`: token ids as they are, nothing is added;
//!   optional `completion_weights`, one per completion id;
//! - `messages`: a conversation that ends with the assistant; its last message
//!   is the completion, as the chat template writes it (TRL learns all tokens of
//!   such a row; give prompts weight 1 for that);
//! - `prompt`, `completion`: strings, or lists of messages (TRL's formats);
//! - `text`: all of it is learned.
//!
//! Strings get the model's end token behind. Or rollouts: a run, a
//! `rollouts.parquet`, the reference's JSON, token ids as recorded. A row that
//! cannot be used is refused with its line, or left out and counted.

mod rollouts;
pub(super) mod row;

use std::path::{Path, PathBuf};

use forkscope_policy::text::{PromptStyle, TextSide};

use super::examples::Example;
use super::pairs::BrokenRows;
use crate::TrainError;

/// What happens to an example with more tokens than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TooLong {
    /// It is left out and counted.
    #[default]
    Drop,
    /// Its end is cut off and it is counted; left out if only prompt remains.
    Truncate,
}

/// How files are read.
#[derive(Debug, Clone, Default)]
pub struct ReadSettings {
    /// How a prompt that is a string becomes a prompt.
    pub style: PromptStyle,
    /// Most tokens of an example, prompt included.
    pub max_len: Option<usize>,
    /// What happens to longer ones.
    pub too_long: TooLong,
    /// What happens to rows that cannot be used.
    pub broken: BrokenRows,
    /// Of rollouts: only those that were graded correct.
    pub only_correct: bool,
    /// Of rollouts: also those that the token limit cut off.
    pub with_truncated: bool,
}

/// The examples of a file, and what became of its rows: `rows` = examples +
/// broken + dropped + incorrect + invalid.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExampleFile {
    /// In file order.
    pub examples: Vec<Example>,
    /// Problem and sample of each example; where a file has none, the 0-based
    /// number of its row and 0.
    pub names: Vec<(String, u32)>,
    /// Rows of the file.
    pub rows: u64,
    /// Rows that could not be used.
    pub broken: u64,
    /// The first of those: line (or row of a table) from 1, and why.
    pub first_broken: Option<(u64, String)>,
    /// Examples that were left out because they are too long.
    pub dropped: u64,
    /// Examples that were cut.
    pub truncated: u64,
    /// Examples whose completion was tokenised by itself, because together with
    /// the prompt its first characters would change the prompt's last token.
    pub apart: u64,
    /// Rollouts left out because they were not graded correct.
    pub incorrect: u64,
    /// Rollouts left out by their validity.
    pub invalid: u64,
}

/// A row that became ids.
pub(super) struct Parsed {
    pub(super) example: Example,
    pub(super) apart: bool,
}

/// Reads examples. Strings and conversations need the model's `text` side;
/// `vocab` is the model's vocabulary.
pub fn read_examples(
    path: &Path,
    text: Option<&TextSide>,
    vocab: usize,
    settings: &ReadSettings,
) -> Result<ExampleFile, TrainError> {
    let path = example_path(path);
    let bytes = std::fs::read(&path).map_err(|source| TrainError::read(&path, source))?;
    read_examples_bytes(bytes, &path, text, vocab, settings)
}

/// The file that is read for what a user gave: the rollouts of a run, or the
/// file itself.
pub fn example_path(given: &Path) -> PathBuf {
    if given.is_dir() {
        given.join("rollouts.parquet")
    } else {
        given.to_owned()
    }
}

/// As [`read_examples`], from bytes that somebody has read (and perhaps
/// digested) already; `path` is for messages.
pub fn read_examples_bytes(
    bytes: Vec<u8>,
    path: &Path,
    text: Option<&TextSide>,
    vocab: usize,
    settings: &ReadSettings,
) -> Result<ExampleFile, TrainError> {
    let mut out = ExampleFile::default();
    if rollouts::are_in(&bytes, path) {
        rollouts::read(bytes, path, vocab, settings, &mut out)?;
    } else {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let lines = (1u64..)
            .zip(bytes.split(|b| *b == b'\n'))
            .map(|(number, line)| (number, line.trim_ascii()))
            .filter(|(_, line)| !line.is_empty());
        for (number, line) in lines {
            let name = (out.rows.to_string(), 0);
            let parsed = row::parse(line, text, &settings.style);
            let place = || format!("line {number}");
            out.add(path, number, place, name, parsed, vocab, settings)?;
        }
    }
    if out.examples.is_empty() {
        return Err(TrainError::bad(
            path,
            format!("no example to learn from ({})", out.tally()),
            "give one object per line with `prompt` and `completion`, `messages`, `text`, or \
             `prompt_ids` and `completion_ids`, or rollouts",
        ));
    }
    Ok(out)
}

impl ExampleFile {
    /// What became of the rows, in words.
    pub fn tally(&self) -> String {
        let counts = [
            (self.broken, "broken"),
            (self.dropped, "too long"),
            (self.incorrect, "not correct"),
            (self.invalid, "invalid"),
        ];
        let left_out: Vec<String> = counts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        let left_out = if left_out.is_empty() {
            "none left out".to_owned()
        } else {
            format!("left out: {}", left_out.join(", "))
        };
        format!("{} rows, {left_out}", self.rows)
    }

    /// Takes a row: an example, cut if need be, or a broken one.
    #[allow(clippy::too_many_arguments)]
    fn add(
        &mut self,
        path: &Path,
        number: u64,
        place: impl Fn() -> String,
        name: (String, u32),
        parsed: Result<Parsed, String>,
        vocab: usize,
        settings: &ReadSettings,
    ) -> Result<(), TrainError> {
        self.rows += 1;
        let checked = parsed.and_then(|p| {
            p.example.check(vocab, usize::MAX)?;
            Ok(p)
        });
        let Parsed { mut example, apart } = match (checked, settings.broken) {
            (Ok(parsed), _) => parsed,
            (Err(reason), BrokenRows::Refuse) => {
                return Err(TrainError::bad(
                    path,
                    format!("{}: {reason}", place()),
                    "mend the row, or have broken rows skipped and counted",
                ));
            }
            (Err(reason), BrokenRows::Skip) => {
                self.broken += 1;
                self.first_broken.get_or_insert((number, reason));
                return Ok(());
            }
        };
        if let Some(max) = settings.max_len.filter(|max| example.ids.len() > *max) {
            let remains = max >= 2 && max > example.prompt_len;
            if settings.too_long == TooLong::Drop || !remains {
                self.dropped += 1;
                return Ok(());
            }
            example.ids.truncate(max);
            if let Some(weights) = &mut example.weights {
                weights.truncate(max);
            }
            self.truncated += 1;
        }
        self.apart += u64::from(apart);
        self.examples.push(example);
        self.names.push(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
