//! What the base says along the rollouts: its final hidden states, from which
//! exact logits are one product with the head away.
//!
//! A state per predicted position (T x d, where logits would be T x V) is
//! computed once and kept from epoch to epoch, as far as `keep_bytes` goes; the
//! rest is computed again, to the same bits. A prompt's states are kept once for
//! all its rollouts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use forkscope_metrics::normaliser;
use forkscope_policy::{Policy, PromptGroup};
use forkscope_records::{HiddenStore, PromptAndCompletion};
use rayon::prelude::*;

use super::rollout::PoolRollout;
use crate::TrainError;
use crate::objective::rows::Bucketed;

/// Rows of logits that are held at a time.
const BLOCK: usize = 64;

/// Hidden rows of one rollout: row p predicts token p + 1.
#[derive(Debug, Clone)]
pub(super) struct BaseRows {
    width: usize,
    /// Rows that predict prompt tokens; empty where nobody asks for them.
    prompt: Arc<Vec<f32>>,
    prompt_len: usize,
    /// Rows that predict the completion.
    completion: Arc<Vec<f32>>,
}

impl BaseRows {
    /// The state that predicts the token at `t`, 1 <= t < len.
    pub fn predicting(&self, t: usize) -> &[f32] {
        let (rows, row) = match t.checked_sub(self.prompt_len) {
            Some(row) => (&self.completion, row),
            None => (&self.prompt, t - 1),
        };
        rows.get(row * self.width..(row + 1) * self.width)
            .unwrap_or(&[])
    }
}

/// The base along all rollouts of a pool.
#[derive(Debug)]
pub(super) struct Base {
    policy: Policy,
    store: Option<HiddenStore>,
    /// Rollouts that were cut, which the store knows as they were.
    cut: HashSet<usize>,
    with_prompts: bool,
    keep: u64,
    kept: u64,
    /// By rollout.
    completions: HashMap<usize, Arc<Vec<f32>>>,
    /// By index of the first rollout with that prompt.
    prompts: HashMap<usize, Arc<Vec<f32>>>,
    /// First rollout with the same prompt.
    same_prompt: Vec<usize>,
    /// ln b(x_t) at decision positions, by rollout.
    log_probs: HashMap<usize, Arc<Vec<f64>>>,
    /// The most probable tokens by place, where anchors are bucketed.
    lists: HashMap<Place, Bucketed>,
}

/// A position of a rollout, or of the prompt that it shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The rollout, or the first with that prompt.
    owner: usize,
    /// Index of the predicted token.
    t: u32,
}

impl Base {
    pub fn new(
        policy: Policy,
        rollouts: &[PoolRollout],
        cut: HashSet<usize>,
        with_prompts: bool,
        keep: u64,
    ) -> Self {
        let mut first: HashMap<&[u32], usize> = HashMap::new();
        let prompt = |r: &PoolRollout| r.prompt_len.min(r.token_ids.len());
        let same_prompt = rollouts
            .iter()
            .enumerate()
            .map(|(i, r)| *first.entry(&r.token_ids[..prompt(r)]).or_insert(i))
            .collect();
        Self {
            policy,
            store: None,
            cut,
            with_prompts,
            keep,
            kept: 0,
            completions: HashMap::new(),
            prompts: HashMap::new(),
            same_prompt,
            log_probs: HashMap::new(),
            lists: HashMap::new(),
        }
    }

    /// Takes states that were kept while scoring, where the store has them. Its
    /// states must be those of this model: the caller compares digests.
    pub fn with_store(&mut self, store: HiddenStore) -> Result<(), TrainError> {
        let width = self.policy.config().hidden_size;
        if store.width() != width {
            return Err(TrainError::Setting(format!(
                "the kept hidden states have a width of {} and the model's is {width}; score the \
                 rollouts with this model and --keep-hidden, or give rollouts without them",
                store.width()
            )));
        }
        self.store = Some(store);
        Ok(())
    }

