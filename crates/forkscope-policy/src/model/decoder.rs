//! The decoder of Llama, Qwen2, Qwen3 and Mistral: configuration plus weights.
//!
//! Block: x += O attend(rope(Q n1), rope(K n1), V n1), then
//! x += Down(silu(Gate n2) * Up n2), with n1, n2 = RMSNorm(x); Qwen3 norms each
//! head of q and k before the rotation. Names follow the checkpoints.

use std::sync::{Arc, Mutex, PoisonError};

use super::config::{Architecture, ModelConfig};
use super::linear::Linear;
use super::lora::Projection;
use super::rope::RopeTable;
use super::weights::{Tensor, Weights};
use crate::PolicyError;
use crate::files::ModelFiles;
use crate::ops::attention::AttentionShape;

/// One block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) input_norm: Vec<f32>,
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    pub(crate) q_norm: Option<Vec<f32>>,
    pub(crate) k_norm: Option<Vec<f32>>,
    pub(crate) post_norm: Vec<f32>,
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) attention: AttentionShape,
}

/// A model: one copy of the weights, shared by every policy made from it.
#[derive(Debug)]
pub struct Model {
    pub(crate) config: ModelConfig,
    pub(crate) embedding: Tensor,
    pub(crate) blocks: Vec<Block>,
    pub(crate) final_norm: Vec<f32>,
    pub(crate) head: Linear,
    /// Whether what flows between operations is rounded to bf16.
    pub(super) rounds_activations: bool,
    pub(super) weights: Weights,
    pub(super) rope: Mutex<Arc<RopeTable>>,
}

impl Model {
    /// Opens the model of a directory; weights are mapped, not read.
    pub fn open(files: &ModelFiles) -> Result<Self, PolicyError> {
        let config = ModelConfig::open(files)?;
        let weights = Weights::open(files)?;
        let c = &config;
        let embedding =
            weights.tensor("model.embed_tokens.weight", &[c.vocab_size, c.hidden_size])?;
        let head = if c.tied {
            embedding.clone()
        } else {
            weights.tensor("lm_head.weight", &[c.vocab_size, c.hidden_size])?
        };
        let blocks = (0..c.layers)
            .map(|l| Block::open(c, &weights, l))
            .collect::<Result<_, _>>()?;
        let final_norm = weights.vector("model.norm.weight", c.hidden_size)?;
        let rope = Mutex::new(Arc::new(c.rope.table(0)));
        Ok(Self {
            embedding,
            blocks,
            final_norm,
            head: Linear::new(head, None),
            rounds_activations: false,
            weights,
            rope,
            config,
        })
    }

    /// The checked configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Names of the weight files, for digests.
    pub fn weight_files(&self) -> &[String] {
        self.weights.file_names()
    }

    /// Scalar parameters in the weight files.
    pub fn parameters(&self) -> usize {
        self.weights.parameters()
    }

    /// Bytes of the tensors in the weight files.
    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Gives the mapped pages back to the system; they are read again when the
    /// model is next used.
    pub fn release(&self) {
        self.weights.release();
    }

    /// Rotation table for sequences of up to `len` tokens (exactly `len` where
    /// the frequencies depend on it).
    pub(crate) fn rope_table(&self, len: usize) -> Arc<RopeTable> {
        if self.config.rope.depends_on_length(len) {
            return Arc::new(self.config.rope.table(len));
        }
        let mut table = self.rope.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() < len {
            *table = Arc::new(
                self.config.rope.table(
                    len.next_power_of_two()
                        .min(self.config.rope.context_len().max(len)),
                ),
            );
        }
        table.clone()
    }
}

impl Block {
    fn open(c: &ModelConfig, weights: &Weights, layer: usize) -> Result<Self, PolicyError> {
        let prefix = format!("model.layers.{layer}");
        let linear = |p: Projection, bias: bool| {
            let (outputs, inputs) = p.shape(c);
            let name = format!("{prefix}.{}", p.path());
            let bias = if bias {
                Some(weights.vector(&format!("{name}.bias"), outputs)?)
            } else {
                None
            };
            Ok::<_, PolicyError>(Linear::new(
                weights.tensor(&format!("{name}.weight"), &[outputs, inputs])?,
                bias,
            ))
        };
        let norm = |name: &str, len: usize| weights.vector(&format!("{prefix}.{name}.weight"), len);
        let head_norm = |name: &str| match c.architecture {
            Architecture::Qwen3 => norm(&format!("self_attn.{name}"), c.head_dim).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            input_norm: norm("input_layernorm", c.hidden_size)?,
            q: linear(Projection::Q, c.qkv_bias)?,
            k: linear(Projection::K, c.qkv_bias)?,
            v: linear(Projection::V, c.qkv_bias)?,
            o: linear(Projection::O, c.o_bias)?,
            q_norm: head_norm("q_norm")?,
            k_norm: head_norm("k_norm")?,
            post_norm: norm("post_attention_layernorm", c.hidden_size)?,
            gate: linear(Projection::Gate, c.mlp_bias)?,
            up: linear(Projection::Up, c.mlp_bias)?,
            down: linear(Projection::Down, c.mlp_bias)?,
            attention: AttentionShape {
                heads: c.heads,
                kv_heads: c.kv_heads,
                head_dim: c.head_dim,
                window: c.windows.get(layer).copied().flatten(),
            },
        })
    }
}
