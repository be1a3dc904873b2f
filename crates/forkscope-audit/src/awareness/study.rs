//! How well the context can be read from one policy's activations: AUROC by
//! layer, probe and split, with intervals and a permutation null.
//!
//! A layer is never chosen on what it is tested on: inside each fold's training
//! items, sources are held out once more, and the layer of the greatest inner
//! AUROC (ties: the lowest) is fitted again and tested. The curve over layers
//! carries, beside pointwise p-values, one of its maximum.

use forkscope_metrics::stats::Interval;
use forkscope_records::types::AwarenessRow;
use rayon::prelude::*;

use super::design::Design;
use super::folds::{Fold, Folding, Split};
use super::null::{Null, p_value};
use super::probe::{Layer, Probe};
use super::ranked::{Ranked, Resamples};
use super::words::Words;

/// What all policies and poolings of a set share.
pub struct Bench<'a> {
    /// The design.
    pub design: &'a Design,
    /// Its folds.
    pub folding: Folding<'a>,
    /// Its resamples.
    pub resamples: Resamples,
    /// Labellings under the null hypothesis.
    pub null: Vec<Vec<bool>>,
}

/// One AUROC with what is needed to compare it.
#[derive(Debug, Clone)]
pub struct Measure {
    /// The AUROC.
    pub auroc: f64,
    /// Its interval, if it has one.
    pub interval: Option<Interval>,
    /// Of each resample.
    pub replicates: Vec<Option<f64>>,
    /// Items scored.
    pub n: usize,
    /// Sources of these.
    pub n_sources: usize,
    /// Folds.
    pub n_folds: usize,
    /// Layer, where one was chosen: the one that most folds chose.
    pub layer: Option<u32>,
    /// Permutation p-value of the maximum over layers.
    pub p_max: Option<f64>,
}

/// What is tested: a split, perhaps on one format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Split.
    pub split: Split,
    /// Index of the tested format; all if `None`.
    pub format: Option<u32>,
}

/// Everything about one policy and pooling.
#[derive(Debug, Clone, Default)]
pub struct Study {
    /// Rows for the table.
    pub rows: Vec<AwarenessRow>,
    /// The mean-difference probe at layers chosen in training folds.
    pub chosen: Vec<(Target, Measure)>,
    /// The mean-difference probe at each layer.
    pub curve: Vec<(Target, u32, Measure)>,
}

impl<'a> Bench<'a> {
    /// Draws everything once.
    pub fn new(design: &'a Design, resamples: Resamples, seed: u64, permutations: u32) -> Self {
        let null = Null::new(design, seed);
        Self {
            design,
            folding: Folding::new(design, seed),
            resamples,
            null: (0..permutations).map(|draw| null.labels(draw)).collect(),
        }
    }

    /// All splits that the design allows; of the strictest, each format by
    /// itself too.
    pub fn targets(&self) -> Vec<Target> {
        let mut out: Vec<Target> = Split::ALL
            .into_iter()
            .map(|split| Target {
                split,
                format: None,
            })
            .collect();
        out.extend((0..self.design.formats.len() as u32).map(|f| Target {
            split: Split::SourceAndFormat,
            format: Some(f),
        }));
        out
    }

    /// Folds of a target under the true labels.
    pub fn folds(&self, target: Target) -> Vec<Fold> {
        let labels = &self.design.evaluation;
        self.folding
            .folds(labels, target.split, target.format, None)
    }

    /// The AUROC of scores with its interval; `None` without a fold.
    pub fn measure(&self, folds: &[Fold], scores: &[Vec<f64>]) -> Option<Measure> {
        let ranked = Ranked::new(self.design, folds, scores);
        let auroc = ranked.auroc(&self.design.evaluation)?;
        let replicates = self.resamples.aurocs(self.design, &ranked);
        let items = ranked.items();
        let mut sources: Vec<u32> = items
            .iter()
            .map(|i| self.design.source[*i as usize])
            .collect();
        sources.sort_unstable();
        sources.dedup();
        Some(Measure {
            auroc,
            interval: self.resamples.interval(&replicates),
            replicates,
            n: items.len(),
            n_sources: sources.len(),
            n_folds: ranked.folds(),
            layer: None,
            p_max: None,
        })
    }

