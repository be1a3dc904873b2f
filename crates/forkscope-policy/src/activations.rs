//! Activations: the residual stream after any number of blocks, and the outputs
//! of attention heads, at chosen rows or averaged over them.
//!
//! Row i of a sequence is the state after reading token i; it predicts position
//! i + 1. Layer l is the residual stream after l blocks (0 = embedding), before
//! any norm. The head outputs of block l (1 to L) are what its output
//! projection reads: heads x head size, head after head. Means are summed in
//! f64 over rows in order. Only what is asked for is kept; the bits depend on
//! nothing but the sequence.

use std::ops::Range;

use crate::PolicyError;
use crate::model::forward::{Cache, Row};
use crate::model::hooks::{Capture, Hooks};
use crate::ops::attention::Place;
use crate::policy::Policy;

/// Rows that go through a forward pass together, unless one sequence is longer.
pub(crate) const BATCH_ROWS: usize = 4096;

/// Rows of a sequence whose activations are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivationRows {
    /// The last: one result.
    Last,
    /// These, in this order: one result each.
    At(Vec<usize>),
    /// The mean over a range of rows: one result.
    MeanOf(Range<usize>),
    /// The mean over these rows: one result.
    MeanAt(Vec<usize>),
}

/// A sequence and what of it is wanted.
#[derive(Debug, Clone)]
pub struct ActivationRequest<'a> {
    /// All token ids, prompt first.
    pub ids: &'a [u32],
    /// Tokens of the prompt. Only a steering of completions looks at it.
    pub prompt_len: usize,
    /// Rows wanted.
    pub rows: ActivationRows,
}

impl<'a> ActivationRequest<'a> {
    /// The last row of a prompt.
    pub fn last(prompt: &'a [u32]) -> Self {
        Self {
            ids: prompt,
            prompt_len: prompt.len(),
            rows: ActivationRows::Last,
        }
    }

    /// The mean over a prompt.
    pub fn mean(prompt: &'a [u32]) -> Self {
        Self {
            ids: prompt,
            prompt_len: prompt.len(),
            rows: ActivationRows::MeanOf(0..prompt.len()),
        }
    }
}

/// Sites that are captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sites {
    /// Layers of the residual stream, 0 to L.
    pub layers: Vec<usize>,
    /// Blocks whose head outputs are wanted, 1 to L.
    pub blocks: Vec<usize>,
}

impl Sites {
    /// The residual stream at every layer.
    pub fn residual(policy: &Policy) -> Self {
        Self {
            layers: (0..=policy.config().layers).collect(),
            blocks: Vec::new(),
        }
    }

    /// The residual stream at every layer and the heads of every block.
    pub fn all(policy: &Policy) -> Self {
        Self {
            layers: (0..=policy.config().layers).collect(),
            blocks: (1..=policy.config().layers).collect(),
        }
    }
}

/// Captured values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Activations {
    /// What was captured.
    pub sites: Sites,
    /// Width of the residual stream.
    pub width: usize,
    /// Heads of a block.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// results x layers x width.
    pub residual: Vec<f32>,
    /// results x blocks x heads x head size.
    pub head_outputs: Vec<f32>,
    /// Results of each request, in the order of the requests.
    pub results: Vec<Range<usize>>,
}

