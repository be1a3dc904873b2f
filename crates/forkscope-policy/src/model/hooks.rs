//! Looking at a forward pass and changing it on the way.
//!
//! Layer l of the residual stream is what l blocks have left in it: layer 0 is
//! the embedding, the last layer is what the final norm reads. Head h of block
//! l (counted from 1, so that block l writes layer l) is a slice of the
//! concatenated head outputs before the output projection. At a layer, steering
//! comes first, then patches, then capture: what is captured is what goes on.

use super::forward::Row;
use crate::steering::SteeredRows;

/// A vector that every pass of a policy adds to the residual stream.
#[derive(Debug)]
pub(crate) struct Steer {
    pub(crate) layer: usize,
    /// Scaled.
    pub(crate) vector: Vec<f32>,
    pub(crate) rows: SteeredRows,
}

/// Replaces a row of the residual stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResidualPatch<'h> {
    pub(crate) layer: usize,
    /// Row of the batch.
    pub(crate) row: usize,
    pub(crate) values: &'h [f32],
}

/// Replaces the output of a head in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadPatch<'h> {
    pub(crate) block: usize,
    /// Row of the batch.
    pub(crate) row: usize,
    pub(crate) head: usize,
    pub(crate) values: &'h [f32],
}

/// What to do in one forward pass; the default does nothing.
#[derive(Debug, Default)]
pub(crate) struct Hooks<'h> {
    /// Rows that predict a completion, where the places of the rows do not say.
    pub(crate) predicting: Option<Vec<bool>>,
    /// In order of layers.
    residual: Vec<ResidualPatch<'h>>,
    /// In order of blocks, then rows.
    heads: Vec<HeadPatch<'h>>,
    pub(crate) capture: Option<Capture<'h>>,
}

/// Where captured values go: one slot per list of rows, averaged if several.
#[derive(Debug)]
pub(crate) struct Capture<'h> {
    /// Rows of the batch, ascending, at least one.
    pub(crate) slots: Vec<Vec<usize>>,
    pub(crate) layers: &'h [usize],
    /// slots x layers x width.
    pub(crate) residual: &'h mut [f32],
    pub(crate) blocks: &'h [usize],
    /// slots x blocks x (heads x head size).
    pub(crate) heads: &'h mut [f32],
}

/// What happens to the head outputs of one block.
#[derive(Debug, Default)]
pub(crate) struct HeadWork<'a, 'h> {
    pub(crate) patches: &'a [HeadPatch<'h>],
    /// Rows of the batch that are captured, ascending.
    pub(crate) wanted: Vec<usize>,
}

impl<'h> Hooks<'h> {
    /// Hooks that patch.
    pub(crate) fn patching(
        predicting: Vec<bool>,
        mut residual: Vec<ResidualPatch<'h>>,
        mut heads: Vec<HeadPatch<'h>>,
    ) -> Self {
        residual.sort_by_key(|p| p.layer);
        heads.sort_by_key(|p| (p.block, p.row));
        Self {
            predicting: Some(predicting),
            residual,
            heads,
            capture: None,
        }
    }

    /// Hooks that capture.
    pub(crate) fn capturing(predicting: Vec<bool>, capture: Capture<'h>) -> Self {
        Self {
            predicting: Some(predicting),
            capture: Some(capture),
            ..Self::default()
        }
    }

    /// Patches and captures layer `layer` of the residual stream `x`.
    pub(crate) fn at_layer(&mut self, layer: usize, x: &mut [f32], width: usize) {
        let from = self.residual.partition_point(|p| p.layer < layer);
        for patch in self.residual[from..]
            .iter()
            .take_while(|p| p.layer == layer)
        {
            x[patch.row * width..][..width].copy_from_slice(patch.values);
        }
        let Some(capture) = &mut self.capture else {
            return;
        };
        let stride = capture.layers.len() * width;
        for (at, _) in places_of(capture.layers, layer) {
            for (slot, rows) in capture.slots.iter().enumerate() {
                let out = &mut capture.residual[slot * stride + at * width..][..width];
                mean(rows.iter().map(|r| &x[r * width..][..width]), out);
            }
        }
    }

    /// What to do with the head outputs of block `block`.
    pub(crate) fn heads_of(&self, block: usize) -> HeadWork<'_, 'h> {
        let from = self.heads.partition_point(|p| p.block < block);
        let n = self.heads[from..].partition_point(|p| p.block == block);
        let mut wanted = Vec::new();
        if let Some(capture) = &self.capture
            && capture.blocks.contains(&block)
        {
            wanted.extend(capture.slots.iter().flatten().copied());
            wanted.sort_unstable();
            wanted.dedup();
        }
        HeadWork {
            patches: &self.heads[from..from + n],
            wanted,
        }
    }

