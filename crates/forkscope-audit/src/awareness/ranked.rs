//! The AUROC over folds, and of resamples.
//!
//! `AUROC = sum_f U_f / sum_f n+_f n-_f`: the probability that an evaluation
//! item scores above a deployment item of the same fold, ties counting half
//! (van Elteren's stratified Mann-Whitney statistic). Chance is 0.5 whatever the
//! scales of the folds are.
//!
//! Intervals are cluster bootstraps: sources are drawn with replacement within
//! strata of equal contexts and formats, and all their items go with them. Where
//! a stratum has one source, its problems are drawn instead; such an interval
//! holds for that source and says nothing about others. Two quantities are
//! compared on the same draws.

use std::collections::BTreeMap;

use forkscope_metrics::rng::Key;
use forkscope_metrics::stats::{BootstrapSettings, Interval, percentile_interval};
use rayon::prelude::*;

use super::design::Design;
use super::folds::{Fold, kind_and_formats};

/// Items of a fold in descending order of score.
#[derive(Debug, Clone)]
struct RankedFold {
    order: Vec<u32>,
    /// End of each group of equal scores.
    ends: Vec<u32>,
    /// The only source, if there is one: its copies are not compared.
    only: Option<u32>,
}

/// Scores of all folds, sorted once.
#[derive(Debug, Clone)]
pub struct Ranked {
    folds: Vec<RankedFold>,
}

impl Ranked {
    /// Sorts the scores of each fold's test items. Scores that are not finite
    /// must have been refused before.
    pub fn new(design: &Design, folds: &[Fold], scores: &[Vec<f64>]) -> Self {
        let ranked = folds.iter().zip(scores).map(|(fold, scores)| {
            let mut order: Vec<usize> = (0..fold.test.len().min(scores.len())).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
            let groups = order.chunk_by(|a, b| scores[*a] == scores[*b]);
            let mut end = 0;
            let ends = groups.map(|g| {
                end += g.len() as u32;
                end
            });
            let ends = ends.collect();
            let order: Vec<u32> = order.into_iter().map(|k| fold.test[k]).collect();
            let source = |i: &u32| design.source[*i as usize];
            let first = order.first().map(source);
            let only = first.filter(|s| order.iter().all(|i| source(i) == *s));
            RankedFold { order, ends, only }
        });
        Self {
            folds: ranked.collect(),
        }
    }

    /// Number of folds.
    pub fn folds(&self) -> usize {
        self.folds.len()
    }

    /// Distinct items that were scored.
    pub fn items(&self) -> Vec<u32> {
        let mut items: Vec<u32> = self.folds.iter().flat_map(|f| f.order.clone()).collect();
        items.sort_unstable();
        items.dedup();
        items
    }

    /// AUROC with every item once.
    pub fn auroc(&self, evaluation: &[bool]) -> Option<f64> {
        self.weighted(evaluation, |_| 1.0, |_| 1.0)
    }

    fn resampled(&self, design: &Design, weights: &Weights) -> Option<f64> {
        self.weighted(
            &design.evaluation,
            |i| f64::from(weights.item[i as usize]),
            |s| f64::from(weights.source[s as usize]),
        )
    }

    fn weighted(
        &self,
        evaluation: &[bool],
        item: impl Fn(u32) -> f64,
        source: impl Fn(u32) -> f64,
    ) -> Option<f64> {
        let (mut twice_u, mut pairs) = (0.0, 0.0);
        for fold in &self.folds {
            let weight = |i: u32| if fold.only.is_some() { 1.0 } else { item(i) };
            let (mut above, mut from, mut u, mut positives) = (0.0, 0usize, 0.0, 0.0);
            // From the highest score down: negatives above a positive are lost to it.
            for end in &fold.ends {
                let (mut p, mut q) = (0.0, 0.0);
                for i in &fold.order[from..*end as usize] {
                    match evaluation[*i as usize] {
                        true => p += weight(*i),
                        false => q += weight(*i),
                    }
                }
                from = *end as usize;
                u -= p * (2.0 * above + q);
                above += q;
                positives += p;
            }
            let all = positives * above;
            let copies = fold.only.map_or(1.0, &source);
            twice_u += copies * (2.0 * all + u);
            pairs += copies * all;
        }
        (pairs > 0.0).then(|| twice_u / (2.0 * pairs))
    }
}

