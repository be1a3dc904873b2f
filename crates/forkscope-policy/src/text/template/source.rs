//! Where a model directory keeps its chat template and special tokens.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::ChatTemplate;
use crate::PolicyError;

/// The text files of a model that say how to talk to it; each with the name
/// that messages give it.
#[derive(Debug, Clone, Copy, Default)]
pub struct TemplateFiles<'a> {
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<(&'a Path, &'a Json)>,
    /// `chat_template.jinja`.
    pub jinja: Option<(&'a Path, &'a str)>,
    /// `chat_template.json`.
    pub json: Option<(&'a Path, &'a Json)>,
}

impl TemplateFiles<'_> {
    /// The default template: of `chat_template.jinja`, else of
    /// `chat_template.json`, else of `tokenizer_config.json`. `None` if the
    /// model has none. What it says is looked at when it is rendered.
    pub fn template(&self) -> Result<Option<ChatTemplate>, PolicyError> {
        let tokens = match self.tokenizer_config {
            Some((_, config)) => special_token_variables(config),
            None => BTreeMap::new(),
        };
        if let Some((path, source)) = self.jinja {
            return Ok(Some(ChatTemplate::unchecked(source, path, tokens)));
        }
        for (path, file) in [self.json, self.tokenizer_config].into_iter().flatten() {
            if let Some(source) = default_template(path, file)? {
                return Ok(Some(ChatTemplate::unchecked(source, path, tokens)));
            }
        }
        Ok(None)
    }
}

/// `chat_template`: a string, or a list of `{name, template}` of which the one
/// named `default` is taken.
fn default_template<'a>(path: &Path, file: &'a Json) -> Result<Option<&'a str>, PolicyError> {
    let bad = |problem: &str| {
        PolicyError::bad(
            path,
            format!("chat_template {problem}"),
            "make it a string, or a list of {name, template} with one named \"default\"",
        )
    };
    match file.get("chat_template") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(source)) => Ok(Some(source)),
        Some(Json::Array(named)) => {
            let name = |entry: &Json| entry.get("name").and_then(Json::as_str).map(str::to_owned);
            let entry = named
                .iter()
                .find(|entry| name(entry).as_deref() == Some("default"))
                .ok_or_else(|| bad("has no template named \"default\""))?;
            let source = entry.get("template").and_then(Json::as_str);
            source
                .map(Some)
                .ok_or_else(|| bad("named \"default\" is not a string"))
        }
        // transformers also writes the list as an object of name -> template.
        Some(Json::Object(named)) => match named.get("default") {
            Some(Json::String(source)) => Ok(Some(source)),
            _ => Err(bad("has no template named \"default\"")),
        },
        Some(_) => Err(bad("is neither a string nor a list")),
    }
}

/// `bos_token`, `eos_token`, ... of `tokenizer_config.json`, as templates see
/// them. A token is a string or an object with `content`.
pub fn special_token_variables(config: &Json) -> BTreeMap<String, String> {
    let Some(config) = config.as_object() else {
        return BTreeMap::new();
    };
    config
        .iter()
        .filter(|(name, _)| name.ends_with("_token"))
        .filter_map(|(name, token)| {
            let text = token
                .as_str()
                .or_else(|| token.get("content").and_then(Json::as_str))?;
            Some((name.clone(), text.to_owned()))
        })
        .collect()
}
