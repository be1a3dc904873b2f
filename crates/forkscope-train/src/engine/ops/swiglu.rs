//! SwiGLU: a = silu(g) u with silu(g) = g s, s = 1 / (1 + e^-g). Backward:
//! du = da silu(g), dg = da u s (1 + g (1 - s)).

use forkscope_policy::ops::exp::exp;
use forkscope_policy::vectorised;

vectorised! {
    /// out = silu(gate) up.
    pub(crate) fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((g, u), a) in gate.iter().zip(up).zip(out.iter_mut()) {
            *a = *g / (1.0 + exp(-*g)) * u;
        }
    }
}

vectorised! {
    /// Turns d loss / d a in `da` into d loss / d up, and writes d loss / d gate
    /// to `dg`.
    pub(crate) fn swiglu_backward(gate: &[f32], up: &[f32], da: &mut [f32], dg: &mut [f32]) {
        for (((g, u), da), dg) in gate.iter().zip(up).zip(da.iter_mut()).zip(dg.iter_mut()) {
            let s = 1.0 / (1.0 + exp(-*g));
            *dg = *da * u * s * (1.0 + g * (1.0 - s));
            *da *= g * s;
        }
    }
}
