//! One line of JSON to one example.

use forkscope_policy::text::{
    Message, Prompt, PromptStyle, RenderedPrompt, TemplateInputs, TextSide,
};
use serde_json::{Map, Value};

use super::Parsed;
use crate::objective::examples::Example;

/// The example in a line; the error says what is wrong with it.
pub(super) fn parse(
    line: &[u8],
    text: Option<&TextSide>,
    style: &PromptStyle,
) -> Result<Parsed, String> {
    let value: Value = serde_json::from_slice(line).map_err(|error| {
        let words = error.to_string();
        let reason = words.split(" at line ").next().unwrap_or_default();
        format!("not JSON: {reason} at column {}", error.column())
    })?;
    let Value::Object(fields) = value else {
        return Err("the row is not a JSON object".into());
    };
    let there = |name: &str| fields.get(name).filter(|v| !v.is_null());
    if there("prompt_ids").is_some() || there("completion_ids").is_some() {
        return of_ids(&fields);
    }
    let written = ["messages", "prompt", "completion", "text"];
    if !written.iter().any(|name| there(name).is_some()) {
        return Err(
            "none of the fields `prompt` and `completion`, `messages`, `text`, `prompt_ids` and \
             `completion_ids` is there"
                .into(),
        );
    }
    let side = Side {
        text: text.ok_or(
            "the row is text and the model has no tokenizer.json; give `prompt_ids` and \
             `completion_ids`",
        )?,
        style,
    };
    if let Some(list) = there("messages") {
        let messages = messages(list, "messages")?;
        return match messages.split_last() {
            Some((last, before)) if last.role == "assistant" && !before.is_empty() => {
                side.conversation(before, std::slice::from_ref(last))
            }
            _ => Err(
                "`messages` does not end with an answer of the assistant to another message".into(),
            ),
        };
    }
    match (there("prompt"), there("completion"), there("text")) {
        (Some(Value::String(prompt)), Some(Value::String(completion)), _) => {
            side.pair(prompt, completion)
        }
        (Some(prompt), Some(completion), _) => {
            let prompt = match prompt {
                Value::String(prompt) => vec![Message::new("user", prompt)],
                list => messages(list, "prompt")?,
            };
            let completion = match completion {
                Value::String(completion) => vec![Message::new("assistant", completion)],
                list => messages(list, "completion")?,
            };
            side.conversation(&prompt, &completion)
        }
        (None, None, Some(Value::String(text))) => side.whole(text),
        (None, None, _) => Err("`text` is not a string".into()),
        (prompt, _, _) => {
            let missing = if prompt.is_some() {
                "completion"
            } else {
                "prompt"
            };
            Err(format!("the field `{missing}` is missing"))
        }
    }
}

/// Token ids as they are.
fn of_ids(fields: &Map<String, Value>) -> Result<Parsed, String> {
    let (prompt, completion) = (ids(fields, "prompt_ids")?, ids(fields, "completion_ids")?);
    let mut example = Example::new(&prompt, &completion);
    if let Some(value) = fields.get("completion_weights").filter(|v| !v.is_null()) {
        let list = value.as_array().filter(|l| l.len() == completion.len());
        let list = list.ok_or_else(|| {
            format!(
                "`completion_weights` is not a list of {} numbers, one per completion id",
                completion.len()
            )
        })?;
        let numbers = list.iter().map(|w| w.as_f64().map(|w| w as f32));
        let numbers: Option<Vec<f32>> = numbers.collect();
        let numbers = numbers.ok_or("`completion_weights` holds something that is no number")?;
        example.weights = Some([vec![1.0; prompt.len()], numbers].concat());
    }
    Ok(Parsed {
        example,
        apart: false,
    })
}

/// A list of token ids.
pub(in crate::objective) fn ids(
    fields: &Map<String, Value>,
    name: &str,
) -> Result<Vec<u32>, String> {
    let list = fields
        .get(name)
        .and_then(Value::as_array)
        .ok_or_else(|| format!("`{name}` is not a list of token ids"))?;
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    list.iter()
        .map(id)
        .collect::<Option<Vec<u32>>>()
        .ok_or_else(|| format!("`{name}` holds something that is not a token id"))
}

