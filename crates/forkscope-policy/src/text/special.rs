//! Which token ids begin, end and pad a sequence.
//!
//! Models say it in up to three files. An id ends a sequence if
//! `generation_config.json` says so (`config.json` where the first is silent)
//! **or** if it is the `eos_token` of `tokenizer_config.json`: a chat model whose
//! configuration forgot its end-of-turn token would otherwise never stop.

use std::path::Path;

use serde_json::Value as Json;

use super::template::special_token_variables;
use super::tokenizer::Tokenizer;
use crate::PolicyError;

/// A JSON file of a model with the name that messages give it.
pub(super) type NamedJson<'a> = Option<(&'a Path, &'a Json)>;

/// Ids with a meaning of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a sequence.
    pub bos: Option<u32>,
    /// Ids that end a sequence, ascending, without repeats.
    pub eos: Vec<u32>,
    /// Fills a batch. forkscope pads nothing; kept for writers.
    pub pad: Option<u32>,
}

impl SpecialTokens {
    /// Reads the ids from what a model directory has.
    pub(super) fn read(
        tokenizer: &Tokenizer,
        generation_config: NamedJson<'_>,
        config: NamedJson<'_>,
        tokenizer_config: NamedJson<'_>,
    ) -> Result<Self, PolicyError> {
        let first = |field: &str| -> Result<Vec<u32>, PolicyError> {
            for (path, file) in [generation_config, config].into_iter().flatten() {
                let found = ids(path, file, field)?;
                if !found.is_empty() {
                    return Ok(found);
                }
            }
            Ok(Vec::new())
        };
        let names = tokenizer_config
            .map(|(_, file)| special_token_variables(file))
            .unwrap_or_default();
        let named = |name: &str| {
            names
                .get(name)
                .and_then(|token| tokenizer.token_to_id(token))
        };

        let mut eos = first("eos_token_id")?;
        eos.extend(named("eos_token"));
        eos.sort_unstable();
        eos.dedup();
        Ok(Self {
            bos: named("bos_token").or(first("bos_token_id")?.first().copied()),
            pad: named("pad_token").or(first("pad_token_id")?.first().copied()),
            eos,
        })
    }
}

/// An id or a list of ids. Old configurations write "none" as -1.
fn ids(path: &Path, file: &Json, field: &str) -> Result<Vec<u32>, PolicyError> {
    let listed: &[Json] = match file.get(field) {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(list)) => list,
        Some(single) => std::slice::from_ref(single),
    };
    if listed.len() > 1024 {
        return Err(PolicyError::bad(
            path,
            format!("{field} lists {} ids", listed.len()),
            FIX,
        ));
    }
    listed
        .iter()
        .filter(|id| id.as_i64() != Some(-1))
        .map(|id| {
            id.as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| {
                    PolicyError::bad(path, format!("{field} is {id}, not a token id"), FIX)
                })
        })
        .collect()
}

const FIX: &str = "make it a token id or a list of a few token ids";
