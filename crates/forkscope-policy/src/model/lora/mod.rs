//! PEFT LoRA adapters applied on the fly: y = W x + scale * B (A x), so that a
//! base and its tuned policy share one copy of the weights.
//!
//! scale = alpha / r, or alpha / sqrt(r) with `use_rslora` (arXiv 2106.09685,
//! 2312.03732). What changes the formula in any other way (DoRA, biases,
//! trained heads, ...) is named and refused.

mod pattern;
mod targets;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::PolicyError;
use crate::files::ModelFiles;
use crate::model::config::{Fields, ModelConfig};
use crate::model::weights::{Tensor, open_safetensors};
use targets::Targets;

/// The seven matrices of a block that an adapter can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention output.
    O,
    /// MLP gate.
    Gate,
    /// MLP up.
    Up,
    /// MLP down.
    Down,
}

impl Projection {
    /// All of them, in the order of the block.
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// Path below `model.layers.N.`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// (outputs, inputs) of the matrix.
    pub fn shape(self, c: &ModelConfig) -> (usize, usize) {
        let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        match self {
            Self::Q => (q, c.hidden_size),
            Self::K | Self::V => (kv, c.hidden_size),
            Self::O => (c.hidden_size, q),
            Self::Gate | Self::Up => (c.intermediate_size, c.hidden_size),
            Self::Down => (c.hidden_size, c.intermediate_size),
        }
    }
}

/// The low-rank change of one matrix.
#[derive(Debug, Clone)]
pub(crate) struct LowRank {
    /// rank x inputs.
    pub(crate) a: Vec<f32>,
    /// outputs x rank, multiplied by the scale.
    pub(crate) b: Vec<f32>,
    pub(crate) rank: usize,
}

/// A checked adapter.
#[derive(Debug, Clone)]
pub struct Adapter {
    changes: BTreeMap<(usize, Projection), LowRank>,
    /// `base_model_name_or_path` of the configuration.
    pub base_name: Option<String>,
}

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

impl Adapter {
    /// Reads `adapter_config.json` and `adapter_model.safetensors` for a model
    /// of that configuration.
    pub fn open(files: &ModelFiles, model: &ModelConfig) -> Result<Self, PolicyError> {
        let Some(json) = files.read_json(CONFIG)? else {
            return Err(PolicyError::bad(
                &files.path(CONFIG),
                "does not exist",
                "point at a PEFT adapter directory",
            ));
        };
        let empty = Map::new();
        let fields = Fields::new(files, CONFIG, json.as_object().unwrap_or(&empty));
        refuse_unsupported(&fields)?;
        let settings = Settings::parse(&fields)?;
        if !files.has(WEIGHTS) {
            let pickled = files.has("adapter_model.bin");
            let problem = if pickled {
                "does not exist; adapter_model.bin is a pickle, which can run code when it is opened"
            } else {
                "does not exist"
            };
            return Err(PolicyError::bad(
                &files.path(WEIGHTS),
                problem,
                "save the adapter with PEFT's `safe_serialization=True`",
            ));
        }
        let mut halves: BTreeMap<(usize, Projection), (Option<Tensor>, Option<Tensor>)> =
            BTreeMap::new();
        for (name, tensor) in open_safetensors(files, WEIGHTS)? {
            let (layer, projection, is_a) = parse_name(&name, model).ok_or_else(|| {
                PolicyError::bad(
                    &files.path(WEIGHTS),
                    format!("tensor `{}` is not a LoRA matrix of one of the model's projections", name.escape_debug()),
                    "only q, k, v, o, gate, up and down projections of an existing layer can be adapted",
                )
            })?;
            let slot = halves.entry((layer, projection)).or_default();
            *(if is_a { &mut slot.0 } else { &mut slot.1 }) = Some(tensor);
        }
        let mut changes = BTreeMap::new();
        for (key, pair) in halves {
            changes.insert(key, settings.change(files, model, key, pair)?);
        }
        settings.check_targets(files, &fields, model, &changes)?;
        Ok(Self {
            changes,
            base_name: fields.text("base_model_name_or_path")?.map(str::to_owned),
        })
    }

    pub(crate) fn change(&self, layer: usize, projection: Projection) -> Option<&LowRank> {
        self.changes.get(&(layer, projection))
    }

    pub(crate) fn changes_mut(&mut self) -> impl Iterator<Item = &mut LowRank> {
        self.changes.values_mut()
    }

    /// Number of adapted matrices.
    pub fn modules(&self) -> usize {
        self.changes.len()
    }

