//! Pairs of texts and of conversations as token ids.
//!
//! A text completion is tokenised by itself, so that the prompt's ids are those
//! that a policy samples after, and gets the model's end token. A conversation
//! is rendered with and without its answer by the chat template, and what comes
//! after the prompt's ids is the completion.

use forkscope_policy::text::{Message, Prompt, PromptStyle, TemplateInputs, TextSide};
use serde_json::{Map, Value};

/// Prompt, chosen and rejected ids of a row.
pub(super) fn tokenise(
    fields: &Map<String, Value>,
    text: &TextSide,
    style: &PromptStyle,
) -> Result<[Vec<u32>; 3], String> {
    let field = |name: &str| match fields.get(name) {
        Some(Value::Null) | None => Err(format!("the field `{name}` is missing")),
        Some(value) => Ok(value),
    };
    let (chosen, rejected) = (field("chosen")?, field("rejected")?);
    if let (Value::Array(chosen), Value::Array(rejected)) = (chosen, rejected) {
        let (chosen, rejected) = (messages(chosen, "chosen")?, messages(rejected, "rejected")?);
        let prompt = match fields.get("prompt") {
            None | Some(Value::Null) => None,
            Some(Value::Array(prompt)) => Some(messages(prompt, "prompt")?),
            Some(Value::String(prompt)) => Some(vec![Message::new("user", prompt)]),
            Some(_) => return Err("`prompt` is neither a string nor a list of messages".into()),
        };
        return conversation(prompt, chosen, rejected, text);
    }
    let string = |value: &Value, name: &str| {
        value.as_str().map(str::to_owned).ok_or_else(|| {
            format!("`{name}` is not a string; all of a row are strings, or lists of messages")
        })
    };
    let prompt = string(field("prompt")?, "prompt")?;
    let rendered = text
        .render(style, Prompt::Text(&prompt), &TemplateInputs::default())
        .map_err(|error| format!("`prompt`: {error}"))?;
    Ok([
        rendered.token_ids,
        completion(text, &string(chosen, "chosen")?, "chosen")?,
        completion(text, &string(rejected, "rejected")?, "rejected")?,
    ])
}

/// Ids of a completion with the model's end token behind.
fn completion(text: &TextSide, written: &str, name: &str) -> Result<Vec<u32>, String> {
    let mut ids = text
        .tokenizer
        .encode(written, false)
        .map_err(|error| format!("`{name}`: {error}"))?;
    let ends = &text.special.eos;
    if !ids.last().is_some_and(|last| ends.contains(last)) {
        ids.extend(ends.first());
    }
    Ok(ids)
}

fn messages(list: &[Value], name: &str) -> Result<Vec<Message>, String> {
    let message = |value: &Value| {
        let of = |key: &str| value.get(key).and_then(Value::as_str);
        Some(Message::new(of("role")?, of("content")?))
    };
    let all: Option<Vec<Message>> = list.iter().map(message).collect();
    all.filter(|all| !all.is_empty())
        .ok_or_else(|| format!("`{name}` is not a list of messages with `role` and `content`"))
}

/// `prompt` given, or the messages with which both begin.
fn conversation(
    prompt: Option<Vec<Message>>,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
    text: &TextSide,
) -> Result<[Vec<u32>; 3], String> {
    let (prompt, chosen, rejected) = match prompt {
        Some(prompt) => {
            let whole = |answer: Vec<Message>| [prompt.clone(), answer].concat();
            let (chosen, rejected) = (whole(chosen), whole(rejected));
            (prompt, chosen, rejected)
        }
        None => {
            let shared = chosen.iter().zip(&rejected).take_while(|(a, b)| a == b);
            let shared = shared.count().min(chosen.len() - 1).min(rejected.len() - 1);
            if shared == 0 {
                return Err(
                    "the field `prompt` is missing, and `chosen` and `rejected` do not begin \
                     with the same message"
                        .into(),
                );
            }
            (chosen[..shared].to_vec(), chosen, rejected)
        }
    };
    let ids = |messages: &[Message], asked: bool| {
        let inputs = TemplateInputs {
            add_generation_prompt: asked,
            ..TemplateInputs::default()
        };
        text.render(&PromptStyle::Chat, Prompt::Messages(messages), &inputs)
            .map(|rendered| rendered.token_ids)
            .map_err(|error| error.to_string())
    };
    let prompt = ids(&prompt, true)?;
    let answer =
        |messages: &[Message], name: &str| {
            let whole = ids(messages, false)?;
            whole.strip_prefix(prompt.as_slice()).map(<[u32]>::to_vec).ok_or_else(|| {
            format!(
                "`{name}`: the chat template writes the prompt otherwise before an answer, so \
                 that the answer's tokens cannot be told; give token ids"
            )
        })
        };
    let (chosen, rejected) = (answer(&chosen, "chosen")?, answer(&rejected, "rejected")?);
    Ok([prompt, chosen, rejected])
}
