//! What training and its evaluations cost, told to the ledger step by step.
//!
//! FLOPs of a trained token: forward and backward through the frozen weights to
//! the adapter, 2 F; the adapter's own forward and backward, 6 per value; and,
//! in the first epoch, the base's hidden states, F, which are kept from then on.

use forkscope_policy::Policy;
use forkscope_train::engine::Network;
use forkscope_train::reasonmaxxer::ReasonMaxxerSource;
use forkscope_train::run::{Evaluate, Evaluation, StepReport, Watch};
use forkscope_train::{HeldOutEvaluation, TrainError};

use crate::work::ledger::{Meter, Work, forward};

/// FLOPs of a token of the pool.
#[derive(Debug, Clone, Copy)]
pub struct TrainingCosts {
    /// Forward through the model, mean over the pool's tokens.
    forward: f64,
    /// Of the adapter, forward and backward.
    adapter: f64,
    /// Steps of the first epoch, in which the base's hidden states are computed.
    first_epoch: u64,
}

impl TrainingCosts {
    /// `kept` says that the base's hidden states are there.
    pub fn new(base: &Policy, source: &ReasonMaxxerSource, values: u64, kept: bool) -> Self {
        let lengths = source.rollouts().iter().map(|r| r.token_ids.len());
        let tokens: usize = lengths.clone().sum();
        let all: f64 = lengths.map(|n| forward(base, 0, n)).sum();
        Self {
            forward: all / tokens.max(1) as f64,
            adapter: 6.0 * values as f64,
            first_epoch: if kept { 0 } else { source.steps_per_epoch() },
        }
    }

    fn step(&self, step: u64, tokens: u64) -> Work {
        let passes = if step <= self.first_epoch { 3.0 } else { 2.0 };
        Work {
            trained_tokens: tokens,
            flops: tokens as f64 * (passes * self.forward + self.adapter),
            ..Work::default()
        }
    }
}

/// Somebody who follows a run, and the ledger.
pub struct MeteredWatch<'a> {
    watch: &'a mut dyn Watch,
    meter: &'a Meter,
    costs: TrainingCosts,
}

impl<'a> MeteredWatch<'a> {
    pub fn new(watch: &'a mut dyn Watch, meter: &'a Meter, costs: TrainingCosts) -> Self {
        Self {
            watch,
            meter,
            costs,
        }
    }
}

impl Watch for MeteredWatch<'_> {
    fn step(&mut self, report: &StepReport) {
        self.meter.add(self.costs.step(report.step, report.tokens));
        self.watch.step(report);
    }

    fn evaluated(&mut self, step: u64, score: Option<f64>) {
        self.watch.evaluated(step, score);
    }

    fn resumed(&mut self, step: u64) {
        self.watch.resumed(step);
    }

    fn notice(&mut self, text: &str) {
        self.watch.notice(text);
    }
}

/// Held-out problems whose answers are counted.
pub struct MeteredEvaluation<'a> {
    inner: HeldOutEvaluation,
    base: Policy,
    meter: &'a Meter,
}

impl<'a> MeteredEvaluation<'a> {
    pub fn new(inner: HeldOutEvaluation, base: Policy, meter: &'a Meter) -> Self {
        Self { inner, base, meter }
    }
}

impl Evaluate for MeteredEvaluation<'_> {
    fn evaluate(&mut self, step: u64, network: &Network) -> Result<Evaluation, TrainError> {
        let found = self.inner.evaluate(step, network)?;
        let mut means = found.log.iter();
        let mean = means.find(|(name, _)| name == "eval_tokens_per_answer");
        let mean = mean.map_or(0.0, |(_, mean)| *mean);
        let policy = &self.base;
        let samples = u64::from(self.inner.settings.sampler.n);
        for prompt in &self.inner.prompts {
            let tokens = prompt.ids.len();
            let mut work = Work::prompt(policy, tokens);
            let one = Work::completion(policy, tokens, mean.round() as usize);
            work.flops += one.flops * samples as f64;
            self.meter.add(work);
        }
        let answers = (self.inner.prompts.len() as u64 * samples) as f64;
        self.meter.add(Work {
            completion_tokens: (mean * answers).round() as u64,
            ..Work::default()
        });
        Ok(found)
    }
}
