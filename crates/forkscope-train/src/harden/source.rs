//! The lessons of each step.
//!
//! Recoveries and anchors are shuffled apart and anew every epoch of their own,
//! so that every step has as many of either as the settings say.

use std::collections::BTreeMap;
use std::sync::Arc;

use forkscope_policy::{Policy, PromptGroup};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::lessons::{Lessons, Recovery};
use super::settings::HardenSettings;
use super::shard::{Learned, RecoveryShard, sums};
use crate::TrainError;
use crate::engine::{Network, Pack, Shard, Sums};
use crate::objective::{BatchSettings, Batches, DistillShard, Example, Order, TeacherRows, split};
use crate::run::{Source, Step};

/// Bytes of the tuned policy's hidden states that are kept from epoch to epoch.
const KEPT: usize = 1 << 30;

/// Sum of KL(q || p) as the anchors' shards name it.
const KL: &str = "kl_sum_nats";

/// Batches of lessons.
pub struct HardenSource {
    lessons: Lessons,
    /// The tuned policy as it was.
    tuned: Policy,
    settings: HardenSettings,
    recoveries: Batches,
    /// None where nothing is anchored.
    anchors: Option<Batches>,
    kept: BTreeMap<u64, Arc<Vec<f32>>>,
    kept_bytes: usize,
    /// The next step.
    step: u64,
    tokens: u64,
    /// Of the step that was handed out last.
    anchor_tokens: usize,
}

impl HardenSource {
    /// A source over those lessons; `tuned` is the policy that training starts
    /// from.
    pub fn new(
        lessons: Lessons,
        tuned: Policy,
        settings: HardenSettings,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        if lessons.recoveries.is_empty() {
            let made = lessons.made;
            return Err(TrainError::Setting(format!(
                "no recovery could be made of {} guarded prompts: on {} the tuned policy never behaves so, on {} the base always does; give prompts on which the two differ",
                made.guarded_prompts, made.without_behaviour, made.without_alternative
            )));
        }
        let batches = |n: usize, batch: usize, purpose: u64| {
            let settings = BatchSettings {
                batch,
                order: Order::Shuffled,
                keep_last: true,
                seed: settings.seed.wrapping_add(purpose),
                shard_rows: settings.shard_rows,
            };
            Batches::new(Some(n as u64), settings)
        };
        let recoveries = batches(lessons.recoveries.len(), settings.batch, 0)?;
        let anchored = settings.anchored() && !lessons.anchors.is_empty();
        let anchors = match anchored {
            true => Some(batches(lessons.anchors.len(), settings.anchor_batch, 1)?),
            false => None,
        };
        Ok(Self {
            lessons,
            tuned,
            settings,
            recoveries,
            anchors,
            kept: BTreeMap::new(),
            kept_bytes: 0,
            step: 0,
            tokens: 0,
            anchor_tokens: 0,
        })
    }

    /// Optimiser steps in which every recovery is seen once.
    pub fn steps_per_epoch(&self) -> u64 {
        self.recoveries.steps_per_epoch().unwrap_or(1)
    }

    fn recovery_shards(&self, batch: &[&Recovery]) -> Result<Shards, TrainError> {
        let s = &self.settings;
        let learned: usize = batch.iter().map(|r| r.ids.len() - r.from).sum();
        let decisions: usize = batch.iter().map(|r| r.decisions.len()).sum();
        let w = s.recovery_weight / learned.max(1) as f64;
        let v = s.margin_weight / decisions.max(1) as f64;
        let rows: Vec<usize> = batch.iter().map(|r| r.ids.len()).collect();
        let mut shards: Shards = Vec::new();
        for range in split(&rows, s.shard_rows) {
            let mut pack = Pack::default();
            let mut tokens = Vec::new();
            for recovery in batch.get(range).unwrap_or(&[]) {
                let mut decisions = recovery.decisions.iter().peekable();
                let sites = pack.add(&recovery.ids, recovery.from)?;
                for (t, site) in (recovery.from..).zip(sites) {
                    let decision = decisions.next_if(|d| d.t == t);
                    tokens.push(Learned {
                        site,
                        weight: w,
                        decision: decision.map(|d| (d.rival, v)),
                    });
                }
            }
            shards.push(Box::new(RecoveryShard::new(pack, tokens, s.margin)?));
        }
        Ok(shards)
    }

    fn anchor_shards(&mut self, indices: &[u64], batch: &[Example]) -> Result<Shards, TrainError> {
        let hidden = self.hidden(indices, batch)?;
        let tokens: usize = batch.iter().map(|e| e.completion().len()).sum();
        self.anchor_tokens = tokens;
        let w = self.settings.anchor_weight / tokens.max(1) as f64;
        let rows: Vec<usize> = batch.iter().map(|e| e.ids.len()).collect();
        let mut shards: Shards = Vec::new();
        for range in split(&rows, self.settings.shard_rows) {
            let mut pack = Pack::default();
            let (mut sites, mut values) = (Vec::new(), Vec::new());
            let members = batch.get(range.clone()).unwrap_or(&[]);
            for (example, hidden) in members.iter().zip(hidden.get(range).unwrap_or(&[])) {
                sites.extend(pack.add(&example.ids, example.prompt_len)?);
                values.extend_from_slice(hidden);
            }
            let weights = vec![w; sites.len()];
            let teacher = TeacherRows::Policy {
                policy: self.tuned.clone(),
                hidden: values,
            };
            shards.push(Box::new(DistillShard::new(pack, sites, weights, teacher)?));
        }
        Ok(shards)
    }

