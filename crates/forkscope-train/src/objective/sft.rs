//! Supervised learning of given tokens: fine-tuning on completions (`sft`) and
//! language modelling (`pretrain`).
//!
//! L = -sum_i sum_t w_it ln p(x_it | x_i,<t) / D, nats, with w = 1 for the
//! tokens of a completion, the prompt weight for those of a prompt (0: learn
//! completions only, 1: learn everything), times the example's own weights; D is
//! the weights' sum over the step, or a constant ([`Denominator`]). Tokens of
//! weight 0 do not go through the head.

use serde_json::{Value, json};

use super::batches::{BatchSettings, Batches};
use super::examples::{Example, Examples};
use super::parts::{Denominator, parts};
use super::rows::cross_entropy_gradient;
use crate::TrainError;
use crate::engine::{Head, Network, Pack, Shard, Site, Sums};
use crate::run::{Source, Step};

/// Number of learned tokens.
pub(crate) const TOKENS: &str = "n_tokens";
/// Of those, tokens that were the argmax.
const HITS: &str = "n_argmax";
/// Sum of H(p) over learned tokens, nats.
const ENTROPY: &str = "entropy_sum_nats";
/// Sum of -ln p over learned tokens, nats, unweighted.
const NLL: &str = "nll_sum_nats";

/// Weighted cross-entropy of a pack's sites.
#[derive(Debug, Clone, PartialEq)]
pub struct SftShard {
    pack: Pack,
    sites: Vec<Site>,
    weights: Vec<f64>,
}

impl SftShard {
    /// A loss of sum `weights[i]` (-ln p(`sites[i]`)): whatever the loss is
    /// divided by, the weights have been divided by already.
    pub fn new(pack: Pack, sites: Vec<Site>, weights: Vec<f64>) -> Result<Self, TrainError> {
        if sites.len() != weights.len() || sites.iter().any(|s| s.row >= pack.len()) {
            return Err(TrainError::Internal(
                "sites, weights and rows of a shard do not fit together".into(),
            ));
        }
        Ok(Self {
            pack,
            sites,
            weights,
        })
    }
}

impl Shard for SftShard {
    fn pack(&self) -> &Pack {
        &self.pack
    }

    fn sites(&self) -> Option<&[Site]> {
        Some(&self.sites)
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let (mut loss, mut nll, mut entropy, mut hits) = (0.0, 0.0, 0.0, 0u64);
        let mut broken = None;
        head.pull(&self.sites, |i, logits| {
            let (site, w) = (self.sites[i], self.weights[i]);
            let terms = cross_entropy_gradient(logits, site.token, w);
            loss -= w * terms.log_prob;
            nll -= terms.log_prob;
            entropy += terms.entropy;
            hits += u64::from(terms.is_argmax);
            if !terms.log_prob.is_finite() {
                broken.get_or_insert((site, terms.log_prob));
            }
        });
        if let Some((site, log_prob)) = broken {
            return Err(TrainError::NonFinite(format!(
                "ln p of token {} after row {} of a shard is {log_prob}",
                site.token, site.row
            )));
        }
        let mut sums = Sums::default();
        sums.add(Sums::LOSS, loss);
        sums.add(TOKENS, self.sites.len() as f64);
        sums.add(HITS, hits as f64);
        sums.add(ENTROPY, entropy);
        sums.add(NLL, nll);
        Ok(sums)
    }
}

/// How a supervised run learns.
#[derive(Debug, Clone, PartialEq)]
pub struct SftSettings {
    /// Batches and their order.
    pub batches: BatchSettings,
    /// Weight of the tokens of prompts.
    pub prompt_weight: f64,
    /// What a step's loss is divided by.
    pub denominator: Denominator,
}

impl Default for SftSettings {
    fn default() -> Self {
        Self {
            batches: BatchSettings::default(),
            prompt_weight: 0.0,
            denominator: Denominator::Tokens,
        }
    }
}

/// Batches of examples, for `sft` and `pretrain`.
pub struct SftSource {
    examples: Box<dyn Examples>,
    settings: SftSettings,
    batches: Batches,
    seen: Seen,
}