/// Multiplicities of one resample.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Of each item.
    pub item: Vec<f32>,
    /// Of each source.
    pub source: Vec<f32>,
}

/// Resamples that all quantities of a set share.
#[derive(Debug, Clone)]
pub struct Resamples {
    draws: Vec<Weights>,
    /// Confidence level.
    pub level: f64,
    /// Strata with one source, whose problems are drawn.
    pub single_sources: usize,
}

impl Resamples {
    /// Draws multiplicities of sources (or of problems, see above).
    pub fn new(design: &Design, settings: &BootstrapSettings) -> Self {
        let mut strata: BTreeMap<(u8, Vec<u32>), Vec<u32>> = BTreeMap::new();
        for (source, (kind, formats)) in kind_and_formats(design).into_iter().enumerate() {
            let of = strata.entry((kind as u8, formats)).or_default();
            of.push(source as u32);
        }
        let mut problems: Vec<Vec<u32>> = vec![Vec::new(); design.sources.len()];
        for (source, cluster) in design.source.iter().zip(&design.cluster) {
            problems[*source as usize].push(*cluster);
        }
        for of in &mut problems {
            of.sort_unstable();
            of.dedup();
        }
        let key = Key::new(settings.seed, "", 0, "awareness-bootstrap");
        let draw = |replicate: u32| {
            let mut rng = key.rng_at(u64::from(replicate));
            let mut source = vec![0.0f32; design.sources.len()];
            let mut alone: BTreeMap<u32, BTreeMap<u32, f32>> = BTreeMap::new();
            for of in strata.values() {
                if let [one] = of[..] {
                    source[one as usize] = 1.0;
                    let of = &problems[one as usize];
                    let drawn = alone.entry(one).or_default();
                    for _ in 0..of.len() {
                        *drawn
                            .entry(of[rng.below(of.len() as u64) as usize])
                            .or_default() += 1.0;
                    }
                    continue;
                }
                for _ in 0..of.len() {
                    source[of[rng.below(of.len() as u64) as usize] as usize] += 1.0;
                }
            }
            let items = design.source.iter().zip(&design.cluster);
            let item = items.map(|(s, c)| match alone.get(s) {
                Some(drawn) => drawn.get(c).copied().unwrap_or(0.0),
                None => source[*s as usize],
            });
            let item = item.collect();
            Weights { item, source }
        };
        Self {
            draws: (0..settings.replicates).into_par_iter().map(draw).collect(),
            level: settings.level,
            single_sources: strata.values().filter(|of| of.len() == 1).count(),
        }
    }

    /// A quantity of every resample, in order of draw.
    pub fn of(&self, quantity: impl Fn(&Weights) -> Option<f64> + Sync + Send) -> Vec<Option<f64>> {
        self.draws.par_iter().map(&quantity).collect()
    }

    /// The AUROC of every resample.
    pub fn aurocs(&self, design: &Design, ranked: &Ranked) -> Vec<Option<f64>> {
        self.of(|weights| ranked.resampled(design, weights))
    }

    /// Percentile interval; `None` where more than a tenth are undefined.
    pub fn interval(&self, replicates: &[Option<f64>]) -> Option<Interval> {
        percentile_interval(replicates, self.level)
            .ok()
            .map(|b| b.interval)
    }

    /// Percentile interval of a difference on the same draws.
    pub fn difference(&self, a: &[Option<f64>], b: &[Option<f64>]) -> Option<Interval> {
        let pairs = a.iter().zip(b);
        let differences: Vec<_> = pairs.map(|(a, b)| Some((*a)? - (*b)?)).collect();
        self.interval(&differences)
    }
}
