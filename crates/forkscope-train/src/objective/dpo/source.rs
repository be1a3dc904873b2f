//! Steps of pairs, and the reference's log-probs of them.
//!
//! Batches are a function of the seed and the step. The reference's sums of
//! log-probs of a pair are computed once and kept. Where an adapter is trained,
//! the reference is the model without it, at any time; where all weights are
//! trained, it is the model before the first step, so that all pairs are scored
//! then and checkpoints keep the result. Recorded values (of the file) go before
//! both.

use rayon::prelude::*;
use serde_json::{Value, json};

use super::{DpoSettings, DpoShard, pack, sums};
use crate::TrainError;
use crate::engine::{Network, Shard, Sums, Trainable, Which};
use crate::objective::pairs::Pair;
use crate::objective::{BatchSettings, Batches, split};
use crate::run::{Source, Step};

/// Batches of pairs.
#[derive(Debug)]
pub struct DpoSource {
    pairs: Vec<Pair>,
    settings: DpoSettings,
    shard_rows: usize,
    batches: Batches,
    /// Sums of log-probs (chosen, rejected) under the reference, nats.
    pub(super) references: Vec<Option<(f64, f64)>>,
    /// Whether checkpoints must keep them.
    keep: bool,
    /// Whether every pair was found to fit the model.
    checked: bool,
}

impl DpoSource {
    /// A source over `pairs`.
    pub fn new(
        pairs: Vec<Pair>,
        settings: DpoSettings,
        batches: BatchSettings,
    ) -> Result<Self, TrainError> {
        settings.check()?;
        Ok(Self {
            batches: Batches::new(Some(pairs.len() as u64), batches)?,
            references: pairs.iter().map(|p| p.reference).collect(),
            shard_rows: batches.shard_rows,
            pairs,
            settings,
            keep: false,
            checked: false,
        })
    }

    /// Optimiser steps per epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.batches.steps_per_epoch().unwrap_or(0)
    }

    /// Makes sure that the reference's log-probs of these pairs are at hand.
    fn refer(&mut self, step: u64, batch: &[usize], network: &Network) -> Result<(), TrainError> {
        let full = *network.trainable() == Trainable::Full;
        self.keep = full;
        let missing = |i: &usize| self.references[*i].is_none();
        let wanted: Vec<usize> = match full {
            true => (0..self.pairs.len()).filter(missing).collect(),
            false => batch.iter().copied().filter(missing).collect(),
        };
        if full && step > 0 && !wanted.is_empty() {
            return Err(TrainError::Setting(format!(
                "the reference's log-probs of {} pairs are missing at step {step}, after the \
                 weights have moved; resume from a checkpoint that holds them, or start a new run",
                wanted.len()
            )));
        }
        let rows: Vec<usize> = wanted.iter().map(|i| self.pairs[*i].rows()).collect();
        let parts = split(&rows, self.shard_rows);
        let found: Vec<Vec<(f64, f64)>> = parts
            .into_par_iter()
            .map(|part| {
                let packed = pack(wanted[part].iter().map(|i| &self.pairs[*i]))?;
                let all = network.log_probs(&packed.pack, &packed.sites, Which::Reference)?;
                let mut rest = all.into_iter();
                let mut sum = |n: usize| rest.by_ref().take(n).sum::<f64>();
                Ok(packed
                    .lengths
                    .iter()
                    .map(|(chosen, rejected)| (sum(*chosen), sum(*rejected)))
                    .collect())
            })
            .collect::<Result<_, TrainError>>()?;
        for (i, reference) in wanted.into_iter().zip(found.into_iter().flatten()) {
            self.references[i] = Some(reference);
        }
        Ok(())
    }

    /// Refuses a pair that the model cannot take, before anything is learned.
    fn check(&mut self, network: &Network) -> Result<(), TrainError> {
        let config = network.config();
        let (vocab, context) = (config.vocab_size, config.rope.context_len());
        if !self.checked {
            self.pairs
                .iter()
                .try_for_each(|p| p.check(vocab, context))?;
            self.checked = true;
        }
        Ok(())
    }

    /// The shards of a batch.
    fn shards(&self, batch: &[usize]) -> Result<Vec<Box<dyn Shard + Send>>, TrainError> {
        let rows: Vec<usize> = batch.iter().map(|i| self.pairs[*i].rows()).collect();
        split(&rows, self.shard_rows)
            .into_iter()
            .map(|part| {
                let part = &batch[part];
                let pairs: Vec<&Pair> = part.iter().map(|i| &self.pairs[*i]).collect();
                let references = part
                    .iter()
                    .map(|i| self.references[*i])
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| {
                        TrainError::Internal("a pair was not scored by the reference".into())
                    })?;
                let shard = DpoShard::new(&pairs, &references, batch.len(), self.settings)?;
                Ok(Box::new(shard) as Box<dyn Shard + Send>)
            })
            .collect()
    }
}

