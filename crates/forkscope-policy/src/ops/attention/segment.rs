//! Cached keys and values of stretches of sequences, and where a row stands
//! among them.

use super::BLOCK;

/// Sizes of the attention of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) window: Option<usize>,
}

impl AttentionShape {
    pub(super) fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(BLOCK)
    }
}

/// Keys (after rotation) and values of a stretch of one sequence in one layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(super) capacity: usize,
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

    pub(super) fn head_keys(&self, shape: AttentionShape, head: usize) -> &[f32] {
        let size = shape.head_dim * self.capacity;
        &self.keys[head * size..(head + 1) * size]
    }

    pub(super) fn head_values(&self, shape: AttentionShape, head: usize) -> &[f32] {
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

    pub(super) fn first_visible(&self, window: Option<usize>) -> usize {
        window.map_or(0, |w| (self.position() + 1).saturating_sub(w))
    }

    pub(super) fn shares_prefix(&self, other: &Self) -> bool {
        self.prefix_len == other.prefix_len && (self.prefix_len == 0 || self.prefix == other.prefix)
    }
}
