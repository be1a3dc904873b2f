//! Answers that grow under a rule: who chooses each token.
//!
//! All answers of a call advance one token per step; each policy that is looked
//! at makes one forward pass for all of them. Prompts are computed once per
//! [`Walker`] and shared by everything that starts from them.

mod open;
mod tokens;

use std::collections::BTreeSet;

use forkscope_metrics::rng::Key;
use forkscope_policy::text::StreamDecoder;
use forkscope_policy::{Ended, SamplePrompt, SequenceId, Sequences};

use super::{Donor, Pair, RevertSettings};
use crate::AuditError;
use open::{ends_in_stop, open};

/// Memory that keys and values of running answers may take, bytes.
const CACHE_BYTES: usize = 1 << 30;
/// Logits of one policy that are held at a time.
const LOGITS: usize = 1 << 24;
/// Answers that grow at once at most.
const MOST: usize = 384;

/// Who chooses the tokens behind the prefix.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// The tuned policy.
    Tuned,
    /// The base.
    Base,
    /// The donor at these indices of the completion, else the tuned policy.
    DonorAt(BTreeSet<usize>),
    /// The mixture (1-α) ln p + α ln b.
    Mix(f64),
    /// The mixture with its shift permuted over the vocabulary.
    Permuted(f64),
}

/// An answer to be continued.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Index of the prompt.
    pub prompt: usize,
    /// Sample index: keys the random numbers.
    pub sample: u32,
    /// Prompt ids, where they are other than the prompt's own.
    pub instead: Option<Vec<u32>>,
    /// Completion ids that stand already.
    pub prefix: Vec<u32>,
    /// Who goes on.
    pub rule: Rule,
}

/// What is noted about every position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Nothing.
    Off,
    /// What the tuned policy and the donor would choose, with this many of the
    /// donor's most probable tokens.
    Top(usize),
}

/// One position of a traced answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The donor's choice, if it has one here.
    pub donor: Option<u32>,
    /// max ln p - ln p(donor's choice), nats; 0 without one.
    pub margin: f64,
    /// -ln p(donor's choice), nats; 0 without one.
    pub kl: f64,
    /// JS(p, donor), nats; 0 without a donor.
    pub js: f64,
    /// The donor's most probable tokens, with max ln p - ln p(token) and
    /// -ln p(token) under the tuned policy.
    pub top: Vec<(u32, f64, f64)>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Walked {
    /// Completion ids, the prefix included.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub ended: Ended,
    /// The positions behind the prefix, if they were traced.
    pub steps: Vec<Step>,
}

/// Grows answers of two policies.
#[derive(Debug)]
pub struct Walker<'a> {
    pair: Pair<'a>,
    prompts: &'a [SamplePrompt],
    donor: &'a Donor,
    settings: &'a RevertSettings,
    tuned: Sequences<'a>,
    base: Sequences<'a>,
    /// Of each prompt, once it was asked for.
    tuned_roots: Vec<Option<SequenceId>>,
    base_roots: Vec<Option<SequenceId>>,
    /// Ids that both policies have.
    shared: usize,
}

/// An answer on its way.
struct Growing<'t> {
    start: usize,
    tuned: Option<SequenceId>,
    base: Option<SequenceId>,
    ids: Vec<u32>,
    text: Option<StreamDecoder<'t>>,
    key: Key,
    steps: Vec<Step>,
    ended: Option<Ended>,
}

/// Which policies a call looks at.
#[derive(Clone, Copy)]
struct Needs {
    tuned: bool,
    base: bool,
    top: Option<usize>,
}

impl<'a> Walker<'a> {
    /// A walker over these prompts.
    pub fn new(
        pair: Pair<'a>,
        prompts: &'a [SamplePrompt],
        donor: &'a Donor,
        settings: &'a RevertSettings,
    ) -> Result<Self, AuditError> {
        settings.check()?;
        Ok(Self {
            pair,
            prompts,
            donor,
            settings,
            tuned: pair.tuned.sequences(),
            base: pair.base.sequences(),
            tuned_roots: vec![None; prompts.len()],
            base_roots: vec![None; prompts.len()],
            shared: pair.base.vocab_size().min(pair.tuned.vocab_size()),
        })
    }

