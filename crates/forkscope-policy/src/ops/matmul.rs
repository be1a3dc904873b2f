//! The one place where matrices are multiplied: out = x W^T (+ out), with W as
//! checkpoints hold it (outputs x inputs, row-major).
//!
//! The `gemm` kernels give a row the same bits whatever the other rows, with
//! three exceptions that are kept out of its way here: up to two rows, and up
//! to 256 results, go through other kernels, and beyond 512 inputs the sum is
//! cut into pieces whose length follows from the number of rows and the sizes
//! of the caches. So a product of too few rows is padded with zero rows, fewer
//! than eight outputs are summed here in a fixed order, and more than 512 inputs
//! are cut here, into equal pieces. Calls are single-threaded: callers split rows
//! over threads.

use std::sync::OnceLock;

use super::{LANES, sum_lanes};

/// Rows and outputs below which a product does not go to `gemm` as it is.
const MIN: usize = 8;
/// Results up to which `gemm` may use its kernels for small products.
const SMALL: usize = 256;

/// Most inputs that `gemm` sums in one piece whatever the machine.
const PIECE: usize = 512;

/// Buffers for padding, kept between calls.
#[derive(Debug, Default)]
pub struct Padding {
    x: Vec<f32>,
    out: Vec<f32>,
}

/// A product's operands: `x` is `rows x inputs`, `w` is `outputs x inputs`;
/// row r of the result goes to `out[r * stride..][..outputs]`.
pub struct Product<'a> {
    /// rows x inputs.
    pub x: &'a [f32],
    /// outputs x inputs.
    pub w: &'a [f32],
    /// Columns of both operands.
    pub inputs: usize,
    /// Columns of the result.
    pub outputs: usize,
    /// Distance between rows of the result.
    pub stride: usize,
    /// Add to `out` instead of overwriting it.
    pub add: bool,
}

impl Product<'_> {
    /// Number of rows of `x`.
    fn rows(&self) -> usize {
        self.x.len() / self.inputs.max(1)
    }

    /// Computes the product into `out`.
    pub fn run(&self, out: &mut [f32], padding: &mut Padding) {
        let rows = self.rows();
        assert_eq!(self.x.len(), rows * self.inputs);
        assert_eq!(self.w.len(), self.outputs * self.inputs);
        assert!(self.stride >= self.outputs);
        if rows == 0 || self.outputs == 0 {
            return;
        }
        assert!(out.len() >= (rows - 1) * self.stride + self.outputs);
        if self.outputs < MIN || plain() {
            return self.run_narrow(out);
        }
        let enough = MIN.max(SMALL / self.outputs + 1);
        if rows >= enough {
            return self.gemm(self.x, rows, out, self.stride);
        }
        let Padding { x, out: wide } = padding;
        x.clear();
        x.extend_from_slice(self.x);
        x.resize(enough * self.inputs, 0.0);
        wide.clear();
        wide.resize(enough * self.outputs, 0.0);
        if self.add {
            for r in 0..rows {
                wide[r * self.outputs..][..self.outputs]
                    .copy_from_slice(&out[r * self.stride..][..self.outputs]);
            }
        }
        self.gemm(x, enough, wide, self.outputs);
        for r in 0..rows {
            out[r * self.stride..][..self.outputs]
                .copy_from_slice(&wide[r * self.outputs..][..self.outputs]);
        }
    }

    fn gemm(&self, x: &[f32], rows: usize, out: &mut [f32], stride: usize) {
        let pieces = self.inputs.div_ceil(PIECE).max(1);
        let piece = self.inputs.div_ceil(pieces);
        let mut from = 0;
        loop {
            let inputs = piece.min(self.inputs - from);
            // Safety: the lengths of all three operands were checked in `run`
            // against the sizes and strides given here; a piece of the inputs
            // lies within each row.
            unsafe {
                gemm_f32::gemm::f32::get_gemm_fn()(
                    rows,
                    self.outputs,
                    inputs,
                    out.as_mut_ptr(),
                    1,
                    stride as isize,
                    self.add || from > 0,
                    x.as_ptr().add(from),
                    1,
                    self.inputs as isize,
                    self.w.as_ptr().add(from),
                    self.inputs as isize,
                    1,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm_common::Parallelism::None,
                );
            }
            from += inputs;
            if from >= self.inputs {
                return;
            }
        }
    }

    fn run_narrow(&self, out: &mut [f32]) {
        for (r, row) in self.x.chunks_exact(self.inputs).enumerate() {
            for (o, w) in self.w.chunks_exact(self.inputs).enumerate() {
                let y = &mut out[r * self.stride + o];
                let product = dot(row, w);
                *y = if self.add { *y + product } else { product };
            }
        }
    }
}