impl Source for DpoSource {
    fn step(&mut self, step: u64, network: &Network) -> Result<Step, TrainError> {
        self.check(network)?;
        let pairs = &self.pairs;
        let length = |i: u64| pairs.get(i as usize).map_or(0, Pair::rows);
        let batch = self.batches.at(step, &mut |i| Ok(length(i)))?;
        let batch: Vec<usize> = batch.into_iter().map(|i| i as usize).collect();
        self.refer(step, &batch, network)?;
        let tokens = |i: &usize| {
            let pair = &self.pairs[*i];
            (2 * pair.prompt.len() + pair.chosen.len() + pair.rejected.len()) as u64
        };
        let tokens: u64 = batch.iter().map(tokens).sum();
        let pair = |i: &usize| {
            let pair = &self.pairs[*i];
            json!({
                "id": pair.id,
                "prompt_ids": pair.prompt,
                "chosen_ids": pair.chosen,
                "rejected_ids": pair.rejected,
                "reference": self.references[*i],
            })
        };
        Ok(Step {
            shards: self.shards(&batch)?,
            tokens,
            log: vec![("epoch".to_owned(), self.batches.epochs(step + 1))],
            inspect: json!({ "pairs": batch.iter().map(pair).collect::<Vec<_>>() }),
        })
    }

    fn after(&mut self, found: &Sums) -> Vec<(String, f64)> {
        let pairs = found.get(sums::PAIRS);
        if pairs == 0.0 {
            return Vec::new();
        }
        let mean = |name: &str| found.get(name) / pairs;
        let (chosen, rejected) = (mean(sums::REWARD_CHOSEN), mean(sums::REWARD_REJECTED));
        let mut out = vec![
            ("rewards/chosen".to_owned(), chosen),
            ("rewards/rejected".to_owned(), rejected),
            ("rewards/accuracies".to_owned(), mean(sums::ACCURATE)),
            ("rewards/margins".to_owned(), chosen - rejected),
            ("logps/chosen".to_owned(), mean(sums::CHOSEN)),
            ("logps/rejected".to_owned(), mean(sums::REJECTED)),
        ];
        let sites = found.get(sums::SITES).max(1.0);
        out.push(("entropy".to_owned(), found.get(sums::ENTROPY) / sites));
        if self.settings.nll_weight > 0.0 {
            out.push(("nll_loss".to_owned(), mean(sums::NLL)));
        }
        out
    }

    fn state(&self) -> Value {
        let references = self.keep.then_some(&self.references);
        json!({ "references": references })
    }

    fn restore(&mut self, state: &Value) -> Result<(), TrainError> {
        let broken = || {
            TrainError::Setting(
                "the checkpoint's data state has no usable `references`; resume from another \
                 checkpoint or start anew"
                    .into(),
            )
        };
        let kept = state.get("references").ok_or_else(broken)?;
        if !kept.is_null() {
            let kept: Vec<Option<(f64, f64)>> =
                serde_json::from_value(kept.clone()).map_err(|_| broken())?;
            if kept.len() != self.pairs.len() {
                return Err(broken());
            }
            self.references = kept;
            self.keep = true;
        }
        Ok(())
    }
}
