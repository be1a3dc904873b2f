//! Which scores of one rollout are high enough.

use super::calibrate::nearest_count;
use super::gate::Rule;

/// The offsets that `rule` chooses, ascending. `threshold` is the rule's
/// threshold over all rollouts, where it has one.
pub(super) fn choose(rule: Rule, scores: &[f64], threshold: Option<f64>) -> Vec<u32> {
    match rule {
        Rule::Above(tau) => above(scores, tau),
        Rule::Quantile(_) => above(scores, threshold.unwrap_or(f64::INFINITY)),
        Rule::TopK(k) => highest(scores, k as usize),
        Rule::Share(share) => highest(scores, nearest_count(share, scores.len())),
        Rule::Dual {
            tau,
            lambda,
            window,
        } => dual(scores, tau, lambda, window as usize),
    }
}

fn above(scores: &[f64], tau: f64) -> Vec<u32> {
    offsets(scores.iter().map(|x| *x > tau))
}

/// The `k` highest; of equals the earlier.
fn highest(scores: &[f64], k: usize) -> Vec<u32> {
    let mut order: Vec<(u32, f64)> = (0..).zip(scores.iter().copied()).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    ascending(order.into_iter().take(k).map(|(at, _)| at))
}

/// The `k` lowest; of equals the earlier.
pub(super) fn lowest(scores: &[f64], k: usize) -> Vec<u32> {
    let mut order: Vec<(u32, f64)> = (0..).zip(scores.iter().copied()).collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    ascending(order.into_iter().take(k).map(|(at, _)| at))
}

/// The mean is summed afresh at every position: a running sum would carry the
/// rounding, and an infinity, of positions that have left the window.
fn dual(scores: &[f64], tau: f64, lambda: f64, window: usize) -> Vec<u32> {
    offsets(scores.iter().enumerate().map(|(at, x)| {
        let before = scores.get(at.saturating_sub(window)..at).unwrap_or(&[]);
        let mean = before.iter().sum::<f64>() / before.len() as f64;
        *x > tau && (before.is_empty() || *x > lambda * mean)
    }))
}

/// The offsets of true.
pub(super) fn offsets(marks: impl Iterator<Item = bool>) -> Vec<u32> {
    let marked = (0..).zip(marks).filter(|(_, marked)| *marked);
    marked.map(|(at, _)| at).collect()
}

/// Sorted.
pub(super) fn ascending(offsets: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut sorted: Vec<u32> = offsets.collect();
    sorted.sort_unstable();
    sorted
}
