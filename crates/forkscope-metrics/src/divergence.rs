//! How two policies differ at one position: KL, JS, TV, and the class.
//!
//! p = tuned, b = base, x = ln p - ln b, sums over the vocabulary, nats.
//! - KL(p||b) = sum p ln(p/b) is summed as sum p g(x), g(x) = e^-x - 1 + x, which
//!   is the same because the probabilities sum to one, and has no negative term.
//!   KL(b||p) = sum b g(-x). A token with p = 0 contributes b.
//! - JS = KL(p||m)/2 + KL(b||m)/2 with m = (p + b)/2 is summed as sum m f(x),
//!   f(x) = ln 2 - ln(1 + w) - |x| w/(1 + w), w = e^-|x|, so 0 <= f <= ln 2.
//! - TV = sum |p - b| / 2; |p - b| = b |e^x - 1|.
//!
//! Each term is a power series in x where policies are close (|x| <= 1), where
//! the closed forms cancel, and the closed form beyond. The naive sums go
//! negative for near-identical policies (test `naive_sums_go_negative`).
//!
//! ln p and ln b come from normalisers that are rounded, so x is off by one
//! common e. Since the derivative of sum p g(x) in such an e is sum (p - b) = 0,
//! a KL is off by e^2/2 only; `level` keeps even that below the signal.
//!
//! Coefficients: minimax fits, relative error below 2e-7 (series of e^x - 1 - x
//! in even and odd part; f; ln(1 + w)/w on [0, 1/e]).
//! Sources: Schulman, "Approximating KL divergence" (2020) for g; Lin, "Divergence
//! measures based on the Shannon entropy" (1991) for JS.

/// What one token adds to the four sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) kl_tuned_base: f32,
    pub(crate) kl_base_tuned: f32,
    pub(crate) js: f32,
    /// |p - b|.
    pub(crate) tv2: f32,
}

/// ln p - ln b of a token from its logits, given the two parts of the
/// difference of the log-normalisers; infinite or NaN where a token is masked.
///
/// The difference of the logits is taken exactly, as a rounded difference and
/// its error (Knuth's two-sum): policies that differ by a large constant, or by
/// 1e-8, keep their x.
#[inline(always)]
pub(crate) fn log_ratio(tuned: f32, base: f32, shift: f32, level: f32) -> f32 {
    let d = tuned - base;
    let back = d - tuned;
    let error = (tuned - (d - back)) - (base + back);
    let x = ((d - shift) + error) - level;
    if d.abs() < f32::INFINITY { x } else { d }
}

/// Terms of a token with probabilities `p`, `b` and x = ln p - ln b.
///
/// x is infinite or NaN where a token is masked. KL terms of a direction whose
/// reference masks the token are meaningless: the caller counts those.
#[inline(always)]
pub(crate) fn terms(p: f32, b: f32, x: f32) -> Terms {
    let (near, far) = (near_terms(p, b, x), far_terms(p, b, x));
    let is_near = x.abs() <= NEAR;
    Terms {
        kl_tuned_base: if is_near {
            near.kl_tuned_base
        } else {
            far.kl_tuned_base
        },
        kl_base_tuned: if is_near {
            near.kl_base_tuned
        } else {
            far.kl_base_tuned
        },
        js: if is_near { near.js } else { far.js },
        tv2: if is_near { near.tv2 } else { far.tv2 },
    }
}

/// The series are used up to this |x|.
pub(crate) const NEAR: f32 = 1.0;

/// Terms for |x| <= [`NEAR`].
#[inline(always)]
pub(crate) fn near_terms(p: f32, b: f32, x: f32) -> Terms {
    let square = x * x;
    // e^x - 1 - x = x^2 (even + odd), e^-x - 1 + x = x^2 (even - odd).
    let mut even = 2.535_877_7e-5f32;
    even = even.mul_add(square, 0.001_388_539_3);
    even = even.mul_add(square, 0.041_666_735);
    even = even.mul_add(square, 0.5);
    let mut odd = 2.025_920_3e-4f32;
    odd = odd.mul_add(square, 0.008_331_76);
    odd = odd.mul_add(square, 0.166_666_76);
    odd *= x;
    let (rise, fall) = (even + odd, even - odd);
    let mut f = 1.500_62e-5f32;
    f = f.mul_add(square, -1.809_839_2e-4);
    f = f.mul_add(square, 0.001_734_908_1);
    f = f.mul_add(square, -0.015_624_853);
    f = f.mul_add(square, 0.125);
    Terms {
        kl_tuned_base: (p * square) * fall,
        kl_base_tuned: (b * square) * rise,
        js: (0.5 * (p + b) * square) * f,
        tv2: b * square.mul_add(rise, x).abs(),
    }
}

/// Terms for |x| > [`NEAR`], and of tokens that one or both mask.
#[inline(always)]
fn far_terms(p: f32, b: f32, x: f32) -> Terms {
    let x = if x.abs() < f32::INFINITY { x } else { 0.0 };
    let (less, more) = if p < b { (p, b) } else { (b, p) };
    let divisor = if more > f32::MIN_POSITIVE {
        more
    } else {
        f32::MIN_POSITIVE
    };
    let w = less / divisor;
    let mut log = -0.066_292f32;
    log = log.mul_add(w, 0.161_908_8);
    log = log.mul_add(w, -0.242_279_47);
    log = log.mul_add(w, 0.332_538_9);
    log = log.mul_add(w, -0.499_964_6);
    log = log.mul_add(w, 0.999_999_6);
    let below_ln2 = log.mul_add(-w, std::f32::consts::LN_2);
    Terms {
        kl_tuned_base: p.mul_add(x - 1.0, b),
        kl_base_tuned: b.mul_add(-1.0 - x, p),
        js: (0.5 * (p + b)).mul_add(below_ln2, -0.5 * less * x.abs()),
        tv2: (p - b).abs(),
    }
}

/// The difference of the log-normalisers (tuned - base) beyond the f32 `shift`.
///
/// `direct` is the difference of the two rounded logarithms, good to 4e-7. For
/// close policies that would drown the signal; there the moments of the logit
/// difference under the base, d = z_p - z_b - shift, give it relative to the
/// signal: ln E[e^d] = E[d] + Var[d]/2 + third order. Taken only where the
/// variance is small and the two agree as well as `direct` can tell.
pub(crate) fn level(direct: f64, mean: f64, mean_square: f64) -> f64 {
    const CLOSE: f64 = 1e-5;
    const AGREE: f64 = 5e-7;
    let variance = mean_square - mean * mean;
    let moments = mean + 0.5 * variance;
    if variance < CLOSE && (direct - moments).abs() < AGREE {
        moments
    } else {
        direct
    }
}

/// Class of a position after arXiv 2605.06241.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Both policies have the same argmax.
    Unshifted,
    /// The tuned argmax differs and has base rank <= k.
    Reranked,
    /// The tuned argmax has a base rank beyond k.
    Shifted,
}

/// Class of a position; the paper's k is 5.
///
/// Argmaxes that tie under the base differ by id, so such a position is
/// `Reranked` with base rank 1.
pub fn class(argmax_base: u32, argmax_tuned: u32, base_rank_of_tuned_argmax: u32, k: u32) -> Class {
    if argmax_base == argmax_tuned {
        Class::Unshifted
    } else if base_rank_of_tuned_argmax <= k {
        Class::Reranked
    } else {
        Class::Shifted
    }
}
