//! Chat templates: messages -> prompt text, as transformers'
//! `apply_chat_template` renders them (Jinja with `trim_blocks`,
//! `lstrip_blocks`, loop controls, Python's string and dict methods, `tojson`,
//! `raise_exception`, `strftime_now`).
//!
//! A template is text from a model directory and may be hostile. Rendering is
//! bounded in instructions, recursion, values made, work and text
//! (`bounds.rs`), runs on a thread with a stack of its own, and is given up
//! after ten seconds whatever happens.

mod bounds;
mod compile;
mod date;
mod helpers;
mod ops;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use minijinja::Value;
use minijinja::value::Serde;
use sha2::{Digest, Sha256};

pub use date::Date;
pub use source::{TemplateFiles, special_token_variables};

use crate::PolicyError;

/// How long a caller waits for a render.
const PATIENCE: Duration = Duration::from_secs(10);
/// Stack of a render: recursion of the compiler and the interpreter is bounded
/// and fits.
const STACK: usize = 128 << 20;

const REMEDY: &str =
    "render without it by --prompt-style raw, or give your own by --prompt-template FILE";

/// Who says something in a conversation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// `user`, `assistant`, `system`, ...
    pub role: String,
    /// What is said. Usually a string; some templates take a list of parts.
    pub content: serde_json::Value,
    /// Whatever else the message carries (`name`, `tool_calls`, ...).
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A message of plain text.
    pub fn new(role: &str, content: &str) -> Self {
        Self {
            role: role.to_owned(),
            content: content.into(),
            more: serde_json::Map::new(),
        }
    }
}

/// What a render is given beside the messages.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateInputs {
    /// Whether the prompt ends where the assistant begins to speak.
    pub add_generation_prompt: bool,
    /// What `strftime_now` says.
    pub date: Date,
    /// Further variables (`enable_thinking`, ...), which win over the special
    /// tokens.
    pub variables: BTreeMap<String, serde_json::Value>,
}

impl Default for TemplateInputs {
    fn default() -> Self {
        Self {
            add_generation_prompt: true,
            date: Date::default(),
            variables: BTreeMap::new(),
        }
    }
}

/// A chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    path: PathBuf,
    special_tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Takes a template's source and compiles it. `path` is what messages call it;
    /// `special_tokens` become its variables (`bos_token`, `eos_token`, ...).
    pub fn new(
        source: &str,
        path: &Path,
        special_tokens: BTreeMap<String, String>,
    ) -> Result<Self, PolicyError> {
        let template = Self::unchecked(source, path, special_tokens);
        let checked = template.apart(|source| compile::compile(&source).map(|_| String::new()))?;
        checked.map_err(|error| template.bad(&error))?;
        Ok(template)
    }

    /// Takes a source as it is: a template that does not compile fails when it
    /// is rendered, and a model can be used without its template.
    fn unchecked(source: &str, path: &Path, special_tokens: BTreeMap<String, String>) -> Self {
        Self {
            source: source.to_owned(),
            path: path.to_owned(),
            special_tokens,
        }
    }

    /// sha256 (hex) of the source.
    pub fn hash(&self) -> String {
        super::hex(&Sha256::digest(self.source.as_bytes()))
    }

    /// The source as it was read.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The file that messages about this template name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Prompt text of a conversation.
    pub fn render(
        &self,
        messages: &[Message],
        inputs: &TemplateInputs,
    ) -> Result<String, PolicyError> {
        let mut context: BTreeMap<String, Value> = BTreeMap::new();
        for (name, token) in &self.special_tokens {
            context.insert(name.clone(), Value::from(token.as_str()));
        }
        context.insert("messages".to_owned(), Value::from(Serde(messages)));
        context.insert("tools".to_owned(), Value::from(()));
        context.insert("documents".to_owned(), Value::from(()));
        context.insert(
            "add_generation_prompt".to_owned(),
            Value::from(inputs.add_generation_prompt),
        );
        for (name, value) in &inputs.variables {
            context.insert(name.clone(), Value::from(Serde(value)));
        }
        self.render_context(Value::from(context), inputs.date)
    }

    pub(super) fn render_context(&self, context: Value, date: Date) -> Result<String, PolicyError> {
        let rendered = self.apart(move |source| run(&source, context, date))?;
        rendered.map_err(|error| self.bad(&error))
    }

    /// Runs `job` on the source on a thread of its own.
    fn apart(
        &self,
        job: impl FnOnce(String) -> Result<String, minijinja::Error> + Send + 'static,
    ) -> Result<Result<String, minijinja::Error>, PolicyError> {
        let source = compile::without_generation_tags(&self.source).into_owned();
        let (done, wait) = mpsc::channel();
        std::thread::Builder::new()
            .name("chat-template".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                // Nobody listens any more if the caller gave up.
                let _ = done.send(job(source));
            })
            .map_err(|error| PolicyError::Internal(format!("cannot start a thread: {error}")))?;
        wait.recv_timeout(PATIENCE).map_err(|error| {
            let what = match error {
                mpsc::RecvTimeoutError::Timeout => "did not finish within ten seconds",
                mpsc::RecvTimeoutError::Disconnected => "made the template engine fail",
            };
            PolicyError::bad(&self.path, format!("the chat template {what}"), REMEDY)
        })
    }

    fn bad(&self, error: &minijinja::Error) -> PolicyError {
        let mut problem = format!("the chat template failed: {error}");
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            problem.push_str(&format!(": {inner}"));
            source = inner.source();
        }
        let short: String = problem.chars().take(600).collect();
        PolicyError::bad(&self.path, short, REMEDY)
    }
}

fn run(source: &str, context: Value, date: Date) -> Result<String, minijinja::Error> {
    let compile::Bounded { template, fuel } = compile::compile(source)?;
    let mut env = ops::environment(fuel);
    helpers::install_date(&mut env, date);
    let mut text = String::new();
    let mut out = minijinja::machinery::make_string_output(&mut text);
    minijinja::machinery::eval(
        &env,
        &template.instructions,
        context,
        &template.blocks,
        &mut out,
        minijinja::AutoEscape::None,
    )
    .map_err(|error| match error.kind() {
        minijinja::ErrorKind::OutOfFuel => bounds::refuse(format!(
            "the template runs for more than {fuel} instructions"
        )),
        _ => error,
    })?;
    if text.len() as u64 > bounds::MAX_TEXT {
        return Err(bounds::refuse(format!(
            "the prompt has {} bytes, more than {}",
            text.len(),
            bounds::MAX_TEXT
        )));
    }
    Ok(text)
}
