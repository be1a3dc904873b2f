//! The forward pass over rows of any mixture of sequences.
//!
//! A row is one token at one place. All rows of a call go through a block
//! together: first norm, q, k, v and rotation; then keys and values are stored
//! in their segments; then attention, output projection and MLP. Both halves
//! run over chunks of rows in parallel; no row's arithmetic depends on the
//! chunk it is in.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::decoder::{Block, Model};
use super::hooks::{HeadWork, Hooks, Steer, steer};
use super::linear::LinearScratch;
use super::lora::{Adapter, LowRank, Projection};
use super::rope::RopeTable;
use crate::PolicyError;
use crate::ops::attention::{AttentionScratch, Place, Segment, attend};
use crate::ops::norm::{rms_norm, rms_norm_in_place};
use crate::ops::swiglu::silu_times;

/// Rows per chunk at most: enough to pay for packing a weight matrix, few
/// enough to stay in the cache.
const CHUNK: usize = 256;

/// One token at one place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) token: u32,
    pub(crate) place: Place,
}

/// Cached keys and values: `layers` lists of segments. With one list, every
/// layer uses it in turn and nothing is kept, which is all that scoring needs.
#[derive(Debug)]
pub(crate) struct Cache {
    layers: Vec<Vec<Segment>>,
}

impl Cache {
    pub(crate) fn transient(segments: usize) -> Self {
        Self {
            layers: vec![vec![Segment::default(); segments]],
        }
    }

    pub(crate) fn kept(layers: usize) -> Self {
        Self {
            layers: vec![Vec::new(); layers],
        }
    }

    /// Makes sure that segments `0..n` exist.
    pub(crate) fn grow(&mut self, n: usize) {
        for layer in &mut self.layers {
            if layer.len() < n {
                layer.resize_with(n, Segment::default);
            }
        }
    }

    /// Gives segment `to` what segment `from` holds. Both must exist.
    pub(crate) fn copy(&mut self, from: usize, to: usize) {
        for layer in &mut self.layers {
            if let Some(held) = layer.get(from).cloned()
                && let Some(segment) = layer.get_mut(to)
            {
                *segment = held;
            }
        }
    }

    /// Frees a segment's memory.
    pub(crate) fn clear(&mut self, segment: usize) {
        for layer in &mut self.layers {
            if let Some(s) = layer.get_mut(segment) {
                *s = Segment::default();
            }
        }
    }
}

