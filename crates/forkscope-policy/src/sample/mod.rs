//! Sampling completions: many at a time, each as if it were alone.
//!
//! All running completions of all problems advance one token per step, in one
//! forward pass; a problem's prompt is computed once for all its samples. The
//! random number of a token is keyed by (seed, problem, sample, position), and
//! a row's bits do not depend on the rows beside it, so neither the width of
//! the batch nor the number of threads changes a token.

mod choose;

use forkscope_metrics::rng::Key;
use rayon::prelude::*;

pub use choose::Sampling;
use choose::{Choice, Chooser};

use crate::PolicyError;
use crate::model::forward::{Cache, Row, Runner};
use crate::ops::attention::Place;
use crate::policy::Policy;
use crate::text::StreamDecoder;

/// Memory that keys and values of running completions may take, bytes.
const CACHE_BYTES: usize = 1 << 30;
/// Completions that run at once at most.
const MAX_WIDTH: usize = 384;
/// How far, in completions beyond the width, the newest running one may be
/// ahead of the oldest. Whoever writes them in order holds no more than that.
const MAX_LEAD: usize = 64;

/// A prompt to complete.
#[derive(Debug, Clone)]
pub struct SamplePrompt {
    /// Keys the random numbers.
    pub problem_id: String,
    /// Prompt ids.
    pub ids: Vec<u32>,
    /// Strings that end a completion, beside the end tokens.
    pub stop: Vec<String>,
    /// Ids that end a completion.
    pub eos: Vec<u32>,
}

/// Settings of a sampling run.
#[derive(Debug, Clone)]
pub struct SampleSettings {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Completions per prompt, `first_sample..first_sample + n`.
    pub n: u32,
    /// Most tokens of a completion.
    pub max_tokens: usize,
    /// Seed of all random numbers.
    pub seed: u64,
    /// (prompt, sample) pairs, in order, that are not to be sampled: a resumed
    /// run has them.
    pub skip: usize,
    /// Longest sequence, prompt included; the model's context if that is less.
    pub max_len: usize,
    /// Asked before every step; true stops the run.
    pub interrupted: fn() -> bool,
    /// Completions that run at once at most; `None` chooses by memory.
    pub width: Option<usize>,
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// An end token, which is its last id.
    Eos,
    /// A stop string.
    Stop,
    /// `max_tokens`.
    Length,
    /// The model's context is full.
    Context,
}

/// A sampled completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// Index of the prompt.
    pub prompt: usize,
    /// Index among the prompt's samples.
    pub sample: u32,
    /// Completion ids.
    pub ids: Vec<u32>,
    /// ln p of each id, raw logits, T = 1.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub ended: Ended,
}

/// A running completion.
struct Running<'t> {
    prompt: usize,
    sample: u32,
    prefix: usize,
    segment: usize,
    key: Key,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    text: Option<StreamDecoder<'t>>,
}

impl Policy {
    /// Samples `settings.n` completions of every prompt and hands each one to
    /// `done` as it ends; completions of one step come in order of (prompt,
    /// sample), else in the order in which they end. `done` may stop the run by
    /// returning false.
    pub fn sample(
        &self,
        prompts: &[SamplePrompt],
        settings: &SampleSettings,
        done: &mut dyn FnMut(Completion) -> bool,
    ) -> Result<(), PolicyError> {
        Sampler::new(self, prompts, settings).run(done)
    }

    /// Completions that run at once under the memory budget.
    fn sample_width(&self, prompts: &[SamplePrompt], settings: &SampleSettings) -> usize {
        let c = self.config();
        let longest = prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0);
        let len = settings
            .max_tokens
            .saturating_add(longest / settings.n.max(1) as usize)
            .min(c.max_positions)
            .max(1);
        let bytes = 8 * c.layers * c.kv_heads * c.head_dim.next_multiple_of(32) * len;
        settings
            .width
            .unwrap_or((CACHE_BYTES / bytes.max(1)).clamp(8, MAX_WIDTH))
            .max(1)
    }
}

