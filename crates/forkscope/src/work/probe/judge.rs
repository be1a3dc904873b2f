//! What a behaviour says of completions.

use forkscope_records::types::Rollout;
use forkscope_tasks::Behaviour;

use crate::failure::Failure;

/// Whether a completion behaves so; `None` if nobody can say.
pub fn holds(behaviour: &Behaviour, rollout: &Rollout) -> Result<Option<bool>, Failure> {
    behaviour
        .judge(&rollout.text, rollout.correct)
        .map_err(|e| {
            Failure::Input(format!(
                "item {:?}, sample {}: {e}",
                rollout.problem_id, rollout.sample
            ))
        })
}

/// The share of each item's samples that behave so.
pub fn rates(
    behaviour: &Behaviour,
    rollouts: &[Rollout],
    n: usize,
) -> Result<Vec<Option<f64>>, Failure> {
    rollouts
        .chunks(n.max(1))
        .map(|samples| {
            let held: Result<Vec<Option<bool>>, Failure> =
                samples.iter().map(|r| holds(behaviour, r)).collect();
            let known: Vec<f64> = held?.into_iter().flatten().map(f64::from).collect();
            Ok(super::steering::mean(known.into_iter()))
        })
        .collect()
}