pub(in crate::objective) fn messages(list: &Value, name: &str) -> Result<Vec<Message>, String> {
    let found: Option<Vec<Message>> =
        list.as_array()
            .filter(|list| !list.is_empty())
            .and_then(|list| {
                let message = |v: &Value| serde_json::from_value(v.clone()).ok();
                list.iter().map(message).collect()
            });
    found.ok_or_else(|| format!("`{name}` is not a list of messages with `role` and `content`"))
}

/// What makes ids of words.
pub(in crate::objective) struct Side<'a> {
    pub(in crate::objective) text: &'a TextSide,
    pub(in crate::objective) style: &'a PromptStyle,
}

impl Side<'_> {
    /// A prompt and what follows it, and the end token.
    pub(in crate::objective) fn pair(
        &self,
        prompt: &str,
        completion: &str,
    ) -> Result<Parsed, String> {
        let prompt = self
            .text
            .render(self.style, Prompt::Text(prompt), &TemplateInputs::default())
            .map_err(|error| format!("`prompt`: {error}"))?;
        let mut parsed = self.joined(&prompt, completion)?;
        self.end(&mut parsed.example.ids)?;
        Ok(parsed)
    }

    /// What the chat template writes for the answer, its end of turn included.
    pub(in crate::objective) fn conversation(
        &self,
        prompt: &[Message],
        answer: &[Message],
    ) -> Result<Parsed, String> {
        let render = |messages: &[Message], asked: bool| {
            let inputs = TemplateInputs {
                add_generation_prompt: asked,
                ..TemplateInputs::default()
            };
            self.text
                .render(&PromptStyle::Chat, Prompt::Messages(messages), &inputs)
                .map_err(|error| error.to_string())
        };
        let whole = render(&[prompt, answer].concat(), false)?;
        let prompt = render(prompt, true)?;
        match whole.text.strip_prefix(prompt.text.as_str()) {
            Some(rest) => self.joined(&prompt, rest),
            None => Err(
                "the chat template writes the prompt otherwise before an answer, so that the \
                 answer's tokens cannot be told; give `prompt_ids` and `completion_ids`"
                    .into(),
            ),
        }
    }

    /// A text, all of which is learned, and the end token.
    fn whole(&self, text: &str) -> Result<Parsed, String> {
        let mut example = Example::new(&[], &self.encode(text, true)?);
        self.end(&mut example.ids)?;
        Ok(Parsed {
            example,
            apart: false,
        })
    }

    /// The prompt's own ids, which a policy is given, and those of the rest:
    /// as they are tokenised together, or by itself where the prompt's ids
    /// would change.
    fn joined(&self, prompt: &RenderedPrompt, rest: &str) -> Result<Parsed, String> {
        let together = format!("{}{rest}", prompt.text);
        let together = self.encode(&together, prompt.add_special_tokens)?;
        let (completion, apart) = match together.strip_prefix(prompt.token_ids.as_slice()) {
            Some(completion) => (completion.to_vec(), false),
            None => (self.encode(rest, false)?, true),
        };
        if completion.is_empty() {
            return Err("`completion` has no token".into());
        }
        Ok(Parsed {
            example: Example::new(&prompt.token_ids, &completion),
            apart,
        })
    }

    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, String> {
        let ids = self.text.tokenizer.encode(text, special);
        ids.map_err(|error| error.to_string())
    }

    /// Appends the end token, unless one is there.
    fn end(&self, ids: &mut Vec<u32>) -> Result<(), String> {
        let ends = &self.text.special.eos;
        let first = ends.first().ok_or(
            "the model names no end token (`eos_token_id`), so nothing would teach it to stop; \
             name one, or give `prompt_ids` and `completion_ids`",
        )?;
        if !ids.last().is_some_and(|last| ends.contains(last)) {
            ids.push(*first);
        }
        Ok(())
    }
}