struct Sampler<'a> {
    policy: &'a Policy,
    prompts: &'a [SamplePrompt],
    settings: &'a SampleSettings,
    runner: Runner<'a>,
    cache: Cache,
    free: Vec<usize>,
    segments: usize,
    /// Number of completions started or skipped, in order of (prompt, sample).
    started: usize,
    running: Vec<Running<'a>>,
    /// Prompts in the cache: (prompt, segment, hidden state of the last row).
    open: Vec<(usize, usize, Vec<f32>)>,
    width: usize,
}

/// Where the next token of a completion comes from.
struct Pending {
    running: usize,
    hidden: Vec<f32>,
}

impl<'a> Sampler<'a> {
    fn new(policy: &'a Policy, prompts: &'a [SamplePrompt], settings: &'a SampleSettings) -> Self {
        Self {
            policy,
            prompts,
            settings,
            runner: policy.runner(),
            cache: Cache::kept(policy.config().layers),
            free: Vec::new(),
            segments: 0,
            started: settings.skip,
            running: Vec::new(),
            open: Vec::new(),
            width: policy.sample_width(prompts, settings),
        }
    }

    fn run(mut self, done: &mut dyn FnMut(Completion) -> bool) -> Result<(), PolicyError> {
        loop {
            let started = self.start(done)?;
            let Some((prompt_rows, starters)) = started else {
                return Ok(());
            };
            let finished = self.running.is_empty() && self.next().is_none();
            if finished || (self.settings.interrupted)() {
                return Ok(());
            }
            let pending = self.step(prompt_rows, &starters)?;
            let choices = self.choose(&pending)?;
            if !self.advance(&pending, choices, done) {
                return Ok(());
            }
        }
    }

    /// Starts waiting completions while there is room. Returns the rows of
    /// prompts that are new to the cache with their (prompt, segment).
    #[allow(clippy::type_complexity)]
    fn start(
        &mut self,
        done: &mut dyn FnMut(Completion) -> bool,
    ) -> Result<Option<(Vec<Row>, Vec<(usize, usize)>)>, PolicyError> {
        let mut rows = Vec::new();
        let mut new = Vec::new();
        while self.running.len() < self.width {
            let oldest = self.running.iter().map(|r| self.place_of(r)).min();
            if oldest.is_some_and(|oldest| self.started - oldest > self.width + MAX_LEAD) {
                break;
            }
            let Some((prompt, sample)) = self.next() else {
                break;
            };
            self.started += 1;
            let p = &self.prompts[prompt];
            if p.ids.is_empty() {
                return Err(PolicyError::Ids(format!(
                    "the prompt of problem `{}` has no token",
                    p.problem_id.escape_debug()
                )));
            }
            let room = self.max_len().saturating_sub(p.ids.len());
            if room == 0 || self.settings.max_tokens == 0 {
                let ended = if room == 0 {
                    Ended::Context
                } else {
                    Ended::Length
                };
                if !done(Completion {
                    prompt,
                    sample,
                    ids: Vec::new(),
                    logprobs: Vec::new(),
                    ended,
                }) {
                    return Ok(None);
                }
                continue;
            }
            let known = self
                .open
                .iter()
                .map(|(p, s, _)| (*p, *s))
                .chain(new.iter().copied())
                .find(|(p, _)| *p == prompt);
            let prefix = match known {
                Some((_, segment)) => segment,
                None => {
                    let segment = self.segment();
                    rows.extend(p.ids.iter().enumerate().map(|(index, token)| Row {
                        token: *token,
                        place: Place {
                            prefix: segment,
                            prefix_len: 0,
                            segment,
                            index,
                        },
                    }));
                    new.push((prompt, segment));
                    segment
                }
            };
            let text = match (p.stop.is_empty(), self.policy.text()) {
                (false, Some(text)) => Some(text.tokenizer.stream(true)),
                _ => None,
            };
            let key = Key::new(self.settings.seed, &p.problem_id, sample, "sample");
            let segment = self.segment();
            self.running.push(Running {
                prompt,
                sample,
                prefix,
                segment,
                key,
                ids: Vec::new(),
                logprobs: Vec::new(),
                text,
            });
        }
        Ok(Some((rows, new)))
    }

