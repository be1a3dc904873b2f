//! `config.json` of the supported architectures, checked before any number in
//! it is used. Reads the layout of transformers v4 (`rope_theta`,
//! `rope_scaling`) and of v5 (`rope_parameters`).

use serde_json::{Map, Value};

use super::rope::RopeConfig;
use crate::PolicyError;
use crate::files::ModelFiles;

/// Largest value accepted for any size in a configuration: far beyond any
/// model, small enough that products of two stay within 64 bits.
const MAX_SIZE: u64 = 1 << 24;

/// Supported decoder families. They share one block; the differences are data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama: no biases unless asked for.
    Llama,
    /// Qwen2: biases on q, k and v.
    Qwen2,
    /// Qwen3: RMSNorm on each head of q and k, explicit head size.
    Qwen3,
    /// Mistral: sliding-window attention.
    Mistral,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    /// Decoder family.
    pub architecture: Architecture,
    /// Rows of the embedding, padding included.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Size of one head, even.
    pub head_dim: usize,
    /// Epsilon of RMSNorm.
    pub norm_eps: f32,
    /// Context length the model was made for.
    pub max_positions: usize,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Biases on q, k, v.
    pub qkv_bias: bool,
    /// Bias on o.
    pub o_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// Window of each layer; `None` attends to everything before.
    pub windows: Vec<Option<usize>>,
    /// Rotary embedding.
    pub rope: RopeConfig,
}

/// Checked access to one JSON object of a named file.
pub(crate) struct Fields<'a> {
    files: &'a ModelFiles,
    file: &'a str,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(files: &'a ModelFiles, file: &'a str, map: &'a Map<String, Value>) -> Self {
        Self { files, file, map }
    }

    pub(crate) fn bad(&self, problem: impl Into<String>) -> PolicyError {
        PolicyError::bad(
            &self.files.path(self.file),
            problem,
            "check the file against the model's source",
        )
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    pub(crate) fn object(&self, key: &str) -> Result<Option<Fields<'a>>, PolicyError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                files: self.files,
                file: self.file,
                map,
            })),
            Some(_) => Err(self.bad(format!("field `{key}` is not an object"))),
        }
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, PolicyError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(n) if (1..=MAX_SIZE).contains(&n) => Ok(Some(n as usize)),
            _ => Err(self.bad(format!(
                "field `{key}` is {value}, not a whole number from 1 to {MAX_SIZE}"
            ))),
        }
    }

    pub(crate) fn need_size(&self, key: &str) -> Result<usize, PolicyError> {
        self.size(key)?
            .ok_or_else(|| self.bad(format!("field `{key}` is missing")))
    }

    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, PolicyError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(x) if x.is_finite() => Ok(Some(x)),
            _ => Err(self.bad(format!("field `{key}` is {value}, not a finite number"))),
        }
    }

    pub(crate) fn positive(&self, key: &str) -> Result<Option<f64>, PolicyError> {
        match self.float(key)? {
            Some(x) if x <= 0.0 => Err(self.bad(format!("field `{key}` is {x}, not above zero"))),
            other => Ok(other),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, PolicyError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .as_bool()
            .map(Some)
            .ok_or_else(|| self.bad(format!("field `{key}` is {value}, not true or false")))
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, PolicyError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        value
            .as_str()
            .map(Some)
            .ok_or_else(|| self.bad(format!("field `{key}` is {value}, not a string")))
    }
}

impl ModelConfig {
    /// Reads and checks `config.json`.
    pub fn open(files: &ModelFiles) -> Result<Self, PolicyError> {
        let Some(json) = files.read_json("config.json")? else {
            return Err(PolicyError::bad(
                &files.path("config.json"),
                "does not exist",
                "point at a Hugging Face model directory (an adapter is given as MODEL+ADAPTER)",
            ));
        };
        let empty = Map::new();
        Self::parse(&Fields::new(
            files,
            "config.json",
            json.as_object().unwrap_or(&empty),
        ))
    }

