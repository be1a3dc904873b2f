//! Both passes over two policies: moments of the logit difference, then the
//! divergences.

use super::{LANES, count, exp, groups, kernel, tree};
use crate::divergence::{NEAR, Terms, log_ratio, near_terms, terms};

/// What the second pass needs to know about two rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LevelTerms {
    /// Maximum of the base.
    pub(crate) max_base: f32,
    /// Maximum of the tuned policy.
    pub(crate) max_tuned: f32,
    /// 1 / sum e^(z - max) of the base.
    pub(crate) scale_base: f32,
    /// 1 / sum e^(z - max) of the tuned policy.
    pub(crate) scale_tuned: f32,
    /// `max_tuned - max_base`, rounded.
    pub(crate) shift: f32,
    /// What the difference of the log-normalisers is beyond `shift`.
    pub(crate) level: f32,
    /// Base logit of the tuned argmax.
    pub(crate) threshold: f32,
}

/// Sums of one chunk; probabilities are normalised.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PairSums {
    pub(crate) kl_tuned_base: f64,
    pub(crate) kl_base_tuned: f64,
    pub(crate) js: f64,
    pub(crate) tv2: f64,
    /// Tokens that only the base masks.
    pub(crate) only_base_masks: u32,
    /// Tokens that only the tuned policy masks.
    pub(crate) only_tuned_masks: u32,
    /// Tokens with greater base logit than the threshold.
    pub(crate) above: u32,
}

impl std::ops::AddAssign for PairSums {
    fn add_assign(&mut self, chunk: Self) {
        self.kl_tuned_base += chunk.kl_tuned_base;
        self.kl_base_tuned += chunk.kl_base_tuned;
        self.js += chunk.js;
        self.tv2 += chunk.tv2;
        self.only_base_masks += chunk.only_base_masks;
        self.only_tuned_masks += chunk.only_tuned_masks;
        self.above += chunk.above;
    }
}

#[inline(always)]
fn moments_body(base: &[f32], tuned: &[f32], weights: &[f32], shift: f32) -> (f64, f64) {
    let (mut first, mut second) = ([0.0f32; LANES], [0.0f32; LANES]);
    let rows = groups(base).iter().zip(groups(tuned));
    for ((base, tuned), weights) in rows.zip(groups(weights)) {
        for i in 0..LANES {
            let d = log_ratio(tuned[i], base[i], shift, 0.0);
            // NaN where both mask. Where one does, the sums become infinite
            // or NaN: the policies are not close.
            let d = if d.is_nan() { 0.0 } else { d };
            let term = weights[i] * d;
            first[i] += term;
            second[i] += term * d;
        }
    }
    (tree(&first), tree(&second))
}

/// Lane sums of the terms.
#[derive(Clone, Copy)]
struct Lanes {
    kl_tuned_base: [f32; LANES],
    kl_base_tuned: [f32; LANES],
    js: [f32; LANES],
    tv2: [f32; LANES],
}

impl Lanes {
    #[inline(always)]
    fn add(&mut self, i: usize, term: Terms) {
        self.kl_tuned_base[i] += term.kl_tuned_base;
        self.kl_base_tuned[i] += term.kl_base_tuned;
        self.js[i] += term.js;
        self.tv2[i] += term.tv2;
    }
}

/// p, b and ln p - ln b of a token.
#[inline(always)]
fn token(base: f32, tuned: f32, at: &LevelTerms) -> (f32, f32, f32) {
    let b = exp(base - at.max_base) * at.scale_base;
    let p = exp(tuned - at.max_tuned) * at.scale_tuned;
    (p, b, log_ratio(tuned, base, at.shift, at.level))
}

/// Groups that are tried together as near: where no token of them is far, as
/// most of a vocabulary is for two related policies, the far form is not
/// computed at all. Either way each token has the same terms, added in the same
/// order.
const BLOCK: usize = 4;

#[inline(always)]
fn pair_body(base: &[f32], tuned: &[f32], at: &LevelTerms) -> PairSums {
    let mut lanes = Lanes {
        kl_tuned_base: [0.0; LANES],
        kl_base_tuned: [0.0; LANES],
        js: [0.0; LANES],
        tv2: [0.0; LANES],
    };
    let (mut only_base, mut only_tuned, mut above) = ([0u32; LANES], [0u32; LANES], [0u32; LANES]);
    for (base, tuned) in groups(base).chunks(BLOCK).zip(groups(tuned).chunks(BLOCK)) {
        let before = lanes;
        let mut far = [0u32; LANES];
        for (base, tuned) in base.iter().zip(tuned) {
            for i in 0..LANES {
                let (p, b, x) = token(base[i], tuned[i], at);
                far[i] |= u32::from(x.abs() > NEAR);
                // NaN where both mask: no difference.
                let x = if x.is_nan() { 0.0 } else { x };
                count(&mut above[i], base[i] > at.threshold);
                lanes.add(i, near_terms(p, b, x));
            }
        }
        if far.iter().fold(0, |any, lane| any | lane) == 0 {
            continue;
        }
        lanes = before;
        for (base, tuned) in base.iter().zip(tuned) {
            for i in 0..LANES {
                let (p, b, x) = token(base[i], tuned[i], at);
                count(&mut only_base[i], x == f32::INFINITY);
                count(&mut only_tuned[i], x == f32::NEG_INFINITY);
                lanes.add(i, terms(p, b, x));
            }
        }
    }
    PairSums {
        kl_tuned_base: tree(&lanes.kl_tuned_base),
        kl_base_tuned: tree(&lanes.kl_base_tuned),
        js: tree(&lanes.js),
        tv2: tree(&lanes.tv2),
        only_base_masks: only_base.iter().sum(),
        only_tuned_masks: only_tuned.iter().sum(),
        above: above.iter().sum(),
    }
}

kernel! {
    /// Sums of w d and w d^2 with d = tuned - base - shift, w given.
    fn moments(base: &[f32], tuned: &[f32], weights: &[f32], shift: f32) -> (f64, f64) = moments_body;
}
kernel! {
    /// Divergence sums.
    fn pair(base: &[f32], tuned: &[f32], at: &LevelTerms) -> PairSums = pair_body;
}
