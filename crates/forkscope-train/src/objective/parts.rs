//! What a step's loss is divided by, and how a batch is cut into shards: by its
//! data alone, never by threads.

use std::ops::Range;

use super::examples::Example;
use crate::TrainError;
use crate::engine::{Pack, Site};

/// What the sum of weighted losses of a step is divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Denominator {
    /// The sum of the weights of all tokens of the step (with weights of 1: the
    /// number of learned tokens; TRL's and transformers' `num_items_in_batch`).
    Tokens,
    /// Each sequence by its own sum of weights, and the sum by the number of
    /// sequences: every sequence counts the same.
    Sequences,
    /// A number that is the same for every step.
    Constant(f64),
}

impl Denominator {
    /// Refuses a constant that divides by nothing.
    pub fn check(self) -> Result<(), TrainError> {
        match self {
            Self::Constant(c) if !(c.is_finite() && c > 0.0) => Err(TrainError::Setting(format!(
                "a loss cannot be divided by {c}; give a number above 0"
            ))),
            _ => Ok(()),
        }
    }

    /// Divides the weights of a step, given per sequence. Returns the sum of
    /// the weights before.
    pub fn divide(self, weights: &mut [Vec<f64>]) -> f64 {
        let sums: Vec<f64> = weights.iter().map(|w| w.iter().sum()).collect();
        let total: f64 = sums.iter().sum();
        let sequences = sums.iter().filter(|s| **s > 0.0).count() as f64;
        for (weights, sum) in weights.iter_mut().zip(sums) {
            let by = match self {
                Self::Tokens => total,
                Self::Sequences => sum * sequences,
                Self::Constant(c) => c,
            };
            for w in weights.iter_mut().filter(|w| **w > 0.0) {
                *w /= by;
            }
        }
        total
    }
}

/// The rows of one shard: a pack, its sites of weight above 0, and where they
/// come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    pub(crate) pack: Pack,
    pub(crate) sites: Vec<Site>,
    /// One per site, divided.
    pub(crate) weights: Vec<f64>,
    /// Number of the example in the batch and index of the token in its ids,
    /// one per site.
    pub(crate) places: Vec<(usize, usize)>,
}

/// Cuts a batch into shards of about `shard_rows` rows; `weights` holds one
/// per predicted token of each example. Examples without weight are left out.
pub(crate) fn parts(
    batch: &[Example],
    weights: &[Vec<f64>],
    shard_rows: usize,
) -> Result<Vec<Part>, TrainError> {
    let learned = |w: &Vec<f64>| w.iter().any(|w| *w > 0.0);
    let kept: Vec<usize> = (0..batch.len())
        .filter(|i| weights.get(*i).is_some_and(learned))
        .collect();
    // What comes after the last learned token is context of nothing.
    let learned_ids = |i: &usize| {
        let last = weights[*i].iter().rposition(|w| *w > 0.0).unwrap_or(0);
        &batch[*i].ids[..batch[*i].ids.len().min(last + 2)]
    };
    let rows: Vec<usize> = kept.iter().map(|i| learned_ids(i).len() - 1).collect();
    split(&rows, shard_rows)
        .into_iter()
        .map(|range| {
            let mut part = Part {
                pack: Pack::default(),
                sites: Vec::new(),
                weights: Vec::new(),
                places: Vec::new(),
            };
            for &i in &kept[range] {
                let sites = part.pack.add(learned_ids(&i), 1)?;
                for (k, (site, w)) in sites.into_iter().zip(&weights[i]).enumerate() {
                    if *w > 0.0 {
                        part.sites.push(site);
                        part.weights.push(*w);
                        part.places.push((i, k + 1));
                    }
                }
            }
            Ok(part)
        })
        .collect()
}

/// Consecutive stretches of about `target` rows: one is closed before what
/// would exceed it, unless it is empty.
pub fn split(rows: &[usize], target: usize) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut size = 0usize;
    for (i, rows) in rows.iter().enumerate() {
        match out.last_mut() {
            Some(last) if size.saturating_add(*rows) <= target => {
                last.end = i + 1;
                size += rows;
            }
            _ => {
                out.push(i..i + 1);
                size = *rows;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denominators() {
        let weights = || vec![vec![0.5, 1.0, 0.5], vec![0.0, 0.0], vec![1.0]];
        let sum = |w: &[Vec<f64>]| w.iter().flatten().sum::<f64>();
        let mut w = weights();
        assert_eq!(Denominator::Tokens.divide(&mut w), 3.0);
        assert!((sum(&w) - 1.0).abs() < 1e-15 && w[1] == [0.0, 0.0]);
        let mut w = weights();
        Denominator::Sequences.divide(&mut w);
        assert_eq!((w[0][1], w[2][0]), (0.25, 0.5));
        let mut w = weights();
        Denominator::Constant(6.0).divide(&mut w);
        assert_eq!(sum(&w), 0.5);
        assert!(Denominator::Constant(0.0).check().is_err());
        assert!(Denominator::Constant(f64::NAN).check().is_err());
    }

    #[test]
    fn shards_cover_the_batch_in_order() {
        assert_eq!(split(&[3, 4, 9, 1, 1, 1], 8), [0..2, 2..3, 3..6]);
        assert!(split(&[], 8).is_empty());
        let batch = [
            Example::new(&[1, 2], &[3]),
            Example::new(&[4], &[5, 6, 7]),
            Example::new(&[8, 9], &[1]),
        ];
        let weights: Vec<Vec<f64>> = batch.iter().map(|e| e.site_weights(0.0)).collect();
        let parts = parts(&batch, &weights, 5).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].pack.tokens, [1, 2, 4, 5, 6]);
        let tokens: Vec<u32> = parts[0].sites.iter().map(|s| s.token).collect();
        assert_eq!(tokens, [3, 5, 6, 7]);
        assert_eq!(parts[0].places, [(0, 2), (1, 1), (1, 2), (1, 3)]);
        assert_eq!(parts[1].places, [(2, 2)]);
    }
}
