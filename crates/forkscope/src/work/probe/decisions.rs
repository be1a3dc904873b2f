//! Decision positions of each item: where the tuned policy departs from its base
//! on one and the same text.
//!
//! The text is the base's greedy completion (the policy's own without a base),
//! so that what is compared between contexts is not what the policy itself has
//! written. A position is a decision where JS(policy, base) exceeds a threshold
//! (without a base: where the policy's entropy exceeds [`ENTROPY_NATS`]); the
//! first completion position always is one; at most [`MOST`] count per item.

use forkscope_audit::{DiffSettings, diff_window, score_window, windows};
use forkscope_policy::{SamplePrompt, SampleSettings, Sampling};
use forkscope_records::RunDir;
use forkscope_records::types::{Problem, Rollout};
use forkscope_tasks::Verifier;

use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;
use crate::work::models::Named;
use crate::work::rollouts;

/// Decision positions per item at most: the earliest.
pub const MOST: usize = 8;

/// Entropy of a decision where there is no base, nats.
pub const ENTROPY_NATS: f64 = 0.5;

/// Positions scored together.
const WINDOW: usize = 32;

/// A text per item and its decision positions.
pub struct Decisions {
    /// Greedy completions, one per item.
    pub texts: Vec<Rollout>,
    /// Positions t of each, ascending; empty where the completion is.
    pub positions: Vec<Vec<u32>>,
}

/// Samples the texts (kept in the run) and finds their decisions.
pub fn find(
    policy: &Named,
    base: Option<&Named>,
    (prompts, problems): (&[SamplePrompt], &[Problem]),
    (sampler, js): (&SampleSettings, f64),
    dir: &RunDir,
    settings: &Settings,
) -> Result<Decisions, Failure> {
    let progress = Progress::new(prompts.len() as u64, "texts to decide on", settings);
    let job = rollouts::Job {
        named: base.unwrap_or(policy),
        prompts,
        problems,
        settings: SampleSettings {
            sampling: Sampling {
                temperature: 0.0,
                top_p: 1.0,
                top_k: 0,
                min_p: 0.0,
            },
            n: 1,
            ..sampler.clone()
        },
        verifier: Verifier::Auto,
    };
    let table = dir.table("awareness_texts", rollouts::ROW_GROUP)?;
    let texts = rollouts::sample(&job, table, &progress)?;
    progress.finish();
    let mut positions: Vec<Vec<u32>> = Vec::with_capacity(texts.len());
    for window in texts.chunks(WINDOW) {
        let scored: Vec<&Rollout> = window.iter().filter(|r| windows::yields_rows(r)).collect();
        let found: Vec<(String, u32, bool)> = match base {
            Some(base) => diff_window(
                &base.policy,
                &policy.policy,
                &scored,
                DiffSettings {
                    record_topk: 0,
                    ..DiffSettings::default()
                },
            )?
            .into_iter()
            .map(|row| (row.problem_id, row.t, row.js_nats > js))
            .collect(),
            None => score_window(&policy.policy, &scored, 0)?
                .into_iter()
                .map(|row| (row.problem_id, row.t, row.entropy_nats > ENTROPY_NATS))
                .collect(),
        };
        let mut rows = found.into_iter().peekable();
        for rollout in window {
            let mut of = Vec::new();
            while let Some((_, t, decides)) = rows.next_if(|r| r.0 == rollout.problem_id) {
                if (decides || t as usize == rollout.prompt_len) && of.len() < MOST {
                    of.push(t);
                }
            }
            positions.push(of);
        }
        if interrupted() {
            return Err(Failure::interrupted());
        }
    }
    Ok(Decisions { texts, positions })
}
