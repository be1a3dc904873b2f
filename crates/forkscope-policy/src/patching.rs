//! Activation patching: rows of the residual stream or outputs of heads are
//! replaced by given values, and the rest of the pass goes on from there (Meng
//! et al., arXiv 2202.05262; Heimersheim and Nanda, arXiv 2404.15255).
//!
//! A sequence is computed once; a variant computes again only the rows from its
//! first patch to the last row it asks for, with the keys and values of the
//! untouched rows before. Patching a row with its own values gives the same
//! bits as no patch.

use std::ops::Range;

use crate::PolicyError;
use crate::activations::{BATCH_ROWS, Batch};
use crate::model::forward::Cache;
use crate::model::hooks::{HeadPatch, Hooks, ResidualPatch};
use crate::policy::Policy;
use crate::score::HiddenRows;

/// What is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// The residual stream after that many blocks (0 = embedding).
    Residual {
        /// Blocks before it.
        layer: usize,
    },
    /// The output of a head before the output projection.
    Head {
        /// Block, from 1.
        block: usize,
        /// Head, from 0.
        head: usize,
    },
}

/// One replacement.
#[derive(Debug, Clone)]
pub struct Patch<'a> {
    /// What is replaced.
    pub site: Site,
    /// In which row (row i has read token i and predicts position i + 1).
    pub row: usize,
    /// By what: as wide as the residual stream, or as a head.
    pub values: &'a [f32],
}

/// One pass with some replacements.
#[derive(Debug, Clone)]
pub struct Variant<'a> {
    /// Replacements; at least one. The last of several at one place counts.
    pub patches: Vec<Patch<'a>>,
    /// Rows whose final hidden state is wanted, none before the first patch.
    pub rows: Vec<usize>,
}

/// A sequence and its variants.
#[derive(Debug, Clone)]
pub struct PatchRequest<'a> {
    /// All token ids, prompt first.
    pub ids: &'a [u32],
    /// Tokens of the prompt. Only a steering of completions looks at it.
    pub prompt_len: usize,
    /// Passes over it.
    pub variants: Vec<Variant<'a>>,
}

impl Policy {
    /// Final hidden states (after the last norm) of the rows that the variants
    /// ask for, in the order of requests, variants and rows;
    /// [`Policy::logits`] takes them further.
    pub fn patched_rows(&self, requests: &[PatchRequest<'_>]) -> Result<HiddenRows, PolicyError> {
        let mut out = HiddenRows {
            width: self.config().hidden_size,
            values: Vec::new(),
        };
        let mut work = Work::new(self);
        for (i, request) in requests.iter().enumerate() {
            self.check_sequence(i, request.ids)?;
            let alone = self.config().rope.depends_on_length(request.ids.len());
            if alone {
                work.run(&mut out)?;
            }
            let mut base = None;
            for variant in &request.variants {
                let stretch = self.check_variant(i, request, variant)?;
                let rows = stretch.len() + if base.is_none() { stretch.start } else { 0 };
                if !work.batch.rows.is_empty() && work.batch.rows.len() + rows > BATCH_ROWS {
                    work.run(&mut out)?;
                    base = None;
                }
                let base = *base.get_or_insert_with(|| work.open(request));
                work.add(base, request, variant, stretch);
            }
            if alone {
                work.run(&mut out)?;
            }
        }
        work.run(&mut out)?;
        Ok(out)
    }

    /// The rows that a variant computes.
    fn check_variant(
        &self,
        index: usize,
        request: &PatchRequest<'_>,
        variant: &Variant<'_>,
    ) -> Result<Range<usize>, PolicyError> {
        let bad = |what: String| Err(PolicyError::Activation(what));
        let c = self.config();
        for patch in &variant.patches {
            let width = match patch.site {
                Site::Residual { layer } if layer <= c.layers => c.hidden_size,
                Site::Head { block, head } if (1..=c.layers).contains(&block) && head < c.heads => {
                    c.head_dim
                }
                site => return bad(format!("the model has no {site:?} to patch")),
            };
            if patch.values.len() != width {
                return bad(format!(
                    "a patch of {:?} has {} values, the model asks for {width}",
                    patch.site,
                    patch.values.len()
                ));
            }
            if patch.values.iter().any(|v| !v.is_finite()) {
                return bad(format!(
                    "a patch of {:?} has a value that is NaN or infinite",
                    patch.site
                ));
            }
        }
        let first = variant.patches.iter().map(|p| p.row).min();
        let last = variant.rows.iter().max().copied();
        let (Some(first), Some(last)) = (first, last) else {
            return bad(format!(
                "a variant of sequence {index} patches nothing or asks for no row"
            ));
        };
        let len = request.ids.len();
        let latest = variant.patches.iter().map(|p| p.row).max().unwrap_or(first);
        if last.max(latest) >= len {
            return bad(format!(
                "row {} is outside sequence {index} of {len} tokens",
                last.max(latest)
            ));
        }
        if variant.rows.iter().any(|r| *r < first) {
            return bad(format!(
                "a variant of sequence {index} asks for a row before its first patch"
            ));
        }
        Ok(first..last + 1)
    }
}

/// The pass that is being put together.
struct Work<'p, 'v> {
    policy: &'p Policy,
    runner: crate::model::forward::Runner<'p>,
    batch: Batch,
    residual: Vec<ResidualPatch<'v>>,
    heads: Vec<HeadPatch<'v>>,
    /// Rows of the batch that are wanted, in order.
    wanted: Vec<usize>,
}

impl<'p, 'v> Work<'p, 'v> {
    fn new(policy: &'p Policy) -> Self {
        Self {
            policy,
            runner: policy.runner(),
            batch: Batch::default(),
            residual: Vec::new(),
            heads: Vec::new(),
            wanted: Vec::new(),
        }
    }

