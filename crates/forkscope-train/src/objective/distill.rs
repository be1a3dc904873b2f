//! Distillation: the student learns a teacher's distribution over next tokens
//! on given sequences.
//!
//! L = sum_i sum_t w_it KL(teacher || student)_it / D over the completions'
//! tokens, forward KL at T = 1, nats. The teacher is a policy, whose logits are
//! computed block by block beside the student's (its final hidden states are
//! kept, T x d; no T x V matrix is), or its cached top k with one bucket for the
//! tail: then L is a **lower bound** of that loss, and logged under that name.

mod shard;

use std::collections::BTreeMap;
use std::sync::Arc;

use forkscope_policy::{Policy, PromptGroup};
use rayon::prelude::*;
use serde_json::Value;

use super::batches::{BatchSettings, Batches};
use super::examples::{Example, Examples};
use super::parts::{Denominator, Part, parts};
use super::rows::Bucketed;
use super::sft::{Seen, TOKENS, fetch};
use crate::TrainError;
use crate::engine::{Network, Shard, Sums};
use crate::run::{Source, Step};
use shard::{AGREE, ENTROPY, KL, TEACHER_ENTROPY};

pub use shard::{DistillShard, TeacherRows};

/// Who teaches.
#[derive(Debug, Clone)]
pub enum Teacher {
    /// A policy, by its full logits. For the model before its adapter, open the
    /// same directory: the mapped weights are shared.
    Policy(Policy),
    /// Lists per example, one for each token of its completion, over the
    /// student's vocabulary.
    Cached(Vec<Vec<Bucketed>>),
}

/// How a distillation runs.
#[derive(Debug, Clone, PartialEq)]
pub struct DistillSettings {
    /// Batches and their order.
    pub batches: BatchSettings,
    /// What a step's loss is divided by.
    pub denominator: Denominator,
    /// Bytes of teacher hidden states that are kept from epoch to epoch; the
    /// rest is computed again.
    pub keep_bytes: usize,
}

impl Default for DistillSettings {
    fn default() -> Self {
        Self {
            batches: BatchSettings::default(),
            denominator: Denominator::Tokens,
            keep_bytes: 1 << 30,
        }
    }
}

/// Batches of examples with what the teacher says of them.
pub struct DistillSource {
    examples: Box<dyn Examples>,
    teacher: Teacher,
    settings: DistillSettings,
    batches: Batches,
    seen: Seen,
    kept: BTreeMap<u64, Arc<Vec<f32>>>,
    kept_bytes: usize,
}

impl DistillSource {
    /// A source over those examples; a cached teacher must have one entry for
    /// each.
    pub fn new(
        examples: Box<dyn Examples>,
        teacher: Teacher,
        settings: DistillSettings,
    ) -> Result<Self, TrainError> {
        settings.denominator.check()?;
        if let Teacher::Cached(lists) = &teacher
            && examples.len() != Some(lists.len() as u64)
        {
            return Err(TrainError::Setting(format!(
                "the teacher was cached on {} rollouts and there are {}; cache it on the same ones",
                lists.len(),
                examples
                    .len()
                    .map_or("endlessly many".into(), |n| n.to_string())
            )));
        }
        let batches = Batches::new(examples.len(), settings.batches)?;
        Ok(Self {
            examples,
            teacher,
            settings,
            batches,
            seen: Seen::default(),
            kept: BTreeMap::new(),
            kept_bytes: 0,
        })
    }

    /// Optimiser steps per epoch; `None` if the examples never end.
    pub fn steps_per_epoch(&self) -> Option<u64> {
        self.batches.steps_per_epoch()
    }