/// Buffers of a chunk, kept between calls.
#[derive(Debug, Default)]
struct Scratch {
    linear: LinearScratch,
    attention: AttentionScratch,
    normed: Vec<f32>,
    wide: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// Runs a model (with or without adapter) over rows; holds the buffers.
#[derive(Debug)]
pub(crate) struct Runner<'a> {
    model: &'a Model,
    adapter: Option<&'a Adapter>,
    steering: &'a [Arc<Steer>],
    scratch: Mutex<Vec<Scratch>>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl<'a> Runner<'a> {
    /// Of a policy: see [`crate::Policy::runner`].
    pub(crate) fn new(
        model: &'a Model,
        adapter: Option<&'a Adapter>,
        steering: &'a [Arc<Steer>],
    ) -> Self {
        Self {
            model,
            adapter,
            steering,
            scratch: Mutex::default(),
            q: Vec::new(),
            k: Vec::new(),
            v: Vec::new(),
        }
    }

    /// Final hidden states (rows x hidden, after the last norm). `rows` must be
    /// ordered so that a row's context is cached or comes before it; rows of
    /// one segment are adjacent and ascending. `sequence_len` is the length of
    /// the longest sequence.
    pub(crate) fn forward(
        &mut self,
        rows: &[Row],
        cache: &mut Cache,
        sequence_len: usize,
    ) -> Result<Vec<f32>, PolicyError> {
        self.forward_with(rows, cache, sequence_len, &mut Hooks::default())
    }

    /// [`Runner::forward`] that captures or patches on the way.
    pub(crate) fn forward_with(
        &mut self,
        rows: &[Row],
        cache: &mut Cache,
        sequence_len: usize,
        hooks: &mut Hooks<'_>,
    ) -> Result<Vec<f32>, PolicyError> {
        let d = self.model.config.hidden_size;
        let rope = self.model.rope_table(sequence_len);
        let chunk = rows
            .len()
            .div_ceil(rayon::current_num_threads())
            .clamp(8, CHUNK);
        let mut x = self.embed(rows)?;
        let places: Vec<Place> = rows.iter().map(|r| r.place).collect();
        let layers = cache.layers.len();
        self.at_layer(0, rows, &mut x, hooks);
        for (l, block) in self.model.blocks.iter().enumerate() {
            let segments = cache
                .layers
                .get_mut(l % layers)
                .ok_or_else(|| PolicyError::Internal("no cache".into()))?;
            let changes = Changes {
                adapter: self.adapter,
                layer: l,
            };
            self.project(block, changes, &x, &places, &rope, chunk);
            self.store(block, &places, segments);
            let heads = hooks.heads_of(l + 1);
            let taps = self.mix(block, changes, &mut x, &places, segments, chunk, &heads);
            let wanted = heads.wanted;
            hooks.take_heads(l + 1, &wanted, &taps, self.head_width());
            self.at_layer(l + 1, rows, &mut x, hooks);
        }
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(chunk * d)
            .zip(x.par_chunks(chunk * d))
            .for_each(|(out, x)| {
                rms_norm(x, &self.model.final_norm, self.model.config.norm_eps, out);
                self.model.settle(out);
            });
        Ok(out)
    }

    /// Width of the concatenated head outputs.
    fn head_width(&self) -> usize {
        self.model.config.heads * self.model.config.head_dim
    }

    /// Steers, patches and captures the residual stream.
    fn at_layer(&self, layer: usize, rows: &[Row], x: &mut [f32], hooks: &mut Hooks<'_>) {
        steer(self.steering, layer, rows, hooks.predicting.as_deref(), x);
        hooks.at_layer(layer, x, self.model.config.hidden_size);
    }

    fn embed(&self, rows: &[Row]) -> Result<Vec<f32>, PolicyError> {
        let d = self.model.config.hidden_size;
        let mut x = Vec::with_capacity(rows.len() * d);
        for row in rows {
            let id = row.token as usize;
            if id >= self.model.config.vocab_size {
                return Err(PolicyError::Ids(format!(
                    "token id {id} is outside the model's vocabulary of {}",
                    self.model.config.vocab_size
                )));
            }
            x.extend_from_slice(&self.model.embedding.f32(id * d..(id + 1) * d));
        }
        self.model.settle(&mut x);
        Ok(x)
    }

    /// First half: q, k, v of all rows, normed and rotated.
    fn project(
        &mut self,
        block: &Block,
        changes: Changes<'_>,
        x: &[f32],
        places: &[Place],
        rope: &RopeTable,
        chunk: usize,
    ) {
        let c = &self.model.config;
        let (d, q_width, kv_width) = (c.hidden_size, c.heads * c.head_dim, c.kv_heads * c.head_dim);
        self.q.resize(places.len() * q_width, 0.0);
        self.k.resize(places.len() * kv_width, 0.0);
        self.v.resize(places.len() * kv_width, 0.0);
        let (pool, model) = (&self.scratch, self.model);
        x.par_chunks(chunk * d)
            .zip(places.par_chunks(chunk))
            .zip(self.q.par_chunks_mut(chunk * q_width))
            .zip(self.k.par_chunks_mut(chunk * kv_width))
            .zip(self.v.par_chunks_mut(chunk * kv_width))
            .for_each(|((((x, places), q), k), v)| {
                with_scratch(pool, |s| {
                    s.normed.resize(x.len(), 0.0);
                    rms_norm(x, &block.input_norm, c.norm_eps, &mut s.normed);
                    model.settle(&mut s.normed);
                    block.q.apply(
                        &s.normed,
                        changes.get(Projection::Q),
                        false,
                        q,
                        &mut s.linear,
                    );
                    block.k.apply(
                        &s.normed,
                        changes.get(Projection::K),
                        false,
                        k,
                        &mut s.linear,
                    );
                    block.v.apply(
                        &s.normed,
                        changes.get(Projection::V),
                        false,
                        v,
                        &mut s.linear,
                    );
                });
                model.settle(v);
                for (weight, heads) in [(&block.q_norm, &mut *q), (&block.k_norm, &mut *k)] {
                    model.settle(heads);
                    if let Some(weight) = weight {
                        rms_norm_in_place(heads, weight, c.norm_eps);
                        model.settle(heads);
                    }
                }
                for ((place, q), k) in places
                    .iter()
                    .zip(q.chunks_exact_mut(q_width))
                    .zip(k.chunks_exact_mut(kv_width))
                {
                    rope.rotate(q, place.position());
                    rope.rotate(k, place.position());
                }
                model.settle(q);
                model.settle(k);
            });
    }

    /// Keys and values into their segments, segments in parallel.
    fn store(&self, block: &Block, places: &[Place], segments: &mut [Segment]) {
        let width = block.attention.kv_heads * block.attention.head_dim;
        let mut stretches: Vec<Option<std::ops::Range<usize>>> = vec![None; segments.len()];
        let mut from = 0;
        while from < places.len() {
            let segment = places[from].segment;
            let n = places[from..]
                .iter()
                .take_while(|p| p.segment == segment)
                .count();
            stretches[segment] = Some(from..from + n);
            from += n;
        }
        segments
            .par_iter_mut()
            .zip(stretches)
            .with_min_len(8)
            .for_each(|(segment, stretch)| {
                let Some(stretch) = stretch else { return };
                let (first, last) = (places[stretch.start].index, places[stretch.end - 1].index);
                segment.reserve(
                    block.attention,
                    if first == 0 {
                        last + 1
                    } else {
                        (last + 1).next_power_of_two()
                    },
                    first,
                );
                for row in stretch {
                    let at = row * width..(row + 1) * width;
                    segment.store(
                        block.attention,
                        places[row].index,
                        &self.k[at.clone()],
                        &self.v[at],
                    );
                }
            });
    }

    /// Second half: attention, output projection and MLP, added to `x`. Returns
    /// the head outputs of the rows that are wanted.
    #[allow(
        clippy::too_many_arguments,
        reason = "one call site; each is a part of the pass"
    )]
    fn mix(
        &self,
        block: &Block,
        changes: Changes<'_>,
        x: &mut [f32],
        places: &[Place],
        segments: &[Segment],
        chunk: usize,
        heads: &HeadWork<'_, '_>,
    ) -> Vec<f32> {
        let c = &self.model.config;
        let (d, q_width) = (c.hidden_size, self.head_width());
        let mut taps = vec![0.0; heads.wanted.len() * q_width];
        let cut = heads.cut(&mut taps, places.len(), chunk, q_width);
        x.par_chunks_mut(chunk * d)
            .zip(places.par_chunks(chunk))
            .zip(self.q.par_chunks(chunk * q_width))
            .zip(cut)
            .enumerate()
            .for_each(|(i, (((x, places), q), taps))| {
                with_scratch(&self.scratch, |s| {
                    s.wide.resize(q.len(), 0.0);
                    attend(
                        block.attention,
                        q,
                        places,
                        segments,
                        &mut s.wide,
                        &mut s.attention,
                    );
                    self.model.settle(&mut s.wide);
                    heads.at_rows(i * chunk, &mut s.wide, q_width, taps);
                    block
                        .o
                        .apply(&s.wide, changes.get(Projection::O), true, x, &mut s.linear);
                    self.model.settle(x);
                    s.normed.resize(x.len(), 0.0);
                    rms_norm(x, &block.post_norm, c.norm_eps, &mut s.normed);
                    self.model.settle(&mut s.normed);
                    s.gate.resize(places.len() * c.intermediate_size, 0.0);
                    s.up.resize(places.len() * c.intermediate_size, 0.0);
                    block.gate.apply(
                        &s.normed,
                        changes.get(Projection::Gate),
                        false,
                        &mut s.gate,
                        &mut s.linear,
                    );
                    block.up.apply(
                        &s.normed,
                        changes.get(Projection::Up),
                        false,
                        &mut s.up,
                        &mut s.linear,
                    );
                    self.model.settle(&mut s.gate);
                    self.model.settle(&mut s.up);
                    silu_times(&mut s.gate, &s.up);
                    self.model.settle(&mut s.gate);
                    block.down.apply(
                        &s.gate,
                        changes.get(Projection::Down),
                        true,
                        x,
                        &mut s.linear,
                    );
                    self.model.settle(x);
                });
            });
        taps
    }

    /// Logits of hidden rows (rows x vocabulary), one thread.
    pub(crate) fn logits(&self, hidden: &[f32], out: &mut [f32]) {
        with_scratch(&self.scratch, |s| {
            self.model
                .head
                .apply(hidden, None, false, out, &mut s.linear)
        });
        self.model.settle(out);
    }
}

/// The adapter's changes to one layer.
#[derive(Debug, Clone, Copy)]
struct Changes<'a> {
    adapter: Option<&'a Adapter>,
    layer: usize,
}

impl<'a> Changes<'a> {
    fn get(&self, projection: Projection) -> Option<&'a LowRank> {
        self.adapter.and_then(|a| a.change(self.layer, projection))
    }
}

fn with_scratch<R>(pool: &Mutex<Vec<Scratch>>, f: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = pool
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pop()
        .unwrap_or_default();
    let result = f(&mut scratch);
    pool.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(scratch);
    result
}
