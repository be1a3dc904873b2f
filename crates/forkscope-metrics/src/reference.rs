//! Every metric a second time: one row at a time, in f64, term by term from the
//! definitions. Slow and plain; the oracle of the tests and of `verify`.
//!
//! Formulas as in [`crate::row`] and [`crate::divergence`], with
//! - KL(p||b) = sum p g(x), x = ln p - ln b, g(x) = e^-x - 1 + x, by
//!   x^2/2 - x^3/6 + x^4/24 - x^5/120 + x^6/720 for |x| < 1e-2; a token with
//!   p = 0 contributes b;
//! - JS = KL(p||m)/2 + KL(b||m)/2, m = (p + b)/2, each summed the same way with
//!   ln(p/m) = -ln(1 + (e^-x - 1)/2);
//! - exponentials and logarithms from `libm`, the same on every machine.

use crate::error::MetricsError;
use crate::logit::Logit;
use crate::pair::{PairMetrics, Side};
use crate::pass::not_finite;
use crate::row::{RowMetrics, check_shape, target_logit};

/// ln p of every token, f64.
pub fn log_softmax<L: Logit>(logits: &[L]) -> Vec<f64> {
    let z: Vec<f64> = logits.iter().map(|z| f64::from(z.to_f32())).collect();
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ln_sum = libm::log(z.iter().map(|z| libm::exp(z - max)).sum());
    z.iter().map(|z| (z - max) - ln_sum).collect()
}

/// H = -sum p ln p of log-probabilities, nats.
pub fn entropy(logp: &[f64]) -> f64 {
    logp.iter()
        .filter(|logp| **logp > f64::NEG_INFINITY)
        .map(|logp| -libm::exp(*logp) * logp)
        .sum()
}

/// g(x) = e^-x - 1 + x >= 0.
pub fn g(x: f64) -> f64 {
    if x.abs() < 1e-2 {
        let x2 = x * x;
        x2 * (0.5 - x / 6.0 + x2 * (1.0 / 24.0 - x / 120.0 + x2 / 720.0))
    } else {
        libm::expm1(-x) + x
    }
}

/// KL(p||q) of log-probabilities, nats; +inf where q = 0 < p.
pub fn kl(logp: &[f64], logq: &[f64]) -> f64 {
    let pairs = logp.iter().zip(logq);
    pairs
        .map(
            |(&lp, &lq)| match (lp > f64::NEG_INFINITY, lq > f64::NEG_INFINITY) {
                (false, _) => libm::exp(lq),
                (true, false) => f64::INFINITY,
                (true, true) => kl_term(libm::exp(lp), libm::exp(lq), lp - lq),
            },
        )
        .sum()
}

/// p g(x) for x = ln(p/q), without overflow.
fn kl_term(p: f64, q: f64, x: f64) -> f64 {
    if x.abs() < 1.0 {
        p * g(x)
    } else {
        (q - p) + p * x
    }
}

/// Jensen-Shannon divergence of log-probabilities, nats.
pub fn js(logp: &[f64], logq: &[f64]) -> f64 {
    let half = |lp: f64, lq: f64| {
        let (p, q) = (libm::exp(lp), libm::exp(lq));
        let m = 0.5 * (p + q);
        if lp == f64::NEG_INFINITY {
            return m;
        }
        let x = lp - lq;
        let ln_p_over_m = if x < -1.0 {
            std::f64::consts::LN_2 + x - libm::log1p(libm::exp(x))
        } else {
            -libm::log1p(0.5 * libm::expm1(-x))
        };
        kl_term(p, m, ln_p_over_m)
    };
    let pairs = logp.iter().zip(logq);
    0.5 * pairs
        .map(|(&lp, &lq)| half(lp, lq) + half(lq, lp))
        .sum::<f64>()
}

/// Total variation of log-probabilities.
pub fn tv(logp: &[f64], logq: &[f64]) -> f64 {
    let pairs = logp.iter().zip(logq);
    0.5 * pairs
        .map(|(p, q)| (libm::exp(*p) - libm::exp(*q)).abs())
        .sum::<f64>()
}

/// CE(b, p) = -sum b ln p of log-probabilities, nats.
pub fn cross_entropy(logb: &[f64], logp: &[f64]) -> f64 {
    logb.iter()
        .zip(logp)
        .filter(|(b, _)| **b > f64::NEG_INFINITY)
        .map(|(b, p)| -libm::exp(*b) * p)
        .sum()
}

/// 1 + number of logits strictly greater than `z`.
fn rank(z: &[f32], of: f32) -> u32 {
    1 + z.iter().filter(|z| **z > of).count() as u32
}

/// Metrics of one policy at one position.
pub fn score_row<L: Logit>(
    logits: &[L],
    target: u32,
    k: usize,
) -> Result<RowMetrics, MetricsError> {
    score(logits, target, k, Side::Scored)
}