    /// Takes the head outputs of the wanted rows of a block into the slots.
    pub(crate) fn take_heads(
        &mut self,
        block: usize,
        wanted: &[usize],
        taps: &[f32],
        width: usize,
    ) {
        let Some(capture) = &mut self.capture else {
            return;
        };
        let stride = capture.blocks.len() * width;
        for (at, _) in places_of(capture.blocks, block) {
            for (slot, rows) in capture.slots.iter().enumerate() {
                let out = &mut capture.heads[slot * stride + at * width..][..width];
                let tapped = rows.iter().filter_map(|r| {
                    let i = wanted.binary_search(r).ok()?;
                    taps.get(i * width..(i + 1) * width)
                });
                mean(tapped, out);
            }
        }
    }
}

impl HeadWork<'_, '_> {
    /// Cuts the buffer of taps (wanted rows x width) at the chunks of rows.
    pub(crate) fn cut<'t>(
        &self,
        mut taps: &'t mut [f32],
        rows: usize,
        chunk: usize,
        width: usize,
    ) -> Vec<&'t mut [f32]> {
        let mut out = Vec::with_capacity(rows.div_ceil(chunk));
        let mut done = 0;
        for first in (0..rows).step_by(chunk) {
            let n = self.wanted[done..].partition_point(|r| *r < first + chunk);
            let (head, rest) = std::mem::take(&mut taps).split_at_mut(n * width);
            out.push(head);
            taps = rest;
            done += n;
        }
        out
    }

    /// Patches and taps the head outputs of rows `first..` of the batch.
    pub(crate) fn at_rows(&self, first: usize, wide: &mut [f32], width: usize, taps: &mut [f32]) {
        let last = first + wide.len() / width;
        let from = self.patches.partition_point(|p| p.row < first);
        for p in self.patches[from..].iter().take_while(|p| p.row < last) {
            let at = (p.row - first) * width + p.head * p.values.len();
            wide[at..at + p.values.len()].copy_from_slice(p.values);
        }
        let from = self.wanted.partition_point(|r| *r < first);
        for (row, tap) in self.wanted[from..].iter().zip(taps.chunks_exact_mut(width)) {
            tap.copy_from_slice(&wide[(row - first) * width..][..width]);
        }
    }
}

/// Adds the steering vectors of layer `layer`.
pub(crate) fn steer(
    steering: &[std::sync::Arc<Steer>],
    layer: usize,
    rows: &[Row],
    predicting: Option<&[bool]>,
    x: &mut [f32],
) {
    for s in steering.iter().filter(|s| s.layer == layer) {
        for (i, x) in x.chunks_exact_mut(s.vector.len()).enumerate() {
            let touched = match (s.rows, predicting) {
                (SteeredRows::All, _) => true,
                (SteeredRows::Completion, Some(list)) => list.get(i).copied().unwrap_or(false),
                (SteeredRows::Completion, None) => predicts_completion(rows, i),
            };
            if touched {
                x.iter_mut().zip(&s.vector).for_each(|(x, v)| *x += v);
            }
        }
    }
}

/// Whether row `i` is a completion's or the last of a prompt, which goes
/// through the model whole.
fn predicts_completion(rows: &[Row], i: usize) -> bool {
    let segment = |i: usize| rows.get(i).map(|r| r.place.segment);
    rows.get(i).is_some_and(|r| r.place.prefix_len > 0) || segment(i) != segment(i + 1)
}

/// Where `wanted` is in a list (once for each time it is asked for).
fn places_of(list: &[usize], wanted: usize) -> impl Iterator<Item = (usize, &usize)> {
    list.iter().enumerate().filter(move |(_, l)| **l == wanted)
}

/// Mean in f64, rows in order; one row keeps its bits.
fn mean<'a>(rows: impl Iterator<Item = &'a [f32]>, out: &mut [f32]) {
    let mut sums: Vec<f64> = Vec::new();
    let mut n = 0usize;
    for row in rows {
        match n {
            0 => out.copy_from_slice(row),
            _ => {
                if n == 1 {
                    sums = out.iter().map(|x| f64::from(*x)).collect();
                }
                sums.iter_mut()
                    .zip(row)
                    .for_each(|(s, x)| *s += f64::from(*x));
            }
        }
        n += 1;
    }
    if n > 1 {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = (sum / n as f64) as f32;
        }
    }
}
