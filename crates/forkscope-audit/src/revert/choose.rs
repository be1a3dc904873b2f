//! Choosing a token from a row of logits, and mixing two rows.

use forkscope_metrics::rng::Key;
use forkscope_metrics::{MetricsError, normaliser, probabilities};

/// The most probable token, lowest id at ties; with a temperature the inverse
/// of the cumulative distribution of softmax(z/T) in order of token id, as
/// sampling does.
pub(super) fn choose(
    logits: &[f32],
    temperature: f64,
    uniform: f64,
    p: &mut Vec<f64>,
) -> Result<u32, MetricsError> {
    let norm = normaliser(logits)?;
    if temperature == 0.0 {
        return Ok(logits.iter().position(|z| *z == norm.max).unwrap_or(0) as u32);
    }
    probabilities(logits, &norm, 1.0 / temperature, p)?;
    let target = uniform * p.iter().sum::<f64>();
    let (mut sum, mut last) = (0.0, 0);
    for (token, p) in p.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        sum += p;
        last = token as u32;
        if sum > target {
            break;
        }
    }
    Ok(last)
}

/// Logits of π with ln π = (1-α) ln p + α ln b + c, into `p`. A token that
/// either policy masks stays masked, whatever the sign of its weight.
pub(super) fn mix(p: &mut [f32], b: &[f32], alpha: f64) {
    let (own, other) = ((1.0 - alpha) as f32, alpha as f32);
    for (p, b) in p.iter_mut().zip(b) {
        *p = match *p == f32::NEG_INFINITY || *b == f32::NEG_INFINITY {
            true => f32::NEG_INFINITY,
            false => own * *p + other * *b,
        };
    }
}

/// As [`mix`], with the shift ln b - ln p permuted over the vocabulary: as large,
/// in a direction that means nothing.
pub(super) fn permuted(p: &mut [f32], b: &[f32], alpha: f64, key: &Key, position: u64) {
    let mut shift: Vec<f32> = p
        .iter()
        .zip(b)
        .map(|(p, b)| b - p)
        .map(|shift| if shift.is_finite() { shift } else { 0.0 })
        .collect();
    key.rng_at(position).shuffle(&mut shift);
    for (p, shift) in p.iter_mut().zip(shift) {
        *p += alpha as f32 * shift;
    }
}

/// JS(p, δ) of a distribution and the certainty of a token with ln p = `logprob`:
/// ½(1-q) ln 2 + ½ q ln(2q/(1+q)) + ½ ln(2/(1+q)), nats.
pub(super) fn js_to_certainty(logprob: f64) -> f64 {
    let q = libm::exp(logprob);
    let at = match q > 0.0 {
        true => q * (logprob + std::f64::consts::LN_2 - libm::log1p(q)),
        false => 0.0,
    };
    0.5 * ((1.0 - q) * std::f64::consts::LN_2 + at + std::f64::consts::LN_2 - libm::log1p(q))
}