    fn parse(f: &Fields<'_>) -> Result<Self, PolicyError> {
        let architecture = architecture(f)?;
        if f.get("quantization_config").is_some() {
            return Err(f.bad("field `quantization_config`: quantised weights are not supported; give the f32, f16 or bf16 weights"));
        }
        if let Some(act) = f
            .text("hidden_act")?
            .filter(|a| !matches!(*a, "silu" | "swish"))
        {
            return Err(f.bad(format!(
                "field `hidden_act` is `{act}`; only `silu` is supported"
            )));
        }
        let hidden_size = f.need_size("hidden_size")?;
        let heads = f.need_size("num_attention_heads")?;
        let kv_heads =
            f.size("num_key_value_heads")?
                .unwrap_or(if architecture == Architecture::Mistral {
                    8
                } else {
                    heads
                });
        if heads % kv_heads != 0 {
            return Err(f.bad(format!("field `num_key_value_heads` is {kv_heads}, which does not divide `num_attention_heads` {heads}")));
        }
        let head_dim = match f.size("head_dim")? {
            Some(d) => d,
            None if architecture == Architecture::Qwen3 => 128,
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => return Err(f.bad(format!("`num_attention_heads` {heads} does not divide `hidden_size` {hidden_size} and there is no `head_dim`"))),
        };
        if head_dim % 2 != 0 || head_dim > 4096 {
            return Err(f.bad(format!(
                "the head size is {head_dim}; rotary embedding needs an even one of at most 4096"
            )));
        }
        let layers = f.need_size("num_hidden_layers")?;
        if layers > 4096 {
            return Err(f.bad(format!(
                "field `num_hidden_layers` is {layers}, more than 4096"
            )));
        }
        let max_positions = f
            .size("max_position_embeddings")?
            .unwrap_or(match architecture {
                Architecture::Llama => 2048,
                Architecture::Mistral => 131_072,
                _ => 32_768,
            });
        let attention_bias = f.flag("attention_bias")?.unwrap_or(false);
        Ok(Self {
            architecture,
            vocab_size: f.need_size("vocab_size")?,
            hidden_size,
            intermediate_size: f.need_size("intermediate_size")?,
            layers,
            heads,
            kv_heads,
            head_dim,
            norm_eps: f.positive("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            max_positions,
            tied: f.flag("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: architecture == Architecture::Qwen2
                || (attention_bias && architecture != Architecture::Mistral),
            o_bias: attention_bias
                && matches!(architecture, Architecture::Llama | Architecture::Qwen3),
            mlp_bias: architecture == Architecture::Llama && f.flag("mlp_bias")?.unwrap_or(false),
            windows: windows(f, architecture, layers)?,
            rope: RopeConfig::parse(f, head_dim, max_positions)?,
        })
    }

    /// Parameters that every token multiplies (blocks and head, not the
    /// embedding look-up): the N of FLOPs = 2 N per token.
    pub fn active_parameters(&self) -> f64 {
        let (d, q, kv) = (
            self.hidden_size as f64,
            (self.heads * self.head_dim) as f64,
            (self.kv_heads * self.head_dim) as f64,
        );
        let block = 2.0 * d * q + 2.0 * d * kv + 3.0 * d * self.intermediate_size as f64;
        self.layers as f64 * block + d * self.vocab_size as f64
    }

    /// FLOPs of attention per token and visible position: scores and weighted
    /// sum, 4 x heads x head size per layer.
    pub fn attention_flops(&self) -> f64 {
        4.0 * (self.layers * self.heads * self.head_dim) as f64
    }
}

fn architecture(f: &Fields<'_>) -> Result<Architecture, PolicyError> {
    let kind = f
        .text("model_type")?
        .ok_or_else(|| f.bad("field `model_type` is missing"))?;
    match kind {
        "llama" => Ok(Architecture::Llama),
        "qwen2" => Ok(Architecture::Qwen2),
        "qwen3" => Ok(Architecture::Qwen3),
        "mistral" => Ok(Architecture::Mistral),
        other => Err(f.bad(format!(
            "field `model_type` is `{}`; supported are llama, qwen2, qwen3 and mistral",
            other.escape_debug()
        ))),
    }
}

/// Window per layer. Mistral slides in every layer; Qwen slides where
/// `use_sliding_window` is set, in the layers that `layer_types` names or, in
/// the older layout, from `max_window_layers` on.
fn windows(
    f: &Fields<'_>,
    architecture: Architecture,
    layers: usize,
) -> Result<Vec<Option<usize>>, PolicyError> {
    // Mistral configurations written before the field existed mean 4096.
    let missing = architecture == Architecture::Mistral && !f.map.contains_key("sliding_window");
    let window = if missing {
        Some(4096)
    } else {
        f.size("sliding_window")?
    };
    if let Some(types) = f.get("layer_types") {
        let bad = || {
            f.bad(format!("field `layer_types` is not a list of {layers} of `full_attention` and `sliding_attention`"))
        };
        let list = types
            .as_array()
            .filter(|l| l.len() == layers)
            .ok_or_else(bad)?;
        let uses =
            architecture == Architecture::Mistral || f.flag("use_sliding_window")?.unwrap_or(false);
        return list
            .iter()
            .map(|t| match t.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") if uses && window.is_some() => Ok(window),
                Some("sliding_attention") => Err(f.bad("`layer_types` asks for sliding attention, but `sliding_window` is not in force")),
                _ => Err(bad()),
            })
            .collect();
    }
    match architecture {
        Architecture::Llama => Ok(vec![None; layers]),
        Architecture::Mistral => Ok(vec![window; layers]),
        Architecture::Qwen2 | Architecture::Qwen3 => {
            if !f.flag("use_sliding_window")?.unwrap_or(false) {
                return Ok(vec![None; layers]);
            }
            let from = match f.get("max_window_layers") {
                None => 28,
                Some(v) => v.as_u64().ok_or_else(|| {
                    f.bad(format!(
                        "field `max_window_layers` is {v}, not a whole number"
                    ))
                })? as usize,
            };
            Ok((0..layers)
                .map(|l| if l >= from { window } else { None })
                .collect())
        }
    }
}
