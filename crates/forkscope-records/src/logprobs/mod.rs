//! What other stacks recorded of a policy: probability tables, and the log-prob
//! responses of vLLM and OpenAI-compatible servers.
//!
//! A table row is a whole distribution. A response lists, per position, the k
//! most probable tokens and the one that was sampled: only bounds of what
//! depends on the rest are known. [`read`] finds out what a file holds.
//!
//! | [`Layout`] | what it looks like |
//! |---|---|
//! | `Json` | `{"name": [p, ...], ...}`, `[[p, ...], ...]`, `[{"name": ..., "probs": [...]}, ...]` |
//! | `Jsonl` | per line `[p, ...]`, `{"name": ..., "probs": [...]}` or `{"name": [p, ...]}` |
//! | `Csv` | `name,p,p,...` per row, header optional, rows of any length; tabs in `.tsv` |
//! | `PromptLogprobs` | vLLM: `prompt_logprobs` = `[null, {id: {logprob, rank, decoded_token}}, ...]` |
//! | `Completions` | `choices[].logprobs` = `{tokens, token_logprobs, top_logprobs}`; vLLM's `outputs[].logprobs` |
//! | `Chat` | `choices[].logprobs.content[]` = `{token, logprob, top_logprobs}`, and `refusal[]` |
//!
//! Responses come one to a file, in a list, or one per line, and one document
//! may hold several of the last three layouts.

mod detect;
mod json;
mod listed;
mod response;
mod table;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use crate::RecordsError;

pub use listed::{Listed, Reading, Unusable};
pub use response::Position;
pub use table::{SUM_TOLERANCE, TableRow};

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Probability table as one JSON document.
    Json,
    /// Probability table, one row per line.
    Jsonl,
    /// Probability table as comma- or tab-separated values.
    Csv,
    /// vLLM's log-probs of the prompt.
    PromptLogprobs,
    /// The completions layout of log-probs.
    Completions,
    /// The chat layout of log-probs.
    Chat,
}

impl Layout {
    /// Its name, as users give and read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::PromptLogprobs => "prompt-logprobs",
            Self::Completions => "completions",
            Self::Chat => "chat",
        }
    }
}

/// The content of a file, in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// Whole distributions.
    Table {
        /// How they were written.
        layout: Layout,
        /// At least one.
        rows: Vec<TableRow>,
    },
    /// The most probable tokens per position.
    Logprobs {
        /// The layouts found, in order of first appearance.
        layouts: Vec<Layout>,
        /// At least one.
        positions: Vec<Position>,
        /// Half a unit of the last decimal printed in the file, nats, at least [`Listed::MIN_ROUNDING`].
        rounding: f64,
    },
}

/// Reads a table or responses; `layout` forces one, else the content decides.
pub fn read(path: &Path, layout: Option<Layout>) -> Result<Recorded, RecordsError> {
    let bytes = fs::read(path).map_err(RecordsError::read(path))?;
    parse(path, &bytes, layout)
}

/// [`read`] from bytes; `path` is for messages and for its extension.
pub fn parse(path: &Path, bytes: &[u8], layout: Option<Layout>) -> Result<Recorded, RecordsError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        RecordsError::json(
            path,
            format!("byte {at} is not UTF-8 text; give JSON, JSON Lines or CSV in UTF-8"),
        )
    })?;
    if text.trim().is_empty() {
        return Err(RecordsError::json(
            path,
            "the file is empty; give a probability table or a log-prob response",
        ));
    }
    detect::parse(path, text, layout)
}
