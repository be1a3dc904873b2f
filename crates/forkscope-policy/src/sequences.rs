//! Sequences that grow token by token, as their caller decides.
//!
//! Sampling chooses its own tokens; here somebody else does: two policies in
//! step, a forced token, a search over candidates. Keys and values are kept, so
//! a token costs one row of a forward pass; all sequences that grow go through
//! it together. A fork has its origin's tokens so far: it shares the prompt and
//! copies what follows. The bits are those of scoring or sampling the same ids.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::PolicyError;
use crate::model::forward::{Cache, Row, Runner};
use crate::ops::attention::Place;
use crate::policy::Policy;

/// Rows that go through a forward pass together, unless one sequence has more.
const BATCH_ROWS: usize = 4096;

/// Names a sequence; never used again once the sequence is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u64);

/// Growing sequences of one policy.
#[derive(Debug)]
pub struct Sequences<'a> {
    policy: &'a Policy,
    runner: Runner<'a>,
    cache: Cache,
    open: BTreeMap<SequenceId, Sequence>,
    /// Sequences that see each prompt segment.
    readers: BTreeMap<usize, usize>,
    free: Vec<usize>,
    segments: usize,
    named: u64,
}

#[derive(Debug, Clone)]
struct Sequence {
    /// Segment and length of the prompt.
    prefix: usize,
    prefix_len: usize,
    /// Segment and length of what follows; no segment before there is a token.
    own: Option<usize>,
    own_len: usize,
    /// State after the last token.
    hidden: Vec<f32>,
}

/// Rows of one forward pass, and whose state each last row is.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    ends: Vec<(SequenceId, usize)>,
    longest: usize,
}

impl Policy {
    /// No sequences yet.
    pub fn sequences(&self) -> Sequences<'_> {
        Sequences {
            policy: self,
            runner: self.runner(),
            cache: Cache::kept(self.config().layers),
            open: BTreeMap::new(),
            readers: BTreeMap::new(),
            free: Vec::new(),
            segments: 0,
            named: 0,
        }
    }
}

