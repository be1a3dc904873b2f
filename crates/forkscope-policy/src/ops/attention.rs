//! Causal and sliding-window grouped-query attention over segments of cached
//! keys and values.
//!
//! out = sum_j softmax_j(scale * q.k_j) v_j over the visible positions j of a
//! query: q.k_j is a chain of fused multiply-adds over the head in order, the
//! weighted sum is one over ascending j, and the normaliser sums 16 lanes by
//! j mod 16. So a query's bits do not depend on how many queries are computed
//! together, nor on how its context is cut into segments.

use super::exp::exp;
use super::{LANES, sum_lanes, vectorised};

/// Keys per block of scores, and head values per block of the weighted sum.
const BLOCK: usize = 32;
/// Queries computed together at most.
const TILE: usize = 8;
/// Rows taken together at most; bounds the buffer of scores.
const RUN: usize = 32;

/// Sizes of the attention of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) window: Option<usize>,
}

impl AttentionShape {
    fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(BLOCK)
    }
}

/// Keys (after rotation) and values of a stretch of one sequence in one layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    capacity: usize,
    /// `kv_heads x head_dim x capacity`: keys of neighbouring positions side by
    /// side, so that one load serves a block of scores.
    keys: Vec<f32>,
    /// `kv_heads x capacity x padded head_dim`.
    values: Vec<f32>,
}

impl Segment {
    /// Makes room for `len` positions, keeping the first `kept`.
    pub(crate) fn reserve(&mut self, shape: AttentionShape, len: usize, kept: usize) {
        let capacity = len.next_multiple_of(BLOCK);
        if capacity <= self.capacity {
            return;
        }
        let (d, padded) = (shape.head_dim, shape.padded_dim());
        let mut keys = vec![0.0; shape.kv_heads * d * capacity];
        let mut values = vec![0.0; shape.kv_heads * capacity * padded];
        if kept > 0 {
            for (new, old) in keys
                .chunks_exact_mut(capacity)
                .zip(self.keys.chunks_exact(self.capacity))
            {
                new[..kept].copy_from_slice(&old[..kept]);
            }
            let (new_head, old_head) = (capacity * padded, self.capacity * padded);
            for (new, old) in values
                .chunks_exact_mut(new_head)
                .zip(self.values.chunks_exact(old_head))
            {
                new[..kept * padded].copy_from_slice(&old[..kept * padded]);
            }
        }
        *self = Self {
            capacity,
            keys,
            values,
        };
    }

    /// Stores key and value (kv_heads x head_dim each) of position `index`.
    pub(crate) fn store(
        &mut self,
        shape: AttentionShape,
        index: usize,
        key: &[f32],
        value: &[f32],
    ) {
        let (d, padded) = (shape.head_dim, shape.padded_dim());
        for h in 0..shape.kv_heads {
            for (i, k) in key[h * d..(h + 1) * d].iter().enumerate() {
                self.keys[(h * d + i) * self.capacity + index] = *k;
            }
            self.values[(h * self.capacity + index) * padded..][..d]
                .copy_from_slice(&value[h * d..(h + 1) * d]);
        }
    }

    fn head_keys(&self, shape: AttentionShape, head: usize) -> &[f32] {
        let size = shape.head_dim * self.capacity;
        &self.keys[head * size..(head + 1) * size]
    }

    fn head_values(&self, shape: AttentionShape, head: usize) -> &[f32] {
        let size = self.capacity * shape.padded_dim();
        &self.values[head * size..(head + 1) * size]
    }
}

/// Where a row stands: it sees the whole `prefix` segment's first `prefix_len`
/// positions, then its own segment up to and including `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) prefix: usize,
    pub(crate) prefix_len: usize,
    pub(crate) segment: usize,
    pub(crate) index: usize,
}

impl Place {
    /// Position in the sequence.
    pub(crate) fn position(&self) -> usize {
        self.prefix_len + self.index
    }

    fn first_visible(&self, window: Option<usize>) -> usize {
        window.map_or(0, |w| (self.position() + 1).saturating_sub(w))
    }

    fn shares_prefix(&self, other: &Self) -> bool {
        self.prefix_len == other.prefix_len && (self.prefix_len == 0 || self.prefix == other.prefix)
    }
}

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
mod tests {
    use super::*;

