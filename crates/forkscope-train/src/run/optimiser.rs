//! AdamW in place, with the gradient clipped by its global norm.
//!
//! Loshchilov and Hutter, arXiv 1711.05101, in the arithmetic of
//! `torch.optim.AdamW`. For each value w with gradient g, at the t-th update:
//!
//! ```text
//! g <- c g                                  c the clipping factor
//! w <- w (1 - rate * decay)                 matrices only, unless said otherwise
//! m <- m + (1 - beta1) (g - m)
//! v <- v beta2 + (1 - beta2) g g
//! w <- w - (rate / (1 - beta1^t)) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//! ```
//!
//! Scalars are computed in f64 and rounded to f32 once; everything else is f32,
//! evaluated from left to right as written (a parenthesis without variables of
//! the value's own is one scalar), without fused multiply-add. A value's update depends on nothing
//! but itself, so neither threads nor blocks change a bit.
//!
//! The clipping factor is that of `torch.nn.utils.clip_grad_norm_`:
//! min(1, max / (norm + 1e-6)), with the norm over all tensors together, summed
//! in f64 by blocks of fixed size.

use forkscope_policy::vectorised;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::engine::{Gradients, Parameter};

/// Values per block of work.
const BLOCK: usize = 1 << 16;

/// Partial sums of the norm, as many as a vector has f64 lanes or more.
const LANES: usize = 16;

/// Which parameters the weight decay shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decayed {
    /// Matrices: not the gains of norms, not biases.
    #[default]
    Matrices,
    /// All.
    All,
}

/// Settings of [`AdamW`]; the defaults are those of torch, without weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWSettings {
    /// Rate that the schedule multiplies.
    pub learning_rate: f64,
    /// Share of the old first moment that stays.
    pub beta1: f64,
    /// Share of the old second moment that stays.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, per unit of rate.
    pub weight_decay: f64,
    /// What it shrinks.
    pub decayed: Decayed,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decayed: Decayed::Matrices,
        }
    }
}

impl AdamWSettings {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), TrainError> {
        let at_least_0 = |x: f64| x >= 0.0 && x.is_finite();
        let share = |x: f64| (0.0..1.0).contains(&x);
        let ranges = [
            (
                "the learning rate",
                self.learning_rate,
                at_least_0 as fn(f64) -> bool,
                "at least 0",
            ),
            ("beta1", self.beta1, share, "from 0 to below 1"),
            ("beta2", self.beta2, share, "from 0 to below 1"),
            ("eps", self.eps, at_least_0, "at least 0"),
            (
                "the weight decay",
                self.weight_decay,
                at_least_0,
                "at least 0",
            ),
        ];
        for (what, value, good, range) in ranges {
            if !good(value) {
                return Err(TrainError::Setting(format!(
                    "{what} of the optimiser is {value}; give a finite number {range}"
                )));
            }
        }
        Ok(())
    }
}

/// The optimiser: two moments per parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    settings: AdamWSettings,
    updates: u64,
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
}

impl AdamW {
    /// An optimiser of those parameters, with zero moments.
    pub fn new(settings: AdamWSettings, parameters: &[Parameter]) -> Result<Self, TrainError> {
        settings.check()?;
        let zeros = Gradients::zeros(parameters).tensors;
        Ok(Self {
            settings,
            updates: 0,
            first: zeros.clone(),
            second: zeros,
        })
    }

    /// Updates made so far; the bias correction counts them.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// First and second moments, in the order of the parameters.
    pub fn moments(&self) -> (&[Vec<f32>], &[Vec<f32>]) {
        (&self.first, &self.second)
    }

    /// Goes on from recorded moments, which have the parameters' lengths.
    pub(super) fn restore(&mut self, updates: u64, first: Vec<Vec<f32>>, second: Vec<Vec<f32>>) {
        self.updates = updates;
        self.first = first;
        self.second = second;
    }