    /// FLOPs that the adapter adds per token: 2 x rank x (inputs + outputs).
    pub fn flops_per_token(&self) -> f64 {
        self.changes
            .values()
            .map(|c| 2.0 * (c.a.len() + c.b.len()) as f64)
            .sum()
    }
}

/// Fields whose non-default value changes what the adapter computes.
fn refuse_unsupported(f: &Fields<'_>) -> Result<(), PolicyError> {
    let kind = f.text("peft_type")?.unwrap_or("LORA");
    if kind != "LORA" {
        return Err(f.bad(format!(
            "field `peft_type` is `{}`; only LORA is supported",
            kind.escape_debug()
        )));
    }
    if let Some(bias) = f.text("bias")?.filter(|b| *b != "none") {
        return Err(f.bad(format!(
            "field `bias` is `{}`; only `none` is supported",
            bias.escape_debug()
        )));
    }
    let set = |key: &str| match f.get(key) {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Array(a)) => !a.is_empty(),
        Some(Value::Object(o)) => !o.is_empty(),
        Some(_) => true,
    };
    const REFUSED: [&str; 11] = [
        "use_dora",
        "use_qalora",
        "use_bdlora",
        "modules_to_save",
        "fan_in_fan_out",
        "lora_bias",
        "layer_replication",
        "trainable_token_indices",
        "target_parameters",
        "alora_invocation_tokens",
        "arrow_config",
    ];
    let remedy = "it changes what the adapter computes and is not supported; merge the adapter into the model with PEFT instead";
    if let Some(key) = REFUSED.into_iter().find(|key| set(key)) {
        return Err(f.bad(format!("field `{key}` is set; {remedy}")));
    }
    // Other initialisations (PiSSA, OLoRA, LoftQ, ...) move a part of the base
    // weights into the adapter.
    if let Some(Value::String(init)) = f.get("init_lora_weights")
        && !["gaussian", "eva", "orthogonal"].contains(&init.as_str())
    {
        return Err(f.bad(format!(
            "field `init_lora_weights` is `{}`; {remedy}",
            init.escape_debug()
        )));
    }
    Ok(())
}

struct Settings {
    rank: usize,
    alpha: f64,
    rslora: bool,
    ranks: Vec<(String, f64)>,
    alphas: Vec<(String, f64)>,
}

impl Settings {
    fn parse(f: &Fields<'_>) -> Result<Self, PolicyError> {
        let pattern = |key: &str| -> Result<Vec<(String, f64)>, PolicyError> {
            let Some(value) = f.get(key) else {
                return Ok(Vec::new());
            };
            let map = value
                .as_object()
                .ok_or_else(|| f.bad(format!("field `{key}` is not an object")))?;
            map.iter()
                .map(|(k, v)| match v.as_f64() {
                    Some(x) if x.is_finite() && x > 0.0 => Ok((k.clone(), x)),
                    _ => Err(f.bad(format!(
                        "`{key}.{}` is {v}, not above zero",
                        k.escape_debug()
                    ))),
                })
                .collect()
        };
        Ok(Self {
            rank: f.need_size("r")?,
            alpha: f
                .positive("lora_alpha")?
                .ok_or_else(|| f.bad("field `lora_alpha` is missing"))?,
            rslora: f.flag("use_rslora")?.unwrap_or(false),
            ranks: pattern("rank_pattern")?,
            alphas: pattern("alpha_pattern")?,
        })
    }

