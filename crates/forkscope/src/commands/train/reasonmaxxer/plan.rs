//! `--dry-run`: tokens, steps and memory of every stage, before any of it is
//! done. What is not known yet is counted as the most it can be.
//!
//! Activations that the backward pass needs, in floats per row and block: input
//! and middle 2 d, queries and their mixture 2 h, keys and values 2 g, MLP 2 m,
//! with d, m the widths of the residual stream and the MLP, h and g those of all
//! query and all key heads. A shard has at most `shard_rows` rows, or one
//! rollout, and there is one shard per thread at a time.

use forkscope_policy::ModelConfig;
use forkscope_train::reasonmaxxer::{Candidate, PoolRollout};

use super::Job;
use super::material::{Asked, Given};
use crate::work::ledger::forward;
use crate::work::plan::Plan;
use crate::work::pool::{self, GivenRollouts};

/// Rollouts that would be trained on, counted.
#[derive(Clone, Copy, Default)]
struct Size {
    rollouts: f64,
    tokens: f64,
    longest: f64,
}

impl Size {
    fn of(lengths: impl Iterator<Item = usize>) -> Self {
        lengths.fold(Self::default(), |sum, n| Self {
            rollouts: sum.rollouts + 1.0,
            tokens: sum.tokens + n as f64,
            longest: sum.longest.max(n as f64),
        })
    }
}

type Line = (&'static str, f64, &'static str);

