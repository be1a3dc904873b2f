//! Rollouts of problems as an evaluation counts them.

use forkscope_audit::findings::{Attempted, Sampled};
use forkscope_records::types::{FinishReason, Problem, Rollout};
use forkscope_tasks::{Grade, Verifier, votes};

/// The samples of every problem; `rollouts` are in order of (problem, sample),
/// `n` to a problem.
pub fn of(
    problems: &[Problem],
    rollouts: &[Rollout],
    n: usize,
    verifier: Verifier,
) -> Vec<Attempted> {
    problems
        .iter()
        .zip(rollouts.chunks(n.max(1)))
        .map(|(problem, rollouts)| Attempted {
            category: problem.category.clone(),
            samples: samples(problem, rollouts, verifier),
        })
        .collect()
}

fn samples(problem: &Problem, rollouts: &[Rollout], verifier: Verifier) -> Vec<Sampled> {
    // Without a reference answer there are still answers, and votes.
    let gold = problem.answer.as_deref().unwrap_or_default();
    let graded: Vec<(Grade, bool)> = rollouts
        .iter()
        .map(|r| {
            let ended = matches!(r.finish_reason, FinishReason::Eos | FinishReason::Stop);
            (verifier.grade(&r.text, ended, gold), ended)
        })
        .collect();
    let votes = votes(graded.iter().map(|(grade, ended)| (grade, *ended)));
    let sampled = |(r, vote): (&Rollout, Option<usize>)| Sampled {
        tokens: r.completion().len(),
        validity: r.validity,
        correct: r.correct,
        vote,
    };
    rollouts.iter().zip(votes).map(sampled).collect()
}
