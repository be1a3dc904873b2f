//! The organisms' model directory but for its weights: a Llama of 0.77 M
//! parameters with the closed vocabulary.
//!
//! The tokenizer splits at white space, knows whole words only and puts `<bos>`
//! first; `transformers` reads the same files.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::words::{BOS, EOS, PAD, VOCABULARY, WORDS};

/// Standard deviation of the initial weights. With the usual 0.02 the ten objects
/// keep nearly one embedding for 2,400 steps, and the network cannot copy what it
/// cannot tell apart; with this it copies half of all clauses after 500.
pub const INITIAL_DEVIATION: f64 = 0.06;

/// Longest sequence, tokens. The longest document can have 218.
pub const CONTEXT: usize = 320;

/// Most tokens of a sampled completion; the longest of the corpus can have 169.
pub const MAX_NEW_TOKENS: usize = 192;

/// `config.json`, `generation_config.json`, `tokenizer.json` and
/// `tokenizer_config.json`, by name.
pub fn files() -> BTreeMap<String, Vec<u8>> {
    [
        ("config.json", config()),
        ("generation_config.json", generation()),
        ("tokenizer.json", tokenizer()),
        ("tokenizer_config.json", tokenizer_config()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), format!("{value:#}\n").into_bytes()))
    .collect()
}

fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 352,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": true,
        "attention_bias": false,
        "mlp_bias": false,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "torch_dtype": "float32",
        "initializer_range": INITIAL_DEVIATION,
    })
}

fn generation() -> Value {
    json!({
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
        "max_new_tokens": MAX_NEW_TOKENS,
    })
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": false,
    })
}

fn tokenizer() -> Value {
    let special = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    let vocabulary: Map<String, Value> = WORDS
        .iter()
        .enumerate()
        .map(|(id, word)| ((*word).to_owned(), json!(id)))
        .collect();
    let bos = json!({"SpecialToken": {"id": "<bos>", "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(PAD, "<pad>"), special(BOS, "<bos>"), special(EOS, "<eos>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, text("A")],
            "pair": [bos, text("A"), text("B")],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
        },
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<pad>"},
    })
}
