//! One block, forward and backward:
//!
//! m = x + O attend(rope(norm(Q n1)), rope(norm(K n1)), V n1), n1 = RMSNorm(x),
//! y = m + Down(swiglu(Gate n2, Up n2)), n2 = RMSNorm(m); the norms of q and k
//! are Qwen3's. What is cheap to form again (n1, n2, the SwiGLU product) is not
//! kept for the backward pass.

use forkscope_policy::RopeTable;
use forkscope_policy::ops::norm::{rms_norm, rms_norm_in_place};

use super::linear::{self, Linear, Mode, Vector, Weight};
use super::ops::attention::{self, Inputs, Outputs, Shape, attention, attention_backward};
use super::ops::norm::rms_norm_backward;
use super::ops::swiglu::{swiglu, swiglu_backward};
use super::pack::Pack;
use super::parameters::Gradients;

/// One block's maps.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) input_norm: Vector,
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    pub(crate) q_norm: Option<Vector>,
    pub(crate) k_norm: Option<Vector>,
    pub(crate) post_norm: Vector,
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) shape: Shape,
    pub(crate) eps: f32,
}

/// What a block's backward pass needs of its forward pass.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The block's input.
    pub(crate) x: Vec<f32>,
    /// q and k before their norms (Qwen3), else empty.
    raw_q: Vec<f32>,
    raw_k: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mixed: Vec<f32>,
    /// Rows of `mixed` that go on, where not all do.
    chosen: Vec<f32>,
    lse: Vec<f32>,
    /// Between attention and MLP.
    middle: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
}

/// Buffers that every block of a pass uses in turn.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    linear: linear::Scratch,
    attention: attention::Scratch,
    normed: Vec<f32>,
    wide: Vec<f32>,
    d_normed: Vec<f32>,
    d_mixed: Vec<f32>,
    d_gate: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

/// The rows of `from` that are listed.
fn gather(from: &[f32], width: usize, rows: &[usize], to: &mut Vec<f32>) {
    to.clear();
    for row in rows {
        to.extend_from_slice(&from[row * width..(row + 1) * width]);
    }
}

/// Rows back to where they were listed, zeros elsewhere.
fn scatter(from: &[f32], width: usize, rows: &[usize], len: usize, to: &mut Vec<f32>) {
    zeroed(to, len);
    for (part, row) in from.chunks_exact(width).zip(rows) {
        to[row * width..(row + 1) * width].copy_from_slice(part);
    }
}

/// Sets a length without clearing what will be overwritten.
fn sized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    buffer.truncate(len);
    buffer
}

fn zeroed(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    buffer.clear();
    buffer.resize(len, 0.0);
    buffer
}

/// Values of a frozen matrix from which on its pages are given back.
const LARGE: usize = 1 << 20;

impl Block {
    /// Gives the mapped pages of large frozen weights back to the system until
    /// they are used again: a pass over a mapped model needs the memory of its
    /// activations and a block or two. The pages come back from the system's
    /// cache, which costs thousandths of the block's own work.
    pub(crate) fn release(&self) {
        for linear in [&self.q, &self.down] {
            if let Weight::Frozen(tensor) = &linear.weight
                && tensor.elements() >= LARGE
            {
                tensor.release();
            }
        }
    }

