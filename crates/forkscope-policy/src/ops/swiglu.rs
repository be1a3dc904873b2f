//! SwiGLU's product: silu(gate) * up with silu(x) = x / (1 + e^-x)
//! (arXiv 2002.05202).

use super::exp::exp;
use super::vectorised;

vectorised! {
    /// gate <- silu(gate) * up.
    pub fn silu_times(gate: &mut [f32], up: &[f32]) {
        for (g, u) in gate.iter_mut().zip(up) {
            *g = *g / (1.0 + exp(-*g)) * u;
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn matches_the_formula_in_f64() {
        let gate: Vec<f32> = (-60..60).map(|i| i as f32 * 0.5).collect();
        let up: Vec<f32> = (0..120).map(|i| 1.0 - i as f32 * 0.02).collect();
        let mut out = gate.clone();
        super::silu_times(&mut out, &up);
        for ((g, u), y) in gate.iter().zip(&up).zip(&out) {
            let exact = f64::from(*g) / (1.0 + libm::exp(-f64::from(*g))) * f64::from(*u);
            assert!(
                (f64::from(*y) - exact).abs() <= 1e-6 * (1.0 + exact.abs()),
                "{g} {u}: {y} {exact}"
            );
        }
        let mut extreme = vec![-1e4, f32::NAN];
        super::silu_times(&mut extreme, &[1.0, 1.0]);
        assert_eq!(extreme[0], 0.0);
        assert!(extreme[1].is_nan());
    }
}
