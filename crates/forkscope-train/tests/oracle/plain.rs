//! The decoder from stock differentiable operations of candle, in f64: one
//! sequence at a time, no cache, no packing, one head after the other.
//!
//! Only operations whose backward pass candle has are used. Its fused
//! `rms_norm`, `softmax_last_dim` and `rope` cut the gradient without an error
//! and are not. Source of the formulas: transformers' modelling files; nothing
//! of the engine is called.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use forkscope_policy::ModelConfig;
use forkscope_train::engine::{LoraSettings, Parameter};

/// A decoder over named tensors.
pub struct Plain<'a> {
    pub config: &'a ModelConfig,
    /// Base of the rotary frequencies.
    pub theta: f64,
    pub weights: BTreeMap<String, Tensor>,
    /// What gradients are asked of.
    pub variables: Vec<(String, Var)>,
    pub lora: Option<LoraSettings>,
}

fn tensor(p: &Parameter) -> Result<Tensor> {
    let values: Vec<f64> = p.values.iter().map(|x| f64::from(*x)).collect();
    Tensor::from_vec(values, p.shape.as_slice(), &Device::Cpu)
}

impl<'a> Plain<'a> {
    /// All weights are variables.
    pub fn full(config: &'a ModelConfig, theta: f64, weights: &[Parameter]) -> Result<Self> {
        Self::new(config, theta, &[], weights, None)
    }

    /// Weights that stay, and an adapter's variables.
    pub fn new(
        config: &'a ModelConfig,
        theta: f64,
        frozen: &[Parameter],
        trained: &[Parameter],
        lora: Option<LoraSettings>,
    ) -> Result<Self> {
        let mut weights = BTreeMap::new();
        let mut variables = Vec::new();
        for p in frozen {
            weights.insert(p.name.clone(), tensor(p)?);
        }
        for p in trained {
            let variable = Var::from_tensor(&tensor(p)?)?;
            weights.insert(p.name.clone(), variable.as_tensor().clone());
            variables.push((p.name.clone(), variable));
        }
        Ok(Self {
            config,
            theta,
            weights,
            variables,
            lora,
        })
    }

    fn weight(&self, name: &str) -> Result<&Tensor> {
        self.weights
            .get(name)
            .ok_or_else(|| candle_core::Error::Msg(format!("no tensor {name}")))
    }

    /// x W' + b, and the adapter's (x A') B' s.
    fn linear(&self, module: &str, x: &Tensor) -> Result<Tensor> {
        let mut y = x.matmul(&self.weight(&format!("{module}.weight"))?.t()?)?;
        if let Some(bias) = self.weights.get(&format!("{module}.bias")) {
            y = y.broadcast_add(bias)?;
        }
        let name = format!("base_model.model.{module}");
        if let (Some(lora), Some(a)) = (
            &self.lora,
            self.weights.get(&format!("{name}.lora_A.weight")),
        ) {
            let b = self.weight(&format!("{name}.lora_B.weight"))?;
            let r = lora.rank as f64;
            let scale = lora.alpha / if lora.rslora { r.sqrt() } else { r };
            y = (y + (x.matmul(&a.t()?)?.matmul(&b.t()?)? * scale)?)?;
        }
        Ok(y)
    }

    /// x / sqrt(mean x^2 + eps) w over the last dimension.
    fn norm(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let eps = f64::from(self.config.norm_eps);
        let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?;
        x.broadcast_mul(&scale)?.broadcast_mul(self.weight(name)?)
    }

