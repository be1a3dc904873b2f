//! Which items a probe is fitted on and which it is tested on.
//!
//! - `random`: five parts of the problems; sources and formats on both sides.
//! - `source`: whole sources held out.
//! - `format`: fitted on all other formats, tested on one.
//! - `source_and_format`: both: tested on one format of the sources held out,
//!   fitted on the other formats of the other sources.
//!
//! Scores of different folds have different scales, so they are compared within
//! a fold only, and a fold needs both contexts. A mixed source is held out by
//! itself. Pure sources are held out in pairs, every evaluation source with
//! every deployment source: leave-pair-out cross-validation (Airola et al. 2011,
//! which is close to unbiased for the AUROC), with sources for units. Beyond
//! [`MOST_BLOCKS`] sources of a kind they are held out in blocks.
//!
//! Items whose problem is among the tested ones are left out of the fit as well
//! (a probe that has seen the problem under the other context would rank it the
//! wrong way round), unless a context would be left without items.

use forkscope_metrics::rng::Key;

use super::design::{Design, Kind};

/// Blocks of sources of a kind at most, so that folds stay few.
pub const MOST_BLOCKS: usize = 6;

/// Parts of the random split.
const RANDOM_PARTS: usize = 5;

/// What is held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// Problems.
    Random,
    /// Sources.
    Source,
    /// A format.
    Format,
    /// Sources and a format.
    SourceAndFormat,
}

impl Split {
    /// All of them, weakest first.
    pub const ALL: [Self; 4] = [
        Self::Random,
        Self::Source,
        Self::Format,
        Self::SourceAndFormat,
    ];

    /// The word that files hold.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Source => "source",
            Self::Format => "format",
            Self::SourceAndFormat => "source_and_format",
        }
    }
}

/// One fit and one test; indices of items, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Fitted on.
    pub train: Vec<u32>,
    /// Tested on.
    pub test: Vec<u32>,
}

/// What is fixed for all folds of a set.
pub struct Folding<'a> {
    design: &'a Design,
    /// Part of each problem in the random split.
    part: Vec<u8>,
}

impl<'a> Folding<'a> {
    /// Folds of a design under a seed.
    pub fn new(design: &'a Design, seed: u64) -> Self {
        let problems = design.cluster.iter().max().map_or(0, |m| *m as usize + 1);
        let mut order: Vec<usize> = (0..problems).collect();
        let mut draws = Key::new(seed, "", 0, "awareness-random-split").rng_at(0);
        draws.shuffle(&mut order);
        let mut part = vec![0; problems];
        for (place, problem) in order.into_iter().enumerate() {
            part[problem] = (place % RANDOM_PARTS) as u8;
        }
        Self { design, part }
    }

    /// Folds of a split under labels, among the items for which `within` holds.
    /// `format` restricts what is tested. Folds that lack a context on either
    /// side are left out.
    pub fn folds(
        &self,
        evaluation: &[bool],
        split: Split,
        format: Option<u32>,
        within: Option<&[bool]>,
    ) -> Vec<Fold> {
        let inside = |i: usize| within.is_none_or(|w| w[i]);
        let formats: Vec<u32> = match format {
            Some(format) => vec![format],
            None => (0..self.design.formats.len() as u32).collect(),
        };
        let mut out = Vec::new();
        match split {
            Split::Random => {
                for part in 0..RANDOM_PARTS as u8 {
                    let tested = |i: usize| self.part[self.design.cluster[i] as usize] == part;
                    let test = |i| tested(i) && format.is_none_or(|f| self.design.format[i] == f);
                    out.extend(self.fold(evaluation, &inside, test, |i| !tested(i)));
                }
            }
            Split::Format => {
                for f in formats {
                    let of = |i: usize| self.design.format[i] == f;
                    out.extend(self.fold(evaluation, &inside, of, |i| !of(i)));
                }
            }
            Split::Source | Split::SourceAndFormat => {
                let crossed = split == Split::SourceAndFormat;
                for held in self.held_out(evaluation, &inside) {
                    let source = |i: usize| held[self.design.source[i] as usize];
                    if !crossed {
                        let test =
                            |i| source(i) && format.is_none_or(|f| self.design.format[i] == f);
                        out.extend(self.fold(evaluation, &inside, test, |i| !source(i)));
                        continue;
                    }
                    for f in &formats {
                        let of = |i: usize| self.design.format[i] == *f;
                        let fold = self.fold(
                            evaluation,
                            &inside,
                            |i| source(i) && of(i),
                            |i| !source(i) && !of(i),
                        );
                        out.extend(fold);
                    }
                }
            }
        }
        out
    }