    /// A row of the table.
    fn row(&self, who: Who<'_>, target: Target, m: Option<&Measure>) -> AwarenessRow {
        let format = target.format.and_then(|f| {
            let name = self.design.formats.get(f as usize)?;
            Some(name.clone())
        });
        AwarenessRow {
            policy: who.policy.into(),
            pooling: who.pooling.into(),
            probe: who.probe.into(),
            split: target.split.as_str().into(),
            test_format: format.unwrap_or_default(),
            selection: who.selection.into(),
            layer: m.and_then(|m| m.layer).unwrap_or(0),
            auroc: m.map(|m| m.auroc),
            low: m.and_then(|m| Some(m.interval?.low)),
            high: m.and_then(|m| Some(m.interval?.high)),
            level: self.resamples.level,
            n: m.map_or(0, |m| m.n as u32),
            n_groups: m.map_or(0, |m| m.n_sources as u32),
            n_folds: m.map_or(0, |m| m.n_folds as u32),
            p_value: None,
            p_max: m.and_then(|m| m.p_max),
        }
    }

    /// The bag of words on the same splits.
    pub fn words(&self, words: &Words) -> Study {
        let mut study = Study::default();
        let who = Who {
            policy: "text",
            pooling: "text",
            probe: "bag_of_words",
            selection: "none",
        };
        for target in self.targets() {
            let folds = self.folds(target);
            let labels = &self.design.evaluation;
            let scores: Vec<Vec<f64>> = folds
                .par_iter()
                .map(|fold| words.scores(labels, fold))
                .collect();
            let measure = self.measure(&folds, &scores);
            study.rows.push(self.row(who, target, measure.as_ref()));
            study.chosen.extend(measure.map(|m| (target, m)));
        }
        study
    }

    /// All probes and splits on one policy's activations. `full`: with the
    /// logistic probe, the null and the choice of layers.
    pub fn study(&self, policy: &str, pooling: &str, layers: &[Layer], full: bool) -> Study {
        let mut study = Study::default();
        let probes: &[Probe] = match full {
            true => &[Probe::MeanDifference, Probe::Logistic],
            false => &[Probe::MeanDifference],
        };
        for target in self.targets() {
            let folds = self.folds(target);
            let nulls = match full && tested(target) && !folds.is_empty() {
                true => self.null_aurocs(target, layers),
                false => Vec::new(),
            };
            for probe in probes {
                let who = Who {
                    policy,
                    pooling,
                    probe: probe.as_str(),
                    selection: "each_layer",
                };
                let measures: Vec<Option<Measure>> = layers
                    .par_iter()
                    .enumerate()
                    .map(|(l, layer)| {
                        let scores = |fold: &Fold| {
                            probe.scores(self.design, &self.design.evaluation, layer, fold)
                        };
                        let scores: Vec<Vec<f64>> = folds.par_iter().map(scores).collect();
                        let mut m = self.measure(&folds, &scores)?;
                        m.layer = Some(l as u32);
                        Some(m)
                    })
                    .collect();
                let most = most(&nulls);
                for (l, m) in (0u32..).zip(&measures) {
                    let mut row = self.row(who, target, m.as_ref());
                    row.layer = l;
                    if let (Some(m), Probe::MeanDifference) = (m, probe) {
                        let of_layer: Vec<_> = nulls.iter().map(|d| d[l as usize]).collect();
                        row.p_value = p_value(m.auroc, &of_layer);
                        row.p_max = p_value(m.auroc, &most);
                        let mut m = m.clone();
                        m.p_max = row.p_max;
                        study.curve.push((target, l, m));
                    }
                    study.rows.push(row);
                }
            }
            if full && tested(target) && !folds.is_empty() {
                let observed = study.curve.iter().filter(|c| c.0 == target);
                let best = observed.map(|c| c.2.auroc).fold(f64::NAN, f64::max);
                if let Some(mut m) = self.chosen(&folds, layers) {
                    m.p_max = p_value(best, &most(&nulls));
                    let who = Who {
                        policy,
                        pooling,
                        probe: Probe::MeanDifference.as_str(),
                        selection: "chosen",
                    };
                    study.rows.push(self.row(who, target, Some(&m)));
                    study.chosen.push((target, m));
                }
            }
        }
        study
    }