    /// Adds the untouched sequence as far as variants see it; returns its
    /// segment.
    fn open(&mut self, request: &PatchRequest<'v>) -> usize {
        let first = |v: &Variant<'_>| v.patches.iter().map(|p| p.row).min().unwrap_or(0);
        let seen = request.variants.iter().map(first).max().unwrap_or(0);
        let segment = self.batch.segments;
        let ids = request.ids.get(..seen).unwrap_or(request.ids);
        self.batch.add(ids, request.prompt_len);
        segment
    }

    fn add(
        &mut self,
        base: usize,
        request: &PatchRequest<'v>,
        variant: &Variant<'v>,
        stretch: Range<usize>,
    ) {
        let ids = request.ids.get(..stretch.end).unwrap_or(request.ids);
        let at = self
            .batch
            .add_from(base, stretch.start, ids, request.prompt_len);
        for patch in variant.patches.iter().filter(|p| stretch.contains(&p.row)) {
            let row = at + patch.row - stretch.start;
            let values = patch.values;
            match patch.site {
                Site::Residual { layer } => {
                    self.residual.push(ResidualPatch { layer, row, values })
                }
                Site::Head { block, head } => self.heads.push(HeadPatch {
                    block,
                    row,
                    head,
                    values,
                }),
            }
        }
        self.wanted
            .extend(variant.rows.iter().map(|r| at + r - stretch.start));
        // A rotary embedding that depends on the length takes the whole one's.
        self.batch.longest = self.batch.longest.max(request.ids.len());
    }

    fn run(&mut self, out: &mut HiddenRows) -> Result<(), PolicyError> {
        let batch = std::mem::take(&mut self.batch);
        if batch.rows.is_empty() {
            return Ok(());
        }
        let mut cache = Cache::transient(batch.segments);
        let mut hooks = Hooks::patching(
            batch.predicting,
            std::mem::take(&mut self.residual),
            std::mem::take(&mut self.heads),
        );
        let hidden =
            self.runner
                .forward_with(&batch.rows, &mut cache, batch.longest, &mut hooks)?;
        let width = self.policy.config().hidden_size;
        for row in self.wanted.drain(..) {
            out.values
                .extend_from_slice(&hidden[row * width..(row + 1) * width]);
        }
        Ok(())
    }
}
