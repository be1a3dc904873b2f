//! One row of logits: normaliser, log-probs, entropy, and the gradients of
//! losses with respect to the logits, written over them.
//!
//! With p = softmax(z), T = 1, nats:
//! - ln p(x) = (z_x - max) - ln sum e^(z - max), H = ln sum e^(z - max)
//!   - sum p (z - max): both terms of H are non-negative, nothing is clamped;
//! - d(-ln p(x))/dz = p - onehot(x) ([`cross_entropy_gradient`],
//!   [`log_prob_gradient`]);
//! - KL of a teacher and a student over all tokens ([`kl_teacher_student`]) or
//!   over the teacher's top k and one bucket for the rest ([`kl_bucketed`]).
//!
//! Elementwise f32; sums in f32 lanes over 512 logits, those in f64, in an order
//! that depends on the row alone. The greatest logit is counted apart, so that
//! small masses beside it are not lost. A row with NaN or +inf gives NaN, never
//! a number; -inf is a masked token, whose probability and gradient are 0.

mod bucketed;
mod kl;
#[cfg(test)]
mod tests;

use forkscope_policy::ops::LANES;
use forkscope_policy::ops::exp::exp;
use forkscope_policy::vectorised;

pub use bucketed::{Bucketed, kl_bucketed};
pub use kl::{Divergence, kl_teacher_student};

/// Logits whose sums are taken in f32.
const CHUNK: usize = 512;

/// What a softmax over one row divides by, and the row's entropy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normaliser {
    /// Greatest logit.
    pub max: f32,
    /// ln sum e^(z - max), >= 0; NaN if the row holds NaN or +inf or no
    /// finite logit.
    pub ln_sum: f64,
    /// H(p) in nats; NaN with `ln_sum`.
    pub entropy: f64,
}

/// A token of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenTerms {
    /// ln p(token).
    pub log_prob: f64,
    /// H(p) of the row, nats.
    pub entropy: f64,
    /// Whether the token is the argmax (of a tie: the lowest id).
    pub is_argmax: bool,
}

impl Normaliser {
    /// ln sum e^z.
    pub fn ln_z(&self) -> f64 {
        f64::from(self.max) + self.ln_sum
    }

    /// ln p(token) of the row that this is the normaliser of; NaN for a token
    /// outside it.
    pub fn log_prob(&self, logits: &[f32], token: u32) -> f64 {
        let z = logits.get(token as usize).copied().unwrap_or(f32::NAN);
        (f64::from(z) - f64::from(self.max)) - self.ln_sum
    }

    /// Whether the token is the row's argmax (of a tie: the lowest id).
    pub fn is_argmax(&self, logits: &[f32], token: u32) -> bool {
        let at = token as usize;
        logits.get(at) == Some(&self.max)
            && logits
                .get(..at)
                .is_some_and(|before| !before.contains(&self.max))
    }

    /// The argmax (of a tie: the lowest id); 0 for a row of NaN.
    pub fn argmax(&self, logits: &[f32]) -> u32 {
        let part = logits.chunks(CHUNK).position(|c| c.contains(&self.max));
        let from = part.unwrap_or(0) * CHUNK;
        let rest = logits.get(from..).unwrap_or(&[]);
        let within = rest.iter().position(|z| *z == self.max).unwrap_or(0);
        (from + within) as u32
    }

    /// e^(-ln_sum): p = e^(z - max) times this.
    fn scale(&self) -> f64 {
        libm::exp(-self.ln_sum)
    }
}

/// Normaliser and entropy of a row.
pub fn normaliser(logits: &[f32]) -> Normaliser {
    let mut max = f32::NEG_INFINITY;
    maximum(logits, &mut max);
    if !max.is_finite() {
        return Normaliser {
            max,
            ln_sum: f64::NAN,
            entropy: f64::NAN,
        };
    }
    let mut sums = Sums::default();
    exp_sums(logits, max, &mut sums);
    let beside = sums.rest + (sums.top as f64 - 1.0);
    let ln_sum = libm::log1p(beside);
    Normaliser {
        max,
        ln_sum,
        entropy: ln_sum - sums.slope / (1.0 + beside),
    }
}