/// Whether `FORKSCOPE_PRODUCT=plain` asks for products without `gemm`: slow, and
/// with other bits, as on another processor. It is part of the numerics profile, and
/// lets anybody see what a comparison between two profiles looks like.
pub(crate) fn plain() -> bool {
    static PLAIN: OnceLock<bool> = OnceLock::new();
    *PLAIN.get_or_init(|| std::env::var_os("FORKSCOPE_PRODUCT").is_some_and(|v| v == "plain"))
}

/// Dot product in a fixed order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = a.mul_add(*b, *lane);
        }
    }
    sum_lanes(lanes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, step: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * step + 11) % 1009) as f32 / 1009.0 - 0.5)
            .collect()
    }

    fn run(x: &[f32], w: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
        let mut out = vec![0.0; x.len() / inputs * outputs];
        Product {
            x,
            w,
            inputs,
            outputs,
            stride: outputs,
            add: false,
        }
        .run(&mut out, &mut Padding::default());
        out
    }

    #[test]
    fn matches_f64() {
        for (rows, inputs, outputs) in [(1, 5, 3), (2, 33, 9), (9, 64, 188), (40, 352, 128)] {
            let (x, w) = (
                values(rows * inputs, 7919),
                values(outputs * inputs, 104_729),
            );
            let out = run(&x, &w, inputs, outputs);
            for r in 0..rows {
                for o in 0..outputs {
                    let exact: f64 = (0..inputs)
                        .map(|i| f64::from(x[r * inputs + i]) * f64::from(w[o * inputs + i]))
                        .sum();
                    assert!((f64::from(out[r * outputs + o]) - exact).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn a_rows_bits_do_not_depend_on_the_other_rows() {
        for (inputs, outputs) in [
            (128, 352),
            (352, 128),
            (128, 16),
            (16, 128),
            (128, 4),
            (128, 8),
            (128, 32),
            (2, 40),
            (1, 16),
            (128, 188),
            (896, 640),
            (4864, 96),
            // More inputs than one block, few outputs: adapters.
            (896, 16),
            (1536, 64),
            (4864, 32),
            (8960, 8),
        ] {
            let (x, w) = (
                values(600 * inputs, 7919),
                values(outputs * inputs, 104_729),
            );
            let all = run(&x, &w, inputs, outputs);
            for (from, n) in [
                (0, 1),
                (599, 1),
                (3, 2),
                (5, 3),
                (17, 7),
                (100, 8),
                (31, 64),
                (250, 129),
                (1, 333),
            ] {
                let part = run(&x[from * inputs..(from + n) * inputs], &w, inputs, outputs);
                assert!(
                    part == all[from * outputs..(from + n) * outputs],
                    "{inputs}x{outputs}, rows {from}+{n}"
                );
            }
        }
    }

    #[test]
    fn strided_and_added() {
        let (x, w) = (values(3 * 40, 31), values(10 * 40, 17));
        let plain = run(&x, &w, 40, 10);
        let mut out = vec![1.0; 3 * 12];
        Product {
            x: &x,
            w: &w,
            inputs: 40,
            outputs: 10,
            stride: 12,
            add: true,
        }
        .run(&mut out, &mut Padding::default());
        for r in 0..3 {
            for o in 0..10 {
                assert!((out[r * 12 + o] - 1.0 - plain[r * 10 + o]).abs() < 1e-6);
            }
            assert_eq!(&out[r * 12 + 10..r * 12 + 12], [1.0, 1.0]);
        }
    }
}
