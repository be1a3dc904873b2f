//! The text side of a model directory: everything in it but the weights.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::special::SpecialTokens;
use super::template::{ChatTemplate, TemplateFiles};
use super::tokenizer::{MAX_TOKENIZER_BYTES, Tokenizer};
use crate::PolicyError;

/// Largest configuration or template file that is read, bytes.
const MAX_CONFIG_BYTES: u64 = 32 << 20;

/// Tokenizer, special tokens and chat template of a model.
#[derive(Debug)]
pub struct TextSide {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// Ids that begin, end and pad.
    pub special: SpecialTokens,
    /// The chat template, if the model has one.
    pub template: Option<ChatTemplate>,
}

impl TextSide {
    /// Reads a model directory. `None` if it has no `tokenizer.json`: such a
    /// model can be scored on token ids.
    pub fn open(dir: &Path) -> Result<Option<Self>, PolicyError> {
        Self::from_files(dir, |name| {
            let path = dir.join(name);
            let limit = match name {
                "tokenizer.json" => MAX_TOKENIZER_BYTES as u64,
                _ => MAX_CONFIG_BYTES,
            };
            match super::read_bounded(&path, limit) {
                Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                Err(PolicyError::Read { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    Ok(None)
                }
                Err(error) => Err(error),
            }
        })
    }

    /// Reads a model whose files are found by `file` (by name; `None` if there
    /// is no such file). `dir` is what messages put before the names.
    pub fn from_files<'f>(
        dir: &Path,
        file: impl Fn(&str) -> Result<Option<Cow<'f, [u8]>>, PolicyError>,
    ) -> Result<Option<Self>, PolicyError> {
        let Some(bytes) = file("tokenizer.json")? else {
            return Ok(None);
        };
        let tokenizer = Tokenizer::from_bytes(&bytes, &dir.join("tokenizer.json"))?;
        drop(bytes);

        let json = |name: &str| -> Result<Option<(PathBuf, Json)>, PolicyError> {
            let Some(bytes) = file(name)? else {
                return Ok(None);
            };
            let path = dir.join(name);
            match serde_json::from_slice(&bytes) {
                Ok(value) => Ok(Some((path, value))),
                Err(error) => Err(PolicyError::bad(
                    &path,
                    format!("not JSON: {error}"),
                    "fetch the file again",
                )),
            }
        };
        let tokenizer_config = json("tokenizer_config.json")?;
        let generation_config = json("generation_config.json")?;
        let config = json("config.json")?;
        let chat_json = json("chat_template.json")?;
        let jinja_path = dir.join("chat_template.jinja");
        let jinja = match file("chat_template.jinja")? {
            None => None,
            Some(bytes) => Some(String::from_utf8(bytes.into_owned()).map_err(|_| {
                PolicyError::bad(
                    &jinja_path,
                    "the template is not UTF-8",
                    "fetch the file again",
                )
            })?),
        };

        fn named(file: &Option<(PathBuf, Json)>) -> Option<(&Path, &Json)> {
            file.as_ref().map(|(path, value)| (path.as_path(), value))
        }
        let special = SpecialTokens::read(
            &tokenizer,
            named(&generation_config),
            named(&config),
            named(&tokenizer_config),
        )?;
        let template = TemplateFiles {
            tokenizer_config: named(&tokenizer_config),
            jinja: jinja
                .as_deref()
                .map(|source| (jinja_path.as_path(), source)),
            json: named(&chat_json),
        }
        .template()?;
        Ok(Some(Self {
            tokenizer,
            special,
            template,
        }))
    }
}