impl Activations {
    /// Number of results.
    pub fn len(&self) -> usize {
        self.results.last().map_or(0, |r| r.end)
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Result `result` of layer `layer`, if it was captured.
    pub fn layer(&self, result: usize, layer: usize) -> Option<&[f32]> {
        let at = self.sites.layers.iter().position(|l| *l == layer)?;
        let from = result
            .checked_mul(self.sites.layers.len())?
            .checked_add(at)?
            .checked_mul(self.width)?;
        self.residual.get(from..from.checked_add(self.width)?)
    }

    /// All head outputs of block `block` in result `result`.
    pub fn block(&self, result: usize, block: usize) -> Option<&[f32]> {
        let width = self.heads * self.head_dim;
        let at = self.sites.blocks.iter().position(|b| *b == block)?;
        let from = result
            .checked_mul(self.sites.blocks.len())?
            .checked_add(at)?
            .checked_mul(width)?;
        self.head_outputs.get(from..from.checked_add(width)?)
    }

    /// The output of one head (counted from 0).
    pub fn head(&self, result: usize, block: usize, head: usize) -> Option<&[f32]> {
        self.block(result, block)?
            .chunks_exact(self.head_dim.max(1))
            .nth(head)
    }
}

impl Policy {
    /// Activations at the rows and sites asked for. A value that is not finite
    /// is an error: the model is broken.
    pub fn activations(
        &self,
        requests: &[ActivationRequest<'_>],
        sites: &Sites,
    ) -> Result<Activations, PolicyError> {
        let c = self.config();
        check_sites(sites, c.layers)?;
        let slots = requests
            .iter()
            .enumerate()
            .map(|(i, r)| {
                self.check_sequence(i, r.ids)?;
                slots(i, r)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut out = Activations {
            sites: sites.clone(),
            width: c.hidden_size,
            heads: c.heads,
            head_dim: c.head_dim,
            ..Activations::default()
        };
        let mut end = 0;
        for slots in &slots {
            out.results.push(end..end + slots.len());
            end += slots.len();
        }
        let head_width = c.heads * c.head_dim;
        out.residual = zeros(&[end, sites.layers.len(), c.hidden_size])?;
        out.head_outputs = zeros(&[end, sites.blocks.len(), head_width])?;
        let mut runner = self.runner();
        let mut residual = out.residual.as_mut_slice();
        let mut heads = out.head_outputs.as_mut_slice();
        for range in self.batches(requests.iter().map(|r| r.ids)) {
            let mut batch = Batch::default();
            let mut wanted = Vec::new();
            for (request, slots) in requests[range.clone()].iter().zip(&slots[range]) {
                let first = batch.add(request.ids, request.prompt_len);
                wanted.extend(
                    slots
                        .iter()
                        .map(|rows| rows.iter().map(|r| first + r).collect::<Vec<_>>()),
                );
            }
            let n = wanted.len();
            let (here, rest) =
                std::mem::take(&mut residual).split_at_mut(n * sites.layers.len() * c.hidden_size);
            residual = rest;
            let (heads_here, rest) =
                std::mem::take(&mut heads).split_at_mut(n * sites.blocks.len() * head_width);
            heads = rest;
            let capture = Capture {
                slots: wanted,
                layers: &sites.layers,
                residual: here,
                blocks: &sites.blocks,
                heads: heads_here,
            };
            let mut cache = Cache::transient(batch.segments);
            let mut hooks = Hooks::capturing(batch.predicting, capture);
            runner.forward_with(&batch.rows, &mut cache, batch.longest, &mut hooks)?;
        }
        check_finite(&out)?;
        Ok(out)
    }

    /// Cuts sequences into batches: a new one begins where the rows would be
    /// too many, or where the rotary embedding depends on the length.
    fn batches<'a>(&self, sequences: impl Iterator<Item = &'a [u32]>) -> Vec<Range<usize>> {
        let mut out = Vec::new();
        let (mut from, mut rows, mut alone) = (0, 0usize, false);
        let mut n = 0;
        for (i, ids) in sequences.enumerate() {
            n = i + 1;
            let depends = self.config().rope.depends_on_length(ids.len());
            if i > from && (depends || alone || rows.saturating_add(ids.len()) > BATCH_ROWS) {
                out.push(from..i);
                (from, rows) = (i, 0);
            }
            rows = rows.saturating_add(ids.len());
            alone = depends;
        }
        if n > from {
            out.push(from..n);
        }
        out
    }

    /// Refuses a sequence that cannot be computed.
    pub(crate) fn check_sequence(&self, index: usize, ids: &[u32]) -> Result<(), PolicyError> {
        if ids.is_empty() {
            return Err(PolicyError::Activation(format!(
                "sequence {index} has no token"
            )));
        }
        if !self.can_score(ids.len()) {
            return Err(PolicyError::Activation(format!(
                "sequence {index} has {} tokens, the model's context is {}",
                ids.len(),
                self.context_len()
            )));
        }
        Ok(())
    }
}

/// Whole sequences that go through one forward pass, a segment each.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    pub(crate) predicting: Vec<bool>,
    pub(crate) segments: usize,
    pub(crate) longest: usize,
}

impl Batch {
    /// Adds a sequence; returns its first row.
    pub(crate) fn add(&mut self, ids: &[u32], prompt_len: usize) -> usize {
        let segment = self.segments;
        self.append(segment, 0, ids, prompt_len)
    }

