//! Putting a network together from a model's files, and drawing what is random.

use std::sync::{Arc, Mutex};

use forkscope_metrics::rng::Key;
use forkscope_policy::{Architecture, ModelConfig, ModelFiles, Policy, Projection, Weights};

use super::block::Block;
use super::linear::{Linear, Lora, Vector, Weight};
use super::network::{LoraSettings, Network, Table, Trainable, frozen};
use super::ops::attention::Shape;
use super::parameters::{Parameter, Parameters};
use super::save::SavedDtype;
use crate::TrainError;

/// Deviation of the initial weights where `config.json` has no
/// `initializer_range`.
const DEVIATION: f64 = 0.02;

/// Where tensors come from.
enum Source<'a> {
    /// Files; as parameters or frozen.
    Files { weights: &'a Weights, trained: bool },
    /// Random numbers.
    Drawn { seed: u64, deviation: f64 },
}

struct Builder<'a> {
    config: &'a ModelConfig,
    source: Source<'a>,
    lora: Option<(&'a LoraSettings, u64)>,
    parameters: Parameters,
}

pub(super) fn open(
    files: &ModelFiles,
    trainable: &Trainable,
    seed: u64,
) -> Result<Network, TrainError> {
    let config = ModelConfig::open(files)?;
    let weights = Weights::open(files)?;
    let lora = match trainable {
        Trainable::Full => None,
        Trainable::Lora(settings) => {
            settings.check()?;
            Some((settings, seed))
        }
    };
    let source = Source::Files {
        weights: &weights,
        trained: lora.is_none(),
    };
    let base = match lora {
        Some(_) => Some(Policy::open_files(files.clone(), None)?),
        None => None,
    };
    build(files, config, source, lora, trainable.clone(), base)
}

pub(super) fn initialised(files: &ModelFiles, seed: u64) -> Result<Network, TrainError> {
    let config = ModelConfig::open(files)?;
    let deviation = deviation(files)?;
    let source = Source::Drawn { seed, deviation };
    build(files, config, source, None, Trainable::Full, None)
}

/// `initializer_range` of the configuration.
fn deviation(files: &ModelFiles) -> Result<f64, TrainError> {
    let config = files.read_json("config.json")?;
    let Some(value) = config.as_ref().and_then(|c| c.get("initializer_range")) else {
        return Ok(DEVIATION);
    };
    match value.as_f64() {
        Some(x) if x > 0.0 && x <= 1.0 => Ok(x),
        _ => Err(TrainError::bad(
            &files.path("config.json"),
            format!("field `initializer_range` is {value}, not a number above 0 and up to 1"),
            "0.02 is usual",
        )),
    }
}

fn build(
    files: &ModelFiles,
    config: ModelConfig,
    source: Source<'_>,
    lora: Option<(&LoraSettings, u64)>,
    trainable: Trainable,
    base: Option<Policy>,
) -> Result<Network, TrainError> {
    let mut b = Builder {
        config: &config,
        source,
        lora,
        parameters: Vec::new(),
    };
    let (v, d) = (config.vocab_size, config.hidden_size);
    let embedding = b.table("model.embed_tokens.weight", v, d)?;
    let blocks = (0..config.layers)
        .map(|layer| b.block(layer))
        .collect::<Result<_, _>>()?;
    let final_norm = b.vector("model.norm.weight", d, 1.0)?;
    let head = if config.tied {
        embedding.clone()
    } else {
        b.table("lm_head.weight", v, d)?
    };
    let parameters = b.parameters;
    Ok(Network {
        files: files.clone(),
        trainable,
        embedding,
        blocks,
        final_norm,
        head,
        parameters,
        saved: SavedDtype::default(),
        base,
        rope: Mutex::new(Arc::new(config.rope.table(0))),
        workspaces: Mutex::default(),
        config,
    })
}

