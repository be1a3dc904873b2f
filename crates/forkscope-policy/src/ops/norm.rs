//! RMSNorm: y = x / sqrt(mean(x^2) + eps) * weight, per row (arXiv 1910.07467).

use super::{LANES, sum_lanes, vectorised};

vectorised! {
    /// Normalises rows of `weight.len()` from `x` into `out`.
    pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        let d = weight.len();
        for (row, y) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            let inverse = inverse_rms(row, eps);
            for ((y, x), w) in y.iter_mut().zip(row).zip(weight) {
                *y = x * inverse * w;
            }
        }
    }
}

vectorised! {
    /// Normalises rows of `weight.len()` in place (the per-head norm of Qwen3).
    pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
        for row in x.chunks_exact_mut(weight.len()) {
            let inverse = inverse_rms(row, eps);
            for (x, w) in row.iter_mut().zip(weight) {
                *x = *x * inverse * w;
            }
        }
    }
}

#[inline(always)]
fn inverse_rms(row: &[f32], eps: f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let blocks = row.chunks_exact(LANES);
    let rest = blocks.remainder();
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane = x.mul_add(*x, *lane);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = x.mul_add(*x, *lane);
    }
    1.0 / (sum_lanes(lanes) / row.len() as f32 + eps).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_formula_in_f64() {
        for d in [1, 7, 16, 33, 128] {
            let x: Vec<f32> = (0..2 * d)
                .map(|i| ((i * 37 % 19) as f32 - 9.0) * 0.3)
                .collect();
            let w: Vec<f32> = (0..d).map(|i| 1.0 + i as f32 * 0.01).collect();
            let mut out = vec![0.0; 2 * d];
            rms_norm(&x, &w, 1e-5, &mut out);
            let mut again = x.clone();
            rms_norm_in_place(&mut again, &w, 1e-5);
            assert_eq!(out, again);
            for (row, y) in x.chunks(d).zip(out.chunks(d)) {
                let mean = row
                    .iter()
                    .map(|&v| f64::from(v) * f64::from(v))
                    .sum::<f64>()
                    / d as f64;
                for i in 0..d {
                    let exact = f64::from(row[i]) / (mean + 1e-5).sqrt() * f64::from(w[i]);
                    assert!((f64::from(y[i]) - exact).abs() < 1e-5 * (1.0 + exact.abs()));
                }
            }
        }
    }
}