    /// The policy that the states belong to.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Index of the first rollout with that rollout's prompt.
    pub fn prompt_of(&self, rollout: usize) -> usize {
        self.same_prompt.get(rollout).copied().unwrap_or(rollout)
    }

    /// States of those rollouts.
    pub fn rows(
        &mut self,
        indices: &[usize],
        rollouts: &[PoolRollout],
    ) -> Result<Vec<BaseRows>, TrainError> {
        let this = &*self;
        let prompts: Vec<usize> = match self.with_prompts {
            true => {
                let mut firsts: Vec<usize> = indices.iter().map(|i| self.prompt_of(*i)).collect();
                firsts.sort_unstable();
                firsts.dedup();
                firsts
            }
            false => Vec::new(),
        };
        let found_prompts = prompts
            .par_iter()
            .map(|i| this.prompt_rows(*i, &rollouts[*i]).map(|rows| (*i, rows)))
            .collect::<Result<Vec<_>, TrainError>>()?;
        let found = indices
            .par_iter()
            .map(|i| this.completion_rows(*i, &rollouts[*i]))
            .collect::<Result<Vec<_>, TrainError>>()?;
        let none = Arc::new(Vec::new());
        let by_prompt: HashMap<usize, Arc<Vec<f32>>> = found_prompts.into_iter().collect();
        let out = indices
            .iter()
            .zip(&found)
            .map(|(i, completion)| BaseRows {
                width: self.policy.config().hidden_size,
                prompt: by_prompt.get(&self.prompt_of(*i)).unwrap_or(&none).clone(),
                prompt_len: rollouts[*i].prompt_len,
                completion: completion.clone(),
            })
            .collect();
        if let Some(store) = &self.store {
            // What was copied need not stay mapped in.
            store.release();
        }
        for i in prompts {
            if let Some(rows) = by_prompt.get(&i) {
                keep(&mut self.prompts, &mut self.kept, self.keep, i, rows);
            }
        }
        for (i, rows) in indices.iter().zip(&found) {
            keep(&mut self.completions, &mut self.kept, self.keep, *i, rows);
        }
        Ok(out)
    }

    fn prompt_rows(&self, i: usize, rollout: &PoolRollout) -> Result<Arc<Vec<f32>>, TrainError> {
        if let Some(rows) = self.prompts.get(&i) {
            return Ok(rows.clone());
        }
        if let Some((prompt, _)) = self.stored(i, rollout)? {
            return Ok(Arc::new(prompt.to_vec()));
        }
        let prompt = &rollout.token_ids[..rollout.prompt_len.min(rollout.token_ids.len())];
        let (first, rest) = prompt.split_at(1.min(prompt.len()));
        self.compute(first, rest)
    }

    fn completion_rows(
        &self,
        i: usize,
        rollout: &PoolRollout,
    ) -> Result<Arc<Vec<f32>>, TrainError> {
        if let Some(rows) = self.completions.get(&i) {
            return Ok(rows.clone());
        }
        if let Some((_, completion)) = self.stored(i, rollout)? {
            return Ok(Arc::new(completion.to_vec()));
        }
        let prompt = &rollout.token_ids[..rollout.prompt_len.min(rollout.token_ids.len())];
        self.compute(prompt, rollout.completion())
    }

