//! A linear map in its checkpoint's dtype, with an optional bias and an
//! optional low-rank change: y = W x + bias + B (A x).

use super::lora::LowRank;
use super::weights::Tensor;
use crate::ops::matmul::{Padding, Product};

/// Output rows of a half-precision matrix that are widened at a time.
const WIDEN_ROWS: usize = 256;

/// A matrix (outputs x inputs) with its bias.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Vec<f32>>,
    outputs: usize,
    inputs: usize,
}

/// Buffers kept between calls.
#[derive(Debug, Default)]
pub(crate) struct LinearScratch {
    padding: Padding,
    widened: Vec<f32>,
    low: Vec<f32>,
}

impl Linear {
    pub(crate) fn new(weight: Tensor, bias: Option<Vec<f32>>) -> Self {
        let (outputs, inputs) = (
            weight.shape().first().copied().unwrap_or(0),
            weight.shape().get(1).copied().unwrap_or(0),
        );
        Self {
            weight,
            bias,
            outputs,
            inputs,
        }
    }

    /// The map with weight and bias rounded to bf16.
    pub(crate) fn rounded(&self) -> Self {
        let mut copy = self.clone();
        copy.weight = self.weight.rounded();
        if let Some(bias) = &mut copy.bias {
            super::rounding::round(bias);
        }
        copy
    }

    /// out (rows x outputs) = x (rows x inputs) through the map; with `add`
    /// the result is added to what `out` holds.
    pub(crate) fn apply(
        &self,
        x: &[f32],
        change: Option<&LowRank>,
        add: bool,
        out: &mut [f32],
        scratch: &mut LinearScratch,
    ) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let LinearScratch {
            padding,
            widened,
            low,
        } = scratch;
        match self.weight.f32_in_place(0..outputs * inputs) {
            Some(w) => Product {
                x,
                w,
                inputs,
                outputs,
                stride: outputs,
                add,
            }
            .run(out, padding),
            None => {
                for from in (0..outputs).step_by(WIDEN_ROWS) {
                    let n = WIDEN_ROWS.min(outputs - from);
                    self.weight
                        .widen(from * inputs..(from + n) * inputs, widened);
                    Product {
                        x,
                        w: widened,
                        inputs,
                        outputs: n,
                        stride: outputs,
                        add,
                    }
                    .run(&mut out[from..], padding);
                }
            }
        }
        if let Some(bias) = &self.bias {
            for row in out.chunks_exact_mut(outputs) {
                for (y, b) in row.iter_mut().zip(bias) {
                    *y += b;
                }
            }
        }
        if let Some(LowRank { a, b, rank }) = change {
            let rows = x.len() / inputs;
            low.resize(rows * rank, 0.0);
            Product {
                x,
                w: a,
                inputs,
                outputs: *rank,
                stride: *rank,
                add: false,
            }
            .run(low, padding);
            Product {
                x: low,
                w: b,
                inputs: *rank,
                outputs,
                stride: outputs,
                add: true,
            }
            .run(out, padding);
        }
    }
}
