//! e^x in f32, the same bits on every machine.
//!
//! x = n ln 2 + r with |r| <= ln 2 / 2; e^r by a polynomial of degree 7, 2^n by
//! its exponent bits. Relative error below 2 ulp; 0 below 2^-125, +inf above the
//! largest number, NaN stays NaN.

/// e^x.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let n = shifted - MAGIC;
    let r = n.mul_add(-LN2_HIGH, x);
    let r = n.mul_add(-LN2_LOW, r);
    // Taylor coefficients suffice at this width: the remainder r^8/8! is below
    // 6e-9 of the value.
    let p = r.mul_add(1.0 / 5040.0, 1.0 / 720.0);
    let p = p.mul_add(r, 1.0 / 120.0);
    let p = p.mul_add(r, 1.0 / 24.0);
    let p = p.mul_add(r, 1.0 / 6.0);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r, 1.0);
    let p = p.mul_add(r, 1.0);
    // 2^(n-1), doubled afterwards: 2^n itself overflows just below the limit.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f00_0000));
    let y = p * scale * 2.0;
    // Comparisons that are false for NaN, so that NaN passes.
    let y = if x < -86.6 { 0.0 } else { y };
    if x > 88.72 { f32::INFINITY } else { y }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn agrees_with_f64_within_two_ulp() {
        let mut worst = 0.0f64;
        for i in -8_650..8_870 {
            let x = i as f32 * 0.01 + 0.003;
            let exact = libm::exp(f64::from(x));
            worst = worst.max(((f64::from(exp(x)) - exact) / exact).abs());
        }
        assert!(
            worst < 2.0 * f64::from(f32::EPSILON),
            "relative error {worst:e}"
        );
    }

    #[test]
    fn limits_and_nan() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(100.0), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