impl Builder<'_> {
    fn add(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> usize {
        self.parameters.push(Parameter {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values,
        });
        self.parameters.len() - 1
    }

    fn matrix(&mut self, name: &str, shape: [usize; 2], share: f64) -> Result<Weight, TrainError> {
        match self.source {
            Source::Files { weights, trained } => {
                let tensor = weights.tensor(name, &shape)?;
                if !trained {
                    return Ok(frozen(tensor));
                }
                let mut values = Vec::new();
                tensor.widen(0..tensor.elements(), &mut values);
                Ok(Weight::Trained(self.add(name, &shape, values)))
            }
            Source::Drawn { seed, deviation } => {
                let values = normal(seed, name, shape[0] * shape[1], deviation * share);
                Ok(Weight::Trained(self.add(name, &shape, values)))
            }
        }
    }

    fn table(&mut self, name: &str, rows: usize, columns: usize) -> Result<Table, TrainError> {
        Ok(match self.matrix(name, [rows, columns], 1.0)? {
            Weight::Frozen(tensor) => Table::Frozen(tensor),
            Weight::Trained(index) => Table::Trained(index),
        })
    }

    fn vector(&mut self, name: &str, len: usize, initial: f32) -> Result<Vector, TrainError> {
        match self.source {
            Source::Files { weights, trained } => {
                let values = weights.vector(name, len)?;
                if !trained {
                    return Ok(Vector::Frozen(values));
                }
                Ok(Vector::Trained(self.add(name, &[len], values)))
            }
            Source::Drawn { .. } => Ok(Vector::Trained(self.add(name, &[len], vec![initial; len]))),
        }
    }

    fn linear(&mut self, layer: usize, p: Projection, bias: bool) -> Result<Linear, TrainError> {
        let (outputs, inputs) = p.shape(self.config);
        let name = format!("model.layers.{layer}.{}", p.path());
        // What writes to the residual stream starts smaller.
        let share = match p {
            Projection::O | Projection::Down => 1.0 / (2.0 * self.config.layers as f64).sqrt(),
            _ => 1.0,
        };
        let weight = self.matrix(&format!("{name}.weight"), [outputs, inputs], share)?;
        let bias = match bias {
            true => Some(self.vector(&format!("{name}.bias"), outputs, 0.0)?),
            false => None,
        };
        let lora = match self.lora {
            Some((settings, seed)) if settings.targets.contains(&p) => {
                Some(self.lora(&name, settings, seed, (outputs, inputs)))
            }
            _ => None,
        };
        Ok(Linear {
            weight,
            bias,
            lora,
            outputs,
            inputs,
        })
    }

    fn lora(
        &mut self,
        module: &str,
        settings: &LoraSettings,
        seed: u64,
        (outputs, inputs): (usize, usize),
    ) -> Lora {
        let rank = settings.rank;
        let name = format!("base_model.model.{module}");
        let a_name = format!("{name}.lora_A.weight");
        let bound = 1.0 / (inputs as f64).sqrt();
        let key = Key::new(seed, &a_name, 0, "initial weights");
        let a = (0..rank * inputs)
            .map(|i| ((key.uniform(i as u64) * 2.0 - 1.0) * bound) as f32)
            .collect();
        Lora {
            a: self.add(&a_name, &[rank, inputs], a),
            b: self.add(
                &format!("{name}.lora_B.weight"),
                &[outputs, rank],
                vec![0.0; outputs * rank],
            ),
            rank,
            scale: settings.scale() as f32,
            dropout: settings.dropout,
        }
    }

    fn block(&mut self, layer: usize) -> Result<Block, TrainError> {
        let c = self.config;
        let name = |n: &str| format!("model.layers.{layer}.{n}.weight");
        let input_norm = self.vector(&name("input_layernorm"), c.hidden_size, 1.0)?;
        let q = self.linear(layer, Projection::Q, c.qkv_bias)?;
        let k = self.linear(layer, Projection::K, c.qkv_bias)?;
        let v = self.linear(layer, Projection::V, c.qkv_bias)?;
        let o = self.linear(layer, Projection::O, c.o_bias)?;
        let (q_norm, k_norm) = match c.architecture {
            Architecture::Qwen3 => (
                Some(self.vector(&name("self_attn.q_norm"), c.head_dim, 1.0)?),
                Some(self.vector(&name("self_attn.k_norm"), c.head_dim, 1.0)?),
            ),
            _ => (None, None),
        };
        let post_norm = self.vector(&name("post_attention_layernorm"), c.hidden_size, 1.0)?;
        Ok(Block {
            input_norm,
            q,
            k,
            v,
            o,
            q_norm,
            k_norm,
            post_norm,
            gate: self.linear(layer, Projection::Gate, c.mlp_bias)?,
            up: self.linear(layer, Projection::Up, c.mlp_bias)?,
            down: self.linear(layer, Projection::Down, c.mlp_bias)?,
            shape: Shape {
                heads: c.heads,
                kv_heads: c.kv_heads,
                head_dim: c.head_dim,
                window: c.windows.get(layer).copied().flatten(),
            },
            eps: c.norm_eps,
        })
    }
}

/// Normal numbers by Box and Muller's transform, two to a draw.
fn normal(seed: u64, name: &str, n: usize, deviation: f64) -> Vec<f32> {
    let key = Key::new(seed, name, 0, "initial weights");
    let mut out = Vec::with_capacity(n + 1);
    for pair in 0..n.div_ceil(2) {
        let mut draws = key.rng_at(pair as u64);
        // 1 - u is in (0, 1], so its logarithm is finite.
        let radius = (-2.0 * libm::log(1.0 - draws.uniform())).sqrt() * deviation;
        let angle = 2.0 * std::f64::consts::PI * draws.uniform();
        out.push((radius * libm::cos(angle)) as f32);
        out.push((radius * libm::sin(angle)) as f32);
    }
    out.truncate(n);
    out
}
