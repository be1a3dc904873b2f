//! Work, counted while it is done.
//!
//! With F the FLOPs of a token outside attention (2 per active parameter) and a
//! those of attention per token and visible position, tokens i..j of a sequence
//! cost (j - i) F + a sum_{t=i}^{j-1} (t + 1) forward. Backward through frozen
//! weights to an adapter costs as much again (gradients of activations; those of
//! the adapter itself are below a percent of it), through all weights twice as
//! much.

use std::sync::{Mutex, PoisonError};

use forkscope_policy::Policy;
use forkscope_records::types::Rollout;

/// An amount of work.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Prompt tokens of sampling and scoring.
    pub prompt_tokens: u64,
    /// Completion tokens of sampling and scoring.
    pub completion_tokens: u64,
    /// Tokens that were trained on.
    pub trained_tokens: u64,
    /// Floating-point operations, estimated.
    pub flops: f64,
}

/// FLOPs of tokens `from..to` of a sequence, forward.
pub fn forward(policy: &Policy, from: usize, to: usize) -> f64 {
    let (from, to) = (from.min(to) as f64, to as f64);
    // sum of t + 1 over t in from..to
    let seen = (to * (to + 1.0) - from * (from + 1.0)) / 2.0;
    (to - from) * policy.flops_per_token() + policy.attention_flops() * seen
}

impl Work {
    /// Of a prompt, computed once.
    pub fn prompt(policy: &Policy, tokens: usize) -> Self {
        Self {
            prompt_tokens: tokens as u64,
            flops: forward(policy, 0, tokens),
            ..Self::default()
        }
    }

    /// Of a completion after its prompt.
    pub fn completion(policy: &Policy, prompt: usize, tokens: usize) -> Self {
        Self {
            completion_tokens: tokens as u64,
            flops: forward(policy, prompt, prompt + tokens),
            ..Self::default()
        }
    }

    /// Of scoring rollouts together: a prompt that neighbours share counts once.
    pub fn scoring(policy: &Policy, rollouts: &[&Rollout]) -> Self {
        let mut sum = Self::default();
        let mut before: &[u32] = &[];
        for rollout in rollouts {
            let prompt = rollout.token_ids.get(..rollout.prompt_len).unwrap_or(&[]);
            if prompt != before {
                sum += Self::prompt(policy, prompt.len());
                before = prompt;
            }
            sum += Self::completion(policy, prompt.len(), rollout.completion().len());
        }
        sum
    }
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.trained_tokens += other.trained_tokens;
        self.flops += other.flops;
    }
}

/// Counts work from any thread.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Work>);

impl Meter {
    /// So much more was done.
    pub fn add(&self, work: Work) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += work;
    }

    /// All that was done.
    pub fn work(&self) -> Work {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