    /// The tuned policy's states along each anchor's answer.
    fn hidden(
        &mut self,
        indices: &[u64],
        batch: &[Example],
    ) -> Result<Vec<Arc<Vec<f32>>>, TrainError> {
        let (kept, tuned) = (&self.kept, &self.tuned);
        let states = |(index, example): (&u64, &Example)| match kept.get(index) {
            Some(rows) => Ok(rows.clone()),
            None => {
                let (prompt, answer) = example.ids.split_at(example.prompt_len);
                let group = PromptGroup {
                    prompt,
                    completions: vec![answer],
                };
                Ok(Arc::new(tuned.hidden_rows(&[group])?.values))
            }
        };
        let pairs: Vec<(&u64, &Example)> = indices.iter().zip(batch).collect();
        let rows = pairs
            .into_par_iter()
            .map(states)
            .collect::<Result<Vec<_>, TrainError>>()?;
        for (index, rows) in indices.iter().zip(&rows) {
            let bytes = self.kept_bytes + 4 * rows.len();
            if bytes <= KEPT && !self.kept.contains_key(index) {
                self.kept.insert(*index, rows.clone());
                self.kept_bytes = bytes;
            }
        }
        Ok(rows)
    }
}

type Shards = Vec<Box<dyn Shard + Send>>;

/// Members of a list by their indices.
fn pick<T>(list: &[T], indices: &[u64]) -> Result<Vec<T>, TrainError>
where
    T: Clone,
{
    let one = |i: &u64| {
        let found = usize::try_from(*i).ok().and_then(|i| list.get(i));
        let none = || TrainError::Internal(format!("there is no lesson {i}"));
        found.cloned().ok_or_else(none)
    };
    indices.iter().map(one).collect()
}

impl Source for HardenSource {
    fn step(&mut self, step: u64, network: &Network) -> Result<Step, TrainError> {
        // A shuffled order asks for no length.
        let mut length = |_: u64| Ok(0);
        let indices = self.recoveries.at(step, &mut length)?;
        let batch = pick(&self.lessons.recoveries, &indices)?;
        let borrowed: Vec<&Recovery> = batch.iter().collect();
        let config = network.config();
        let (vocab, context) = (config.vocab_size, config.rope.context_len());
        let check = |example: &Example, problem: &str| {
            let refuse = |what: String| {
                TrainError::Setting(format!(
                    "a lesson of problem `{}` {what}",
                    problem.escape_debug()
                ))
            };
            example.check(vocab, context).map_err(refuse)
        };
        for recovery in &batch {
            check(&recovery.example(), &recovery.problem_id)?;
        }
        let mut shards = self.recovery_shards(&borrowed)?;
        let mut tokens: usize = batch.iter().map(|r| r.ids.len()).sum();
        let mut anchored = Vec::new();
        self.anchor_tokens = 0;
        if let Some(anchors) = &mut self.anchors {
            anchored = anchors.at(step, &mut length)?;
            let anchors = pick(&self.lessons.anchors, &anchored)?;
            let examples: Vec<Example> = anchors.iter().map(|a| a.example()).collect();
            for (example, anchor) in examples.iter().zip(&anchors) {
                check(example, &anchor.problem_id)?;
            }
            tokens += examples.iter().map(|e| e.ids.len()).sum::<usize>();
            shards.extend(self.anchor_shards(&anchored, &examples)?);
        }
        self.step = step + 1;
        self.tokens += tokens as u64;
        Ok(Step {
            shards,
            tokens: tokens as u64,
            log: vec![
                ("num_tokens".into(), self.tokens as f64),
                ("epoch".into(), self.recoveries.epochs(step + 1)),
            ],
            inspect: json!({
                "recoveries": indices,
                "anchors": anchored,
                "token_ids": batch.iter().map(|r| &r.ids).collect::<Vec<_>>(),
                "learned_from": batch.iter().map(|r| r.from).collect::<Vec<_>>(),
            }),
        })
    }

    fn after(&mut self, found: &Sums) -> Vec<(String, f64)> {
        let mut log = Vec::new();
        let mut mean = |name: &str, sum: &str, n: f64| {
            if n > 0.0 {
                log.push((name.to_owned(), found.get(sum) / n));
            }
        };
        let (tokens, decisions) = (found.get(sums::TOKENS), found.get(sums::DECISIONS));
        mean("recovery_nll", sums::NLL, tokens);
        mean("recovery_accuracy", sums::HITS, tokens);
        mean("margin", sums::MARGIN, decisions);
        mean("margin_hinge", sums::HINGE, decisions);
        mean("decisions_short", sums::SHORT, decisions);
        mean("anchor_kl", KL, self.anchor_tokens as f64);
        log
    }

    fn state(&self) -> Value {
        json!({ "next_step": self.step, "num_tokens": self.tokens })
    }

    fn restore(&mut self, state: &Value) -> Result<(), TrainError> {
        let field = |name: &str| {
            state.get(name).and_then(Value::as_u64).ok_or_else(|| {
                TrainError::Setting(format!(
                    "the checkpoint's data cursor has no whole number `{name}`; \
                     resume from another checkpoint or start anew"
                ))
            })
        };
        self.step = field("next_step")?;
        self.tokens = field("num_tokens")?;
        Ok(())
    }
}