impl SftSource {
    /// A source over those examples.
    pub fn new(examples: Box<dyn Examples>, settings: SftSettings) -> Result<Self, TrainError> {
        settings.denominator.check()?;
        if !(settings.prompt_weight.is_finite() && settings.prompt_weight >= 0.0) {
            return Err(TrainError::Setting(format!(
                "the weight of prompt tokens is {}; give a number of at least 0",
                settings.prompt_weight
            )));
        }
        let batches = Batches::new(examples.len(), settings.batches)?;
        Ok(Self {
            examples,
            settings,
            batches,
            seen: Seen::default(),
        })
    }

    /// Optimiser steps per epoch; `None` if the examples never end.
    pub fn steps_per_epoch(&self) -> Option<u64> {
        self.batches.steps_per_epoch()
    }
}

impl Source for SftSource {
    fn step(&mut self, step: u64, network: &Network) -> Result<Step, TrainError> {
        let Self {
            examples,
            settings,
            batches,
            seen,
        } = self;
        let indices = batches.at(step, &mut |i| Ok(examples.get(i)?.ids.len()))?;
        let batch = fetch(examples.as_ref(), &indices, network)?;
        let mut weights: Vec<Vec<f64>> = batch
            .iter()
            .map(|e| e.site_weights(settings.prompt_weight))
            .collect();
        settings.denominator.divide(&mut weights);
        let shards = parts(&batch, &weights, settings.batches.shard_rows)?
            .into_iter()
            .map(|p| {
                let shard = SftShard::new(p.pack, p.sites, p.weights)?;
                Ok(Box::new(shard) as Box<dyn Shard + Send>)
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        Ok(seen.step(step, batches, &indices, &batch, shards))
    }

    fn after(&mut self, sums: &Sums) -> Vec<(String, f64)> {
        let n = sums.get(TOKENS);
        if n == 0.0 {
            return Vec::new();
        }
        vec![
            ("mean_token_accuracy".into(), sums.get(HITS) / n),
            ("entropy".into(), sums.get(ENTROPY) / n),
            ("nll".into(), sums.get(NLL) / n),
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

/// The examples of a batch, checked against the model.
pub(crate) fn fetch(
    examples: &dyn Examples,
    indices: &[u64],
    network: &Network,
) -> Result<Vec<Example>, TrainError> {
    let config = network.config();
    let (vocab, context) = (config.vocab_size, config.rope.context_len());
    let one = |i: &u64| {
        let example = examples.get(*i)?;
        match example.check(vocab, context) {
            Ok(()) => Ok(example),
            Err(what) => Err(TrainError::Setting(format!("example {i} {what}"))),
        }
    };
    indices.iter().map(one).collect()
}

/// What went through so far: the cursor of a source whose batches follow from
/// the number of the step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Seen {
    /// The next step.
    step: u64,
    /// Tokens, prompts included (TRL's `num_tokens`).
    tokens: u64,
}

impl Seen {
    /// The step of these shards.
    pub(crate) fn step(
        &mut self,
        step: u64,
        batches: &Batches,
        indices: &[u64],
        batch: &[Example],
        shards: Vec<Box<dyn Shard + Send>>,
    ) -> Step {
        let tokens: usize = batch.iter().map(|e| e.ids.len()).sum();
        self.step = step + 1;
        self.tokens += tokens as u64;
        let mut log = vec![("num_tokens".to_owned(), self.tokens as f64)];
        if batches.steps_per_epoch().is_some() {
            log.push(("epoch".to_owned(), batches.epochs(step + 1)));
        }
        let ids: Vec<&[u32]> = batch.iter().map(|e| e.ids.as_slice()).collect();
        let prompts: Vec<usize> = batch.iter().map(|e| e.prompt_len).collect();
        Step {
            shards,
            tokens: tokens as u64,
            log,
            inspect: json!({ "examples": indices, "token_ids": ids, "prompt_len": prompts }),
        }
    }

    pub(crate) fn state(&self) -> Value {
        json!({ "next_step": self.step, "num_tokens": self.tokens })
    }

    pub(crate) fn restored(state: &Value) -> Result<Self, TrainError> {
        let field = |name: &str| {
            state.get(name).and_then(Value::as_u64).ok_or_else(|| {
                TrainError::Setting(format!(
                    "the checkpoint's data cursor has no whole number `{name}`; \
                     resume from another checkpoint or start anew"
                ))
            })
        };
        Ok(Self {
            step: field("next_step")?,
            tokens: field("num_tokens")?,
        })
    }
}

#[cfg(test)]
mod tests;
