//! Causal and sliding-window grouped-query attention over segments of cached
//! keys and values.
//!
//! out = sum_j softmax_j(scale * q.k_j) v_j over the visible positions j of a
//! query: q.k_j is a chain of fused multiply-adds over the head in order, the
//! weighted sum is one over ascending j, and the normaliser sums 16 lanes by
//! j mod 16. So a query's bits do not depend on how many queries are computed
//! together, nor on how its context is cut into segments.

mod segment;

pub(crate) use segment::{AttentionShape, Place, Segment};

use crate::ops::exp::exp;
use crate::ops::{LANES, sum_lanes, vectorised};

/// Keys per block of scores, and head values per block of the weighted sum.
const BLOCK: usize = 32;
/// Queries computed together at most.
const TILE: usize = 8;
/// Rows taken together at most; bounds the buffer of scores.
const RUN: usize = 32;

/// Buffers kept between calls.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    scores: Vec<f32>,
    sums: Vec<f32>,
    normalisers: Vec<f32>,
}

vectorised! {
    /// Attention of `places.len()` rows: `q` and `out` are rows x heads x head
    /// size. Keys and values of all visible positions must be stored.
    pub(crate) fn attend(
        shape: AttentionShape,
        q: &[f32],
        places: &[Place],
        segments: &[Segment],
        out: &mut [f32],
        scratch: &mut AttentionScratch,
    ) {
        let width = shape.heads * shape.head_dim;
        let mut from = 0;
        while from < places.len() {
            let run = places[from..].iter().take(RUN).take_while(|p| p.shares_prefix(&places[from])).count();
            let rows = from * width..(from + run) * width;
            for head in 0..shape.kv_heads {
                Run { shape, head, q: &q[rows.clone()], places: &places[from..from + run], segments }
                    .attend(&mut out[rows.clone()], scratch);
            }
            from += run;
        }
    }
}

/// Rows with one prefix and one key/value head.
struct Run<'a> {
    shape: AttentionShape,
    head: usize,
    q: &'a [f32],
    places: &'a [Place],
    segments: &'a [Segment],
}

/// Neighbouring rows of one segment, and how many of its positions the last
/// of them sees.
struct Stretch {
    rows: std::ops::Range<usize>,
    segment: usize,
    longest: usize,
}

