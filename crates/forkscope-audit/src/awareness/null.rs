//! Labels under the null hypothesis that the context leaves no trace.
//!
//! What is exchangeable follows from the design. Contexts of pure sources are
//! exchanged between whole sources of the same formats, because items of a
//! source are alike for reasons of their own; exchanging items instead calls
//! every corpus effect significant. (If no two formats have both contexts, sources
//! are exchanged over formats: what is told may then be the format.) In a mixed
//! source contexts are exchanged
//! among its problems of one format, and where a problem has items of both
//! contexts, within the problem. p = (1 + #{as extreme}) / (1 + draws), which is
//! valid at any number of draws (Phipson and Smyth 2010); it cannot be smaller
//! than one over the number of labellings.

use std::collections::BTreeMap;

use forkscope_metrics::rng::{Draws, Key};

use super::design::{Design, Kind};
use super::folds::kind_and_formats;

/// Draws labellings.
pub struct Null<'a> {
    design: &'a Design,
    /// Pure sources of the same formats.
    pure: Vec<Vec<u32>>,
    /// Items of mixed sources by (source, format), then problem.
    mixed: Vec<Vec<Vec<u32>>>,
    key: Key,
}

impl<'a> Null<'a> {
    /// Labellings of a design under a seed.
    pub fn new(design: &'a Design, seed: u64) -> Self {
        let mut pure: BTreeMap<Vec<u32>, Vec<u32>> = BTreeMap::new();
        let kinds = kind_and_formats(design);
        let crossed = design.crosses_formats();
        for (source, (kind, formats)) in kinds.iter().enumerate() {
            if *kind != Kind::Mixed {
                // Where context and format go together nothing could be exchanged
                // within formats: then the question is if sources are told at all.
                let stratum = if crossed { formats.clone() } else { Vec::new() };
                pure.entry(stratum).or_default().push(source as u32);
            }
        }
        let mut mixed: BTreeMap<(u32, u32), BTreeMap<u32, Vec<u32>>> = BTreeMap::new();
        for i in 0..design.len() {
            if kinds[design.source[i] as usize].0 == Kind::Mixed {
                let cell = mixed
                    .entry((design.source[i], design.format[i]))
                    .or_default();
                cell.entry(design.cluster[i]).or_default().push(i as u32);
            }
        }
        Self {
            design,
            pure: pure.into_values().collect(),
            mixed: mixed
                .into_values()
                .map(|cell| cell.into_values().collect())
                .collect(),
            key: Key::new(seed, "", 0, "awareness-null"),
        }
    }

    /// Labelling number `draw`.
    pub fn labels(&self, draw: u32) -> Vec<bool> {
        let mut rng = self.key.rng_at(u64::from(draw));
        let mut labels = self.design.evaluation.clone();
        let kinds = self.design.kinds(&self.design.evaluation);
        let mut of_source: Vec<Option<bool>> = vec![None; kinds.len()];
        for sources in &self.pure {
            let is = |s: &u32| kinds[*s as usize] == Kind::Evaluation;
            let mut shuffled: Vec<bool> = sources.iter().map(is).collect();
            rng.shuffle(&mut shuffled);
            for (source, label) in sources.iter().zip(shuffled) {
                of_source[*source as usize] = Some(label);
            }
        }
        for (label, source) in labels.iter_mut().zip(&self.design.source) {
            if let Some(drawn) = of_source[*source as usize] {
                *label = drawn;
            }
        }
        for problems in &self.mixed {
            self.within(problems, &mut labels, &mut rng);
        }
        labels
    }

    /// Exchanges within one mixed source and format.
    fn within(&self, problems: &[Vec<u32>], labels: &mut [bool], rng: &mut Draws) {
        let label = |i: &u32| self.design.evaluation[*i as usize];
        let mut one_context = Vec::new();
        for items in problems {
            let mut own: Vec<bool> = items.iter().map(label).collect();
            if own.iter().all(|l| Some(l) == own.first()) {
                one_context.push((items, own.first().copied().unwrap_or(false)));
                continue;
            }
            rng.shuffle(&mut own);
            for (i, drawn) in items.iter().zip(own) {
                labels[*i as usize] = drawn;
            }
        }
        let mut drawn: Vec<bool> = one_context.iter().map(|(_, l)| *l).collect();
        rng.shuffle(&mut drawn);
        for ((items, _), drawn) in one_context.into_iter().zip(drawn) {
            items.iter().for_each(|i| labels[*i as usize] = drawn);
        }
    }
}

/// (1 + #{draws at least as large}) / (1 + draws); a draw where the statistic is
/// undefined counts as extreme. `None` without draws.
pub fn p_value(observed: f64, draws: &[Option<f64>]) -> Option<f64> {
    // Sums in another order differ in their last bits: equal is as extreme.
    let near = observed - 1e-9 * observed.abs().max(1.0);
    let extreme = draws.iter().filter(|d| d.is_none_or(|d| d >= near)).count();
    (!draws.is_empty()).then(|| (1 + extreme) as f64 / (1 + draws.len()) as f64)
}
