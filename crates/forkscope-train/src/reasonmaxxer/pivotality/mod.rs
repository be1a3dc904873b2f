//! Pivotality: by how much a token changes the chance that the rollout ends
//! right. An alternative to entropy as what a gate looks at.
//!
//! With V(s) the probability that a completion beginning with s is right, the
//! signed pivotality of token x after s is V(s x) - V(s), in [-1, 1], positive
//! where x helps; the signal is its absolute value. V is estimated
//! 1. from the rollouts of a problem that begin alike, at no cost (`prefixes`);
//! 2. at some positions from continuations that are sampled for it (`probes`).
//!
//! A position has the second estimate where it was probed, else the first. Both
//! are of the policy and the sampling settings that made the rollouts, not of
//! the model at T = 1.

mod prefixes;
mod probes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Candidate;
use crate::TrainError;
pub use probes::{Probe, ProbeBudget, ProbeCost, ProbeSettings, Prober};

/// How pivotality is estimated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PivotalitySettings {
    /// kappa: V(s x) = (right rollouts + kappa V(s)) / (rollouts + kappa), over
    /// those that begin with s x; a Beta prior of that weight around V(s).
    pub shrinkage: f64,
    /// Fewest rollouts that must begin with s for the token after it to have a
    /// value; at least 2.
    pub min_count: usize,
    /// Sample continuations too.
    pub probes: Option<ProbeSettings>,
}

impl Default for PivotalitySettings {
    fn default() -> Self {
        Self {
            shrinkage: 2.0,
            min_count: 2,
            probes: None,
        }
    }
}

impl PivotalitySettings {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), TrainError> {
        if !(self.shrinkage.is_finite() && self.shrinkage >= 0.0) {
            return Err(TrainError::Setting(format!(
                "shrinkage is {}; give a number of rollouts of at least 0",
                self.shrinkage
            )));
        }
        if self.min_count < 2 {
            return Err(TrainError::Setting(format!(
                "min_count is {}; one rollout alone says nothing about a token, give at least 2",
                self.min_count
            )));
        }
        self.probes.as_ref().map_or(Ok(()), ProbeSettings::check)
    }
}

/// Pivotality of every completion token of some rollouts.
#[derive(Debug, Clone, PartialEq)]
pub struct Pivotality {
    /// |V(s x) - V(s)| by rollout and completion token; what a gate takes as its
    /// signal. 0 where fewer rollouts than `min_count` begin with s, and where
    /// all that go on after s take the same token.
    pub signals: Vec<Vec<f64>>,
    /// The same with its sign.
    pub signed: Vec<Vec<f64>>,
    /// What was probed, in order of rollouts and positions.
    pub probes: Vec<Probe>,
    /// What probing cost.
    pub cost: ProbeCost,
}

/// Rollouts of one problem with one prompt.
struct Group<'r> {
    problem_id: &'r str,
    prompt: &'r [u32],
    /// Indices among all rollouts.
    members: Vec<usize>,
    /// Share of right ones.
    pass_rate: f64,
}

/// Pivotality of the rollouts' completion tokens. `prober` is needed where the
/// settings ask for probes; `interrupted` is asked while they are sampled.
pub fn pivotality(
    rollouts: &[Candidate],
    settings: &PivotalitySettings,
    prober: Option<&Prober<'_>>,
    interrupted: fn() -> bool,
) -> Result<Pivotality, TrainError> {
    settings.check()?;
    let rewards = rollouts.iter().map(reward).collect::<Result<Vec<_>, _>>()?;
    let groups = groups(rollouts, &rewards);
    let mut signed: Vec<Vec<f64>> = rollouts
        .iter()
        .map(|c| vec![0.0; c.rollout.completion().len()])
        .collect();
    for group in &groups {
        let completions: Vec<&[u32]> = group
            .members
            .iter()
            .filter_map(|i| rollouts.get(*i))
            .map(|c| c.rollout.completion())
            .collect();
        let rewards: Vec<bool> = group
            .members
            .iter()
            .filter_map(|i| rewards.get(*i).copied())
            .collect();
        let changes = prefixes::changes(&completions, &rewards, settings);
        for (i, changes) in group.members.iter().zip(changes) {
            if let Some(signed) = signed.get_mut(*i) {
                *signed = changes;
            }
        }
    }
    let (mut probes, mut cost) = (Vec::new(), ProbeCost::default());
    if let Some(settings) = &settings.probes {
        let prober = prober.ok_or_else(|| {
            TrainError::Internal("probes were asked for without a policy to sample".into())
        })?;
        let probed = probes::probe(rollouts, &rewards, &groups, settings, prober, interrupted)?;
        for found in &probed.found {
            let place = signed.get_mut(found.rollout);
            if let Some(value) = place.and_then(|s| s.get_mut(found.offset)) {
                *value = found.probe.after - found.probe.before;
            }
        }
        probes = probed.found.into_iter().map(|f| f.probe).collect();
        cost = probed.cost;
    }
    let signals = signed
        .iter()
        .map(|s| s.iter().map(|x| x.abs()).collect())
        .collect();
    Ok(Pivotality {
        signals,
        signed,
        probes,
        cost,
    })
}

fn reward(c: &Candidate) -> Result<bool, TrainError> {
    c.rollout.correct.ok_or_else(|| {
        TrainError::Setting(format!(
            "rollout {} of problem `{}` was not graded, so it says nothing about the value of its tokens; grade the rollouts first",
            c.rollout.sample,
            c.rollout.problem_id.escape_debug()
        ))
    })
}

/// Rollouts by problem and prompt, in the order in which these first appear.
fn groups<'r>(rollouts: &'r [Candidate], rewards: &[bool]) -> Vec<Group<'r>> {
    let mut place: BTreeMap<(&str, &[u32]), usize> = BTreeMap::new();
    let mut groups: Vec<Group<'r>> = Vec::new();
    for (i, candidate) in rollouts.iter().enumerate() {
        let rollout = &candidate.rollout;
        let prompt = rollout.token_ids.get(..rollout.prompt_len).unwrap_or(&[]);
        let problem_id = rollout.problem_id.as_str();
        let at = *place.entry((problem_id, prompt)).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Group {
                problem_id,
                prompt,
                members: Vec::new(),
                pass_rate: 0.0,
            });
        }
        if let Some(group) = groups.get_mut(at) {
            group.members.push(i);
        }
    }
    for group in &mut groups {
        let right = |i: &&usize| rewards.get(**i) == Some(&true);
        let n = group.members.iter().filter(right).count();
        group.pass_rate = n as f64 / group.members.len() as f64;
    }
    groups
}