impl Run<'_> {
    #[inline(always)]
    fn group(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// Query vector `i` of the run: row i / group, head i % group of the group.
    #[inline(always)]
    fn query(&self, i: usize) -> &[f32] {
        let (d, g) = (self.shape.head_dim, self.group());
        let at = (i / g * self.shape.heads + self.head * g + i % g) * d;
        &self.q[at..at + d]
    }

    #[inline(always)]
    fn attend(&self, out: &mut [f32], scratch: &mut AttentionScratch) {
        let (d, g, padded) = (self.shape.head_dim, self.group(), self.shape.padded_dim());
        let queries = self.places.len() * g;
        let prefix_len = self.places[0].prefix_len;
        let longest = self.places.iter().map(|p| p.index + 1).max().unwrap_or(0);
        let stride = prefix_len
            .next_multiple_of(BLOCK)
            .max(prefix_len + longest.next_multiple_of(BLOCK))
            .next_multiple_of(LANES);
        let first = self
            .places
            .iter()
            .map(|p| p.first_visible(self.shape.window))
            .min()
            .unwrap_or(0);
        // Resized without clearing: every score that is read is written first.
        if scratch.scores.len() < queries * stride {
            scratch.scores.resize(queries * stride, 0.0);
        }
        scratch.normalisers.clear();
        scratch.sums.clear();
        scratch.sums.resize(queries * padded, 0.0);
        let scores = &mut scratch.scores[..queries * stride];

        if first < prefix_len {
            let keys = &self.segments[self.places[0].prefix];
            self.score(0..queries, keys, first..prefix_len, 0, scores, stride);
        }
        // Loops, not closures: a closure would not be compiled for the wider
        // instruction sets.
        let own = first.saturating_sub(prefix_len);
        for Stretch {
            rows,
            segment,
            longest,
        } in self.stretches()
        {
            let (queries, keys) = (rows.start * g..rows.end * g, own.min(longest)..longest);
            self.score(
                queries,
                &self.segments[segment],
                keys,
                prefix_len,
                scores,
                stride,
            );
        }
        for (i, row) in scores.chunks_exact_mut(stride).enumerate() {
            let place = &self.places[i / g];
            let (low, high) = (place.first_visible(self.shape.window), place.position());
            scratch.normalisers.push(softmax(row, first, low, high));
        }
        let sums = &mut scratch.sums[..];
        if first < prefix_len {
            let values = &self.segments[self.places[0].prefix];
            self.weigh(
                0..queries,
                values,
                first..prefix_len,
                0,
                (scores, stride),
                sums,
            );
        }
        for Stretch {
            rows,
            segment,
            longest,
        } in self.stretches()
        {
            let (queries, keys) = (rows.start * g..rows.end * g, own.min(longest)..longest);
            self.weigh(
                queries,
                &self.segments[segment],
                keys,
                prefix_len,
                (scores, stride),
                sums,
            );
        }
        for (i, (sum, normaliser)) in sums
            .chunks_exact(padded)
            .zip(&scratch.normalisers)
            .enumerate()
        {
            let at = (i / g * self.shape.heads + self.head * g + i % g) * d;
            for (o, s) in out[at..at + d].iter_mut().zip(sum) {
                *o = s / normaliser;
            }
        }
    }

    /// The rows of each segment, in order.
    fn stretches(&self) -> Vec<Stretch> {
        let mut out: Vec<Stretch> = Vec::new();
        for (row, place) in self.places.iter().enumerate() {
            match out.last_mut() {
                Some(s) if s.segment == place.segment => {
                    s.rows.end = row + 1;
                    s.longest = s.longest.max(place.index + 1);
                }
                _ => out.push(Stretch {
                    rows: row..row + 1,
                    segment: place.segment,
                    longest: place.index + 1,
                }),
            }
        }
        out
    }

    /// Scores of `queries` against the segment's positions `keys`, written at
    /// `offset` + position.
    #[inline(always)]
    fn score(
        &self,
        queries: std::ops::Range<usize>,
        segment: &Segment,
        keys: std::ops::Range<usize>,
        offset: usize,
        scores: &mut [f32],
        stride: usize,
    ) {
        let keys = Keys {
            rows: segment.head_keys(self.shape, self.head),
            capacity: segment.capacity,
            range: keys,
            scale: 1.0 / (self.shape.head_dim as f32).sqrt(),
        };
        let mut i = queries.start;
        while i < queries.end {
            let target = &mut scores[i * stride + offset..];
            i += match queries.end - i {
                TILE.. => score_tile::<TILE>(self, i, &keys, target, stride),
                4.. => score_tile::<4>(self, i, &keys, target, stride),
                2.. => score_tile::<2>(self, i, &keys, target, stride),
                _ => score_tile::<1>(self, i, &keys, target, stride),
            };
        }
    }

    /// Adds weight * value over the segment's positions to the sums.
    #[inline(always)]
    fn weigh(
        &self,
        queries: std::ops::Range<usize>,
        segment: &Segment,
        keys: std::ops::Range<usize>,
        offset: usize,
        weights: (&[f32], usize),
        sums: &mut [f32],
    ) {
        let padded = self.shape.padded_dim();
        let head = segment.head_values(self.shape, self.head);
        let (weights, stride) = weights;
        let mut i = queries.start;
        while i < queries.end {
            let left = queries.end - i;
            let source = &weights[i * stride + offset..];
            let target = &mut sums[i * padded..];
            i += match left {
                TILE.. => weigh_tile::<TILE>(source, stride, head, padded, keys.clone(), target),
                4.. => weigh_tile::<4>(source, stride, head, padded, keys.clone(), target),
                2.. => weigh_tile::<2>(source, stride, head, padded, keys.clone(), target),
                _ => weigh_tile::<1>(source, stride, head, padded, keys.clone(), target),
            };
        }
    }
}

