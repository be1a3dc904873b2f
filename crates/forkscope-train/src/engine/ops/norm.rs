//! RMSNorm backward. With r = 1 / sqrt(mean(x^2) + eps), y = x r w and
//! s = sum_i dy_i w_i x_i:
//!
//! dx_i = r w_i dy_i - x_i r^3 s / d,  dw_i = sum over rows of dy_i x_i r.

use forkscope_policy::ops::{LANES, sum_lanes};
use forkscope_policy::vectorised;

vectorised! {
    /// Adds d loss / d x (rows of `weight.len()`) to `dx` and, where `dw` is not
    /// empty, d loss / d weight to `dw`.
    pub(crate) fn rms_norm_backward(
        x: &[f32],
        weight: &[f32],
        eps: f32,
        dy: &[f32],
        dx: &mut [f32],
        dw: &mut [f32],
    ) {
        let d = weight.len();
        for ((x, dy), dx) in x.chunks_exact(d).zip(dy.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
            let (square, along) = sums(x, weight, dy);
            let r = 1.0 / (square / d as f32 + eps).sqrt();
            let pull = r * r * r * along / d as f32;
            for i in 0..d {
                dx[i] += r * weight[i] * dy[i] - x[i] * pull;
            }
            if !dw.is_empty() {
                for i in 0..d {
                    dw[i] += dy[i] * x[i] * r;
                }
            }
        }
    }
}

/// Sum of x^2 and sum of dy w x, each in a fixed tree of lanes.
#[inline(always)]
fn sums(x: &[f32], weight: &[f32], dy: &[f32]) -> (f32, f32) {
    let (mut square, mut along) = ([0.0f32; LANES], [0.0f32; LANES]);
    let n = x.len() / LANES * LANES;
    let mut i = 0;
    while i < n {
        let (x, w, g) = (&x[i..i + LANES], &weight[i..i + LANES], &dy[i..i + LANES]);
        for l in 0..LANES {
            square[l] = x[l].mul_add(x[l], square[l]);
            along[l] = (g[l] * w[l]).mul_add(x[l], along[l]);
        }
        i += LANES;
    }
    for l in 0..x.len() - n {
        let (x, w, g) = (x[n + l], weight[n + l], dy[n + l]);
        square[l] = x.mul_add(x, square[l]);
        along[l] = (g * w).mul_add(x, along[l]);
    }
    (sum_lanes(square), sum_lanes(along))
}