    /// AUROC of each layer under each null labelling, with folds made and probes
    /// fitted anew.
    fn null_aurocs(&self, target: Target, layers: &[Layer]) -> Vec<Vec<Option<f64>>> {
        let one = |labels: &Vec<bool>| {
            let folds = self
                .folding
                .folds(labels, target.split, target.format, None);
            let auroc = |layer: &Layer| {
                let scores = |f| Probe::MeanDifference.scores(self.design, labels, layer, f);
                let scores: Vec<Vec<f64>> = folds.iter().map(scores).collect();
                Ranked::new(self.design, &folds, &scores).auroc(labels)
            };
            layers.iter().map(auroc).collect()
        };
        self.null.par_iter().map(one).collect()
    }

    /// The mean-difference probe at layers chosen inside the training items.
    fn chosen(&self, folds: &[Fold], layers: &[Layer]) -> Option<Measure> {
        let choices: Vec<(usize, Vec<f64>)> = folds
            .par_iter()
            .map(|fold| {
                let chosen = self.choose(&fold.train, layers).unwrap_or(0);
                let labels = &self.design.evaluation;
                let scores =
                    Probe::MeanDifference.scores(self.design, labels, &layers[chosen], fold);
                (chosen, scores)
            })
            .collect();
        let mut votes = vec![0u32; layers.len()];
        choices.iter().for_each(|(layer, _)| votes[*layer] += 1);
        let (layer, _) = (0u32..)
            .zip(&votes)
            .max_by_key(|(l, votes)| (**votes, std::cmp::Reverse(*l)))?;
        let scores: Vec<Vec<f64>> = choices.into_iter().map(|(_, s)| s).collect();
        let mut measure = self.measure(folds, &scores)?;
        measure.layer = Some(layer);
        Some(measure)
    }

    /// The layer of the greatest AUROC on sources held out among these items
    /// (on problems, where no source can be), ties: the lowest.
    pub fn choose(&self, items: &[u32], layers: &[Layer]) -> Option<usize> {
        let mut within = vec![false; self.design.len()];
        items.iter().for_each(|i| within[*i as usize] = true);
        let labels = &self.design.evaluation;
        let inner = |split| self.folding.folds(labels, split, None, Some(&within));
        let mut folds = inner(Split::Source);
        if folds.is_empty() {
            folds = inner(Split::Random);
        }
        let mut best: Option<(usize, f64)> = None;
        for (l, layer) in layers.iter().enumerate() {
            let scores = |f| Probe::MeanDifference.scores(self.design, labels, layer, f);
            let scores: Vec<Vec<f64>> = folds.iter().map(scores).collect();
            let auroc = Ranked::new(self.design, &folds, &scores).auroc(labels)?;
            if best.is_none_or(|(_, b)| auroc > b) {
                best = Some((l, auroc));
            }
        }
        best.map(|(l, _)| l)
    }
}

impl Study {
    /// The measure at chosen layers on a target.
    pub fn on(&self, target: Target) -> Option<&Measure> {
        self.chosen
            .iter()
            .find(|(t, _)| *t == target)
            .map(|(_, m)| m)
    }
}

/// Whether a verdict looks at the target: then it gets a null and a chosen layer.
fn tested(target: Target) -> bool {
    matches!(target.split, Split::Source | Split::SourceAndFormat)
}

/// The greatest AUROC over layers of each draw.
fn most(draws: &[Vec<Option<f64>>]) -> Vec<Option<f64>> {
    let greatest = |d: &Vec<Option<f64>>| d.iter().flatten().copied().reduce(f64::max);
    draws.iter().map(greatest).collect()
}

/// Who a row is about.
#[derive(Clone, Copy)]
struct Who<'a> {
    policy: &'a str,
    pooling: &'a str,
    probe: &'a str,
    selection: &'a str,
}