    /// One update. `rate` is the learning rate of this step, `factor` what the
    /// gradients are multiplied with first.
    pub fn update(
        &mut self,
        parameters: &mut [Parameter],
        gradients: &Gradients,
        rate: f64,
        factor: f64,
    ) -> Result<(), TrainError> {
        self.fits(parameters, gradients)?;
        self.updates += 1;
        let (s, decayed) = (self.settings, self.settings.decayed);
        let t = self.updates as f64;
        let kept = 1.0 - rate * s.weight_decay;
        let moments = self.first.iter_mut().zip(&mut self.second);
        let tensors = parameters.iter_mut().zip(&gradients.tensors).zip(moments);
        let blocks: Vec<_> = tensors
            .flat_map(|((parameter, gradient), (first, second))| {
                let decays = decayed == Decayed::All || parameter.is_matrix();
                let scalars = Scalars {
                    factor: factor as f32,
                    kept: if decays { kept as f32 } else { 1.0 },
                    take1: (1.0 - s.beta1) as f32,
                    keep2: s.beta2 as f32,
                    take2: (1.0 - s.beta2) as f32,
                    rate: (rate / (1.0 - libm::pow(s.beta1, t))) as f32,
                    root: libm::sqrt(1.0 - libm::pow(s.beta2, t)) as f32,
                    eps: s.eps as f32,
                };
                let values = parameter
                    .values
                    .chunks_mut(BLOCK)
                    .zip(gradient.chunks(BLOCK));
                let moments = first.chunks_mut(BLOCK).zip(second.chunks_mut(BLOCK));
                values
                    .zip(moments)
                    .map(move |((w, g), (m, v))| (w, g, m, v, scalars))
            })
            .collect();
        blocks
            .into_par_iter()
            .for_each(|(w, g, m, v, scalars)| update(w, g, m, v, scalars));
        Ok(())
    }

    fn fits(&self, parameters: &[Parameter], gradients: &Gradients) -> Result<(), TrainError> {
        let lengths = |tensors: &[Vec<f32>]| tensors.iter().map(Vec::len).collect::<Vec<_>>();
        let own = lengths(&self.first);
        let given: Vec<usize> = parameters.iter().map(|p| p.values.len()).collect();
        if own == given && own == lengths(&gradients.tensors) {
            return Ok(());
        }
        Err(TrainError::Internal(
            "parameters, gradients and moments of the optimiser have different sizes".into(),
        ))
    }
}

/// What is the same for all values of a parameter.
#[derive(Debug, Clone, Copy)]
struct Scalars {
    factor: f32,
    kept: f32,
    take1: f32,
    keep2: f32,
    take2: f32,
    rate: f32,
    root: f32,
    eps: f32,
}

vectorised! {
    /// One block: weights, gradients, first and second moments.
    fn update(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], s: Scalars) {
        for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let g = *g * s.factor;
            *m += s.take1 * (g - *m);
            *v = *v * s.keep2 + s.take2 * g * g;
            *w = *w * s.kept - s.rate * *m / (v.sqrt() / s.root + s.eps);
        }
    }
}

/// Euclidean norm of all gradients together; not finite if one of them is not.
pub fn global_norm(gradients: &Gradients) -> f64 {
    let blocks: Vec<&[f32]> = gradients
        .tensors
        .iter()
        .flat_map(|tensor| tensor.chunks(BLOCK))
        .collect();
    let sums: Vec<f64> = blocks
        .into_par_iter()
        .map(|block| {
            let mut lanes = [0.0; LANES];
            square(block, &mut lanes);
            lanes.iter().sum()
        })
        .collect();
    sums.iter().sum::<f64>().sqrt()
}

vectorised! {
    /// Adds the squares of a block to sixteen sums.
    fn square(values: &[f32], sums: &mut [f64; LANES]) {
        let (whole, rest) = values.as_chunks::<LANES>();
        for chunk in whole {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                let x = f64::from(*x);
                *sum += x * x;
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            let x = f64::from(*x);
            *sum += x * x;
        }
    }
}

/// What gradients of that norm are multiplied with so that their norm is about
/// `max` at most.
pub fn clip_factor(norm: f64, max: f64) -> f64 {
    (max / (norm + 1e-6)).min(1.0)
}