    /// Adds other rows from `from` on of the sequence in segment `prefix`.
    pub(crate) fn add_from(
        &mut self,
        prefix: usize,
        from: usize,
        ids: &[u32],
        prompt_len: usize,
    ) -> usize {
        self.append(prefix, from, ids, prompt_len)
    }

    fn append(&mut self, prefix: usize, from: usize, ids: &[u32], prompt_len: usize) -> usize {
        let (first, segment) = (self.rows.len(), self.segments);
        self.segments += 1;
        self.longest = self.longest.max(ids.len());
        for (i, token) in ids.iter().enumerate().skip(from) {
            self.predicting.push(i + 1 >= prompt_len);
            self.rows.push(Row {
                token: *token,
                place: Place {
                    prefix: if from == 0 { segment } else { prefix },
                    prefix_len: from,
                    segment,
                    index: i - from,
                },
            });
        }
        first
    }
}

/// Rows of each result of a request.
fn slots(index: usize, request: &ActivationRequest<'_>) -> Result<Vec<Vec<usize>>, PolicyError> {
    let len = request.ids.len();
    let slots = match &request.rows {
        ActivationRows::Last => vec![vec![len - 1]],
        ActivationRows::At(rows) => rows.iter().map(|r| vec![*r]).collect(),
        ActivationRows::MeanOf(range) => {
            let outside = (range.end > len).then(|| range.end.saturating_sub(1));
            if let Some(row) = outside {
                return Err(outside_rows(index, row, len));
            }
            vec![range.clone().collect()]
        }
        ActivationRows::MeanAt(rows) => {
            let mut rows = rows.clone();
            rows.sort_unstable();
            vec![rows]
        }
    };
    for rows in &slots {
        if rows.is_empty() {
            return Err(PolicyError::Activation(format!(
                "the mean over no row of sequence {index} is not defined"
            )));
        }
        if let Some(row) = rows.iter().find(|r| **r >= len) {
            return Err(outside_rows(index, *row, len));
        }
    }
    Ok(slots)
}

fn outside_rows(index: usize, row: usize, len: usize) -> PolicyError {
    PolicyError::Activation(format!(
        "row {row} is outside sequence {index} of {len} tokens"
    ))
}

fn check_sites(sites: &Sites, layers: usize) -> Result<(), PolicyError> {
    if let Some(l) = sites.layers.iter().find(|l| **l > layers) {
        return Err(PolicyError::Activation(format!(
            "layer {l} is beyond the model's last, {layers}"
        )));
    }
    if let Some(b) = sites.blocks.iter().find(|b| **b == 0 || **b > layers) {
        return Err(PolicyError::Activation(format!(
            "block {b} is not one of the model's, 1 to {layers}"
        )));
    }
    Ok(())
}

/// A buffer of the product of sizes, if there is memory for it.
fn zeros(sizes: &[usize]) -> Result<Vec<f32>, PolicyError> {
    let n = sizes
        .iter()
        .try_fold(1usize, |n, size| n.checked_mul(*size));
    let mut out = Vec::new();
    match n.map(|n| out.try_reserve_exact(n).map(|()| n)) {
        Some(Ok(n)) => out.resize(n, 0.0),
        _ => {
            return Err(PolicyError::Activation(
                "there is no memory for so many activations; ask for fewer rows or layers".into(),
            ));
        }
    }
    Ok(out)
}

fn check_finite(out: &Activations) -> Result<(), PolicyError> {
    let head_width = out.heads * out.head_dim;
    for (values, per_result) in [
        (&out.residual, out.sites.layers.len() * out.width),
        (&out.head_outputs, out.sites.blocks.len() * head_width),
    ] {
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let result = at / per_result.max(1);
            let sequence = out.results.iter().position(|r| r.contains(&result));
            return Err(PolicyError::Activation(format!(
                "the model's activations are not finite in sequence {}; its weights are broken or overflow",
                sequence.unwrap_or(0)
            )));
        }
    }
    Ok(())
}