    /// The teacher's hidden states over the completion of each example.
    fn hidden(
        &mut self,
        policy: &Policy,
        indices: &[u64],
        batch: &[Example],
    ) -> Result<Vec<Arc<Vec<f32>>>, TrainError> {
        let kept = &self.kept;
        let rows = indices
            .par_iter()
            .zip(batch)
            .map(|(i, example)| match kept.get(i) {
                Some(rows) => Ok(rows.clone()),
                None => Ok(Arc::new(hidden_rows(policy, *i, example)?)),
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        for (i, rows) in indices.iter().zip(&rows) {
            let bytes = self.kept_bytes + 4 * rows.len();
            if bytes <= self.settings.keep_bytes && !self.kept.contains_key(i) {
                self.kept.insert(*i, rows.clone());
                self.kept_bytes = bytes;
            }
        }
        Ok(rows)
    }

    /// What the teacher says at the sites of each part of a batch.
    fn teach(
        &mut self,
        indices: &[u64],
        batch: &[Example],
        parts: &[Part],
    ) -> Result<Vec<TeacherRows>, TrainError> {
        // Index of a site's token among the tokens of its completion.
        let place = |(i, t): (usize, usize)| (i, t - batch[i].prompt_len);
        let policy = match &self.teacher {
            Teacher::Policy(policy) => policy.clone(),
            Teacher::Cached(lists) => {
                let listed = |at| {
                    let (i, k) = place(at);
                    let example = usize::try_from(indices[i]).ok();
                    let lists = example.and_then(|e| lists.get(e)).map_or(&[][..], |l| l);
                    let fits = lists.len() == batch[i].completion().len();
                    lists.get(k).filter(|_| fits).cloned().ok_or_else(|| {
                        TrainError::Setting(format!(
                            "the teacher has {} positions of rollout {} and its completion has {} tokens; \
                             cache the teacher on the same rollouts",
                            lists.len(),
                            indices[i],
                            batch[i].completion().len()
                        ))
                    })
                };
                let one = |p: &Part| {
                    let rows: Result<_, TrainError> =
                        p.places.iter().copied().map(listed).collect();
                    Ok(TeacherRows::Listed(rows?))
                };
                return parts.iter().map(one).collect();
            }
        };
        let hidden = self.hidden(&policy, indices, batch)?;
        let width = policy.config().hidden_size;
        let rows = |part: &Part| {
            let mut values = Vec::with_capacity(part.places.len() * width);
            for (i, k) in part.places.iter().copied().map(place) {
                values.extend_from_slice(&hidden[i][k * width..][..width]);
            }
            TeacherRows::Policy {
                policy: policy.clone(),
                hidden: values,
            }
        };
        Ok(parts.iter().map(rows).collect())
    }
}

/// The hidden states that predict an example's completion.
pub(super) fn hidden_rows(
    policy: &Policy,
    index: u64,
    example: &Example,
) -> Result<Vec<f32>, TrainError> {
    let prompt = example.ids.get(..example.prompt_len).unwrap_or(&[]);
    let refuse = |what: &str| Err(TrainError::Setting(format!("rollout {index} {what}")));
    if prompt.is_empty() {
        return refuse(
            "has an empty prompt; a teacher needs at least one token before it predicts",
        );
    }
    if !policy.can_score(example.ids.len()) {
        return refuse("is longer than the teacher's context; leave it out");
    }
    let vocab = policy.vocab_size();
    if example.ids.iter().any(|id| *id as usize >= vocab) {
        return refuse(
            "has token ids that the teacher lacks; it must have the student's tokenizer",
        );
    }
    let group = PromptGroup {
        prompt,
        completions: vec![example.completion()],
    };
    Ok(policy.hidden_rows(&[group])?.values)
}

impl Source for DistillSource {
    fn step(&mut self, step: u64, network: &Network) -> Result<Step, TrainError> {
        let Self {
            examples, batches, ..
        } = self;
        let indices = batches.at(step, &mut |i| Ok(examples.get(i)?.ids.len()))?;
        let batch = fetch(examples.as_ref(), &indices, network)?;
        let mut weights: Vec<Vec<f64>> = batch.iter().map(|e| e.site_weights(0.0)).collect();
        self.settings.denominator.divide(&mut weights);
        let parts = parts(&batch, &weights, self.settings.batches.shard_rows)?;
        let teachers = self.teach(&indices, &batch, &parts)?;
        let shards = parts
            .into_iter()
            .zip(teachers)
            .map(|(p, teacher)| {
                let shard = DistillShard::new(p.pack, p.sites, p.weights, teacher)?;
                Ok(Box::new(shard) as Box<dyn Shard + Send>)
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        Ok(self
            .seen
            .step(step, &self.batches, &indices, &batch, shards))
    }

    fn after(&mut self, sums: &Sums) -> Vec<(String, f64)> {
        let n = sums.get(TOKENS);
        if n == 0.0 {
            return Vec::new();
        }
        let kl = match self.teacher {
            Teacher::Policy(_) => "kl",
            Teacher::Cached(_) => "kl_lower_bound",
        };
        vec![
            (kl.into(), sums.get(KL) / n),
            ("argmax_agreement".into(), sums.get(AGREE) / n),
            ("teacher_entropy".into(), sums.get(TEACHER_ENTROPY) / n),
            ("entropy".into(), sums.get(ENTROPY) / n),
        ]
    }

    fn state(&self) -> Value {
        self.seen.state()
    }

    fn restore(&mut self, state: &Value) -> Result<(), TrainError> {
        self.seen = Seen::restored(state)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
