//! Distillation: the student learns a teacher's distribution over next tokens
//! on given sequences.
//!
//! L = sum_i sum_t w_it KL(teacher || student)_it / D over the completions'
//! tokens, forward KL at T = 1, nats. The teacher is a policy, whose logits are
//! computed block by block beside the student's (its final hidden states are
//! kept, T x d; no T x V matrix is), or its cached top k with one bucket for the
//! tail: then L is a **lower bound** of that loss, and logged under that name.

use std::collections::BTreeMap;
use std::sync::Arc;

use forkscope_policy::{Policy, PromptGroup};
use rayon::prelude::*;
use serde_json::Value;

use super::batches::{BatchSettings, Batches, Denominator, Part, parts};
use super::examples::{Example, Examples};
use super::rows::{Bucketed, Divergence, kl_bucketed, kl_teacher_student};
use super::sft::{Seen, TOKENS, fetch};
use crate::TrainError;
use crate::engine::{Head, Network, Pack, Shard, Site, Sums};
use crate::run::{Source, Step};

/// Sum of KL(teacher || student) over sites, nats, unweighted.
const KL: &str = "kl_sum_nats";
/// Sites at which both have the same argmax.
const AGREE: &str = "n_agree";
/// Sum of the teacher's entropies, nats.
const TEACHER_ENTROPY: &str = "teacher_entropy_sum_nats";
/// Sum of the student's entropies, nats.
const ENTROPY: &str = "entropy_sum_nats";

/// Rows of the teacher's logits that are held at a time.
const BLOCK: usize = 64;

/// What is known of the teacher at the sites of a shard, in their order.
#[derive(Debug, Clone)]
pub enum TeacherRows {
    /// Everything: its final hidden states (sites x width) and its head.
    Policy {
        /// The teacher.
        policy: Policy,
        /// Its final hidden states.
        hidden: Vec<f32>,
    },
    /// The most probable tokens and the mass of the rest.
    Listed(Vec<Bucketed>),
}

/// Weighted KL(teacher || student) of a pack's sites.
#[derive(Debug, Clone)]
pub struct DistillShard {
    pack: Pack,
    sites: Vec<Site>,
    weights: Vec<f64>,
    teacher: TeacherRows,
}

impl DistillShard {
    /// A loss of sum `weights[i]` KL_i; the weights have been divided already.
    pub fn new(
        pack: Pack,
        sites: Vec<Site>,
        weights: Vec<f64>,
        teacher: TeacherRows,
    ) -> Result<Self, TrainError> {
        let rows = match &teacher {
            TeacherRows::Policy { policy, hidden } => {
                hidden.len() / policy.config().hidden_size.max(1)
            }
            TeacherRows::Listed(rows) => rows.len(),
        };
        let fits = rows == sites.len() && weights.len() == sites.len();
        if !fits || sites.iter().any(|s| s.row >= pack.len()) {
            return Err(TrainError::Internal(
                "sites, weights, teacher and rows of a shard do not fit together".into(),
            ));
        }
        Ok(Self {
            pack,
            sites,
            weights,
            teacher,
        })
    }
}

impl Shard for DistillShard {
    fn pack(&self) -> &Pack {
        &self.pack
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let mut total = Total::default();
        let mut logits = Vec::new();
        head.pull(&self.sites, |i, student| {
            let w = self.weights[i];
            let found = match &self.teacher {
                TeacherRows::Listed(rows) => kl_bucketed(student, &rows[i], w),
                TeacherRows::Policy { policy, hidden } => {
                    let width = policy.config().hidden_size;
                    if i % BLOCK == 0 {
                        let to = (i + BLOCK).min(self.sites.len());
                        policy.logits(&hidden[i * width..to * width], &mut logits);
                    }
                    let vocab = policy.vocab_size();
                    let teacher = &logits[i % BLOCK * vocab..][..vocab];
                    kl_teacher_student(student, teacher, w)
                }
            };
            total.add(self.sites[i], w, found);
        });
        total.sums(self.sites.len())
    }
}

/// Sums over the sites of a shard.
#[derive(Default)]
struct Total {
    loss: f64,
    kl: f64,
    agree: u64,
    teacher_entropy: f64,
    entropy: f64,
    broken: Option<(Site, f64)>,
}

impl Total {
    fn add(&mut self, site: Site, w: f64, found: Divergence) {
        self.loss += w * found.kl;
        self.kl += found.kl;
        self.agree += u64::from(found.agree);
        self.teacher_entropy += found.teacher_entropy;
        self.entropy += found.student_entropy;
        if !found.kl.is_finite() {
            self.broken.get_or_insert((site, found.kl));
        }
    }

    fn sums(self, sites: usize) -> Result<Sums, TrainError> {
        if let Some((site, kl)) = self.broken {
            return Err(TrainError::NonFinite(format!(
                "KL(teacher || student) after row {} of a shard is {kl}",
                site.row
            )));
        }
        let mut sums = Sums::default();
        sums.add(Sums::LOSS, self.loss);
        sums.add(TOKENS, sites as f64);
        sums.add(KL, self.kl);
        sums.add(AGREE, self.agree as f64);
        sums.add(TEACHER_ENTROPY, self.teacher_entropy);
        sums.add(ENTROPY, self.entropy);
        Ok(sums)
    }
}

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
