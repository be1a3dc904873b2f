//! Causal and sliding-window grouped-query attention over the stretches of a
//! pack, with its gradient.
//!
//! For a query q at position t and its visible positions j <= t (t - j < window
//! where there is one): s_j = q.k_j / sqrt(d), p = softmax(s), o = sum_j p_j v_j.
//! The forward pass keeps ln sum_j e^(s_j) of every query and head; the backward
//! pass forms p again from it. With do the gradient of o and D = do.o:
//!
//! dp_j = do.v_j,  ds_j = p_j (dp_j - D),  dq = sum_j ds_j k_j / sqrt(d),
//! dk_j += ds_j q / sqrt(d),  dv_j += p_j do.
//!
//! Queries go in blocks of 64 against all keys that the block can see, so memory
//! is 64 x length, never length^2 (arXiv 2205.14135 for the recomputation).

use forkscope_policy::ops::exp::exp;
use forkscope_policy::ops::{LANES, sum_lanes};
use forkscope_policy::vectorised;

use super::product::{Matrix, multiply};
use crate::engine::pack::{Pack, Stretch};

/// Queries of a block.
const BLOCK: usize = 64;

/// Sizes of a layer's attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) window: Option<usize>,
}

impl Shape {
    fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Buffers kept between calls.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    keys: Vec<f32>,
    values: Vec<f32>,
    d_keys: Vec<f32>,
    d_values: Vec<f32>,
    scores: Vec<f32>,
    d_scores: Vec<f32>,
}

/// Rotated queries, rotated keys and values of all rows of a pack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
}

/// A block of queries of one stretch and the keys that it may see.
#[derive(Clone, Copy)]
struct Block {
    /// First row in the pack.
    row: usize,
    /// Number of queries.
    n: usize,
    /// Position of the first query among the stretch's visible positions.
    at: usize,
    /// First visible position of the first query.
    low: usize,
    /// One past the last visible position of the last query.
    high: usize,
}

fn blocks(shape: Shape, stretch: &Stretch) -> impl Iterator<Item = Block> + '_ {
    let prefix = stretch.prefix.len();
    stretch.rows.clone().step_by(BLOCK).map(move |row| {
        let n = BLOCK.min(stretch.rows.end - row);
        let at = prefix + row - stretch.rows.start;
        Block {
            row,
            n,
            at,
            low: shape.window.map_or(0, |w| (at + 1).saturating_sub(w)),
            high: at + n,
        }
    })
}

/// Copies one head's rows of the prefix and the stretch side by side.
fn gather(from: &[f32], width: usize, head: usize, d: usize, stretch: &Stretch, to: &mut Vec<f32>) {
    to.clear();
    for row in stretch.prefix.clone().chain(stretch.rows.clone()) {
        to.extend_from_slice(&from[row * width + head * d..][..d]);
    }
}

/// Adds gathered gradients back to their rows.
fn scatter(from: &[f32], width: usize, head: usize, d: usize, stretch: &Stretch, to: &mut [f32]) {
    let rows = stretch.prefix.clone().chain(stretch.rows.clone());
    for (row, part) in rows.zip(from.chunks_exact(d)) {
        for (t, f) in to[row * width + head * d..][..d].iter_mut().zip(part) {
            *t += f;
        }
    }
}

/// out (rows x heads x head size); `lse` (rows x heads) gets ln sum e^s.
pub(crate) fn attention(
    shape: Shape,
    pack: &Pack,
    x: Inputs<'_>,
    out: &mut [f32],
    lse: &mut [f32],
    scratch: &mut Scratch,
) {
    let (d, qw, kvw) = (shape.head_dim, shape.q_width(), shape.kv_width());
    let group = shape.heads / shape.kv_heads;
    for stretch in &pack.stretches {
        for kv in 0..shape.kv_heads {
            gather(x.k, kvw, kv, d, stretch, &mut scratch.keys);
            gather(x.v, kvw, kv, d, stretch, &mut scratch.values);
            for head in kv * group..(kv + 1) * group {
                for b in blocks(shape, stretch) {
                    let n = b.high - b.low;
                    scratch.scores.resize(BLOCK.max(b.n) * n, 0.0);
                    let scores = &mut scratch.scores[..b.n * n];
                    let keys = &scratch.keys[b.low * d..b.high * d];
                    let q = &x.q[b.row * qw..(b.row + b.n) * qw];
                    let q = Matrix::columns(q, qw, head * d, d);
                    multiply(
                        q,
                        Matrix::rows(keys, d).transposed(),
                        scores,
                        n,
                        b.n,
                        n,
                        false,
                    );
                    let lse = &mut lse[b.row * shape.heads..(b.row + b.n) * shape.heads];
                    let first = b.at - b.low;
                    softmax_rows(
                        scores,
                        n,
                        first,
                        shape.window,
                        shape.scale(),
                        lse,
                        (shape.heads, head),
                    );
                    let values = Matrix::rows(&scratch.values[b.low * d..b.high * d], d);
                    let o = &mut out[b.row * qw + head * d..];
                    multiply(Matrix::rows(scores, n), values, o, qw, b.n, d, false);
                }
            }
        }
    }
}

/// What the backward pass starts from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outputs<'a> {
    /// Attention's result.
    pub(crate) out: &'a [f32],
    /// ln sum e^s, rows x heads.
    pub(crate) lse: &'a [f32],
    /// d loss / d result.
    pub(crate) d_out: &'a [f32],
}

