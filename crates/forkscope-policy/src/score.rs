//! Teacher-forced passes over given ids: hidden states and blocks of logits.
//!
//! The row that predicts position t is the hidden state after t - 1. A prompt
//! shared by several completions is computed once; the bits are those of
//! computing each sequence by itself. No T x V matrix is held: logits exist for
//! a block of rows at a time.

use rayon::prelude::*;

use crate::PolicyError;
use crate::model::forward::{Cache, Row, Runner};
use crate::ops::attention::Place;
use crate::policy::Policy;

/// Rows that go through a forward pass together, unless one sequence is longer.
const BATCH_ROWS: usize = 4096;

/// One prompt and the completions that follow it.
#[derive(Debug, Clone)]
pub struct PromptGroup<'a> {
    /// Prompt ids, at least one.
    pub prompt: &'a [u32],
    /// Completion ids; empty ones yield no row.
    pub completions: Vec<&'a [u32]>,
}

impl PromptGroup<'_> {
    /// Number of predicted positions.
    pub fn positions(&self) -> usize {
        self.completions.iter().map(|c| c.len()).sum()
    }
}

/// Final hidden states, one row per predicted position, in the order of the
/// groups and their completions.
#[derive(Debug, Clone, Default)]
pub struct HiddenRows {
    /// Width of a row.
    pub width: usize,
    /// rows x width.
    pub values: Vec<f32>,
}

impl HiddenRows {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width.max(1)
    }
}

impl Policy {
    /// Hidden states that predict every completion token of the groups. A
    /// non-finite state is an error: the model is broken.
    pub fn hidden_rows(&self, groups: &[PromptGroup<'_>]) -> Result<HiddenRows, PolicyError> {
        let mut runner = self.runner();
        let width = self.config().hidden_size;
        let total: usize = groups.iter().map(PromptGroup::positions).sum();
        let mut out = HiddenRows {
            width,
            values: Vec::with_capacity(total * width),
        };
        let mut batch = Batch::default();
        for group in groups {
            if group.prompt.is_empty() {
                return Err(PolicyError::Ids(
                    "a rollout has an empty prompt; the first token has nothing that predicts it"
                        .into(),
                ));
            }
            let mut open = None;
            for completion in &group.completions {
                let len = group.prompt.len() + completion.len();
                if completion.is_empty() {
                    continue;
                }
                if self.config().rope.depends_on_length(len) {
                    batch.run(&mut runner, &mut out)?;
                    open = None;
                    batch.add(group.prompt, completion, &mut None);
                    batch.run(&mut runner, &mut out)?;
                    continue;
                }
                if batch.rows.len()
                    + completion.len()
                    + if open.is_none() {
                        group.prompt.len()
                    } else {
                        0
                    }
                    > BATCH_ROWS
                {
                    batch.run(&mut runner, &mut out)?;
                    open = None;
                }
                batch.add(group.prompt, completion, &mut open);
            }
        }
        batch.run(&mut runner, &mut out)?;
        Ok(out)
    }

    /// Logits of hidden rows (rows x vocabulary), into a buffer that is reused;
    /// runs on the current rayon pool.
    pub fn logits(&self, hidden: &[f32], out: &mut Vec<f32>) {
        let (width, vocab) = (self.config().hidden_size, self.vocab_size());
        let rows = hidden.len() / width;
        out.resize(rows * vocab, 0.0);
        let chunk = rows.div_ceil(rayon::current_num_threads()).clamp(8, 256);
        let runner = self.runner();
        out.par_chunks_mut(chunk * vocab)
            .zip(hidden.par_chunks(chunk * width))
            .for_each(|(out, hidden)| runner.logits(hidden, out));
    }

    /// Rows whose logits are held at a time: about 96 MB of them.
    pub fn block_rows(&self) -> usize {
        (24_000_000 / self.vocab_size().max(1)).clamp(32, 4096)
    }
}

/// Rows that go through one forward pass.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    segments: usize,
    longest: usize,
    /// Row indices of the result, in order.
    wanted: Vec<usize>,
}

/// A prompt that is already in the batch.
#[derive(Clone, Copy)]
struct OpenPrompt {
    segment: usize,
    last_row: usize,
}

impl Batch {
    fn add(&mut self, prompt: &[u32], completion: &[u32], open: &mut Option<OpenPrompt>) {
        let shared = *open.get_or_insert_with(|| {
            let segment = self.segment();
            for (index, token) in prompt.iter().enumerate() {
                self.rows.push(Row {
                    token: *token,
                    place: Place {
                        prefix: segment,
                        prefix_len: 0,
                        segment,
                        index,
                    },
                });
            }
            OpenPrompt {
                segment,
                last_row: self.rows.len() - 1,
            }
        });
        self.longest = self.longest.max(prompt.len() + completion.len());
        self.wanted.push(shared.last_row);
        if completion.len() > 1 {
            let segment = self.segment();
            for (index, token) in completion[..completion.len() - 1].iter().enumerate() {
                self.wanted.push(self.rows.len());
                let place = Place {
                    prefix: shared.segment,
                    prefix_len: prompt.len(),
                    segment,
                    index,
                };
                self.rows.push(Row {
                    token: *token,
                    place,
                });
            }
        }
    }

    fn segment(&mut self) -> usize {
        self.segments += 1;
        self.segments - 1
    }

    fn run(&mut self, runner: &mut Runner<'_>, out: &mut HiddenRows) -> Result<(), PolicyError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut cache = Cache::transient(self.segments);
        let hidden = runner.forward(&self.rows, &mut cache, self.longest)?;
        for &row in &self.wanted {
            out.values
                .extend_from_slice(&hidden[row * out.width..(row + 1) * out.width]);
        }
        *self = Self::default();
        Ok(())
    }
}