    /// What the store has of a rollout; of one that was cut it has nothing.
    fn stored(
        &self,
        i: usize,
        rollout: &PoolRollout,
    ) -> Result<Option<PromptAndCompletion<'_>>, TrainError> {
        match &self.store {
            Some(store) if !self.cut.contains(&i) => {
                Ok(store.rollout(&rollout.problem_id, rollout.sample, &rollout.token_ids)?)
            }
            _ => Ok(None),
        }
    }

    fn compute(&self, prompt: &[u32], completion: &[u32]) -> Result<Arc<Vec<f32>>, TrainError> {
        if completion.is_empty() {
            return Ok(Arc::new(Vec::new()));
        }
        let group = PromptGroup {
            prompt,
            completions: vec![completion],
        };
        Ok(Arc::new(self.policy.hidden_rows(&[group])?.values))
    }

    /// The place of position `t` of a rollout.
    pub fn place(&self, i: usize, rollout: &PoolRollout, t: u32) -> Place {
        let owner = match (t as usize) < rollout.prompt_len {
            true => self.prompt_of(i),
            false => i,
        };
        Place { owner, t }
    }

    /// The base's `k` most probable tokens at those places, whose hidden states
    /// are given; kept as far as `keep_bytes` goes.
    pub fn listed(
        &mut self,
        places: &[Place],
        hidden: &[f32],
        k: usize,
    ) -> Result<Vec<Bucketed>, TrainError> {
        let (width, vocab) = (self.policy.config().hidden_size, self.policy.vocab_size());
        let bytes = (8 * k + std::mem::size_of::<(Place, Bucketed)>()) as u64;
        let (mut logits, mut out) = (Vec::new(), Vec::with_capacity(places.len()));
        for (places, hidden) in places.chunks(BLOCK).zip(hidden.chunks(BLOCK * width)) {
            if !places.iter().all(|p| self.lists.contains_key(p)) {
                self.policy.logits(hidden, &mut logits);
            }
            for (i, place) in places.iter().enumerate() {
                if let Some(list) = self.lists.get(place) {
                    out.push(list.clone());
                    continue;
                }
                let row = logits.get(i * vocab..(i + 1) * vocab).unwrap_or(&[]);
                let list = Bucketed::of_row(row, k).ok_or_else(|| {
                    TrainError::NonFinite("the base's logits at an anchor are not finite".into())
                })?;
                if self.kept.saturating_add(bytes) <= self.keep {
                    self.kept += bytes;
                    self.lists.insert(*place, list.clone());
                }
                out.push(list);
            }
        }
        Ok(out)
    }

    /// ln b(x_t) at a rollout's decision positions.
    pub fn log_probs(
        &mut self,
        i: usize,
        rollout: &PoolRollout,
        decisions: &[u32],
        rows: &BaseRows,
    ) -> Result<Arc<Vec<f64>>, TrainError> {
        if let Some(known) = self.log_probs.get(&i) {
            return Ok(known.clone());
        }
        let vocab = self.policy.vocab_size();
        let mut out = Vec::with_capacity(decisions.len());
        let (mut hidden, mut logits) = (Vec::new(), Vec::new());
        for block in decisions.chunks(BLOCK) {
            hidden.clear();
            for t in block {
                hidden.extend_from_slice(rows.predicting(*t as usize));
            }
            self.policy.logits(&hidden, &mut logits);
            for (t, row) in block.iter().zip(logits.chunks_exact(vocab)) {
                let token = rollout.token_ids.get(*t as usize).copied();
                let z = token.and_then(|id| row.get(id as usize));
                let normaliser = normaliser(row).map_err(|e| {
                    TrainError::NonFinite(format!(
                        "the base's logits before token {t} of problem `{}`, sample {}: {e}",
                        rollout.problem_id.escape_debug(),
                        rollout.sample
                    ))
                })?;
                out.push(normaliser.logprob(z.copied().unwrap_or(f32::NAN)));
            }
        }
        let out = Arc::new(out);
        self.log_probs.insert(i, out.clone());
        Ok(out)
    }
}

fn keep(
    map: &mut HashMap<usize, Arc<Vec<f32>>>,
    kept: &mut u64,
    most: u64,
    i: usize,
    rows: &Arc<Vec<f32>>,
) {
    let bytes = 4 * rows.len() as u64;
    if !map.contains_key(&i) && kept.saturating_add(bytes) <= most {
        *kept += bytes;
        map.insert(i, rows.clone());
    }
}
