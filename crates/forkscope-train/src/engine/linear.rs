//! A linear map with an optional bias and an optional LoRA change, forward and
//! backward: y = x W' + bias + s (x~ A') B', with x~ the input after dropout.
//!
//! With dy = d loss / d y and low = x~ A': dW = dy' x, dbias = sum of dy,
//! dB = s dy' low, dlow = s dy B, dA = dlow' x~, dx = dy W + mask (dlow A).

use forkscope_metrics::rng::Key;
use forkscope_policy::Tensor;

use super::ops::product::{Matrix, multiply};
use super::parameters::{Gradients, Parameters};

/// Output rows of a half-precision matrix that are widened at a time.
const WIDEN_ROWS: usize = 512;

/// Values that are in the checkpoint, or among the parameters.
#[derive(Debug, Clone)]
pub(crate) enum Values<F> {
    Frozen(F),
    Trained(usize),
}

/// A matrix of the checkpoint or a parameter.
pub(crate) type Weight = Values<Tensor>;
/// A vector of the checkpoint or a parameter.
pub(crate) type Vector = Values<Vec<f32>>;

impl Vector {
    pub(crate) fn get<'a>(&'a self, parameters: &'a Parameters) -> &'a [f32] {
        match self {
            Self::Frozen(values) => values,
            Self::Trained(index) => &parameters[*index].values,
        }
    }

    /// The gradient to add to; empty where the vector is frozen.
    pub(crate) fn gradient<'a>(&self, gradients: &'a mut Gradients) -> &'a mut [f32] {
        match self {
            Self::Frozen(_) => &mut [],
            Self::Trained(index) => &mut gradients.tensors[*index],
        }
    }
}

/// A LoRA change among the parameters.
#[derive(Debug, Clone)]
pub(crate) struct Lora {
    /// Index of A, rank x inputs.
    pub(crate) a: usize,
    /// Index of B, outputs x rank.
    pub(crate) b: usize,
    pub(crate) rank: usize,
    pub(crate) scale: f32,
    pub(crate) dropout: f64,
}

/// A matrix (outputs x inputs).
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub(crate) weight: Weight,
    pub(crate) bias: Option<Vector>,
    pub(crate) lora: Option<Lora>,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

/// With which parameters and randomness a pass runs.
#[derive(Clone, Copy)]
pub(crate) struct Mode<'a> {
    pub(crate) parameters: &'a Parameters,
    /// Whether adapters count.
    pub(crate) adapter: bool,
    /// Seed, step and shard of the dropout masks.
    pub(crate) dropout: Option<(u64, u64, u64)>,
}

/// Buffers kept between calls.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    widened: Vec<f32>,
    low: Vec<f32>,
    masked: Vec<f32>,
}

impl Linear {
    /// y (rows x outputs) = the map of x (rows x inputs), added to what `y`
    /// holds with `add`.
    pub(crate) fn forward(
        &self,
        m: Mode<'_>,
        x: &[f32],
        y: &mut [f32],
        add: bool,
        s: &mut Scratch,
    ) {
        let (rows, o, i) = (x.len() / self.inputs, self.outputs, self.inputs);
        let input = Matrix::rows(x, i);
        self.each_part(m, &mut s.widened, |w, from| {
            let w_t = Matrix::rows(w, i).transposed();
            multiply(input, w_t, &mut y[from..], o, rows, w.len() / i, add);
        });
        if let Some(bias) = &self.bias {
            let bias = bias.get(m.parameters);
            for row in y.chunks_exact_mut(o) {
                for (y, b) in row.iter_mut().zip(bias) {
                    *y += b;
                }
            }
        }
        let Some(lora) = self.lora.as_ref().filter(|_| m.adapter) else {
            return;
        };
        self.low(m, lora, x, s);
        for low in &mut s.low {
            *low *= lora.scale;
        }
        let b = Matrix::rows(&m.parameters[lora.b].values, lora.rank);
        multiply(
            Matrix::rows(&s.low, lora.rank),
            b.transposed(),
            y,
            o,
            rows,
            o,
            true,
        );
    }

