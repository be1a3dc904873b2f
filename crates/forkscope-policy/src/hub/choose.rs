//! Which files of a model are fetched.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;

use super::spec::is_file_name;
use crate::PolicyError;

/// Largest index that is read, bytes.
const MAX_INDEX: u64 = 64 << 20;

/// Files beside the weights.
const SMALL: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "adapter_config.json",
];
const INDEX: &str = "model.safetensors.index.json";
const WEIGHTS: &[&str] = &["model.safetensors", "adapter_model.safetensors"];

/// Of the files that the model has, those beside the weights.
pub(super) fn small_files(names: &BTreeSet<String>) -> impl Iterator<Item = &'static str> {
    SMALL.iter().copied().filter(|name| names.contains(*name))
}

/// The index of sharded weights, unless a single file holds them all.
pub(super) fn index_file(names: &BTreeSet<String>) -> Option<&'static str> {
    let single = WEIGHTS.iter().any(|name| names.contains(*name));
    (!single && names.contains(INDEX)).then_some(INDEX)
}

/// The file of weights that are not sharded.
pub(super) fn single_weights(
    id: &str,
    names: &BTreeSet<String>,
) -> Result<BTreeSet<String>, PolicyError> {
    let found: BTreeSet<String> = WEIGHTS
        .iter()
        .filter(|name| names.contains(**name))
        .map(|&name| name.to_owned())
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let pickled = names.iter().any(|name| {
        [".bin", ".pt", ".pth", ".pkl"]
            .iter()
            .any(|end| name.ends_with(end))
    });
    Err(match pickled {
        true => PolicyError::bad(
            Path::new(id),
            "the weights are pickles, which can run code and are not opened",
            "convert them to safetensors (save_pretrained with safe_serialization), or give a \
             revision that has them",
        ),
        false => PolicyError::bad(
            Path::new(id),
            "the model has no model.safetensors",
            "give a model in the Hugging Face layout",
        ),
    })
}

/// The files that an index names.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>, PolicyError> {
    let bad = |problem: String| PolicyError::bad(index, problem, "fetch the model again");
    let size = std::fs::metadata(index)
        .map_err(|source| PolicyError::Read {
            path: index.to_owned(),
            source,
        })?
        .len();
    if size > MAX_INDEX {
        return Err(bad(format!(
            "the index has {size} bytes, more than {MAX_INDEX}"
        )));
    }
    let bytes = std::fs::read(index).map_err(|source| PolicyError::Read {
        path: index.to_owned(),
        source,
    })?;
    let json: Json =
        serde_json::from_slice(&bytes).map_err(|error| bad(format!("not JSON: {error}")))?;
    let map = json
        .get("weight_map")
        .and_then(Json::as_object)
        .ok_or_else(|| bad("weight_map is missing or not an object".to_owned()))?;
    let mut files = BTreeSet::new();
    for (tensor, file) in map {
        match file.as_str() {
            Some(name) if is_file_name(name) && name.ends_with(".safetensors") => {
                files.insert(name.to_owned());
            }
            _ => {
                let file = file.to_string();
                let shown: String = file.chars().take(80).collect();
                return Err(bad(format!(
                    "weight_map sends {tensor:?} to {shown}, not to a safetensors file beside it"
                )));
            }
        }
    }
    match files.is_empty() {
        true => Err(bad("weight_map is empty".to_owned())),
        false => Ok(files),
    }
}