    fn values(n: usize, step: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * step + 5) % 997) as f32 / 499.0 - 1.0)
            .collect()
    }

    struct Case {
        shape: AttentionShape,
        len: usize,
        q: Vec<f32>,
        k: Vec<f32>,
        v: Vec<f32>,
    }

    impl Case {
        fn new(
            heads: usize,
            kv_heads: usize,
            head_dim: usize,
            window: Option<usize>,
            len: usize,
        ) -> Self {
            let shape = AttentionShape {
                heads,
                kv_heads,
                head_dim,
                window,
            };
            let kv = kv_heads * head_dim * len;
            Self {
                shape,
                len,
                q: values(heads * head_dim * len, 7919),
                k: values(kv, 6101),
                v: values(kv, 3571),
            }
        }

        fn segment(&self, range: std::ops::Range<usize>) -> Segment {
            let width = self.shape.kv_heads * self.shape.head_dim;
            let mut segment = Segment::default();
            for (index, pos) in range.enumerate() {
                segment.reserve(self.shape, index + 1, index);
                segment.store(
                    self.shape,
                    index,
                    &self.k[pos * width..(pos + 1) * width],
                    &self.v[pos * width..(pos + 1) * width],
                );
            }
            segment
        }

        fn reference(&self) -> Vec<f64> {
            let AttentionShape {
                heads,
                kv_heads,
                head_dim: d,
                window,
            } = self.shape;
            let mut out = vec![0.0; heads * d * self.len];
            for pos in 0..self.len {
                for h in 0..heads {
                    let kv = h / (heads / kv_heads);
                    let low = window.map_or(0, |w| (pos + 1).saturating_sub(w));
                    let at = |x: &[f32], row: usize, n: usize, head: usize, i: usize| {
                        f64::from(x[(row * n + head) * d + i])
                    };
                    let scores: Vec<f64> = (low..=pos)
                        .map(|j| {
                            (0..d)
                                .map(|i| {
                                    at(&self.q, pos, heads, h, i) * at(&self.k, j, kv_heads, kv, i)
                                })
                                .sum::<f64>()
                                / (d as f64).sqrt()
                        })
                        .collect();
                    let max = scores.iter().copied().fold(f64::MIN, f64::max);
                    let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
                    for i in 0..d {
                        out[(pos * heads + h) * d + i] = scores
                            .iter()
                            .enumerate()
                            .map(|(j, s)| {
                                (s - max).exp() / total * at(&self.v, low + j, kv_heads, kv, i)
                            })
                            .sum();
                    }
                }
            }
            out
        }
    }

    fn whole(case: &Case) -> Vec<f32> {
        let places: Vec<Place> = (0..case.len)
            .map(|index| Place {
                prefix: 0,
                prefix_len: 0,
                segment: 0,
                index,
            })
            .collect();
        let mut out = vec![0.0; case.q.len()];
        attend(
            case.shape,
            &case.q,
            &places,
            &[case.segment(0..case.len)],
            &mut out,
            &mut AttentionScratch::default(),
        );
        out
    }

    #[test]
    fn matches_f64() {
        for case in [
            Case::new(4, 2, 32, None, 70),
            Case::new(2, 2, 16, None, 5),
            Case::new(6, 1, 10, Some(7), 90),
            Case::new(4, 4, 64, Some(33), 100),
        ] {
            for (x, y) in whole(&case).iter().zip(case.reference()) {
                assert!((f64::from(*x) - y).abs() < 2e-6, "{x} {y}");
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_segments_or_grouping() {
        for case in [
            Case::new(4, 2, 32, None, 75),
            Case::new(6, 2, 16, Some(20), 75),
            Case::new(3, 1, 8, Some(50), 75),
        ] {
            let all = whole(&case);
            let width = case.shape.heads * case.shape.head_dim;
            for cut in [1, 16, 31, 32, 50] {
                let segments = [case.segment(0..cut), case.segment(cut..case.len)];
                let mut scratch = AttentionScratch::default();
                // Rows one at a time, and in groups that mix their order.
                for step in [1, 3, 75] {
                    let mut pos = cut;
                    while pos < case.len {
                        let n = step.min(case.len - pos);
                        let places: Vec<Place> = (pos..pos + n)
                            .map(|p| Place {
                                prefix: 0,
                                prefix_len: cut,
                                segment: 1,
                                index: p - cut,
                            })
                            .collect();
                        let mut out = vec![0.0; n * width];
                        attend(
                            case.shape,
                            &case.q[pos * width..(pos + n) * width],
                            &places,
                            &segments,
                            &mut out,
                            &mut scratch,
                        );
                        assert!(
                            out == all[pos * width..(pos + n) * width],
                            "cut {cut}, step {step}, position {pos}"
                        );
                        pos += n;
                    }
                }
            }
        }
    }
}
