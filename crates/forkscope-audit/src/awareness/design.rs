//! The design of a contrast set: which item has which context, format, source
//! and problem, and what of it can be tested.
//!
//! The unit of inference is the *source* (a benchmark, a corpus, a wording):
//! what a probe has learnt of one may not hold for another. A source whose items
//! all have one context is *pure*; contexts of pure sources are exchangeable
//! between sources, those of mixed sources within them (between problems, if a
//! problem's items have one context in the source).

use std::collections::BTreeMap;

use forkscope_records::types::{ContrastContext, ContrastItem};

use crate::AuditError;

/// Items of a contrast set as numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Design {
    /// Whether the item is of an evaluation.
    pub evaluation: Vec<bool>,
    /// Index of its source.
    pub source: Vec<u32>,
    /// Index of its format.
    pub format: Vec<u32>,
    /// Index of its problem.
    pub cluster: Vec<u32>,
    /// Names of sources, in order of first appearance.
    pub sources: Vec<String>,
    /// Names of formats, likewise.
    pub formats: Vec<String>,
    /// Whether a direction may be fitted on the item, where the set says so.
    pub fit: Vec<Option<bool>>,
}

/// What contexts a source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Evaluation only.
    Evaluation,
    /// Deployment only.
    Deployment,
    /// Both.
    Mixed,
}

impl Design {
    /// The design of a set.
    ///
    /// # Errors
    /// One context or one source only, or fewer than two items of a context.
    pub fn new(items: &[ContrastItem]) -> Result<Self, AuditError> {
        let is = |item: &ContrastItem| item.context == ContrastContext::Evaluation;
        let (source, sources) = indexed(items.iter().map(|i| i.source.as_str()));
        let (format, formats) = indexed(items.iter().map(|i| i.format.as_str()));
        let (cluster, _) = indexed(items.iter().map(|i| i.cluster.as_str()));
        let design = Self {
            evaluation: items.iter().map(is).collect(),
            source,
            format,
            cluster,
            sources,
            formats,
            fit: items.iter().map(|i| i.fit).collect(),
        };
        design.check()?;
        Ok(design)
    }

    fn check(&self) -> Result<(), AuditError> {
        let refused = |said: String| Err(AuditError::Contrast(said));
        let evaluation = self.evaluation.iter().filter(|e| **e).count();
        let deployment = self.len() - evaluation;
        for (name, n, other) in [
            ("evaluation", evaluation, "deployment"),
            ("deployment", deployment, "evaluation"),
        ] {
            if n < 2 {
                return refused(format!(
                    "the contrast set has {n} items with context {name} and {} with {other}; a probe needs two of each at least",
                    self.len() - n
                ));
            }
        }
        if self.sources.len() < 2 {
            return refused(format!(
                "all {} items have one source ({:?}), so none can be held out; give items of two sources of each context at least, or split the source column by wording or benchmark",
                self.len(),
                self.sources.first().map_or("", String::as_str),
            ));
        }
        Ok(())
    }

    /// Some of the items; names and indices of sources, formats and problems are
    /// those of the whole.
    pub fn subset(&self, items: &[u32]) -> Self {
        fn of<T: Copy>(all: &[T], items: &[u32]) -> Vec<T> {
            let one = |i: &u32| all.get(*i as usize).copied();
            items.iter().filter_map(one).collect()
        }
        Self {
            evaluation: of(&self.evaluation, items),
            source: of(&self.source, items),
            format: of(&self.format, items),
            cluster: of(&self.cluster, items),
            sources: self.sources.clone(),
            formats: self.formats.clone(),
            fit: of(&self.fit, items),
        }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.evaluation.len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.evaluation.is_empty()
    }

    /// What contexts each source has under these labels.
    pub fn kinds(&self, evaluation: &[bool]) -> Vec<Kind> {
        let mut seen = vec![(false, false); self.sources.len()];
        for (source, e) in self.source.iter().zip(evaluation) {
            if let Some(seen) = seen.get_mut(*source as usize) {
                match e {
                    true => seen.0 = true,
                    false => seen.1 = true,
                }
            }
        }
        let kind = |seen: (bool, bool)| match seen {
            (true, true) => Kind::Mixed,
            (true, false) => Kind::Evaluation,
            _ => Kind::Deployment,
        };
        seen.into_iter().map(kind).collect()
    }

    /// Whether some format has both contexts and some other format too: without
    /// that a probe cannot be fitted on one format and tested on another.
    pub fn crosses_formats(&self) -> bool {
        let mut seen: BTreeMap<u32, (bool, bool)> = BTreeMap::new();
        for (format, e) in self.format.iter().zip(&self.evaluation) {
            let both = seen.entry(*format).or_default();
            match e {
                true => both.0 = true,
                false => both.1 = true,
            }
        }
        seen.values().filter(|(e, d)| *e && *d).count() >= 2
    }

    /// Sources that a direction is fitted on; the others are steered. As the set
    /// says; else every other source of each kind.
    pub fn fitted(&self) -> Vec<bool> {
        let said = self.fit.iter().all(Option::is_some)
            && self.fit.contains(&Some(true))
            && self.fit.contains(&Some(false));
        if said {
            return self.fit.iter().map(|f| *f == Some(true)).collect();
        }
        let kinds = self.kinds(&self.evaluation);
        let mut of_kind: BTreeMap<u8, u32> = BTreeMap::new();
        let turns: Vec<bool> = kinds
            .iter()
            .map(|kind| {
                let turn = of_kind.entry(*kind as u8).or_default();
                *turn += 1;
                *turn % 2 == 1
            })
            .collect();
        let by_source: Vec<bool> = self
            .source
            .iter()
            .map(|s| turns.get(*s as usize).copied().unwrap_or(false))
            .collect();
        if self.both_contexts(&by_source, true) && self.both_contexts(&by_source, false) {
            return by_source;
        }
        // A context with one source: its problems are divided.
        self.cluster.iter().map(|c| c % 2 == 0).collect()
    }

    /// Whether the items on that side of a split have both contexts.
    pub fn both_contexts(&self, side: &[bool], on: bool) -> bool {
        let here = |e: bool| {
            let pairs = self.evaluation.iter().zip(side);
            pairs.into_iter().any(|(x, s)| *x == e && *s == on)
        };
        here(true) && here(false)
    }
}

/// Indices in order of first appearance, and the names.
fn indexed<'a>(names: impl Iterator<Item = &'a str>) -> (Vec<u32>, Vec<String>) {
    let mut known: BTreeMap<&str, u32> = BTreeMap::new();
    let mut order = Vec::new();
    let indices = names
        .map(|name| {
            *known.entry(name).or_insert_with(|| {
                order.push(name.to_owned());
                (order.len() - 1) as u32
            })
        })
        .collect();
    (indices, order)
}
