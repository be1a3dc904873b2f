//! L-BFGS (Nocedal and Wright 2006, algorithm 7.5) with a backtracking line
//! search, for small smooth convex functions. Deterministic.

use std::collections::VecDeque;

const MEMORY: usize = 8;
const MOST_STEPS: usize = 200;
const MOST_HALVINGS: usize = 40;
/// The largest component of the gradient at which the search ends.
const TOLERANCE: f64 = 1e-5;
/// Share of the linear decrease that a step must reach (Armijo).
const ARMIJO: f64 = 1e-4;

/// A step and the change of the gradient along it.
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    rho: f64,
}

/// The point where `f` (value returned, gradient written) is least, from `x` on.
pub(super) fn minimise(mut x: Vec<f64>, f: impl Fn(&[f64], &mut [f64]) -> f64) -> Vec<f64> {
    let n = x.len();
    let mut gradient = vec![0.0; n];
    let mut value = f(&x, &mut gradient);
    let mut memory: VecDeque<Pair> = VecDeque::with_capacity(MEMORY + 1);
    for _ in 0..MOST_STEPS {
        if gradient.iter().all(|g| g.abs() <= TOLERANCE) {
            break;
        }
        let mut direction = descent(&gradient, &memory);
        let mut slope = product(&direction, &gradient);
        if slope >= 0.0 {
            memory.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -product(&gradient, &gradient);
        }
        let mut step = match memory.is_empty() {
            true => 1.0 / product(&gradient, &gradient).sqrt().max(1.0),
            false => 1.0,
        };
        let (mut next, mut next_gradient) = (vec![0.0; n], vec![0.0; n]);
        let mut found = None;
        for _ in 0..MOST_HALVINGS {
            for ((next, x), d) in next.iter_mut().zip(&x).zip(&direction) {
                *next = x + step * d;
            }
            let there = f(&next, &mut next_gradient);
            if there <= value + ARMIJO * step * slope {
                found = Some(there);
                break;
            }
            step *= 0.5;
        }
        // No step helps any more: rounding decides.
        let Some(there) = found else { break };
        let s: Vec<f64> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = next_gradient
            .iter()
            .zip(&gradient)
            .map(|(a, b)| a - b)
            .collect();
        let curvature = product(&s, &y);
        if curvature > 1e-12 {
            memory.push_back(Pair {
                s,
                y,
                rho: 1.0 / curvature,
            });
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        (x, gradient, value) = (next, next_gradient, there);
    }
    x
}

/// -H g by the two loops.
fn descent(gradient: &[f64], memory: &VecDeque<Pair>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.to_vec();
    let mut alphas = Vec::with_capacity(memory.len());
    for pair in memory.iter().rev() {
        let alpha = pair.rho * product(&pair.s, &q);
        add(&mut q, -alpha, &pair.y);
        alphas.push(alpha);
    }
    if let Some(last) = memory.back() {
        let scale = 1.0 / (last.rho * product(&last.y, &last.y));
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for (pair, alpha) in memory.iter().zip(alphas.into_iter().rev()) {
        let beta = pair.rho * product(&pair.y, &q);
        add(&mut q, alpha - beta, &pair.s);
    }
    q.iter_mut().for_each(|q| *q = -*q);
    q
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, x: &[f64]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += factor * x;
    }
}