    /// Turns `x` (rows x hidden) into the block's output and keeps what the
    /// backward pass needs. With `wanted`, ascending rows of the pack, the
    /// output holds those rows alone: what the last block is asked for.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn forward(
        &self,
        m: Mode<'_>,
        pack: &Pack,
        rope: &RopeTable,
        x: &mut Vec<f32>,
        wanted: Option<&[usize]>,
        kept: &mut Kept,
        s: &mut Scratch,
    ) {
        let rows = pack.len();
        kept.x.clear();
        kept.x.extend_from_slice(x);
        let normed = sized(&mut s.normed, x.len());
        rms_norm(x, self.input_norm.get(m.parameters), self.eps, normed);
        let q = sized(&mut kept.q, rows * self.q.outputs);
        let k = sized(&mut kept.k, rows * self.k.outputs);
        let v = sized(&mut kept.v, rows * self.v.outputs);
        self.q.forward(m, normed, q, false, &mut s.linear);
        self.k.forward(m, normed, k, false, &mut s.linear);
        self.v.forward(m, normed, v, false, &mut s.linear);
        for (norm, heads, raw) in [
            (&self.q_norm, &mut *q, &mut kept.raw_q),
            (&self.k_norm, &mut *k, &mut kept.raw_k),
        ] {
            if let Some(norm) = norm {
                raw.clear();
                raw.extend_from_slice(heads);
                rms_norm_in_place(heads, norm.get(m.parameters), self.eps);
            }
        }
        rope.rotate_rows(q, self.q.outputs, &pack.positions);
        rope.rotate_rows(k, self.k.outputs, &pack.positions);
        let mixed = sized(&mut kept.mixed, rows * self.q.outputs);
        let lse = sized(&mut kept.lse, rows * self.shape.heads);
        attention(
            self.shape,
            pack,
            Inputs { q, k, v },
            mixed,
            lse,
            &mut s.attention,
        );
        let mixed = match wanted {
            None => &*mixed,
            Some(list) => {
                gather(&kept.mixed, self.q.outputs, list, &mut kept.chosen);
                gather(&kept.x, self.o.outputs, list, x);
                &kept.chosen
            }
        };
        self.o.forward(m, mixed, x, true, &mut s.linear);

        let rows = x.len() / self.o.outputs;
        let normed = sized(&mut s.normed, x.len());
        kept.middle.clear();
        kept.middle.extend_from_slice(x);
        rms_norm(x, self.post_norm.get(m.parameters), self.eps, normed);
        let gate = sized(&mut kept.gate, rows * self.gate.outputs);
        let up = sized(&mut kept.up, rows * self.up.outputs);
        self.gate.forward(m, normed, gate, false, &mut s.linear);
        self.up.forward(m, normed, up, false, &mut s.linear);
        let product = sized(&mut s.wide, rows * self.gate.outputs);
        swiglu(gate, up, product);
        self.down.forward(m, product, x, true, &mut s.linear);
    }

    /// Turns `dx` = d loss / d output into d loss / d input; `wanted` as in the
    /// forward pass.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn backward(
        &self,
        m: Mode<'_>,
        pack: &Pack,
        rope: &RopeTable,
        dx: &mut Vec<f32>,
        wanted: Option<&[usize]>,
        kept: &Kept,
        gradients: &mut Gradients,
        s: &mut Scratch,
    ) {
        self.mlp_backward(m, dx, kept, gradients, s);
        let d_out = match wanted {
            None => {
                let d_out = sized(&mut s.d_mixed, kept.mixed.len());
                self.o
                    .backward(m, &kept.mixed, dx, d_out, true, gradients, &mut s.linear);
                std::mem::take(&mut s.d_mixed)
            }
            Some(rows) => {
                let part = sized(&mut s.d_gate, kept.chosen.len());
                self.o
                    .backward(m, &kept.chosen, dx, part, true, gradients, &mut s.linear);
                let mut d_out = std::mem::take(&mut s.d_mixed);
                scatter(part, self.q.outputs, rows, kept.mixed.len(), &mut d_out);
                let small = std::mem::take(dx);
                scatter(&small, self.o.outputs, rows, kept.x.len(), dx);
                d_out
            }
        };
        self.attention_backward(m, pack, rope, dx, &d_out, kept, gradients, s);
        s.d_mixed = d_out;
    }

    fn mlp_backward(
        &self,
        m: Mode<'_>,
        dx: &mut [f32],
        kept: &Kept,
        gradients: &mut Gradients,
        s: &mut Scratch,
    ) {
        let wide = kept.gate.len();
        let product = sized(&mut s.wide, wide);
        swiglu(&kept.gate, &kept.up, product);
        let d_up = sized(&mut s.d_mixed, wide);
        self.down
            .backward(m, product, dx, d_up, true, gradients, &mut s.linear);
        let d_gate = sized(&mut s.d_gate, wide);
        swiglu_backward(&kept.gate, &kept.up, d_up, d_gate);
        let normed = sized(&mut s.normed, dx.len());
        let norm = self.post_norm.get(m.parameters);
        rms_norm(&kept.middle, norm, self.eps, normed);
        let d_normed = sized(&mut s.d_normed, dx.len());
        self.gate
            .backward(m, normed, d_gate, d_normed, true, gradients, &mut s.linear);
        self.up
            .backward(m, normed, d_up, d_normed, false, gradients, &mut s.linear);
        let dw = self.post_norm.gradient(gradients);
        rms_norm_backward(&kept.middle, norm, self.eps, d_normed, dx, dw);
    }

    #[allow(clippy::too_many_arguments)]
    fn attention_backward(
        &self,
        m: Mode<'_>,
        pack: &Pack,
        rope: &RopeTable,
        dx: &mut [f32],
        d_out: &[f32],
        kept: &Kept,
        gradients: &mut Gradients,
        s: &mut Scratch,
    ) {
        let dq = sized(&mut s.dq, kept.q.len());
        let dk = zeroed(&mut s.dk, kept.k.len());
        let dv = zeroed(&mut s.dv, kept.v.len());
        let inputs = Inputs {
            q: &kept.q,
            k: &kept.k,
            v: &kept.v,
        };
        let outputs = Outputs {
            out: &kept.mixed,
            lse: &kept.lse,
            d_out,
        };
        attention_backward(
            self.shape,
            pack,
            inputs,
            outputs,
            (dq, dk, dv),
            &mut s.attention,
        );
        rope.rotate_rows_back(dq, self.q.outputs, &pack.positions);
        rope.rotate_rows_back(dk, self.k.outputs, &pack.positions);
        for (norm, raw, heads) in [
            (&self.q_norm, &kept.raw_q, &mut *dq),
            (&self.k_norm, &kept.raw_k, &mut *dk),
        ] {
            if let Some(norm) = norm {
                let through = zeroed(&mut s.wide, heads.len());
                let dw = norm.gradient(gradients);
                rms_norm_backward(raw, norm.get(m.parameters), self.eps, heads, through, dw);
                heads.copy_from_slice(through);
            }
        }
        let normed = sized(&mut s.normed, dx.len());
        let norm = self.input_norm.get(m.parameters);
        rms_norm(&kept.x, norm, self.eps, normed);
        let d_normed = sized(&mut s.d_normed, dx.len());
        self.q
            .backward(m, normed, dq, d_normed, true, gradients, &mut s.linear);
        self.k
            .backward(m, normed, dk, d_normed, false, gradients, &mut s.linear);
        self.v
            .backward(m, normed, dv, d_normed, false, gradients, &mut s.linear);
        let dw = self.input_norm.gradient(gradients);
        rms_norm_backward(&kept.x, norm, self.eps, d_normed, dx, dw);
    }
}
