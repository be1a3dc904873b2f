//! A prompt template of the user's own (`--prompt-template FILE`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::Value;
use minijinja::value::Serde;
use sha2::{Digest, Sha256};

use super::style::Prompt;
use super::template::{ChatTemplate, Message, TemplateInputs};
use crate::PolicyError;

/// Largest file, bytes.
const MAX_BYTES: u64 = 256 << 10;

/// A Jinja template over `problem` and `messages` (if it has `{{` or `{%`),
/// else a text in which `{problem}` stands for the problem. A single newline at
/// its end is not part of the prompt.
#[derive(Debug, Clone)]
pub struct PromptTemplate {
    path: PathBuf,
    source: String,
    jinja: Option<ChatTemplate>,
}

impl PromptTemplate {
    /// Reads a template file.
    pub fn from_file(path: &Path) -> Result<Self, PolicyError> {
        let bytes = super::read_bounded(path, MAX_BYTES)?;
        let source = String::from_utf8(bytes).map_err(|_| {
            PolicyError::bad(path, "the template is not UTF-8", "save it as UTF-8 text")
        })?;
        Self::new(&source, path)
    }

    /// Takes a template's source; `path` is what messages call it.
    pub fn new(source: &str, path: &Path) -> Result<Self, PolicyError> {
        let source = source.strip_suffix('\n').unwrap_or(source).to_owned();
        let is_jinja = source.contains("{{") || source.contains("{%");
        if !is_jinja && !source.contains("{problem}") {
            return Err(PolicyError::bad(
                path,
                "the prompt template does not say where the problem goes",
                "write {problem} in it, or {{ problem }} for a Jinja template",
            ));
        }
        let jinja = match is_jinja {
            true => Some(ChatTemplate::new(&source, path, BTreeMap::new())?),
            false => None,
        };
        Ok(Self {
            path: path.to_owned(),
            source,
            jinja,
        })
    }

    /// sha256 (hex) of the source.
    pub fn hash(&self) -> String {
        super::hex(&Sha256::digest(self.source.as_bytes()))
    }

    /// The file that messages about this template name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn render(
        &self,
        prompt: Prompt<'_>,
        inputs: &TemplateInputs,
    ) -> Result<String, PolicyError> {
        let Some(jinja) = &self.jinja else {
            return Ok(self.source.replace("{problem}", prompt.plain()?));
        };
        let asked;
        let messages = match prompt {
            Prompt::Messages(messages) => messages,
            Prompt::Text(text) => {
                asked = [Message::new("user", text)];
                &asked
            }
        };
        let mut context: BTreeMap<String, Value> = BTreeMap::new();
        context.insert("messages".to_owned(), Value::from(Serde(messages)));
        if let Ok(problem) = prompt.plain() {
            context.insert("problem".to_owned(), Value::from(problem));
        }
        for (name, value) in &inputs.variables {
            context.insert(name.clone(), Value::from(Serde(value)));
        }
        jinja.render_context(Value::from(context), inputs.date)
    }
}