    /// The prompts.
    pub fn prompts(&self) -> &'a [SamplePrompt] {
        self.prompts
    }

    /// The settings.
    pub fn settings(&self) -> &'a RevertSettings {
        self.settings
    }

    /// The donor.
    pub fn donor(&self) -> &'a Donor {
        self.donor
    }

    /// Ids that both policies have.
    pub fn shared_vocabulary(&self) -> usize {
        self.shared
    }

    /// Continues every answer to its end.
    pub fn walk(&mut self, starts: &[Start], trace: Trace) -> Result<Vec<Walked>, AuditError> {
        let needs = self.needs(starts, trace);
        let mut walked = Vec::with_capacity(starts.len());
        for chunk in starts.chunks(self.width()) {
            walked.extend(self.grow(chunk, needs)?);
        }
        Ok(walked)
    }

    fn needs(&self, starts: &[Start], trace: Trace) -> Needs {
        let traced = trace != Trace::Off;
        let of_base = *self.donor == Donor::Base;
        let looks = |rule: &Rule| match rule {
            Rule::Tuned => false,
            Rule::DonorAt(_) => of_base,
            Rule::Base | Rule::Mix(_) | Rule::Permuted(_) => true,
        };
        Needs {
            tuned: traced || starts.iter().any(|s| s.rule != Rule::Base),
            base: (traced && of_base) || starts.iter().any(|s| looks(&s.rule)),
            top: match trace {
                Trace::Off => None,
                Trace::Top(k) => Some(k),
            },
        }
    }

    /// Answers that grow at once under the memory budget.
    fn width(&self) -> usize {
        let c = self.pair.tuned.config();
        let prompt = self.prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0);
        let len = prompt + self.settings.max_tokens;
        let bytes = 16 * c.layers * c.kv_heads * c.head_dim.next_multiple_of(32) * len;
        let by_logits = LOGITS / self.shared.max(1);
        (CACHE_BYTES / bytes.max(1)).min(by_logits).clamp(8, MOST)
    }

    fn grow(&mut self, starts: &[Start], needs: Needs) -> Result<Vec<Walked>, AuditError> {
        let mut growing = Vec::with_capacity(starts.len());
        for (i, start) in starts.iter().enumerate() {
            growing.push(self.seed(i, start)?);
        }
        if needs.tuned {
            let opened = open(&mut self.tuned, &mut self.tuned_roots, self.prompts, starts)?;
            growing
                .iter_mut()
                .zip(opened)
                .for_each(|(g, id)| g.tuned = Some(id));
        }
        if needs.base {
            let opened = open(&mut self.base, &mut self.base_roots, self.prompts, starts)?;
            growing
                .iter_mut()
                .zip(opened)
                .for_each(|(g, id)| g.base = Some(id));
        }
        let prefixed: Vec<(usize, &[u32])> = starts
            .iter()
            .enumerate()
            .filter(|(i, s)| growing[*i].ended.is_none() && !s.prefix.is_empty())
            .map(|(i, s)| (i, s.prefix.as_slice()))
            .collect();
        self.extend(&growing, &prefixed)?;
        loop {
            let active: Vec<usize> = (0..growing.len())
                .filter(|i| growing[*i].ended.is_none())
                .collect();
            if active.is_empty() {
                break;
            }
            if (self.settings.interrupted)() {
                return Err(AuditError::Interrupted);
            }
            let chosen = self.choose(&active, &growing, starts, needs)?;
            let mut added: Vec<(usize, [u32; 1])> = Vec::new();
            for (i, (token, step)) in active.iter().zip(chosen) {
                let g = &mut growing[*i];
                g.steps.extend(step);
                self.push(g, &starts[*i], token);
                if g.ended.is_none() {
                    added.push((*i, [token]));
                }
            }
            let added: Vec<(usize, &[u32])> =
                added.iter().map(|(i, t)| (*i, t.as_slice())).collect();
            self.extend(&growing, &added)?;
        }
        Ok(growing.into_iter().map(|g| self.close(g)).collect())
    }

    /// An answer with its prefix.
    fn seed(&self, i: usize, start: &Start) -> Result<Growing<'a>, AuditError> {
        let prompt = self.prompt(start.prompt)?;
        let text = match (prompt.stop.is_empty(), self.pair.tuned.text()) {
            (false, Some(text)) => Some(text.tokenizer.stream(true)),
            _ => None,
        };
        let seed = self.settings.seed;
        let mut growing = Growing {
            start: i,
            tuned: None,
            base: None,
            ids: Vec::new(),
            text,
            key: Key::new(seed, &prompt.problem_id, start.sample, "sample"),
            steps: Vec::new(),
            ended: None,
        };
        for token in &start.prefix {
            if growing.ended.is_none() {
                self.push(&mut growing, start, *token);
            }
        }
        Ok(growing)
    }

    fn prompt(&self, index: usize) -> Result<&'a SamplePrompt, AuditError> {
        let known = self.prompts.get(index);
        known.ok_or_else(|| AuditError::Internal(format!("there is no prompt {index}")))
    }

    /// Appends a token and says whether the answer ends with it.
    fn push(&self, growing: &mut Growing<'_>, start: &Start, token: u32) {
        growing.ids.push(token);
        let Some(prompt) = self.prompts.get(start.prompt) else {
            return;
        };
        let stopped = growing.text.as_mut().is_some_and(|text| {
            let added = text.push(token).len();
            ends_in_stop(text.text(), added, &prompt.stop)
        });
        let most = [self.pair.base.context_len(), self.pair.tuned.context_len()];
        let before = start.instead.as_ref().map_or(prompt.ids.len(), Vec::len);
        let full = most.iter().any(|m| before + growing.ids.len() >= *m);
        growing.ended = if prompt.eos.contains(&token) {
            Some(Ended::Eos)
        } else if stopped {
            Some(Ended::Stop)
        } else if growing.ids.len() >= self.settings.max_tokens {
            Some(Ended::Length)
        } else {
            full.then_some(Ended::Context)
        };
    }

    fn extend(
        &mut self,
        growing: &[Growing<'_>],
        added: &[(usize, &[u32])],
    ) -> Result<(), AuditError> {
        let of = |id: fn(&Growing<'_>) -> Option<SequenceId>| -> Vec<(SequenceId, &[u32])> {
            let with_id = |(i, ids): &(usize, _)| Some((id(growing.get(*i)?)?, *ids));
            added.iter().filter_map(with_id).collect()
        };
        let (tuned, base) = (of(|g| g.tuned), of(|g| g.base));
        if !tuned.is_empty() {
            self.tuned.extend(&tuned)?;
        }
        if !base.is_empty() {
            self.base.extend(&base)?;
        }
        Ok(())
    }

    fn close(&mut self, growing: Growing<'_>) -> Walked {
        if let Some(id) = growing.tuned {
            self.tuned.close(id);
        }
        if let Some(id) = growing.base {
            self.base.close(id);
        }
        Walked {
            ids: growing.ids,
            ended: growing.ended.unwrap_or(Ended::Length),
            steps: growing.steps,
        }
    }
}