    fn change(
        &self,
        files: &ModelFiles,
        model: &ModelConfig,
        (layer, projection): (usize, Projection),
        pair: (Option<Tensor>, Option<Tensor>),
    ) -> Result<LowRank, PolicyError> {
        let module = format!("model.layers.{layer}.{}", projection.path());
        let bad = |problem: String| {
            PolicyError::bad(
                &files.path(WEIGHTS),
                problem,
                "the adapter must belong to this base model; check `base_model_name_or_path`",
            )
        };
        let tensor_name = |half: &str| format!("base_model.model.{module}.{half}.weight");
        let (a, b) = match pair {
            (Some(a), Some(b)) => (a, b),
            (None, _) => {
                return Err(bad(format!(
                    "tensor `{}` is missing",
                    tensor_name("lora_A")
                )));
            }
            (_, None) => {
                return Err(bad(format!(
                    "tensor `{}` is missing",
                    tensor_name("lora_B")
                )));
            }
        };
        let rank = matching(files, "rank_pattern", &self.ranks, &module)?
            .map_or(self.rank, |r| r as usize);
        let alpha = matching(files, "alpha_pattern", &self.alphas, &module)?.unwrap_or(self.alpha);
        let (outputs, inputs) = projection.shape(model);
        for (name, tensor, shape) in [
            ("lora_A", &a, [rank, inputs]),
            ("lora_B", &b, [outputs, rank]),
        ] {
            if tensor.shape() != shape {
                let name = tensor_name(name);
                return Err(bad(format!(
                    "tensor `{name}` has shape {:?}, the model and rank {rank} ask for {shape:?}",
                    tensor.shape()
                )));
            }
        }
        let scale = if self.rslora {
            alpha / (rank as f64).sqrt()
        } else {
            alpha / rank as f64
        } as f32;
        let a = a.f32(0..rank * inputs).into_owned();
        let b: Vec<f32> = b.f32(0..outputs * rank).iter().map(|x| x * scale).collect();
        for (name, values) in [("lora_A", &a), ("lora_B", &b)] {
            if values.iter().any(|x| !x.is_finite()) {
                return Err(bad(format!(
                    "tensor `{}` has a value that is NaN or infinite",
                    tensor_name(name)
                )));
            }
        }
        Ok(LowRank { a, b, rank })
    }

    /// Every module that `target_modules` names must have its matrices.
    fn check_targets(
        &self,
        files: &ModelFiles,
        f: &Fields<'_>,
        model: &ModelConfig,
        changes: &BTreeMap<(usize, Projection), LowRank>,
    ) -> Result<(), PolicyError> {
        let Some(targets) = Targets::parse(files, f, "target_modules")? else {
            return Err(f.bad("field `target_modules` is missing"));
        };
        let excluded = Targets::parse(files, f, "exclude_modules")?;
        let layers = layers_to_transform(f)?;
        let mut targeted = 0;
        for layer in 0..model.layers {
            for projection in Projection::ALL {
                let module = format!("model.layers.{layer}.{}", projection.path());
                let kept = excluded.as_ref().is_none_or(|e| !e.matches(&module));
                let wanted = kept
                    && targets.matches(&module)
                    && layers.as_ref().is_none_or(|l| l.contains(&layer));
                targeted += usize::from(wanted);
                if wanted && !changes.contains_key(&(layer, projection)) {
                    return Err(PolicyError::bad(
                        &files.path(WEIGHTS),
                        format!(
                            "has no matrices for `{module}`, which `target_modules` of {CONFIG} names"
                        ),
                        "save the adapter again with PEFT",
                    ));
                }
            }
        }
        targets.check_names()?;
        if targeted == 0 || changes.is_empty() {
            return Err(f.bad("field `target_modules` names no projection of this model"));
        }
        Ok(())
    }
}

fn layers_to_transform(f: &Fields<'_>) -> Result<Option<Vec<usize>>, PolicyError> {
    let bad = || f.bad("field `layers_to_transform` is neither a layer nor a list of layers");
    match f.get("layers_to_transform") {
        None => Ok(None),
        Some(Value::Array(list)) => list
            .iter()
            .map(|v| v.as_u64().map(|n| n as usize).ok_or_else(bad))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(v) => Ok(Some(vec![v.as_u64().ok_or_else(bad)? as usize])),
    }
}

/// The value of the first pattern that matches the end of the module's name,
/// as PEFT matches `rank_pattern` and `alpha_pattern`.
fn matching(
    files: &ModelFiles,
    field: &str,
    patterns: &[(String, f64)],
    module: &str,
) -> Result<Option<f64>, PolicyError> {
    for (pattern, value) in patterns {
        if pattern::Anchored::suffix(files, field, pattern)?.matches(module) {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

/// `base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight` -> (3, Q, true).
fn parse_name(name: &str, model: &ModelConfig) -> Option<(usize, Projection, bool)> {
    let rest = name.strip_prefix("base_model.model.")?;
    let rest = rest.strip_prefix("model.layers.")?;
    let (layer, rest) = rest.split_once('.')?;
    let layer: usize = layer.parse().ok().filter(|l| *l < model.layers)?;
    let (module, is_a) = match (
        rest.strip_suffix(".lora_A.weight"),
        rest.strip_suffix(".lora_B.weight"),
    ) {
        (Some(m), _) => (m, true),
        (_, Some(m)) => (m, false),
        _ => return None,
    };
    let projection = Projection::ALL.into_iter().find(|p| p.path() == module)?;
    Some((layer, projection, is_a))
}
