//! The bag of words: what the text alone gives away.
//!
//! Words are maximal runs of letters and digits, lower-cased, and single other
//! marks; the feature of a word is ln(1 + count) / |item|₂, so that long items
//! do not weigh more. The same logistic regression and the same folds as the
//! activations' probes. A word that no fitted item has gets no weight, whatever
//! the vocabulary: what is held out scores by what it shares with the rest.

use std::collections::BTreeMap;

use super::folds::Fold;
use super::probe::{Rows, logistic};

/// Most words kept: the most frequent, ties in order of appearance.
const MOST_WORDS: usize = 50_000;

/// Penalty is ½ |w|² over this scale: features of unit length need larger
/// weights than standardised ones.
const SCALE: f64 = 10.0;

/// Items as counts of words.
#[derive(Debug, Clone)]
pub struct Words {
    rows: Vec<Vec<(u32, f64)>>,
    width: usize,
}

impl Words {
    /// Counts the words of texts.
    pub fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut known: BTreeMap<String, u32> = BTreeMap::new();
        let mut items: Vec<u32> = Vec::new();
        let counted: Vec<BTreeMap<u32, u32>> = texts
            .map(|text| {
                let mut counts = BTreeMap::new();
                for word in split(text) {
                    let next = known.len() as u32;
                    let index = *known.entry(word).or_insert(next);
                    *counts.entry(index).or_default() += 1;
                }
                items.resize(known.len(), 0);
                counts.keys().for_each(|w| items[*w as usize] += 1);
                counts
            })
            .collect();
        let mut order: Vec<u32> = (0..items.len() as u32).collect();
        order.sort_by_key(|w| (std::cmp::Reverse(items[*w as usize]), *w));
        order.truncate(MOST_WORDS);
        let mut place = vec![None; items.len()];
        for (k, word) in order.iter().enumerate() {
            place[*word as usize] = Some(k as u32);
        }
        let row = |counts: BTreeMap<u32, u32>| {
            let kept = counts.into_iter();
            let kept =
                kept.filter_map(|(w, n)| Some((place[w as usize]?, libm::log1p(f64::from(n)))));
            let mut row: Vec<(u32, f64)> = kept.collect();
            row.sort_unstable_by_key(|(w, _)| *w);
            let norm = row.iter().map(|(_, x)| x * x).sum::<f64>().sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|(_, x)| *x *= SCALE / norm);
            }
            row
        };
        Self {
            rows: counted.into_iter().map(row).collect(),
            width: order.len(),
        }
    }

    /// Scores of the fold's test items.
    pub fn scores(&self, labels: &[bool], fold: &Fold) -> Vec<f64> {
        let fit = logistic(self, &fold.train, labels);
        fold.test.iter().map(|i| self.score(&fit, *i)).collect()
    }
}

impl Rows for Words {
    fn width(&self) -> usize {
        self.width
    }

    fn product(&self, w: &[f64], item: u32) -> f64 {
        let row = &self.rows[item as usize];
        row.iter().map(|(k, x)| w[*k as usize] * x).sum()
    }

    fn add(&self, factor: f64, item: u32, gradient: &mut [f64]) {
        for (k, x) in &self.rows[item as usize] {
            gradient[*k as usize] += factor * x;
        }
    }
}

/// Words and marks of a text, in order.
fn split(text: &str) -> impl Iterator<Item = String> {
    let mut out = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            out.push(std::mem::take(&mut word));
        }
        if !c.is_whitespace() {
            out.push(c.to_string());
        }
    }
    if !word.is_empty() {
        out.push(word);
    }
    out.into_iter()
}