    /// Adds d loss / d x to `dx` (or writes it, with `write`), and the gradients
    /// of what is trained.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn backward(
        &self,
        m: Mode<'_>,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        write: bool,
        gradients: &mut Gradients,
        s: &mut Scratch,
    ) {
        let (rows, o, i) = (x.len() / self.inputs, self.outputs, self.inputs);
        if let Weight::Trained(index) = &self.weight {
            let dw = &mut gradients.tensors[*index];
            multiply(
                Matrix::rows(dy, o).transposed(),
                Matrix::rows(x, i),
                dw,
                i,
                o,
                i,
                true,
            );
        }
        if let Some(bias) = &self.bias {
            let db = bias.gradient(gradients);
            for row in dy.chunks_exact(o) {
                for (b, g) in db.iter_mut().zip(row) {
                    *b += g;
                }
            }
        }
        self.each_part(m, &mut s.widened, |w, from| {
            let n = w.len() / i;
            let part = Matrix::columns(dy, o, from, n);
            multiply(part, Matrix::rows(w, i), dx, i, rows, i, !write || from > 0);
        });
        if let Some(lora) = self.lora.as_ref().filter(|_| m.adapter) {
            self.lora_backward(m, lora, x, dy, dx, gradients, s);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn lora_backward(
        &self,
        m: Mode<'_>,
        lora: &Lora,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        gradients: &mut Gradients,
        s: &mut Scratch,
    ) {
        let (rows, o, i, r) = (x.len() / self.inputs, self.outputs, self.inputs, lora.rank);
        let dy = Matrix::rows(dy, o);
        self.low(m, lora, x, s);
        for low in &mut s.low {
            *low *= lora.scale;
        }
        let db = &mut gradients.tensors[lora.b];
        multiply(dy.transposed(), Matrix::rows(&s.low, r), db, r, o, r, true);
        let b = Matrix::rows(&m.parameters[lora.b].values, r);
        multiply(dy, b, &mut s.low, r, rows, r, false);
        for low in &mut s.low {
            *low *= lora.scale;
        }
        let d_low = Matrix::rows(&s.low, r);
        let a = Matrix::rows(&m.parameters[lora.a].values, i);
        match self.keep(m, lora) {
            None => {
                let da = &mut gradients.tensors[lora.a];
                multiply(d_low.transposed(), Matrix::rows(x, i), da, i, r, i, true);
                multiply(d_low, a, dx, i, rows, i, true);
            }
            Some(key) => {
                s.masked.clear();
                s.masked.extend_from_slice(x);
                mask(&key, lora.dropout, i, &mut s.masked);
                let da = &mut gradients.tensors[lora.a];
                multiply(
                    d_low.transposed(),
                    Matrix::rows(&s.masked, i),
                    da,
                    i,
                    r,
                    i,
                    true,
                );
                multiply(d_low, a, &mut s.masked, i, rows, i, false);
                mask(&key, lora.dropout, i, &mut s.masked);
                for (x, g) in dx.iter_mut().zip(&s.masked) {
                    *x += g;
                }
            }
        }
    }

    /// low = x~ A' into the scratch.
    fn low(&self, m: Mode<'_>, lora: &Lora, x: &[f32], s: &mut Scratch) {
        let (rows, i, r) = (x.len() / self.inputs, self.inputs, lora.rank);
        let a = Matrix::rows(&m.parameters[lora.a].values, i).transposed();
        s.low.resize(rows * r, 0.0);
        match self.keep(m, lora) {
            None => multiply(Matrix::rows(x, i), a, &mut s.low, r, rows, r, false),
            Some(key) => {
                s.masked.clear();
                s.masked.extend_from_slice(x);
                mask(&key, lora.dropout, i, &mut s.masked);
                multiply(Matrix::rows(&s.masked, i), a, &mut s.low, r, rows, r, false);
            }
        }
    }

    /// The randomness of this map's dropout in this pass, if there is any.
    fn keep(&self, m: Mode<'_>, lora: &Lora) -> Option<Key> {
        let (seed, step, shard) = m.dropout.filter(|_| lora.dropout > 0.0)?;
        let name = &m.parameters[lora.a].name;
        Some(Key::new(
            seed,
            &format!("{name}/{step}/{shard}"),
            0,
            "lora dropout",
        ))
    }

    /// Hands the weight out as f32, whole or widened by parts:
    /// `take(part, first row of the part)`.
    fn each_part(&self, m: Mode<'_>, widened: &mut Vec<f32>, take: impl FnMut(&[f32], usize)) {
        match &self.weight {
            Weight::Trained(index) => {
                let mut take = take;
                take(&m.parameters[*index].values, 0);
            }
            Weight::Frozen(tensor) => {
                each_part(tensor, self.outputs, self.inputs, WIDEN_ROWS, widened, take)
            }
        }
    }
}

/// A frozen matrix as f32: whole where it lies, else widened `step` rows at a
/// time.
pub(crate) fn each_part(
    tensor: &Tensor,
    rows: usize,
    columns: usize,
    step: usize,
    widened: &mut Vec<f32>,
    mut take: impl FnMut(&[f32], usize),
) {
    if let Some(values) = tensor.f32_in_place(0..rows * columns) {
        return take(values, 0);
    }
    for from in (0..rows).step_by(step) {
        let to = (from + step).min(rows);
        tensor.widen(from * columns..to * columns, widened);
        take(widened, from);
    }
}

/// Inverted dropout: each value is zero with probability `p`, else divided by
/// 1 - p; the draw is keyed by row and column.
fn mask(key: &Key, p: f64, columns: usize, values: &mut [f32]) {
    let kept = (1.0 / (1.0 - p)) as f32;
    let limit = (p * 4_294_967_296.0) as u64;
    for (row, values) in values.chunks_exact_mut(columns).enumerate() {
        let mut draws = key.rng_at(row as u64);
        for pair in values.chunks_mut(2) {
            let bits = draws.next_u64();
            for (half, value) in [bits & 0xffff_ffff, bits >> 32].into_iter().zip(pair) {
                *value = if half < limit { 0.0 } else { *value * kept };
            }
        }
    }
}
