//! The value of a prefix from continuations that are sampled for it.
//!
//! Candidates are the positions of highest entropy. For one, m continuations of
//! s and m of s x_t are sampled and graded; the estimate of V(s x_t) - V(s) is
//! the difference of their shares of right ones, whose standard error is at most
//! sqrt(1 / (2 m)). A prefix is sampled once, whoever asks for it, and its draws
//! are keyed by its ids: which other positions are probed changes nothing. The
//! value of the bare prompt is the problem's pass rate, and that of a rollout's
//! end its own outcome; neither costs anything. A stop string that begins before
//! the continuation does is not seen.

use std::collections::BTreeMap;

use forkscope_policy::{Ended, Policy, SamplePrompt, SampleSettings, Sampling};
use forkscope_records::digest::sha256_bytes;
use serde::{Deserialize, Serialize};

use super::Group;
use crate::TrainError;
use crate::reasonmaxxer::Candidate;

/// How many continuations may be sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeBudget {
    /// At most so many for each rollout: the positions of highest entropy in it.
    PerRollout(u64),
    /// At most so many in all: the positions of highest entropy anywhere.
    Total(u64),
}

/// How continuations are sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeSettings {
    /// How many. A position takes 2 m of it, though prefixes that are shared are
    /// sampled once.
    pub budget: ProbeBudget,
    /// m, continuations of each prefix.
    pub continuations: u32,
    /// As the rollouts were sampled.
    pub temperature: f64,
    /// As the rollouts were sampled.
    pub top_p: f64,
    /// Most tokens of a completion, the part before the continuation included.
    pub max_tokens: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        Self {
            budget: ProbeBudget::PerRollout(32),
            continuations: 8,
            temperature: 0.6,
            top_p: 0.95,
            max_tokens: 8192,
            seed: 42,
        }
    }
}

impl ProbeSettings {
    pub(super) fn check(&self) -> Result<(), TrainError> {
        if self.continuations == 0 || self.max_tokens == 0 {
            return Err(TrainError::Setting(
                "continuations and max_tokens of probes are at least 1".into(),
            ));
        }
        let (ProbeBudget::PerRollout(budget) | ProbeBudget::Total(budget)) = self.budget;
        let position = 2 * u64::from(self.continuations);
        if budget < position {
            return Err(TrainError::Setting(format!(
                "a budget of {budget} continuations is less than one position takes, {position}; raise the budget or sample fewer per prefix"
            )));
        }
        self.sampling().check().map_err(TrainError::Setting)
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: 0,
            min_p: 0.0,
        }
    }
}

/// Whom to sample, where completions end, and what is right.
pub struct Prober<'a> {
    /// The policy that made the rollouts.
    pub policy: &'a Policy,
    /// A prompt per problem, for its stop strings and end tokens.
    pub prompts: &'a [SamplePrompt],
    /// Whether a completion of a problem is right: its id, the completion's ids
    /// from the prompt on, and whether it came to its end.
    pub grade: &'a dyn Fn(&str, &[u32], bool) -> bool,
}

/// A position that was probed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Problem identifier.
    pub problem_id: String,
    /// Sample index.
    pub sample: u32,
    /// Index of the token in `token_ids`.
    pub t: u32,
    /// V(s).
    pub before: f64,
    /// V(s x_t).
    pub after: f64,
}

/// What probing cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ProbeCost {
    /// Prefixes that were sampled from.
    pub prefixes: u64,
    /// Continuations sampled.
    pub continuations: u64,
    /// Tokens of the prefixes, prompts included, each computed once.
    pub prefix_tokens: u64,
    /// Tokens of the continuations.
    pub sampled_tokens: u64,
    /// Floating-point operations, estimated.
    pub flops: f64,
}

/// A probe and whose it is.
pub(super) struct Found {
    pub rollout: usize,
    pub offset: usize,
    pub probe: Probe,
}