/// Keys of one head of a segment, and which of its positions are asked for.
struct Keys<'a> {
    /// head size x capacity.
    rows: &'a [f32],
    capacity: usize,
    range: std::ops::Range<usize>,
    scale: f32,
}

#[inline(always)]
fn score_tile<const T: usize>(
    run: &Run<'_>,
    first: usize,
    keys: &Keys<'_>,
    out: &mut [f32],
    stride: usize,
) -> usize {
    let mut q: [&[f32]; T] = [&[]; T];
    for (t, q) in q.iter_mut().enumerate() {
        *q = run.query(first + t);
    }
    let mut j = keys.range.start / BLOCK * BLOCK;
    while j < keys.range.end {
        let mut sums = [[0.0f32; BLOCK]; T];
        for (i, row) in keys.rows.chunks_exact(keys.capacity).enumerate() {
            let block = &row[j..j + BLOCK];
            for t in 0..T {
                let x = q[t][i];
                for (s, k) in sums[t].iter_mut().zip(block) {
                    *s = x.mul_add(*k, *s);
                }
            }
        }
        for (t, sum) in sums.iter().enumerate() {
            for (o, s) in out[t * stride + j..][..BLOCK].iter_mut().zip(sum) {
                *o = s * keys.scale;
            }
        }
        j += BLOCK;
    }
    T
}

#[inline(always)]
fn weigh_tile<const T: usize>(
    weights: &[f32],
    stride: usize,
    values: &[f32],
    padded: usize,
    range: std::ops::Range<usize>,
    sums: &mut [f32],
) -> usize {
    for block in (0..padded).step_by(BLOCK) {
        let mut acc = [[0.0f32; BLOCK]; T];
        for (t, a) in acc.iter_mut().enumerate() {
            a.copy_from_slice(&sums[t * padded + block..][..BLOCK]);
        }
        for j in range.clone() {
            let value = &values[j * padded + block..][..BLOCK];
            for (t, a) in acc.iter_mut().enumerate() {
                let w = weights[t * stride + j];
                for (a, v) in a.iter_mut().zip(value) {
                    *a = w.mul_add(*v, *a);
                }
            }
        }
        for (t, a) in acc.iter().enumerate() {
            sums[t * padded + block..][..BLOCK].copy_from_slice(a);
        }
    }
    T
}

/// Turns the scores at `low..=high` into e^(score - max) and returns their sum;
/// all other weights from `first` on become 0.
#[inline(always)]
fn softmax(row: &mut [f32], first: usize, low: usize, high: usize) -> f32 {
    let (from, to) = (low / LANES * LANES, (high + 1).next_multiple_of(LANES));
    row[from..low].fill(f32::NEG_INFINITY);
    row[high + 1..to].fill(f32::NEG_INFINITY);
    let mut max = [f32::NEG_INFINITY; LANES];
    for block in row[from..to].chunks_exact(LANES) {
        for (m, x) in max.iter_mut().zip(block) {
            *m = if *x > *m { *x } else { *m };
        }
    }
    let max = max
        .iter()
        .fold(f32::NEG_INFINITY, |m, x| if *x > m { *x } else { m });
    let mut sums = [0.0f32; LANES];
    for block in row[from..to].chunks_exact_mut(LANES) {
        for (s, x) in sums.iter_mut().zip(block) {
            *x = exp(*x - max);
            *s += *x;
        }
    }
    if first < from {
        row[first..from].fill(0.0);
    }
    row[to..].fill(0.0);
    sum_lanes(sums)
}

#[cfg(test)]
mod tests;