    /// Rotates the halves of each row by its position's angles.
    fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, size) = x.dims2()?;
        let half = size / 2;
        let angle = |i: usize| {
            let (t, j) = (i / half, i % half);
            t as f64 * self.theta.powf(-2.0 * j as f64 / size as f64)
        };
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f64> = (0..rows * half).map(|i| f(angle(i))).collect();
            Tensor::from_vec(values, (rows, half), &Device::Cpu)
        };
        let (cos, sin) = (table(f64::cos)?, table(f64::sin)?);
        let (first, second) = (x.narrow(1, 0, half)?, x.narrow(1, half, half)?);
        let rotated = [
            ((&first * &cos)? - (&second * &sin)?)?,
            ((&second * &cos)? + (&first * &sin)?)?,
        ];
        Tensor::cat(&rotated, 1)
    }

    /// 0 where a row may look, -1e300 elsewhere.
    fn mask(&self, rows: usize, window: Option<usize>) -> Result<Tensor> {
        let seen = |t: usize, s: usize| s <= t && window.is_none_or(|w| t - s < w);
        let values: Vec<f64> = (0..rows * rows)
            .map(|i| {
                if seen(i / rows, i % rows) {
                    0.0
                } else {
                    -1e300
                }
            })
            .collect();
        Tensor::from_vec(values, (rows, rows), &Device::Cpu)
    }

    fn attention(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        let c = self.config;
        let module = format!("model.layers.{layer}.self_attn");
        let [q, k, v] = ["q", "k", "v"].map(|n| self.linear(&format!("{module}.{n}_proj"), x));
        let (q, k, v) = (q?, k?, v?);
        let mask = self.mask(x.dim(0)?, c.windows[layer])?;
        let side = |x: &Tensor, head: usize, norm: &str| -> Result<Tensor> {
            let part = x.narrow(1, head * c.head_dim, c.head_dim)?.contiguous()?;
            let name = format!("{module}.{norm}.weight");
            let part = match self.weights.contains_key(&name) {
                true => self.norm(&name, &part)?,
                false => part,
            };
            self.rotate(&part)
        };
        let mut heads = Vec::new();
        for head in 0..c.heads {
            let shared = head / (c.heads / c.kv_heads);
            let query = side(&q, head, "q_norm")?;
            let key = side(&k, shared, "k_norm")?;
            let value = v.narrow(1, shared * c.head_dim, c.head_dim)?.contiguous()?;
            let scores = (query.matmul(&key.t()?)? / (c.head_dim as f64).sqrt())?;
            heads.push(softmax(&(scores + &mask)?)?.matmul(&value)?);
        }
        self.linear(&format!("{module}.o_proj"), &Tensor::cat(&heads, 1)?)
    }

    fn mlp(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        let module = format!("model.layers.{layer}.mlp");
        let gate = self.linear(&format!("{module}.gate_proj"), x)?;
        let up = self.linear(&format!("{module}.up_proj"), x)?;
        let sigmoid = (gate.neg()?.exp()? + 1.0)?.recip()?;
        self.linear(&format!("{module}.down_proj"), &((gate * sigmoid)? * up)?)
    }

    /// Final hidden states of a sequence, rows x width.
    pub fn hidden(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(ids, &Device::Cpu)?;
        let mut x = self
            .weight("model.embed_tokens.weight")?
            .index_select(&ids, 0)?;
        for layer in 0..self.config.layers {
            let name = |n: &str| format!("model.layers.{layer}.{n}.weight");
            let input = self.norm(&name("input_layernorm"), &x)?;
            x = (&x + self.attention(layer, &input)?)?;
            let input = self.norm(&name("post_attention_layernorm"), &x)?;
            x = (&x + self.mlp(layer, &input)?)?;
        }
        self.norm("model.norm.weight", &x)
    }

    /// Logits of a sequence, rows x vocabulary.
    pub fn logits(&self, ids: &[u32]) -> Result<Tensor> {
        let head = if self.config.tied {
            "model.embed_tokens.weight"
        } else {
            "lm_head.weight"
        };
        self.hidden(ids)?.matmul(&self.weight(head)?.t()?)
    }

    /// d loss / d variable, in the order of the variables.
    pub fn gradients(&self, loss: &Tensor) -> Result<Vec<Vec<f64>>> {
        let grads = loss.backward()?;
        self.variables
            .iter()
            .map(|(name, v)| match grads.get(v.as_tensor()) {
                Some(g) => g.flatten_all()?.to_dtype(DType::F64)?.to_vec1(),
                None => Err(candle_core::Error::Msg(format!("no gradient of {name}"))),
            })
            .collect()
    }
}

/// Softmax of each row; the maximum is a constant.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let e = x
        .broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?
        .exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

/// Log-softmax of each row; the maximum is a constant.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    x.broadcast_sub(&x.exp()?.sum_keepdim(D::Minus1)?.log()?)
}
