//! The reference's processed rollouts, to and from the pool's.
//!
//! Decision positions and advantages are taken as recorded: nothing is gated or
//! computed again. A position here is the index t of the predicted token; the
//! reader of the file has mapped its predicting positions p to t = p + 1.

use forkscope_records::import::ReferenceRollout;
use forkscope_records::types::{FinishReason, Rollout, Validity};

use super::{Candidate, PoolRollout};
use crate::TrainError;

/// Rollouts of the pool as the file has them. Each needs `decision_positions`
/// and `advantage`, and `correct` or a `reward` of 0 or 1.
pub fn from_processed(rollouts: Vec<ReferenceRollout>) -> Result<Vec<PoolRollout>, TrainError> {
    if rollouts.is_empty() {
        return Err(TrainError::Setting(
            "there are no processed rollouts; prepare the training data again".to_owned(),
        ));
    }
    rollouts.into_iter().map(one).collect()
}

fn one(r: ReferenceRollout) -> Result<PoolRollout, TrainError> {
    let Rollout {
        problem_id, sample, ..
    } = &r.rollout;
    let bad = |what: &str| {
        TrainError::Setting(format!(
            "sample {sample} of problem {problem_id:?}: {what}; prepare the training data again"
        ))
    };
    let Some(mut decisions) = r.decisions else {
        return Err(bad("it has no `decision_positions`"));
    };
    decisions.sort_unstable();
    if decisions.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(bad("`decision_positions` names a position twice"));
    }
    let advantage = r.advantage.filter(|a| a.is_finite());
    let advantage = advantage.ok_or_else(|| bad("it has no finite `advantage`"))?;
    let right = r.rollout.correct.or(match r.reward {
        Some(1.0) => Some(true),
        Some(0.0) => Some(false),
        _ => None,
    });
    let correct = right.ok_or_else(|| bad("it has neither `correct` nor a `reward` of 0 or 1"))?;
    if r.rollout.token_ids.len() < 2 {
        return Err(bad("one token id predicts nothing"));
    }
    let candidate = Candidate {
        rollout: r.rollout,
        entropies_nats: None,
    };
    let truncated = candidate.truncated();
    Ok(PoolRollout {
        problem_id: candidate.rollout.problem_id,
        sample: candidate.rollout.sample,
        prompt_len: candidate.rollout.prompt_len,
        token_ids: candidate.rollout.token_ids,
        correct,
        truncated,
        advantage,
        entropies_nats: r.entropies_nats.unwrap_or_default(),
        decisions,
    })
}

/// The pool as the reference's trainer reads it, once written.
pub fn to_processed(rollouts: &[PoolRollout]) -> Vec<ReferenceRollout> {
    let one = |r: &PoolRollout| ReferenceRollout {
        rollout: Rollout {
            problem_id: r.problem_id.clone(),
            sample: r.sample,
            token_ids: r.token_ids.clone(),
            prompt_len: r.prompt_len,
            finish_reason: match r.truncated {
                true => FinishReason::Length,
                false => FinishReason::Unknown,
            },
            text: String::new(),
            correct: Some(r.correct),
            validity: match r.truncated {
                true => Validity::Truncated,
                false => Validity::Ok,
            },
            logprobs: None,
        },
        entropies_nats: (!r.entropies_nats.is_empty()).then(|| r.entropies_nats.clone()),
        prompt_text: None,
        decisions: Some(r.decisions.clone()),
        advantage: Some(r.advantage),
        reward: Some(if r.correct { 1.0 } else { 0.0 }),
    };
    rollouts.iter().map(one).collect()
}
