//! Probes: linear functions of activations or words that score evaluation above
//! deployment.
//!
//! *Difference of means*: w = mean over evaluation sources - mean over
//! deployment sources, each source's mean counting once, so that a large source
//! does not stand for its context; score = w x. *Logistic regression*: features
//! standardised on the items fitted on, L2 penalty ½ |w|² (bias free), classes
//! weighted equally, minimised by L-BFGS ([`super::lbfgs`]). Sums are in f64, in
//! the order of items: the same bits on any number of threads.

use super::design::Design;
use super::folds::Fold;
use super::lbfgs::minimise;

/// Activations of one layer: one row per item.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Values per item.
    pub width: usize,
    /// items x width.
    pub values: Vec<f32>,
}

impl Layer {
    /// The row of an item.
    pub fn row(&self, item: u32) -> &[f32] {
        let from = item as usize * self.width;
        &self.values[from..from + self.width]
    }
}

/// Kind of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// Difference of means.
    MeanDifference,
    /// L2 logistic regression.
    Logistic,
}

impl Probe {
    /// The word that files hold.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MeanDifference => "mean_difference",
            Self::Logistic => "logistic",
        }
    }

    /// Scores of the fold's test items under a probe fitted on its others.
    pub fn scores(self, design: &Design, labels: &[bool], layer: &Layer, fold: &Fold) -> Vec<f64> {
        match self {
            Self::MeanDifference => {
                let w = mean_difference(design, labels, layer, &fold.train);
                fold.test.iter().map(|i| dot(&w, layer.row(*i))).collect()
            }
            Self::Logistic => {
                let dense = Dense::standardised(layer, &fold.train);
                let fit = logistic(&dense, &fold.train, labels);
                fold.test.iter().map(|i| dense.score(&fit, *i)).collect()
            }
        }
    }
}

/// Mean over evaluation sources minus mean over deployment sources.
pub fn mean_difference(design: &Design, labels: &[bool], layer: &Layer, items: &[u32]) -> Vec<f64> {
    let d = layer.width;
    let cells = 2 * design.sources.len();
    let mut counts = vec![0u32; cells];
    let cell = |i: u32| 2 * design.source[i as usize] as usize + usize::from(labels[i as usize]);
    for i in items {
        counts[cell(*i)] += 1;
    }
    let of = |label: usize| {
        let counts = counts.iter().skip(label).step_by(2);
        counts.filter(|n| **n > 0).count().max(1) as f64
    };
    let classes = [-1.0 / of(0), 1.0 / of(1)];
    let mut w = vec![0.0; d];
    for i in items {
        let cell = cell(*i);
        let factor = classes[cell % 2] / f64::from(counts[cell]);
        for (w, x) in w.iter_mut().zip(layer.row(*i)) {
            *w += factor * f64::from(*x);
        }
    }
    w
}

/// Sum of products, in four sums that are added at the end.
pub fn dot(w: &[f64], x: &[f32]) -> f64 {
    let mut sums = [0.0f64; 4];
    let (ws, xs) = (w.chunks_exact(4), x.chunks_exact(4));
    let rest: f64 = ws
        .remainder()
        .iter()
        .zip(xs.remainder())
        .map(|(w, x)| w * f64::from(*x))
        .sum();
    for (w, x) in ws.zip(xs) {
        for k in 0..4 {
            sums[k] += w[k] * f64::from(x[k]);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// Rows that a logistic regression can be fitted on.
pub(super) trait Rows {
    /// Number of features.
    fn width(&self) -> usize;
    /// w x of an item.
    fn product(&self, w: &[f64], item: u32) -> f64;
    /// gradient += factor x.
    fn add(&self, factor: f64, item: u32, gradient: &mut [f64]);

    /// Bias and weights on an item.
    fn score(&self, fit: &[f64], item: u32) -> f64 {
        let (w, bias) = fit.split_at(self.width());
        bias.first().copied().unwrap_or(0.0) + self.product(w, item)
    }
}

/// Weights and then the bias that minimise
/// `sum_i c_i ln(1 + exp(-y_i z_i)) + ½ |w|²`, c_i making both classes weigh n/2.
pub(super) fn logistic(rows: &impl Rows, items: &[u32], labels: &[bool]) -> Vec<f64> {
    let n = items.len() as f64;
    let positives = items.iter().filter(|i| labels[**i as usize]).count() as f64;
    let class = [
        0.5 * n / (n - positives).max(1.0),
        0.5 * n / positives.max(1.0),
    ];
    let width = rows.width();
    minimise(vec![0.0; width + 1], |w, gradient| {
        gradient.fill(0.0);
        let mut value = 0.0;
        let mut bias = 0.0;
        for i in items {
            let label = labels[*i as usize];
            let (sign, c) = (if label { 1.0 } else { -1.0 }, class[usize::from(label)]);
            let margin = sign * rows.score(w, *i);
            // ln(1 + exp(-m)) without overflow; its derivative is -1/(1 + exp(m)).
            value += c * (libm::log1p(libm::exp(-margin.abs())) + (-margin).max(0.0));
            let factor = -sign * c / (1.0 + libm::exp(margin));
            rows.add(factor, *i, &mut gradient[..width]);
            bias += factor;
        }
        for (g, w) in gradient.iter_mut().zip(&w[..width]) {
            *g += w;
            value += 0.5 * w * w;
        }
        gradient[width] = bias;
        value
    })
}

/// Activations, standardised by the items fitted on.
struct Dense {
    width: usize,
    values: Vec<f32>,
}

impl Dense {
    fn standardised(layer: &Layer, train: &[u32]) -> Self {
        let d = layer.width;
        let n = train.len().max(1) as f64;
        let mut mean = vec![0.0f64; d];
        let mut square = vec![0.0f64; d];
        for i in train {
            for (m, x) in mean.iter_mut().zip(layer.row(*i)) {
                *m += f64::from(*x) / n;
            }
        }
        for i in train {
            for ((s, m), x) in square.iter_mut().zip(&mean).zip(layer.row(*i)) {
                *s += (f64::from(*x) - m).powi(2) / n;
            }
        }
        let scale: Vec<f64> = square
            .iter()
            .map(|v| if *v > 0.0 { 1.0 / v.sqrt() } else { 0.0 })
            .collect();
        let mut values = Vec::with_capacity(layer.values.len());
        for row in layer.values.chunks_exact(d.max(1)) {
            let z = row.iter().zip(&mean).zip(&scale);
            values.extend(z.map(|((x, m), s)| ((f64::from(*x) - m) * s) as f32));
        }
        Self { width: d, values }
    }

    fn row(&self, item: u32) -> &[f32] {
        let from = item as usize * self.width;
        &self.values[from..from + self.width]
    }
}

impl Rows for Dense {
    fn width(&self) -> usize {
        self.width
    }

    fn product(&self, w: &[f64], item: u32) -> f64 {
        dot(w, self.row(item))
    }

    fn add(&self, factor: f64, item: u32, gradient: &mut [f64]) {
        for (g, x) in gradient.iter_mut().zip(self.row(item)) {
            *g += factor * f64::from(*x);
        }
    }
}