impl Sequences<'_> {
    /// Starts a sequence of each prompt, which must have a token.
    pub fn open(&mut self, prompts: &[&[u32]]) -> Result<Vec<SequenceId>, PolicyError> {
        for prompt in prompts {
            if prompt.is_empty() {
                return Err(PolicyError::Ids(
                    "a prompt has no token; the first token has nothing that predicts it".into(),
                ));
            }
            self.check(prompt.len(), prompt)?;
        }
        let mut ids = Vec::with_capacity(prompts.len());
        let mut batch = Batch::default();
        for prompt in prompts {
            self.flush_before(&mut batch, prompt.len())?;
            let prefix = self.segment();
            let id = self.insert(Sequence {
                prefix,
                prefix_len: prompt.len(),
                own: None,
                own_len: 0,
                hidden: Vec::new(),
            });
            self.readers.insert(prefix, 1);
            batch.add(id, prompt, prefix, 0, prefix, 0);
            ids.push(id);
        }
        self.flush(&mut batch)?;
        Ok(ids)
    }

    /// Another sequence with the same tokens so far.
    pub fn fork(&mut self, id: SequenceId) -> Result<SequenceId, PolicyError> {
        let mut copy = self.get(id)?.clone();
        if let Some(from) = copy.own {
            let to = self.segment();
            self.cache.grow(self.segments);
            self.cache.copy(from, to);
            copy.own = Some(to);
        }
        *self.readers.entry(copy.prefix).or_default() += 1;
        Ok(self.insert(copy))
    }

    /// Appends tokens, one or more to each sequence, in one forward pass. Every
    /// sequence may be named once.
    pub fn extend(&mut self, grown: &[(SequenceId, &[u32])]) -> Result<(), PolicyError> {
        let mut seen = BTreeSet::new();
        for (id, tokens) in grown {
            let sequence = self.get(*id)?;
            self.check(sequence.len() + tokens.len(), tokens)?;
            if !seen.insert(*id) {
                return Err(PolicyError::Internal(
                    "a sequence was extended twice at once".into(),
                ));
            }
        }
        let mut batch = Batch::default();
        for (id, tokens) in grown.iter().filter(|(_, tokens)| !tokens.is_empty()) {
            self.flush_before(&mut batch, tokens.len())?;
            let Sequence {
                prefix,
                prefix_len,
                own,
                own_len,
                ..
            } = *self.get(*id)?;
            let segment = match own {
                Some(segment) => segment,
                None => self.segment(),
            };
            batch.add(*id, tokens, prefix, prefix_len, segment, own_len);
            if let Some(sequence) = self.open.get_mut(id) {
                sequence.own = Some(segment);
                sequence.own_len += tokens.len();
            }
        }
        self.flush(&mut batch)
    }

    /// Forgets a sequence and frees its memory.
    pub fn close(&mut self, id: SequenceId) {
        let Some(sequence) = self.open.remove(&id) else {
            return;
        };
        if let Some(own) = sequence.own {
            self.release(own);
        }
        let left = self.readers.get_mut(&sequence.prefix).map(|n| {
            *n = n.saturating_sub(1);
            *n
        });
        if left == Some(0) {
            self.readers.remove(&sequence.prefix);
            self.release(sequence.prefix);
        }
    }

    /// Number of sequences that are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Tokens of a sequence, prompt included; 0 where it is not open.
    pub fn len(&self, id: SequenceId) -> usize {
        self.open.get(&id).map_or(0, Sequence::len)
    }

    /// Whether no sequence is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// State after the last token (after the final norm), which predicts the
    /// next one.
    pub fn hidden(&self, id: SequenceId) -> Option<&[f32]> {
        self.open.get(&id).map(|s| s.hidden.as_slice())
    }

    /// Raw logits of the token that follows each sequence: `ids.len()` x
    /// vocabulary, into a buffer that is reused.
    pub fn logits(&self, ids: &[SequenceId], out: &mut Vec<f32>) -> Result<(), PolicyError> {
        let vocab = self.policy.vocab_size();
        let mut hidden = Vec::with_capacity(ids.len() * self.policy.config().hidden_size);
        for id in ids {
            hidden.extend_from_slice(&self.get(*id)?.hidden);
        }
        out.resize(ids.len() * vocab, 0.0);
        let chunk = ids
            .len()
            .div_ceil(rayon::current_num_threads())
            .clamp(8, 256);
        let width = self.policy.config().hidden_size;
        out.par_chunks_mut(chunk * vocab)
            .zip(hidden.par_chunks(chunk * width))
            .for_each(|(out, hidden)| self.runner.logits(hidden, out));
        Ok(())
    }

    fn get(&self, id: SequenceId) -> Result<&Sequence, PolicyError> {
        self.open
            .get(&id)
            .ok_or_else(|| PolicyError::Internal("a sequence is not open".into()))
    }

    fn insert(&mut self, sequence: Sequence) -> SequenceId {
        let id = SequenceId(self.named);
        self.named += 1;
        self.open.insert(id, sequence);
        id
    }

    /// What could fail is refused before anything has grown. Sequences longer
    /// than the context cannot: their rotary embedding may depend on a length
    /// that is not yet known.
    fn check(&self, len: usize, tokens: &[u32]) -> Result<(), PolicyError> {
        let most = self.policy.context_len();
        if len > most {
            return Err(PolicyError::Ids(format!(
                "a sequence of {len} tokens is longer than the model's context of {most}"
            )));
        }
        let vocab = self.policy.vocab_size();
        match tokens.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(PolicyError::Ids(format!(
                "token id {id} is outside the model's vocabulary of {vocab}"
            ))),
            None => Ok(()),
        }
    }

    fn segment(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.segments += 1;
            self.segments - 1
        })
    }

    fn release(&mut self, segment: usize) {
        self.cache.clear(segment);
        self.free.push(segment);
    }

    fn flush_before(&mut self, batch: &mut Batch, more: usize) -> Result<(), PolicyError> {
        if !batch.rows.is_empty() && batch.rows.len() + more > BATCH_ROWS {
            self.flush(batch)?;
        }
        Ok(())
    }

    fn flush(&mut self, batch: &mut Batch) -> Result<(), PolicyError> {
        let Batch {
            rows,
            ends,
            longest,
        } = std::mem::take(batch);
        if rows.is_empty() {
            return Ok(());
        }
        self.cache.grow(self.segments);
        let states = self.runner.forward(&rows, &mut self.cache, longest)?;
        let width = self.policy.config().hidden_size;
        for (id, row) in ends {
            let state = states.get(row * width..(row + 1) * width);
            if let (Some(sequence), Some(state)) = (self.open.get_mut(&id), state) {
                sequence.hidden = state.to_vec();
            }
        }
        Ok(())
    }
}

impl Sequence {
    fn len(&self) -> usize {
        self.prefix_len + self.own_len
    }
}

impl Batch {
    fn add(
        &mut self,
        id: SequenceId,
        tokens: &[u32],
        prefix: usize,
        prefix_len: usize,
        segment: usize,
        first: usize,
    ) {
        let place = |i: usize| Place {
            prefix,
            prefix_len,
            segment,
            index: first + i,
        };
        self.rows
            .extend(tokens.iter().enumerate().map(|(i, token)| Row {
                token: *token,
                place: place(i),
            }));
        self.ends.push((id, self.rows.len().saturating_sub(1)));
        self.longest = self.longest.max(prefix_len + first + tokens.len());
    }
}