/// Gradients with respect to rotated q (overwritten), rotated k and v (added;
/// zero them first).
pub(crate) fn attention_backward(
    shape: Shape,
    pack: &Pack,
    x: Inputs<'_>,
    y: Outputs<'_>,
    (dq, dk, dv): (&mut [f32], &mut [f32], &mut [f32]),
    scratch: &mut Scratch,
) {
    let (d, qw, kvw) = (shape.head_dim, shape.q_width(), shape.kv_width());
    let group = shape.heads / shape.kv_heads;
    let Scratch {
        keys,
        values,
        d_keys,
        d_values,
        scores,
        d_scores,
    } = scratch;
    for stretch in &pack.stretches {
        for kv in 0..shape.kv_heads {
            gather(x.k, kvw, kv, d, stretch, keys);
            gather(x.v, kvw, kv, d, stretch, values);
            d_keys.clear();
            d_keys.resize(keys.len(), 0.0);
            d_values.clear();
            d_values.resize(values.len(), 0.0);
            for head in kv * group..(kv + 1) * group {
                for b in blocks(shape, stretch) {
                    let (n, rows) = (b.high - b.low, b.row * qw..(b.row + b.n) * qw);
                    let of = |values| Matrix::columns(values, qw, head * d, d);
                    let (q, d_out) = (of(&x.q[rows.clone()]), of(&y.d_out[rows.clone()]));
                    let visible = b.low * d..b.high * d;
                    let k = Matrix::rows(&keys[visible.clone()], d);
                    let v = Matrix::rows(&values[visible.clone()], d);
                    scores.resize(BLOCK.max(b.n) * n, 0.0);
                    d_scores.resize(BLOCK.max(b.n) * n, 0.0);
                    let (p, ds) = (&mut scores[..b.n * n], &mut d_scores[..b.n * n]);
                    multiply(q, k.transposed(), p, n, b.n, n, false);
                    multiply(d_out, v.transposed(), ds, n, b.n, n, false);
                    let queries = Queries {
                        out: &y.out[rows.clone()],
                        d_out: &y.d_out[rows.clone()],
                        lse: &y.lse[b.row * shape.heads..(b.row + b.n) * shape.heads],
                        width: qw,
                        d,
                        heads: shape.heads,
                        head,
                    };
                    let first = b.at - b.low;
                    score_gradients(p, ds, n, first, shape.window, shape.scale(), queries);
                    let (p, ds) = (Matrix::rows(p, n), Matrix::rows(ds, n));
                    multiply(
                        p.transposed(),
                        d_out,
                        &mut d_values[visible.clone()],
                        d,
                        n,
                        d,
                        true,
                    );
                    multiply(ds.transposed(), q, &mut d_keys[visible], d, n, d, true);
                    multiply(ds, k, &mut dq[b.row * qw + head * d..], qw, b.n, d, false);
                }
            }
            scatter(d_keys, kvw, kv, d, stretch, dk);
            scatter(d_values, kvw, kv, d, stretch, dv);
        }
    }
}

/// Visible columns of query `i` of a block whose first query stands at column
/// `first`.
#[inline(always)]
fn visible(i: usize, first: usize, window: Option<usize>) -> (usize, usize) {
    let end = first + i + 1;
    let low = match window {
        Some(w) => end.saturating_sub(w),
        None => 0,
    };
    (low, end)
}

vectorised! {
    /// Rows of scores into probabilities, zero where not visible; `place` is
    /// (heads, head) of the column of `lse` that is written.
    fn softmax_rows(
        scores: &mut [f32],
        n: usize,
        first: usize,
        window: Option<usize>,
        scale: f32,
        lse: &mut [f32],
        place: (usize, usize),
    ) {
        for (i, row) in scores.chunks_exact_mut(n).enumerate() {
            let (low, end) = visible(i, first, window);
            row[..low].fill(0.0);
            row[end..].fill(0.0);
            let seen = &mut row[low..end];
            let mut max = f32::NEG_INFINITY;
            for s in seen.iter() {
                max = if *s > max { *s } else { max };
            }
            let mut lanes = [0.0f32; LANES];
            for chunk in seen.chunks_mut(LANES) {
                for (s, lane) in chunk.iter_mut().zip(&mut lanes) {
                    *s = exp((*s - max) * scale);
                    *lane += *s;
                }
            }
            let sum = sum_lanes(lanes);
            let inverse = 1.0 / sum;
            for s in seen.iter_mut() {
                *s *= inverse;
            }
            lse[i * place.0 + place.1] = libm::logf(sum) + max * scale;
        }
    }
}

/// One head's share of a block's rows.
#[derive(Clone, Copy)]
struct Queries<'a> {
    out: &'a [f32],
    d_out: &'a [f32],
    lse: &'a [f32],
    width: usize,
    d: usize,
    heads: usize,
    head: usize,
}

vectorised! {
    /// Turns scores into probabilities and dp into ds / sqrt(d), zero where not
    /// visible.
    fn score_gradients(
        p: &mut [f32],
        ds: &mut [f32],
        n: usize,
        first: usize,
        window: Option<usize>,
        scale: f32,
        x: Queries<'_>,
    ) {
        for (i, (p, ds)) in p.chunks_exact_mut(n).zip(ds.chunks_exact_mut(n)).enumerate() {
            let (low, end) = visible(i, first, window);
            p[..low].fill(0.0);
            p[end..].fill(0.0);
            ds[..low].fill(0.0);
            ds[end..].fill(0.0);
            let at = i * x.width + x.head * x.d;
            let along = dot(&x.out[at..at + x.d], &x.d_out[at..at + x.d]);
            let lse = x.lse[i * x.heads + x.head];
            for (p, ds) in p[low..end].iter_mut().zip(&mut ds[low..end]) {
                *p = exp(*p * scale - lse);
                *ds = *p * (*ds - along) * scale;
            }
        }
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = a.mul_add(*b, *lane);
        }
    }
    sum_lanes(lanes)
}