/// H(p) of a row, nats.
pub fn entropy(logits: &[f32]) -> f64 {
    normaliser(logits).entropy
}

/// logits <- w (p - onehot(token)), the gradient of -w ln p(token). Returns
/// ln p(token), the entropy, and whether the token was the argmax.
pub fn cross_entropy_gradient(logits: &mut [f32], token: u32, w: f64) -> TokenTerms {
    let normaliser = normaliser(logits);
    let terms = TokenTerms {
        log_prob: normaliser.log_prob(logits, token),
        entropy: normaliser.entropy,
        is_argmax: normaliser.is_argmax(logits, token),
    };
    log_prob_gradient(logits, token, &normaliser, -w);
    terms
}

/// logits <- c (onehot(token) - p): the gradient of a loss whose derivative
/// with respect to ln p(token) is `c`. `normaliser` is that of the row.
///
/// At the token itself 1 - p is taken as -expm1(ln p), which keeps its digits
/// where p is close to 1.
pub fn log_prob_gradient(logits: &mut [f32], token: u32, normaliser: &Normaliser, c: f64) {
    let log_prob = normaliser.log_prob(logits, token);
    scaled_softmax(logits, normaliser.max, (-c * normaliser.scale()) as f32);
    if let Some(z) = logits.get_mut(token as usize) {
        *z = (-c * libm::expm1(log_prob)) as f32;
    }
}

/// Sums over a row relative to its maximum.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// Sum of e^(z - max) over z < max.
    rest: f64,
    /// Sum of (z - max) e^(z - max), <= 0.
    slope: f64,
    /// Number of z = max.
    top: u64,
}

/// Sum of the lanes in f64, halves onto halves: a fixed tree.
#[inline(always)]
fn tree(lanes: &[f32; LANES]) -> f64 {
    let mut wide = lanes.map(f64::from);
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            wide[i] += wide[i + half];
        }
        half /= 2;
    }
    wide[0]
}

vectorised! {
    /// Greatest logit; NaN is passed over here and found by the sums.
    fn maximum(z: &[f32], out: &mut f32) {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (groups, rest) = z.as_chunks::<LANES>();
        for group in groups {
            for i in 0..LANES {
                lanes[i] = if group[i] > lanes[i] { group[i] } else { lanes[i] };
            }
        }
        for (lane, z) in lanes.iter_mut().zip(rest) {
            *lane = if *z > *lane { *z } else { *lane };
        }
        for lane in lanes {
            *out = if lane > *out { lane } else { *out };
        }
    }
}

/// Lane sums of [`exp_sums`].
#[derive(Clone, Copy)]
struct Lanes {
    rest: [f32; LANES],
    slope: [f32; LANES],
    top: [u32; LANES],
}

impl Lanes {
    #[inline(always)]
    fn add(&mut self, i: usize, z: f32, max: f32) {
        let y = z - max;
        let e = exp(y);
        // -inf * 0 at masked tokens contributes 0.
        self.slope[i] += if e > 0.0 { e * y } else { 0.0 };
        self.rest[i] += if z == max { 0.0 } else { e };
        self.top[i] = self.top[i].wrapping_add(u32::from(z == max));
    }
}

vectorised! {
    fn exp_sums(z: &[f32], max: f32, out: &mut Sums) {
        for chunk in z.chunks(CHUNK) {
            let mut lanes = Lanes {
                rest: [0.0; LANES],
                slope: [0.0; LANES],
                top: [0; LANES],
            };
            let (groups, rest) = chunk.as_chunks::<LANES>();
            for group in groups {
                for (i, z) in group.iter().enumerate() {
                    lanes.add(i, *z, max);
                }
            }
            for (i, z) in rest.iter().enumerate() {
                lanes.add(i, *z, max);
            }
            out.rest += tree(&lanes.rest);
            out.slope += tree(&lanes.slope);
            for top in lanes.top {
                out.top += u64::from(top);
            }
        }
    }
}

vectorised! {
    /// z <- e^(z - max) scale.
    fn scaled_softmax(z: &mut [f32], max: f32, scale: f32) {
        for z in z.iter_mut() {
            *z = exp(*z - max) * scale;
        }
    }
}