fn score<L: Logit>(
    logits: &[L],
    target: u32,
    k: usize,
    side: Side,
) -> Result<RowMetrics, MetricsError> {
    check_shape(logits.len(), logits.len(), 1, side)?;
    let z: Vec<f32> = logits.iter().map(|z| z.to_f32()).collect();
    if z.iter().any(|z| z.is_nan() || *z == f32::INFINITY) {
        return Err(not_finite(logits, 0, side));
    }
    let at_target = target_logit(logits, target, 0)?;
    let mut order: Vec<(u32, f32)> = (0..).zip(z.iter().copied()).collect();
    order.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal));
    let (argmax, max) = order.first().copied().unwrap_or((0, f32::NEG_INFINITY));
    if max == f32::NEG_INFINITY {
        return Err(MetricsError::AllMasked { row: 0, side });
    }
    let logp = log_softmax(logits);
    let logp_of = |id: u32| logp.get(id as usize).copied().unwrap_or(f64::NAN);
    let unmasked = order.iter().filter(|(_, z)| *z > f32::NEG_INFINITY);
    Ok(RowMetrics {
        entropy_nats: entropy(&logp),
        logprob: logp_of(target),
        rank: rank(&z, at_target),
        argmax,
        ties_at_top: z.iter().filter(|z| **z == max).count() as u32,
        log_normaliser: f64::from(max) - logp_of(argmax),
        topk: unmasked.take(k).map(|&(id, _)| (id, logp_of(id))).collect(),
    })
}

/// Metrics of two policies at one position.
pub fn pair_row<B: Logit, T: Logit>(
    base: &[B],
    tuned: &[T],
    target: u32,
    k: usize,
) -> Result<PairMetrics, MetricsError> {
    let shared = base.len().min(tuned.len());
    let (whole_base, whole_tuned) = (base, tuned);
    let (base, tuned) = (&base[..shared], &tuned[..shared]);
    let metrics_base = score(base, target, k, Side::Base)?;
    let metrics_tuned = score(tuned, target, k, Side::Tuned)?;
    let (logb, logp) = (log_softmax(base), log_softmax(tuned));
    let masked = |a: &[f64], b: &[f64]| {
        let only = |(a, b): &(&f64, &f64)| **a == f64::NEG_INFINITY && **b > f64::NEG_INFINITY;
        a.iter().zip(b).filter(only).count() as u32
    };
    let (only_base_masks, only_tuned_masks) = (masked(&logb, &logp), masked(&logp, &logb));
    let z: Vec<f32> = base.iter().map(|z| z.to_f32()).collect();
    let delta = metrics_tuned.logprob - metrics_base.logprob;
    Ok(PairMetrics {
        kl_tuned_base_nats: (only_base_masks == 0).then(|| kl(&logp, &logb)),
        kl_base_tuned_nats: (only_tuned_masks == 0).then(|| kl(&logb, &logp)),
        only_base_masks,
        only_tuned_masks,
        js_nats: js(&logp, &logb),
        tv: tv(&logp, &logb),
        ce_base_tuned_nats: (only_tuned_masks == 0).then(|| cross_entropy(&logb, &logp)),
        delta_logprob: delta.is_finite().then_some(delta),
        base_rank_of_tuned_argmax: rank(&z, target_logit(base, metrics_tuned.argmax, 0)?),
        mass_outside_base: mass_outside(whole_base, shared),
        mass_outside_tuned: mass_outside(whole_tuned, shared),
        base: metrics_base,
        tuned: metrics_tuned,
    })
}

fn mass_outside<L: Logit>(whole: &[L], shared: usize) -> f64 {
    let logp = log_softmax(whole);
    logp.iter().skip(shared).map(|logp| libm::exp(*logp)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, want: f64) {
        assert!(
            (got - want).abs() <= 1e-14 * want.abs().max(1.0),
            "{got} is not {want}"
        );
    }

    /// Values from mpmath at 50 digits for softmax of base (0, 1, 2, 3) and
    /// tuned (0.5, 1, 1.5, 4).
    #[test]
    fn golden_values() {
        let base = [0.0f32, 1.0, 2.0, 3.0];
        let tuned = [0.5f32, 1.0, 1.5, 4.0];
        let pair = pair_row(&base, &tuned, 2, 2).unwrap();
        near(pair.base.entropy_nats, 0.9475369639754255);
        near(pair.tuned.entropy_nats, 0.5462756055327678);
        near(pair.kl_tuned_base_nats.unwrap(), 0.12819551702556534);
        near(pair.kl_base_tuned_nats.unwrap(), 0.16851057359777752);
        near(pair.js_nats, 0.03555021330192949);
        near(pair.tv, 0.21661950566594454);
        near(pair.ce_base_tuned_nats.unwrap(), 1.116047537573203);
        near(pair.delta_logprob.unwrap(), -1.2100127260808373);
        near(pair.base.logprob, -1.4401896985611953);
        near(pair.tuned.log_normaliser, 4.150202424642033);
    }
}