pub(super) struct Probed {
    pub found: Vec<Found>,
    pub cost: ProbeCost,
}

/// A prefix of a completion, by its ids.
type Values<'r> = BTreeMap<&'r [u32], f64>;

/// Probes the candidates.
pub(super) fn probe(
    rollouts: &[Candidate],
    rewards: &[bool],
    groups: &[Group<'_>],
    settings: &ProbeSettings,
    prober: &Prober<'_>,
    interrupted: fn() -> bool,
) -> Result<Probed, TrainError> {
    let chosen = chosen(rollouts, settings)?;
    let mut out = Probed {
        found: Vec::new(),
        cost: ProbeCost::default(),
    };
    for group in groups {
        let mut values: Values<'_> = BTreeMap::new();
        let members = group.members.iter().filter_map(|i| {
            let (candidate, offsets) = (rollouts.get(*i)?, chosen.get(*i)?);
            Some((*i, &candidate.rollout, offsets))
        });
        for (_, rollout, offsets) in members.clone() {
            let completion = rollout.completion();
            for offset in offsets {
                for len in [*offset, offset + 1] {
                    if len > 0 && len < completion.len() {
                        values.insert(&completion[..len], 0.0);
                    }
                }
            }
        }
        sample(
            group,
            &mut values,
            settings,
            prober,
            interrupted,
            &mut out.cost,
        )?;
        for (i, rollout, offsets) in members {
            let completion = rollout.completion();
            let own = f64::from(u8::from(rewards.get(i) == Some(&true)));
            let value = |len: usize| match len {
                0 => group.pass_rate,
                len if len >= completion.len() => own,
                len => values.get(&completion[..len]).copied().unwrap_or(own),
            };
            out.found.extend(offsets.iter().map(|offset| Found {
                rollout: i,
                offset: *offset,
                probe: Probe {
                    problem_id: rollout.problem_id.clone(),
                    sample: rollout.sample,
                    t: (rollout.prompt_len + offset) as u32,
                    before: value(*offset),
                    after: value(offset + 1),
                },
            }));
        }
    }
    out.found.sort_by_key(|f| (f.rollout, f.offset));
    Ok(out)
}

/// The positions of highest entropy within the budget, as ascending offsets by
/// rollout; ties go to the earlier position.
fn chosen(rollouts: &[Candidate], settings: &ProbeSettings) -> Result<Vec<Vec<usize>>, TrainError> {
    let mut entropies: Vec<&[f64]> = Vec::with_capacity(rollouts.len());
    for c in rollouts {
        let found = c.entropies_nats.as_deref().unwrap_or(&[]);
        if found.len() != c.rollout.completion().len() {
            return Err(TrainError::Setting(format!(
                "rollout {} of problem `{}` has {} entropies for {} completion tokens, and probes go where entropy is highest; score the rollouts first",
                c.rollout.sample,
                c.rollout.problem_id.escape_debug(),
                found.len(),
                c.rollout.completion().len()
            )));
        }
        entropies.push(found);
    }
    let each = 2 * u64::from(settings.continuations).max(1);
    let most = |budget: u64| usize::try_from(budget / each).unwrap_or(usize::MAX);
    let highest = |mut places: Vec<(usize, usize)>, most: usize| {
        let h = |p: &(usize, usize)| entropies.get(p.0).and_then(|e| e.get(p.1)).copied();
        let h = |p: &(usize, usize)| h(p).unwrap_or(f64::NEG_INFINITY);
        places.sort_by(|a, b| h(b).total_cmp(&h(a)).then(a.cmp(b)));
        places.truncate(most);
        places
    };
    let places = |rollout: usize| (0..entropies[rollout].len()).map(move |o| (rollout, o));
    let all = 0..rollouts.len();
    let places: Vec<(usize, usize)> = match settings.budget {
        ProbeBudget::PerRollout(n) => all
            .flat_map(|i| highest(places(i).collect(), most(n)))
            .collect(),
        ProbeBudget::Total(n) => highest(all.flat_map(places).collect(), most(n)),
    };
    let mut chosen: Vec<Vec<usize>> = vec![Vec::new(); rollouts.len()];
    for (rollout, offset) in places {
        chosen[rollout].push(offset);
    }
    chosen
        .iter_mut()
        .for_each(|offsets| offsets.sort_unstable());
    Ok(chosen)
}

/// Samples the continuations of a problem's prefixes: the share of right ones.
fn sample(
    group: &Group<'_>,
    values: &mut Values<'_>,
    settings: &ProbeSettings,
    prober: &Prober<'_>,
    interrupted: fn() -> bool,
    cost: &mut ProbeCost,
) -> Result<(), TrainError> {
    if values.is_empty() {
        return Ok(());
    }
    let ends = prober
        .prompts
        .iter()
        .find(|p| p.problem_id == group.problem_id);
    let ends = ends.ok_or_else(|| {
        TrainError::Setting(format!(
            "problem `{}` of the rollouts is not among the problems, so nobody knows where its completions end; give the problems that were sampled",
            group.problem_id.escape_debug()
        ))
    })?;
    let prefixes: Vec<&[u32]> = values.keys().copied().collect();
    let prompts: Vec<SamplePrompt> = prefixes
        .iter()
        .map(|prefix| prompt(group, prefix, ends))
        .collect();
    let sampling = SampleSettings {
        sampling: settings.sampling(),
        n: settings.continuations,
        max_tokens: settings.max_tokens,
        seed: settings.seed,
        skip: 0,
        max_len: group.prompt.len().saturating_add(settings.max_tokens),
        interrupted,
        width: None,
    };
    let mut right: Vec<u32> = vec![0; prefixes.len()];
    let mut sampled = 0u64;
    let mut flops: f64 = prompts
        .iter()
        .map(|p| forward(prober.policy, 0, p.ids.len()))
        .sum();
    let mut tokens = 0u64;
    prober.policy.sample(&prompts, &sampling, &mut |c| {
        let (Some(prefix), Some(right)) = (prefixes.get(c.prompt), right.get_mut(c.prompt)) else {
            return false;
        };
        let whole = matches!(c.ended, Ended::Eos | Ended::Stop);
        let completion = [*prefix, &c.ids].concat();
        *right += u32::from((prober.grade)(group.problem_id, &completion, whole));
        sampled += 1;
        tokens += c.ids.len() as u64;
        let before = group.prompt.len() + prefix.len();
        flops += forward(prober.policy, before, before + c.ids.len());
        !interrupted()
    })?;
    if sampled < prefixes.len() as u64 * u64::from(settings.continuations) {
        return Err(TrainError::Interrupted);
    }
    for (value, right) in values.values_mut().zip(right) {
        *value = f64::from(right) / f64::from(settings.continuations);
    }
    cost.prefixes += prompts.len() as u64;
    cost.continuations += sampled;
    cost.prefix_tokens += prompts.iter().map(|p| p.ids.len() as u64).sum::<u64>();
    cost.sampled_tokens += tokens;
    cost.flops += flops;
    Ok(())
}

/// A prefix to be continued, named by its ids.
fn prompt(group: &Group<'_>, prefix: &[u32], ends: &SamplePrompt) -> SamplePrompt {
    let ids = [group.prompt, prefix].concat();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    SamplePrompt {
        problem_id: format!("{}/prefix/{}", group.problem_id, sha256_bytes(&bytes)),
        ids,
        stop: ends.stop.clone(),
        eos: ends.eos.clone(),
    }
}

/// FLOPs of tokens `from..to` of a sequence.
fn forward(policy: &Policy, from: usize, to: usize) -> f64 {
    let (from, to) = (from as f64, to as f64);
    let seen = (to * (to + 1.0) - from * (from + 1.0)) / 2.0;
    (to - from) * policy.flops_per_token() + policy.attention_flops() * seen
}