impl Job<'_> {
    /// The plan.
    pub fn plan(&self) -> Plan {
        let mut lines = Vec::new();
        let size = match &self.material.given {
            Given::Problems(asked) => self.sampled(asked, &mut lines),
            Given::Rollouts { rollouts, .. } => match rollouts {
                GivenRollouts::Processed(all) => Size::of(all.iter().map(length)),
                GivenRollouts::Scored(all) => self.chosen(of_candidates(all)),
                GivenRollouts::Plain(all) => {
                    let size = of_candidates(all);
                    lines.push(("scored_tokens_at_most", size.tokens, "tokens"));
                    self.chosen(size)
                }
            },
        };
        self.trained(size, &mut lines);
        self.asked(&mut lines);
        Plan::of(lines)
    }

    fn sampled(&self, asked: &Asked, lines: &mut Vec<Line>) -> Size {
        let s = &self.recipe.sampling;
        let (n, samples) = (asked.set.problems.len() as f64, f64::from(s.samples));
        let prompts = asked.prompts.prompts.iter().map(|p| p.ids.len());
        let (prompt_tokens, longest) =
            prompts.fold((0, 0), |(sum, most), n| (sum + n, most.max(n)));
        let completions = n * samples * f64::from(s.max_tokens);
        let context = longest as f64 + f64::from(s.max_tokens);
        let policy = &self.named.policy;
        let tokens = prompt_tokens as f64 + completions;
        let once = tokens * forward(policy, 0, context as usize) / context;
        lines.extend([
            ("problems", n, "problems to sample"),
            ("rollouts", n * samples, "rollouts"),
            (
                "prompt_tokens",
                prompt_tokens as f64,
                "tokens, each computed once",
            ),
            (
                "completion_tokens_at_most",
                completions,
                "tokens sampled, and scored again",
            ),
            ("sample_and_score_flops_at_most", 2.0 * once, "FLOP"),
        ]);
        let mean = prompt_tokens as f64 / n.max(1.0) + f64::from(s.max_tokens);
        self.chosen_of(
            Size {
                rollouts: n * samples,
                tokens: n * samples * mean,
                longest: context,
            },
            n,
        )
    }

    /// The most that the pool can be of rollouts that are there.
    fn chosen(&self, size: Size) -> Size {
        let is_pool = self.a.rollouts.as_deref().is_some_and(pool::is_selected);
        match self.a.pool.no_select || is_pool {
            true => size,
            false => Size {
                rollouts: (size.rollouts * self.recipe.pool.trim_fraction).round(),
                ..size
            },
        }
    }

    /// The most that the pool can be of `problems` that are sampled alike.
    fn chosen_of(&self, size: Size, problems: f64) -> Size {
        if self.a.pool.no_select {
            return size;
        }
        let p = &self.recipe.pool;
        let share = (p.max_problems as f64).min(problems) / problems.max(1.0) * p.trim_fraction;
        Size {
            rollouts: (size.rollouts * share).round(),
            tokens: size.tokens * share,
            longest: size.longest,
        }
    }

    fn trained(&self, size: Size, lines: &mut Vec<Line>) {
        let (r, config) = (self.recipe, self.named.policy.config());
        let o = &r.objective;
        let per_epoch = (size.rollouts / o.grad_accum_steps as f64).ceil() as u64;
        let train = r.schedule(
            per_epoch,
            self.settings.seed,
            self.material.held_out.is_some(),
        );
        let most = match o.max_seq_len {
            0 => size.longest,
            n => size.longest.min(n as f64),
        };
        let values = self.values(config);
        let rows = most.max(o.shard_rows as f64) * rayon::current_num_threads() as f64;
        let kept = match r.training.gradient_checkpointing {
            true => (config.layers * config.hidden_size + floats(config)) as f64,
            false => (config.layers * floats(config)) as f64,
        };
        let epochs = train.steps as f64 / per_epoch.max(1) as f64;
        let hidden = 4.0 * size.tokens * config.hidden_size as f64;
        lines.extend([
            ("pool_rollouts_at_most", size.rollouts, "rollouts"),
            ("optimiser_steps_at_most", train.steps as f64, "steps"),
            (
                "schedule_steps_at_most",
                train.schedule_steps.unwrap_or(train.steps) as f64,
                "steps that the schedule spans",
            ),
            ("checkpoint_every", train.checkpoint_every as f64, "steps"),
            (
                "trained_tokens_at_most",
                size.tokens * epochs,
                "tokens, prompts included",
            ),
            ("trained_parameters", values, "values"),
            (
                "weights",
                self.named.policy.weight_bytes() as f64,
                "bytes, mapped, one copy",
            ),
            (
                "kept_base_states_at_most",
                hidden.min(o.keep_bytes as f64),
                "bytes",
            ),
            ("activations_at_most", 4.0 * rows * kept, "bytes"),
            (
                "training_state",
                16.0 * values,
                "bytes: values, gradients, two moments",
            ),
            ("checkpoint", 12.0 * values, "bytes each"),
        ]);
    }

    fn asked(&self, lines: &mut Vec<Line>) {
        let h = &self.recipe.held_out;
        let tokens = |asked: &Asked, n: u32| {
            asked.set.problems.len() as f64 * f64::from(n) * f64::from(h.max_tokens)
        };
        if let Some(asked) = &self.material.held_out {
            lines.push((
                "held_out_problems",
                asked.set.problems.len() as f64,
                "problems",
            ));
            lines.push((
                "checkpoint_tokens_at_most",
                tokens(asked, h.samples),
                "tokens per checkpoint",
            ));
        }
        if let Some(asked) = &self.material.test {
            lines.push(("test_problems", asked.set.problems.len() as f64, "problems"));
            let both = 2.0 * tokens(asked, h.test_samples);
            lines.push((
                "test_tokens_at_most",
                both,
                "tokens, of base and checkpoint",
            ));
        }
    }

    /// Values of the adapter.
    fn values(&self, config: &ModelConfig) -> f64 {
        let a = &self.recipe.adapter;
        let sides = a.targets.iter().map(|p| {
            let (outputs, inputs) = p.shape(config);
            outputs + inputs
        });
        (a.rank * config.layers) as f64 * sides.sum::<usize>() as f64
    }
}

/// Floats that a block's backward pass needs of a row.
fn floats(c: &ModelConfig) -> usize {
    2 * (c.hidden_size + (c.heads + c.kv_heads) * c.head_dim + c.intermediate_size)
}

fn length(r: &PoolRollout) -> usize {
    r.token_ids.len()
}

fn of_candidates(all: &[Candidate]) -> Size {
    Size::of(all.iter().map(|c| c.rollout.token_ids.len()))
}