    /// The (prompt, sample) to start next.
    fn next(&self) -> Option<(usize, u32)> {
        let n = self.settings.n.max(1) as usize;
        let (prompt, sample) = (self.started / n, self.started % n);
        (prompt < self.prompts.len()).then_some((prompt, sample as u32))
    }

    /// Index of a running completion in the order in which they start.
    fn place_of(&self, r: &Running<'_>) -> usize {
        r.prompt * self.settings.n as usize + r.sample as usize
    }

    /// Longest sequence, prompt included.
    fn max_len(&self) -> usize {
        self.policy.context_len().min(self.settings.max_len)
    }

    fn segment(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.segments += 1;
            self.segments - 1
        })
    }

    /// One forward pass: new prompts, and the last token of every completion
    /// that has one. Returns the hidden state behind each next token.
    fn step(
        &mut self,
        mut rows: Vec<Row>,
        new: &[(usize, usize)],
    ) -> Result<Vec<Pending>, PolicyError> {
        let mut ends = Vec::new();
        let mut at = 0;
        for (prompt, segment) in new {
            at += self.prompts[*prompt].ids.len();
            ends.push((*prompt, *segment, at - 1));
        }
        let mut continued = Vec::new();
        for (i, r) in self.running.iter().enumerate() {
            if let Some(token) = r.ids.last() {
                continued.push((i, rows.len()));
                let place = Place {
                    prefix: r.prefix,
                    prefix_len: self.prompts[r.prompt].ids.len(),
                    segment: r.segment,
                    index: r.ids.len() - 1,
                };
                rows.push(Row {
                    token: *token,
                    place,
                });
            }
        }
        let longest = rows
            .iter()
            .map(|r| r.place.position() + 1)
            .max()
            .unwrap_or(0);
        self.cache.grow(self.segments);
        let hidden = if rows.is_empty() {
            Vec::new()
        } else {
            self.runner.forward(&rows, &mut self.cache, longest)?
        };
        let d = self.policy.config().hidden_size;
        let row = |i: usize| hidden[i * d..(i + 1) * d].to_vec();
        self.open.extend(
            ends.into_iter()
                .map(|(prompt, segment, end)| (prompt, segment, row(end))),
        );
        let mut pending: Vec<Pending> = continued
            .into_iter()
            .map(|(running, at)| Pending {
                running,
                hidden: row(at),
            })
            .collect();
        for (i, r) in self
            .running
            .iter()
            .enumerate()
            .filter(|(_, r)| r.ids.is_empty())
        {
            if let Some((_, _, last)) = self.open.iter().find(|(p, _, _)| *p == r.prompt) {
                pending.push(Pending {
                    running: i,
                    hidden: last.clone(),
                });
            }
        }
        Ok(pending)
    }

    /// Draws the next token of every pending completion, in parallel.
    fn choose(&self, pending: &[Pending]) -> Result<Vec<Choice>, PolicyError> {
        let vocab = self.policy.vocab_size();
        let block = pending
            .len()
            .div_ceil(rayon::current_num_threads())
            .clamp(8, self.policy.block_rows());
        let chosen: Result<Vec<Vec<Choice>>, PolicyError> = pending
            .par_chunks(block)
            .map_init(
                || (Vec::new(), Vec::new(), Chooser::default()),
                |(hidden, logits, chooser), pending| {
                    hidden.clear();
                    pending
                        .iter()
                        .for_each(|p| hidden.extend_from_slice(&p.hidden));
                    logits.resize(pending.len() * vocab, 0.0);
                    self.runner.logits(hidden, logits);
                    pending
                        .iter()
                        .zip(logits.chunks_exact(vocab))
                        .map(|(p, row)| self.draw(p, row, chooser))
                        .collect()
                },
            )
            .collect();
        Ok(chosen?.into_iter().flatten().collect())
    }

    fn draw(
        &self,
        pending: &Pending,
        logits: &[f32],
        chooser: &mut Chooser,
    ) -> Result<Choice, PolicyError> {
        let r = &self.running[pending.running];
        let prompt = &self.prompts[r.prompt];
        let position = prompt.ids.len() + r.ids.len();
        let uniform = if self.settings.sampling.temperature == 0.0 {
            0.0
        } else {
            r.key.uniform(position as u64)
        };
        chooser
            .choose(logits, &self.settings.sampling, uniform)
            .map_err(|_| PolicyError::NonFinite {
                what: if logits.iter().any(|z| z.is_nan()) {
                    "NaN"
                } else {
                    "+inf"
                },
                row: format!(
                    "sample {} of problem `{}`",
                    r.sample,
                    prompt.problem_id.escape_debug()
                ),
                position,
            })
    }

    /// Appends the choices, hands out what has ended, frees what is no longer
    /// needed.
    fn advance(
        &mut self,
        pending: &[Pending],
        choices: Vec<Choice>,
        done: &mut dyn FnMut(Completion) -> bool,
    ) -> bool {
        let max_len = self.max_len();
        let mut ended: Vec<(usize, Ended)> = Vec::new();
        for (p, choice) in pending.iter().zip(choices) {
            let r = &mut self.running[p.running];
            let prompt = &self.prompts[r.prompt];
            r.ids.push(choice.token);
            r.logprobs.push(choice.logprob as f32);
            let stopped = r.text.as_mut().is_some_and(|text| {
                let added = text.push(choice.token).len();
                ends_in_stop(text.text(), added, &prompt.stop)
            });
            let why = if prompt.eos.contains(&choice.token) {
                Ended::Eos
            } else if stopped {
                Ended::Stop
            } else if r.ids.len() >= self.settings.max_tokens {
                Ended::Length
            } else if prompt.ids.len() + r.ids.len() >= max_len {
                Ended::Context
            } else {
                continue;
            };
            ended.push((p.running, why));
        }
        ended.sort_unstable_by_key(|(i, _)| (self.running[*i].prompt, self.running[*i].sample));
        let mut go_on = true;
        for (i, why) in &ended {
            let r = &mut self.running[*i];
            let completion = Completion {
                prompt: r.prompt,
                sample: r.sample,
                ids: std::mem::take(&mut r.ids),
                logprobs: std::mem::take(&mut r.logprobs),
                ended: *why,
            };
            go_on &= done(completion);
        }
        let mut gone: Vec<usize> = ended.into_iter().map(|(i, _)| i).collect();
        gone.sort_unstable();
        for i in gone.into_iter().rev() {
            let r = self.running.remove(i);
            self.cache.clear(r.segment);
            self.free.push(r.segment);
        }
        self.close_prompts();
        go_on
    }

    fn close_prompts(&mut self) {
        let next = self.next().map(|(p, _)| p);
        let (running, cache, free) = (&self.running, &mut self.cache, &mut self.free);
        self.open.retain(|(prompt, segment, _)| {
            let needed = next == Some(*prompt) || running.iter().any(|r| r.prompt == *prompt);
            if !needed {
                cache.clear(*segment);
                free.push(*segment);
            }
            needed
        });
    }
}

/// Whether a stop string occurs in `text`, of which all but the last `added`
/// bytes have been searched before.
fn ends_in_stop(text: &str, added: usize, stop: &[String]) -> bool {
    stop.iter().any(|s| {
        let mut from = text.len().saturating_sub(added + s.len());
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        text[from..].contains(s.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::ends_in_stop;

    #[test]
    fn a_stop_string_is_found_across_the_last_token_only() {
        let stop = ["end".to_owned(), "é!".to_owned()];
        assert!(ends_in_stop("the end", 1, &stop));
        assert!(ends_in_stop("the ending", 6, &stop));
        assert!(!ends_in_stop("the end, long ago", 3, &stop));
        assert!(ends_in_stop("ééé!", 1, &stop));
        assert!(!ends_in_stop("", 0, &stop));
    }
}