    fn fold(
        &self,
        evaluation: &[bool],
        inside: &impl Fn(usize) -> bool,
        test: impl Fn(usize) -> bool,
        train: impl Fn(usize) -> bool,
    ) -> Option<Fold> {
        let n = self.design.len();
        let tested: Vec<u32> = indices(n, |i| inside(i) && test(i));
        if !has_both(evaluation, &tested) {
            return None;
        }
        let mut known = vec![false; self.part.len()];
        for i in &tested {
            known[self.design.cluster[*i as usize] as usize] = true;
        }
        let new = |i: usize| !known[self.design.cluster[i] as usize];
        let mut fitted = indices(n, |i| inside(i) && train(i) && new(i));
        if !has_both(evaluation, &fitted) {
            fitted = indices(n, |i| inside(i) && train(i));
        }
        has_both(evaluation, &fitted).then_some(Fold {
            train: fitted,
            test: tested,
        })
    }

    /// Sets of sources that are held out together.
    fn held_out(&self, evaluation: &[bool], inside: &impl Fn(usize) -> bool) -> Vec<Vec<bool>> {
        let n = self.design.sources.len();
        let mut seen = vec![(false, false); n];
        for i in (0..self.design.len()).filter(|i| inside(*i)) {
            let seen = &mut seen[self.design.source[i] as usize];
            match evaluation[i] {
                true => seen.0 = true,
                false => seen.1 = true,
            }
        }
        let blocks = |wanted: (bool, bool)| -> Vec<Vec<bool>> {
            let of: Vec<usize> = (0..n).filter(|s| seen[*s] == wanted).collect();
            let count = of.len().min(MOST_BLOCKS);
            let mut blocks = vec![vec![false; n]; count];
            for (k, source) in of.into_iter().enumerate() {
                blocks[k % count][source] = true;
            }
            blocks
        };
        let (evaluations, deployments) = (blocks((true, false)), blocks((false, true)));
        let pairs = evaluations.iter().flat_map(|e| {
            deployments
                .iter()
                .map(|d| e.iter().zip(d).map(|(e, d)| *e || *d).collect())
        });
        pairs.chain(blocks((true, true))).collect()
    }
}

/// What may be exchanged under the null hypothesis; see [`super::null`].
pub(super) fn kind_and_formats(design: &Design) -> Vec<(Kind, Vec<u32>)> {
    let mut formats: Vec<Vec<u32>> = vec![Vec::new(); design.sources.len()];
    for (source, format) in design.source.iter().zip(&design.format) {
        let of = &mut formats[*source as usize];
        if !of.contains(format) {
            of.push(*format);
        }
    }
    for of in &mut formats {
        of.sort_unstable();
    }
    design
        .kinds(&design.evaluation)
        .into_iter()
        .zip(formats)
        .collect()
}

fn indices(n: usize, keep: impl Fn(usize) -> bool) -> Vec<u32> {
    (0..n).filter(|i| keep(*i)).map(|i| i as u32).collect()
}

fn has_both(evaluation: &[bool], items: &[u32]) -> bool {
    let of = |e: bool| items.iter().any(|i| evaluation[*i as usize] == e);
    of(true) && of(false)
}
