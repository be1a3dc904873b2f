//! Completions that a step learns from, and how a checkpoint keeps them.

use forkscope_policy::{Ended, SamplePrompt};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::engine::{Pack, Site};

/// A sampled completion with its reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Completion ids.
    pub ids: Vec<u32>,
    /// ln p of each under the policy that sampled, raw logits, T = 1, nats.
    pub logprobs: Vec<f32>,
    /// Whether the policy ended it, so that it was not cut off.
    pub ended: bool,
    /// Each reward, in the order of the settings, then the overlong punishment
    /// if there is one.
    pub rewards: Vec<f64>,
    /// Their weighted sum.
    pub reward: f64,
}

/// All completions of one problem in a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Index of the problem.
    pub problem: usize,
    /// In order of sample index.
    pub rollouts: Vec<Rollout>,
}

/// Whether a policy ended a completion by itself.
pub(super) fn ended(why: Ended) -> bool {
    matches!(why, Ended::Eos | Ended::Stop)
}

impl Group {
    /// Rewards in order of sample index.
    pub fn rewards(&self) -> Vec<f64> {
        self.rollouts.iter().map(|r| r.reward).collect()
    }

    /// Indices of the completions whose tokens count.
    pub(super) fn valid(&self, mask_truncated: bool) -> Vec<usize> {
        let counts = |r: &Rollout| !r.ids.is_empty() && (r.ended || !mask_truncated);
        (0..self.rollouts.len())
            .filter(|i| counts(&self.rollouts[*i]))
            .collect()
    }

    /// Refuses what no run has written: it came from a checkpoint.
    pub(super) fn check(&self, problems: usize) -> Result<(), TrainError> {
        let whole = |r: &Rollout| r.ids.len() == r.logprobs.len();
        if self.problem < problems && self.rollouts.iter().all(whole) {
            return Ok(());
        }
        Err(TrainError::Setting(
            "the rollouts kept in the checkpoint do not fit the problems; resume \
             with the run's own files, or start a new run"
                .into(),
        ))
    }
}

/// Some completions of a group in one pack.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// Index of the group within the step.
    pub group: usize,
    /// Indices of the completions within the group.
    pub members: Vec<usize>,
    /// The rows.
    pub pack: Pack,
    /// Sites of each member.
    pub sites: Vec<Vec<Site>>,
}

impl Packed {
    /// All sites, member by member.
    pub fn all_sites(&self) -> Vec<Site> {
        self.sites.concat()
    }
}

/// Packs completions behind their prompt, in order, each pack of at most
/// `rows` rows unless a single completion needs more.
pub(super) fn pack(
    group: usize,
    prompt: &SamplePrompt,
    rollouts: &[Rollout],
    members: &[usize],
    rows: usize,
) -> Result<Vec<Packed>, TrainError> {
    let mut packs = Vec::new();
    let mut rest = members;
    while !rest.is_empty() {
        let mut taken = 0;
        let mut held = prompt.ids.len();
        for member in rest {
            held += rollouts[*member].ids.len().saturating_sub(1);
            if taken > 0 && held > rows {
                break;
            }
            taken += 1;
        }
        let (now, later) = rest.split_at(taken);
        let mut pack = Pack::default();
        let ids: Vec<&[u32]> = now.iter().map(|m| rollouts[*m].ids.as_slice()).collect();
        let sites = pack.add_group(&prompt.ids, &ids)?;
        packs.push(Packed {
            group,
            members: now.to_vec(),
            pack,
            sites,
        });
        rest = later;
    }
    Ok(packs)
}
