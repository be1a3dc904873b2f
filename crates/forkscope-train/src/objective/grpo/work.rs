//! From the completions of a round to the shards of a step.

use serde_json::{Value, json};

use super::advantage::all_equal;
use super::look::{Seen, look, reference};
use super::loss::StepCounts;
use super::rollout::{Group, Packed, pack};
use super::select::entropy_threshold;
use super::settings::GrpoSettings;
use super::shard::{GrpoShard, Sequence};
use super::source::GrpoProblem;
use crate::TrainError;
use crate::engine::{Network, Shard};

/// The work of a step and what was found on the way.
pub(super) struct Work {
    /// One or more per group that has something to teach.
    pub shards: Vec<Box<dyn Shard + Send>>,
    /// A of each completion; `None` for a group that was skipped.
    pub advantages: Vec<Option<Vec<f64>>>,
    /// Mean entropy of the valid tokens of the step, nats, where it was needed.
    pub entropy: Option<f64>,
    /// Threshold of the top-entropy mask, nats.
    pub threshold: Option<f64>,
    /// Share of the valid tokens of groups that were not skipped at which the
    /// surrogate counts.
    pub kept: Option<f64>,
    /// Mean KL(current || reference), nats, where it was needed.
    pub divergence: Option<f64>,
}

impl Work {
    /// Packs the groups of a step and weighs their tokens.
    pub fn of(
        groups: &[Group],
        problems: &[GrpoProblem],
        settings: &GrpoSettings,
        network: &Network,
    ) -> Result<Self, TrainError> {
        let rewards: Vec<Vec<f64>> = groups.iter().map(Group::rewards).collect();
        let named: Vec<(&str, &[f64])> = groups
            .iter()
            .zip(&rewards)
            .map(|(g, r)| (problems[g.problem].problem.id.as_str(), r.as_slice()))
            .collect();
        let advantages = settings.advantages.of(&named)?;
        // A threshold over the whole step needs the tokens of skipped groups.
        let mut packs = Vec::new();
        for (at, group) in groups.iter().enumerate() {
            if advantages[at].is_some() || settings.needs_entropies() {
                packs.extend(pack(
                    at,
                    &problems[group.problem].prompt,
                    &group.rollouts,
                    &group.valid(settings.mask_truncated),
                    settings.shard_rows,
                )?);
            }
        }
        let looked = settings.needs_entropies() || settings.divergence.is_some();
        let seen = match looked {
            true => look(network, &packs, settings.divergence.is_some())?,
            false => vec![Seen::default(); packs.len()],
        };
        let mut work = Self {
            shards: Vec::new(),
            advantages,
            entropy: None,
            threshold: None,
            kept: None,
            divergence: None,
        };
        work.measure(&seen, settings);
        work.build(groups, packs, &seen, settings, network)?;
        Ok(work)
    }

    /// Threshold and means over all that was looked at.
    fn measure(&mut self, seen: &[Seen], settings: &GrpoSettings) {
        let all = |of: fn(&Seen) -> &[f64]| -> Vec<f64> {
            seen.iter().flat_map(|s| of(s).iter().copied()).collect()
        };
        let mean = |values: &[f64]| {
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let entropies = all(|s| &s.entropies);
        if settings.needs_entropies() {
            // Without it, only groups with something to teach were looked at.
            self.entropy = mean(&entropies);
            self.threshold = entropy_threshold(&entropies, settings.top_entropy_quantile);
        }
        self.divergence = mean(&all(|s| &s.divergences));
    }

    fn build(
        &mut self,
        groups: &[Group],
        packs: Vec<Packed>,
        seen: &[Seen],
        settings: &GrpoSettings,
        network: &Network,
    ) -> Result<(), TrainError> {
        let step = counts(groups, settings);
        let live: Vec<(Packed, &Seen)> = packs
            .into_iter()
            .zip(seen)
            .filter(|(p, _)| self.advantages[p.group].is_some())
            .collect();
        let references = if settings.loss.beta > 0.0 {
            let packs: Vec<&Packed> = live.iter().map(|(p, _)| p).collect();
            reference(network, &packs)?
        } else {
            vec![Vec::new(); live.len()]
        };
        let (mut counted, mut valid) = (0usize, 0usize);
        for ((packed, seen), reference) in live.into_iter().zip(references) {
            let Some(advantages) = &self.advantages[packed.group] else {
                continue;
            };
            let group = &groups[packed.group];
            let mut sequences = Vec::with_capacity(packed.members.len());
            let mut from = 0;
            for (member, sites) in packed.members.iter().zip(&packed.sites) {
                let to = from + sites.len();
                let part = |values: &[f64]| values.get(from..to).unwrap_or(&[]).to_vec();
                let mask = self.threshold.map(|least| -> Vec<bool> {
                    part(&seen.entropies)
                        .iter()
                        .map(|h| reaches(*h, least))
                        .collect()
                });
                let counts = |mask: &Vec<bool>| mask.iter().filter(|m| **m).count();
                counted += mask.as_ref().map_or(sites.len(), counts);
                valid += sites.len();
                let advantage = advantages[*member];
                sequences.push(Sequence {
                    old: group.rollouts[*member].logprobs.clone(),
                    reference: part(&reference),
                    advantages: match &settings.divergence {
                        Some(weights) => part(&seen.divergences)
                            .iter()
                            .map(|kl| advantage * weights.factor(*kl))
                            .collect(),
                        None => vec![advantage; sites.len()],
                    },
                    mask,
                    weight: settings.loss.weight(sites.len(), &step),
                    sites: sites.clone(),
                });
                from = to;
            }
            let shard = GrpoShard::new(packed.pack, sequences, settings.loss)?;
            if !shard.sites().is_empty() {
                self.shards.push(Box::new(shard));
            }
        }
        if settings.needs_entropies() && valid > 0 {
            self.kept = Some(counted as f64 / valid as f64);
        }
        Ok(())
    }

    /// The step's problems, completions, rewards and advantages.
    pub fn inspect(&self, groups: &[Group], problems: &[GrpoProblem]) -> Value {
        let group = |(group, advantages): (&Group, &Option<Vec<f64>>)| {
            json!({
                "problem_id": problems[group.problem].problem.id,
                "prompt_ids": problems[group.problem].prompt.ids,
                "advantages": advantages,
                "completions": group.rollouts,
            })
        };
        json!({ "groups": groups.iter().zip(&self.advantages).map(group).collect::<Vec<_>>() })
    }
}

/// What the loss of a step is divided by: groups that are skipped count, as a
/// completion whose advantage is 0 does.
fn counts(groups: &[Group], settings: &GrpoSettings) -> StepCounts {
    let tokens = |group: &Group| -> u64 {
        let valid = group.valid(settings.mask_truncated);
        valid
            .iter()
            .map(|i| group.rollouts[*i].ids.len() as u64)
            .sum()
    };
    StepCounts {
        tokens: groups.iter().map(tokens).sum(),
        completions: groups.iter().map(|g| g.rollouts.len() as u64).sum(),
        max_tokens: settings.max_tokens as u64,
    }
}

/// Whether an entropy is at least the threshold; one that is no number counts,
/// so that the loss sees it.
fn reaches(entropy: f64, least: f64) -> bool {
    entropy >= least || entropy.is_nan() || least.is_nan()
}

/// Groups whose rewards are all equal.
pub(super) fn flat(groups: &[Group]) -> usize {
    groups.iter().filter(|g| all_equal(&g.rewards())).count()
}
