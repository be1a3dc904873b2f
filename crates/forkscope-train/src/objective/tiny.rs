//! What the tests of preference and reward objectives share: a tokenizer of
//! whole words, and a small model with an adapter that can be sampled.

use std::collections::BTreeMap;

use forkscope_policy::{ModelFiles, Projection};
use serde_json::{Map, json};

use super::testing;
use crate::engine::{LoraSettings, Network, Trainable};

/// `tokenizer.json` of whole words: `<unk>` 0, `<eos>` 1, then `words`.
pub(crate) fn tokenizer(words: &[&str]) -> Vec<u8> {
    let all = ["<unk>", "<eos>"].into_iter().chain(words.iter().copied());
    let vocab: Map<String, serde_json::Value> = all
        .enumerate()
        .map(|(id, word)| (word.to_owned(), json!(id)))
        .collect();
    let special = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false
        })
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<eos>")],
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
    })
    .to_string()
    .into_bytes()
}

/// A model of one block over `<unk>`, `<eos>` and `words`.
pub(crate) fn model(words: &[&str]) -> ModelFiles {
    let mut files: BTreeMap<String, Vec<u8>> =
        testing::network(words.len() + 2).saved_files().unwrap();
    files.insert("tokenizer.json".into(), tokenizer(words));
    ModelFiles::in_memory("tiny", files)
}

/// Its network with a new adapter on the attention's projections.
pub(crate) fn adapted(words: &[&str]) -> Network {
    let settings = LoraSettings {
        rank: 2,
        alpha: 4.0,
        dropout: 0.0,
        rslora: false,
        targets: vec![Projection::Q, Projection::V, Projection::O],
    };
    Network::open(&model(words), &Trainable::Lora(settings), 1).unwrap()
}

/// Moves every trainable value a little, each in its own way.
pub(crate) fn moved(mut network: Network) -> Network {
    for parameter in network.parameters_mut() {
        let n = parameter.values.len();
        let by = testing::values(n, 0.3, n as u64);
        parameter
            .values
            .iter_mut()
            .zip(by)
            .for_each(|(x, d)| *x += d);
    }
    network
}
