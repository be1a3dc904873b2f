//! e^x in f64 for sampling: the same bits on every machine.

use super::kernel;

/// e^y for y <= 0, relative error below 4e-16 plus y's rounding; 0 below -708.
///
/// 2^n e^r with n = round(y / ln 2), r = y - n ln 2 in two parts (the first has
/// 21 trailing zero bits, so n times it is exact), e^r on |r| <= 0.347 by its
/// Taylor series to r^13 (remainder below 5e-18).
#[inline(always)]
pub(crate) fn exp_f64(y: f64) -> f64 {
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    const CUT: f64 = -708.0;
    /// 1 / k! for k = 13 down to 2.
    const SERIES: [f64; 12] = [
        1.0 / 6_227_020_800.0,
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        1.0 / 2.0,
    ];
    let cut = if y < CUT { CUT } else { y };
    let shifted = cut.mul_add(std::f64::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, cut));
    let mut poly = SERIES[0];
    for coefficient in &SERIES[1..] {
        poly = poly.mul_add(r, *coefficient);
    }
    poly = poly.mul_add(r, 1.0).mul_add(r, 1.0);
    let scaled = f64::from_bits(poly.to_bits().wrapping_add(shifted.to_bits() << 52));
    if y < CUT { 0.0 } else { scaled }
}

#[inline(always)]
fn scaled_exp_body(z: &[f32], max: f32, scale: f64, out: &mut [f64]) {
    let max = f64::from(max);
    for (out, &z) in out.iter_mut().zip(z) {
        let d = f64::from(z) - max;
        // The top stays the top at an infinitely cold temperature, and a
        // masked token stays masked at an infinitely warm one.
        *out = if d == f64::NEG_INFINITY {
            0.0
        } else {
            exp_f64(d * scale)
        };
    }
}

kernel! {
    /// e^((z - max) scale) of each logit.
    fn scaled_exp(z: &[f32], max: f32, scale: f64, out: &mut [f64]) = scaled_exp_body;
}
