//! `--dry-run`: what a command would do, in tokens, FLOPs and memory.

use forkscope_policy::{Policy, SamplePrompt};
use forkscope_records::types::Rollout;
use serde_json::{Map, Value, json};

use super::options::SamplingOptions;
use crate::failure::Outcome;
use crate::terminal::output::Output;

/// Memory of one row with its lists, about.
const ROW_BYTES: f64 = 700.0;

/// A plan: named quantities with their units, in the order they are printed.
pub struct Plan {
    lines: Vec<(&'static str, f64, &'static str)>,
}

impl Plan {
    /// Of anything: name, value and unit of each line.
    pub fn of(lines: Vec<(&'static str, f64, &'static str)>) -> Self {
        Self { lines }
    }

    /// Of sampling: tokens are an upper bound, every completion as long as
    /// allowed.
    pub fn sampling(policy: &Policy, prompts: &[SamplePrompt], s: &SamplingOptions) -> Self {
        let completions = prompts.len() as f64 * f64::from(s.n);
        let prompt_tokens: usize = prompts.iter().map(|p| p.ids.len()).sum();
        let longest =
            prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0) + s.max_tokens as usize;
        let most = completions * f64::from(s.max_tokens);
        let tokens = prompt_tokens as f64 + most;
        Self {
            lines: vec![
                ("problems", prompts.len() as f64, "problems"),
                ("completions", completions, "rollouts"),
                (
                    "prompt_tokens",
                    prompt_tokens as f64,
                    "tokens, each computed once",
                ),
                ("completion_tokens_at_most", most, "tokens"),
                (
                    "flops_at_most",
                    flops(policy, tokens, longest as f64 / 2.0),
                    "FLOP",
                ),
                ("weights", weights(policy), "bytes, mapped"),
            ],
        }
    }

    /// With a further quantity at its end.
    pub fn and(mut self, name: &'static str, value: f64, unit: &'static str) -> Self {
        self.lines.push((name, value, unit));
        self
    }

    /// Of sampling with both policies and comparing them on one's rollouts.
    pub fn pair(policies: [&Policy; 2], prompts: &[SamplePrompt], s: &SamplingOptions) -> Self {
        let completions = prompts.len() as f64 * f64::from(s.n);
        let prompt_tokens: usize = prompts.iter().map(|p| p.ids.len()).sum();
        let longest = prompts.iter().map(|p| p.ids.len()).max().unwrap_or(0);
        let most = completions * f64::from(s.max_tokens);
        let context = (longest + s.max_tokens as usize) as f64 / 2.0;
        let once: f64 = policies
            .iter()
            .map(|p| flops(p, prompt_tokens as f64 + most, context))
            .sum();
        let rows = policies[0].block_rows().min(policies[1].block_rows());
        Self {
            lines: vec![
                ("problems", prompts.len() as f64, "problems"),
                (
                    "completions",
                    2.0 * completions,
                    "rollouts, of both policies",
                ),
                (
                    "prompt_tokens",
                    prompt_tokens as f64,
                    "tokens per pass, each computed once",
                ),
                ("completion_tokens_at_most", 2.0 * most, "tokens sampled"),
                ("positions_at_most", most, "rows compared"),
                ("flops_at_most", 2.0 * once, "FLOP, sampling and scoring"),
                (
                    "weights_at_a_time",
                    policies.iter().map(|p| weights(p)).fold(0.0, f64::max),
                    "bytes, mapped",
                ),
                (
                    "logits_at_a_time",
                    policies
                        .iter()
                        .map(|p| 4.0 * (rows * p.vocab_size()) as f64)
                        .sum(),
                    "bytes",
                ),
                (
                    "rows_in_memory_at_most",
                    most * ROW_BYTES,
                    "bytes, until findings are made",
                ),
            ],
        }
    }

    /// Of scoring rollouts with each of `policies`.
    pub fn scoring(policies: &[&Policy], rollouts: &[Rollout]) -> Self {
        let positions: usize = rollouts.iter().map(|r| r.completion().len()).sum();
        let tokens: usize = rollouts.iter().map(|r| r.token_ids.len()).sum();
        let mean = tokens as f64 / rollouts.len().max(1) as f64;
        let work: f64 = policies
            .iter()
            .map(|p| flops(p, tokens as f64, mean / 2.0))
            .sum();
        let largest = policies.iter().map(|p| weights(p)).fold(0.0, f64::max);
        let logits: f64 = policies
            .iter()
            .map(|p| 4.0 * (p.block_rows().min(positions.max(1)) * p.vocab_size()) as f64)
            .sum();
        Self {
            lines: vec![
                ("rollouts", rollouts.len() as f64, "rollouts"),
                ("positions", positions as f64, "rows"),
                (
                    "tokens_at_most",
                    tokens as f64,
                    "tokens per policy; shared prompts are computed once",
                ),
                ("flops_at_most", work, "FLOP"),
                ("weights_at_a_time", largest, "bytes, mapped"),
                ("logits_at_a_time", logits, "bytes"),
                (
                    "rows_in_memory",
                    positions as f64 * ROW_BYTES,
                    "bytes, until findings are made",
                ),
            ],
        }
    }

    /// Writes the plan to stdout.
    pub fn print(&self, as_json: bool) -> Outcome {
        let mut out = Output::open();
        if as_json {
            let plan: Map<String, Value> = self
                .lines
                .iter()
                .map(|(k, v, unit)| ((*k).to_owned(), json!({"value": v, "unit": unit})))
                .collect();
            out.json(&json!({"schema": "forkscope/plan/1", "plan": plan}))?;
        } else {
            for (name, value, unit) in &self.lines {
                out.line(&format!(
                    "{:<28}{value:>20.0} {unit}",
                    name.replace('_', " ")
                ))?;
            }
        }
        out.finish()
    }
}

fn flops(policy: &Policy, tokens: f64, mean_context: f64) -> f64 {
    tokens * (policy.flops_per_token() + policy.attention_flops() * mean_context)
}

fn weights(policy: &Policy) -> f64 {
    policy.weight_bytes() as f64
}
