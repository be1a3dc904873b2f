//! One operation at a time, forward and backward, for the bench
//! (`examples/op_bench.rs`). Not part of the crate's interface.

use forkscope_metrics::rng::Key;
use forkscope_policy::ops::norm::rms_norm;
use forkscope_policy::{ModelConfig, ModelFiles};

use super::head::{Head, HeadWeight};
use super::ops::attention::{self, Inputs, Outputs, Shape, attention, attention_backward};
use super::ops::norm::rms_norm_backward;
use super::ops::swiglu::{swiglu, swiglu_backward};
use super::pack::{Pack, Site};
use crate::TrainError;

/// Sizes of a bench.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Sequences.
    pub sequences: usize,
    /// Tokens of each.
    pub length: usize,
    /// Hidden size.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Size of a head.
    pub head_dim: usize,
    /// Width of the MLP.
    pub inner: usize,
    /// Vocabulary.
    pub vocab: usize,
    /// Whether the head's weight is trained.
    pub head_trained: bool,
}

/// Operations that can be benched.
pub const OPERATIONS: [&str; 5] = ["rms_norm", "rope", "attention", "swiglu", "head"];

/// Buffers of one operation; every call of [`Case::run`] is one forward and one
/// backward pass on the current thread.
pub struct Case {
    sizes: Sizes,
    name: &'static str,
    pack: Pack,
    sites: Vec<Site>,
    config: ModelConfig,
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    weight: Vec<f32>,
    lse: Vec<f32>,
    out: [Vec<f32>; 4],
    scratch: attention::Scratch,
}

fn drawn(n: usize, name: &str) -> Vec<f32> {
    let mut draws = Key::new(1, name, 0, "bench").rng_at(0);
    (0..n)
        .map(|_| (draws.uniform() * 2.0 - 1.0) as f32)
        .collect()
}

impl Case {
    /// Buffers of that operation; `config` is any model's whose head size is the
    /// one of `sizes`, for its rotary embedding.
    pub fn new(name: &'static str, sizes: Sizes, config: &ModelFiles) -> Result<Self, TrainError> {
        let rows = sizes.sequences * sizes.length;
        let (mut pack, mut sites) = (Pack::default(), Vec::new());
        for _ in 0..sizes.sequences {
            let ids: Vec<u32> = (0..=sizes.length)
                .map(|i| (i * 7919 % sizes.vocab) as u32)
                .collect();
            sites.extend(pack.add(&ids, 1)?);
        }
        let (q, kv) = (
            sizes.heads * sizes.head_dim,
            sizes.kv_heads * sizes.head_dim,
        );
        let [a, b, c] = match name {
            "rms_norm" => [sizes.width, sizes.width, 0],
            "rope" => [q, 0, 0],
            "attention" => [q, kv, kv],
            "swiglu" => [sizes.inner, sizes.inner, sizes.inner],
            _ => [sizes.width, 0, 0],
        }
        .map(|width| rows * width);
        let weight = match name {
            "rms_norm" => sizes.width,
            "head" => sizes.vocab * sizes.width,
            _ => 0,
        };
        Ok(Self {
            a: drawn(a, "a"),
            b: drawn(b, "b"),
            c: drawn(c, "c"),
            weight: drawn(weight, "weight"),
            lse: vec![0.0; rows * sizes.heads],
            out: std::array::from_fn(|_| vec![0.0; a.max(b).max(weight)]),
            config: ModelConfig::open(config)?,
            pack,
            sites,
            sizes,
            name,
            scratch: attention::Scratch::default(),
        })
    }

    /// One forward and one backward pass.
    pub fn run(&mut self) {
        let s = self.sizes;
        let [y, dx, dk, dv] = &mut self.out;
        match self.name {
            "rms_norm" => {
                rms_norm(&self.a, &self.weight, 1e-6, &mut y[..self.a.len()]);
                let (dx, dw) = (&mut dx[..self.a.len()], &mut dk[..self.weight.len()]);
                rms_norm_backward(&self.a, &self.weight, 1e-6, &self.b, dx, dw);
            }
            "rope" => {
                let width = s.heads * s.head_dim;
                let table = self.config.rope.table(s.length);
                table.rotate_rows(&mut self.a, width, &self.pack.positions);
                table.rotate_rows_back(&mut self.a, width, &self.pack.positions);
            }
            "swiglu" => {
                swiglu(&self.a, &self.b, &mut y[..self.a.len()]);
                dx[..self.a.len()].copy_from_slice(&self.c);
                swiglu_backward(
                    &self.a,
                    &self.b,
                    &mut dx[..self.a.len()],
                    &mut dk[..self.a.len()],
                );
            }
            "attention" => {
                let shape = Shape {
                    heads: s.heads,
                    kv_heads: s.kv_heads,
                    head_dim: s.head_dim,
                    window: None,
                };
                let x = Inputs {
                    q: &self.a,
                    k: &self.b,
                    v: &self.c,
                };
                let out = &mut y[..self.a.len()];
                attention(shape, &self.pack, x, out, &mut self.lse, &mut self.scratch);
                let outputs = Outputs {
                    out,
                    lse: &self.lse,
                    d_out: &self.a,
                };
                let (dk, dv) = (&mut dk[..self.b.len()], &mut dv[..self.b.len()]);
                dk.fill(0.0);
                dv.fill(0.0);
                let gradients = (&mut dx[..self.a.len()], dk, dv);
                attention_backward(shape, &self.pack, x, outputs, gradients, &mut self.scratch);
            }
            _ => {
                let d_weight = match s.head_trained {
                    true => Some(&mut dk[..self.weight.len()]),
                    false => None,
                };
                let weight = HeadWeight::Trained(&self.weight);
                let mut head = Head::new(&self.a, s.width, s.vocab, weight, d_weight);
                let n = self.sites.len() as f64;
                head.pull(&self.sites, |i, logits| {
                    crate::objective::rows::cross_entropy_gradient(
                        logits,
                        self.sites[i].token,
                        1.0 / n,
                    );
                });
                head.into_gradient();
            }
        }
    }
}
