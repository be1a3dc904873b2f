//! Pairs of texts and of conversations as token ids, in the way of examples:
//! the prompt's own ids, the ids of what follows it, the end token behind texts.

use forkscope_policy::text::{Message, PromptStyle, TextSide};
use serde_json::{Map, Value};

use crate::objective::reading::Parsed;
use crate::objective::reading::row::{Side, messages};

/// A row as ids.
pub(super) struct Tokenised {
    pub prompt: Vec<u32>,
    pub chosen: Vec<u32>,
    pub rejected: Vec<u32>,
    /// Whether a completion was tokenised by itself.
    pub apart: bool,
}

/// Prompt, chosen and rejected ids of a row.
pub(super) fn tokenise(
    fields: &Map<String, Value>,
    text: &TextSide,
    style: &PromptStyle,
) -> Result<Tokenised, String> {
    let field = |name: &str| match fields.get(name) {
        Some(Value::Null) | None => Err(format!("the field `{name}` is missing")),
        Some(value) => Ok(value),
    };
    let side = Side { text, style };
    let (chosen, rejected) = (field("chosen")?, field("rejected")?);
    if chosen.is_array() && rejected.is_array() {
        let (chosen, rejected) = (messages(chosen, "chosen")?, messages(rejected, "rejected")?);
        let prompt = match fields.get("prompt") {
            None | Some(Value::Null) => None,
            Some(Value::String(prompt)) => Some(vec![Message::new("user", prompt)]),
            Some(list) => Some(messages(list, "prompt")?),
        };
        let (prompt, chosen, rejected) = split(prompt, chosen, rejected)?;
        return joined(
            side.conversation(&prompt, &chosen),
            side.conversation(&prompt, &rejected),
        );
    }
    let string = |name: &str| {
        field(name)?.as_str().ok_or_else(|| {
            format!("`{name}` is not a string; all of a row are strings, or lists of messages")
        })
    };
    let (prompt, chosen, rejected) = (string("prompt")?, string("chosen")?, string("rejected")?);
    joined(side.pair(prompt, chosen), side.pair(prompt, rejected))
}

/// Both completions behind their prompt.
fn joined(
    chosen: Result<Parsed, String>,
    rejected: Result<Parsed, String>,
) -> Result<Tokenised, String> {
    let named = |parsed: Result<Parsed, String>, name: &str| {
        parsed.map_err(|error| format!("with `{name}`: {error}"))
    };
    let (chosen, rejected) = (named(chosen, "chosen")?, named(rejected, "rejected")?);
    let prompt = chosen.example.ids[..chosen.example.prompt_len].to_vec();
    Ok(Tokenised {
        prompt,
        chosen: chosen.example.completion().to_vec(),
        rejected: rejected.example.completion().to_vec(),
        apart: chosen.apart || rejected.apart,
    })
}

/// A prompt and two answers as messages.
type Conversations = (Vec<Message>, Vec<Message>, Vec<Message>);

/// `prompt` as given, or the messages with which both begin, which both end
/// beyond.
fn split(
    prompt: Option<Vec<Message>>,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
) -> Result<Conversations, String> {
    if let Some(prompt) = prompt {
        return Ok((prompt, chosen, rejected));
    }
    let same = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b);
    let shortest = chosen.len().min(rejected.len());
    let shared = same.count().min(shortest.saturating_sub(1));
    if shared == 0 {
        return Err(
            "the field `prompt` is missing, and `chosen` and `rejected` do not begin with the \
             same message"
                .into(),
        );
    }
    let (prompt, chosen) = chosen.split_at(shared);
    Ok((
        prompt.to_vec(),
        chosen.to_vec(),
        rejected[shared..].to_vec(),
    ))
}
