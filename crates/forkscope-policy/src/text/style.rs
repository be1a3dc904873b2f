//! Prompt styles: how a problem becomes a prompt.
//!
//! By default the model's chat template, if it has one, else the problem as it
//! is with the tokenizer's special tokens. A prompt that a template wrote gets
//! no special tokens added: the template has written them.

use std::path::Path;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::family::Family;
use super::template::{Message, TemplateInputs};
use super::text_side::TextSide;
use super::user_template::PromptTemplate;
use crate::PolicyError;

/// How problems become prompts.
#[derive(Debug, Clone, Default)]
pub enum PromptStyle {
    /// The chat template if the model has one, else [`PromptStyle::Raw`].
    #[default]
    Auto,
    /// The problem as it is, with the tokenizer's special tokens.
    Raw,
    /// The model's chat template.
    Chat,
    /// The prompt of a model family.
    Family(Family),
    /// The user's own template.
    Template(PromptTemplate),
}

impl FromStr for PromptStyle {
    type Err = String;

    /// Reads `auto`, `raw`, `chat` or the name of a family.
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "raw" => Ok(Self::Raw),
            "chat" => Ok(Self::Chat),
            _ => Family::ALL
                .into_iter()
                .find(|family| family.name() == name)
                .map(Self::Family)
                .ok_or_else(|| {
                    let known: Vec<&str> = Family::ALL.iter().map(|family| family.name()).collect();
                    format!(
                        "no prompt style is called {name:?}; give auto, raw, chat or one of {}",
                        known.join(", ")
                    )
                }),
        }
    }
}

/// What a problem says.
#[derive(Debug, Clone, Copy)]
pub enum Prompt<'p> {
    /// A plain text.
    Text(&'p str),
    /// A conversation.
    Messages(&'p [Message]),
}

impl<'p> Prompt<'p> {
    /// The text of a problem without a conversation around it.
    pub(super) fn plain(self) -> Result<&'p str, PolicyError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Messages([Message { role, content, .. }]) if role == "user" => {
                content.as_str().ok_or_else(not_plain)
            }
            Self::Messages(_) => Err(not_plain()),
        }
    }
}

fn not_plain() -> PolicyError {
    PolicyError::Ids(
        "a problem is a conversation, which this prompt style cannot say; \
         give --prompt-style chat with a model that has a chat template"
            .to_owned(),
    )
}

/// A prompt, ready for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedPrompt {
    /// The prompt as text, for reading.
    pub text: String,
    /// The prompt.
    pub token_ids: Vec<u32>,
    /// Name of the style, `auto` resolved.
    pub style: String,
    /// sha256 (hex) of the template that wrote the text; `None` for raw.
    pub template_hash: Option<String>,
    /// Whether the tokenizer added its special tokens.
    pub add_special_tokens: bool,
    /// Strings that end the answer.
    pub stop: Vec<String>,
    /// Tokens that end the answer beside the model's own end tokens.
    pub stop_ids: Vec<u32>,
}

/// A prompt before it is tokenised.
struct Written {
    text: String,
    style: String,
    hash: Option<String>,
    add_special_tokens: bool,
    stop: &'static [&'static str],
}

impl TextSide {
    /// The prompt of a problem.
    pub fn render(
        &self,
        style: &PromptStyle,
        prompt: Prompt<'_>,
        inputs: &TemplateInputs,
    ) -> Result<RenderedPrompt, PolicyError> {
        let written = match style {
            PromptStyle::Auto if self.template.is_some() => self.chat(prompt, inputs, "chat")?,
            PromptStyle::Auto | PromptStyle::Raw => Written {
                text: prompt.plain()?.to_owned(),
                style: "raw".to_owned(),
                hash: None,
                add_special_tokens: true,
                stop: &[],
            },
            PromptStyle::Chat => self.chat(prompt, inputs, "chat")?,
            PromptStyle::Family(family) => self.family(*family, prompt, inputs)?,
            PromptStyle::Template(template) => self.template(template, prompt, inputs)?,
        };
        self.tokenize(written)
    }

    fn chat(
        &self,
        prompt: Prompt<'_>,
        inputs: &TemplateInputs,
        style: &str,
    ) -> Result<Written, PolicyError> {
        let template = self.template.as_ref().ok_or_else(|| {
            PolicyError::bad(
                self.tokenizer.path().parent().unwrap_or(Path::new(".")),
                format!("prompt style {style} needs a chat template and the model has none"),
                "give --prompt-style raw, or your own by --prompt-template FILE",
            )
        })?;
        let text = match prompt {
            Prompt::Text(text) => template.render(&[Message::new("user", text)], inputs)?,
            Prompt::Messages(messages) => template.render(messages, inputs)?,
        };
        Ok(Written {
            text,
            style: style.to_owned(),
            hash: Some(template.hash()),
            add_special_tokens: false,
            stop: &[],
        })
    }

    fn family(
        &self,
        family: Family,
        prompt: Prompt<'_>,
        inputs: &TemplateInputs,
    ) -> Result<Written, PolicyError> {
        if let Some(thinking) = family.chat_thinking() {
            let mut inputs = inputs.clone();
            if let Some(thinking) = thinking {
                inputs
                    .variables
                    .insert("enable_thinking".to_owned(), thinking.into());
            }
            let asked;
            let prompt = match prompt {
                Prompt::Text(text) => {
                    asked = family.text(text);
                    Prompt::Text(&asked)
                }
                conversation => conversation,
            };
            return Ok(Written {
                stop: family.stop(),
                ..self.chat(prompt, &inputs, family.name())?
            });
        }
        Ok(Written {
            text: family.text(prompt.plain()?),
            style: family.name().to_owned(),
            hash: Some(super::hex(&Sha256::digest(
                family.text("{problem}").as_bytes(),
            ))),
            add_special_tokens: family.add_special_tokens(),
            stop: family.stop(),
        })
    }

    fn template(
        &self,
        template: &PromptTemplate,
        prompt: Prompt<'_>,
        inputs: &TemplateInputs,
    ) -> Result<Written, PolicyError> {
        let text = template.render(prompt, inputs)?;
        // A template that spells the model's first token means it.
        let bos = self.special.bos.and_then(|id| self.tokenizer.piece(id));
        let has_bos = bos.is_some_and(|bos| text.starts_with(&bos));
        Ok(Written {
            text,
            style: "template".to_owned(),
            hash: Some(template.hash()),
            add_special_tokens: !has_bos,
            stop: &[],
        })
    }

    fn tokenize(&self, written: Written) -> Result<RenderedPrompt, PolicyError> {
        let token_ids = self
            .tokenizer
            .encode(&written.text, written.add_special_tokens)?;
        if token_ids.is_empty() {
            return Err(PolicyError::Ids(
                "a prompt has no tokens: the problem is empty and the tokenizer adds nothing to it"
                    .to_owned(),
            ));
        }
        let special = |text: &&str| {
            self.tokenizer
                .token_to_id(text)
                .filter(|&id| self.tokenizer.is_special(id))
        };
        Ok(RenderedPrompt {
            token_ids,
            stop_ids: written.stop.iter().filter_map(special).collect(),
            stop: written.stop.iter().map(|&text| text.to_owned()).collect(),
            text: written.text,
            style: written.style,
            template_hash: written.hash,
            add_special_tokens: written.add_special_tokens,
        })
    }
}
