//! ReasonMaxxer arms: a store of rollouts, or rounds of it.
//!
//! With R rounds, round 0 learns from its part of the seed's store (so that all
//! arms share those rollouts), round r from rollouts of the policy that round
//! r - 1 left, sampled and scored by it. Parts are of problems or of samples; all
//! rounds together sample what the store holds. Moments of the optimiser and the
//! schedule begin anew every round, the adapter goes on.

use std::ops::Range;
use std::path::{Path, PathBuf};

use forkscope_metrics::rng::Key;
use forkscope_policy::ModelFiles;
use forkscope_records::RunDir;
use forkscope_train::engine::{Network, Trainable};
use forkscope_train::reasonmaxxer::{
    Candidate, DecisionObjective, PoolRollout, ReasonMaxxerSettings, ReasonMaxxerSource, Variant,
    prepare, select_pool,
};
use forkscope_train::run::Source;
use forkscope_train::start_from_adapter;
use serde_json::json;

use super::Ablation;
use super::cell::{Cost, Made, adapter_of};
use super::grid::{ReasonMaxxerArm, Reference, Split};
use super::store::{self, Draw};
use crate::failure::Failure;
use crate::work::models::Named;
use crate::work::run;

/// A round of an arm.
struct Round<'a> {
    arm: &'a ReasonMaxxerArm,
    name: &'a str,
    seed: u64,
    /// Counted from 0.
    number: u32,
    path: PathBuf,
    /// The adapter that the round before left.
    before: Option<PathBuf>,
}

impl Ablation<'_> {
    /// Trains an arm under a seed.
    pub fn reasonmaxxer(
        &self,
        name: &str,
        arm: &ReasonMaxxerArm,
        seed: u64,
        cell: &Path,
    ) -> Result<Made, Failure> {
        let mut made = Made {
            adapter: None,
            cost: Cost::default(),
        };
        for number in 0..arm.rounds {
            let folder = match arm.rounds {
                1 => "training".to_owned(),
                _ => format!("training-{:03}", number + 1),
            };
            let round = Round {
                arm,
                name,
                seed,
                number,
                path: cell.join(folder),
                before: made.adapter.take(),
            };
            let manifest = self
                .manifest("ablate training", seed)?
                .setting("arm", json!(arm))
                .setting("store", json!(self.grid.store))
                .setting("problems", self.problems_of(&arm.store))
                .setting("round", number);
            if let Some(mut dir) = run::open(&self.options(&round.path), manifest)? {
                self.round(&round, &mut dir)?;
                dir.complete()?;
            } else {
                self.progress.skip(self.one_round_units(arm, number));
            }
            made.cost.add(&Cost::noted(&round.path)?);
            made.adapter = Some(adapter_of(&round.path));
        }
        Ok(made)
    }

    fn round(&self, round: &Round<'_>, dir: &mut RunDir) -> Result<(), Failure> {
        let (arm, seed) = (round.arm, round.seed);
        let named = |e: forkscope_train::TrainError| match e {
            forkscope_train::TrainError::Setting(said) => {
                let of = match arm.rounds {
                    1 => String::new(),
                    _ => format!(", round {}", round.number + 1),
                };
                Failure::Input(format!("arm `{}`, seed {seed}{of}: {said}", round.name))
            }
            other => other.into(),
        };
        let before = match &round.before {
            Some(adapter) => Some(self.adapted(adapter)?),
            None => None,
        };
        let candidates = self.round_candidates(round, before.as_ref(), dir)?;
        let sampled = candidates.len() as u64;
        let pool = select_pool(candidates, &arm.pool).map_err(named)?;
        dir.note("pool", json!(pool.counts));
        let prepared = prepare(&pool.rollouts, &arm.gate, arm.control, seed).map_err(named)?;
        let (touched, completion_tokens) = touched(&prepared.rollouts, &arm.objective);
        dir.note("prepared", json!(prepared.counts));
        let reference = match (arm.round_reference, &before) {
            (Reference::Sampler, Some(before)) => before.policy.clone(),
            _ => self.base_named.policy.clone(),
        };
        let objective = ReasonMaxxerSettings {
            seed,
            ..arm.objective.clone()
        };
        let mut source =
            ReasonMaxxerSource::new(prepared.rollouts, reference, objective).map_err(named)?;
        let lora = arm.adapter.lora().map_err(Failure::Input)?;
        let dropout = (lora.dropout > 0.0).then_some(seed);
        let mut network = Network::open(&self.start.files, &Trainable::Lora(lora), seed)?;
        if let Some(adapter) = &round.before {
            start_from_adapter(&mut network, &ModelFiles::dir_at(adapter))?;
        }
        let spanned = source
            .steps_per_epoch()
            .saturating_mul(arm.optimiser.epochs)
            .max(1);
        let steps = match arm.optimiser.max_steps {
            0 => spanned,
            most => spanned.min(most),
        };
        let train = arm
            .optimiser
            .train(steps, spanned, dropout)
            .map_err(Failure::Input)?;
        let what = format!("{} seed {seed}", round.name);
        let units = self.round_units(arm, round.number);
        let source: &mut dyn Source = &mut source;
        let (steps, tokens) = self.learn(dir, &mut network, source, train, (&what, units))?;
        dir.note(
            "cost",
            json!(Cost {
                rollouts: sampled,
                steps,
                tokens,
                touched,
                completion_tokens,
            }),
        );
        Ok(())
    }

    /// The rollouts of a round: of the store, or sampled into the round's run.
    fn round_candidates(
        &self,
        round: &Round<'_>,
        before: Option<&Named>,
        dir: &mut RunDir,
    ) -> Result<Vec<Candidate>, Failure> {
        let arm = round.arm;
        let all = self.problems_of(&arm.store);
        let problems = self.round_problems(arm, round.number);
        let samples = round_samples(arm, round.number);
        let Some(sampler) = before else {
            let ids: Vec<&str> = self
                .training
                .problems
                .get(problems.clone())
                .unwrap_or(&[])
                .iter()
                .map(|p| p.id.as_str())
                .collect();
            let whole = problems == (0..all) && samples == (0..arm.store.samples);
            let mut candidates = self.stored(&arm.store, round.seed)?;
            if !whole {
                candidates.retain(|c| {
                    samples.contains(&c.rollout.sample)
                        && ids.contains(&c.rollout.problem_id.as_str())
                });
            }
            return Ok(candidates);
        };
        self.progress
            .rename(&format!("rollouts of {} seed {}", round.name, round.seed));
        let seeds = Key::new(round.seed, "", 0, "ablation rounds");
        let draw = Draw {
            store: &arm.store,
            problems,
            samples: samples.end - samples.start,
            seed: seeds.rng_at(u64::from(round.number)).next_u64(),
        };
        self.sampled(dir, sampler, &draw)?;
        store::read(&round.path)
    }

    /// Places of the problems that a round asks.
    fn round_problems(&self, arm: &ReasonMaxxerArm, round: u32) -> Range<usize> {
        let all = self.problems_of(&arm.store);
        match arm.round_split {
            Split::Samples => 0..all,
            Split::Problems => part(all, arm.rounds, round),
        }
    }

    /// Refuses rounds without problems.
    pub fn check_rounds(&self, name: &str, arm: &ReasonMaxxerArm) -> Result<(), Failure> {
        let all = self.problems_of(&arm.store);
        match arm.round_split == Split::Problems && all < arm.rounds as usize {
            true => Err(Failure::Input(format!(
                "{}: arm `{name}` divides {all} problems into `rounds` {}; give at most {all} rounds, or \"round_split\": \"samples\"",
                self.a.grid.display(),
                arm.rounds
            ))),
            false => Ok(()),
        }
    }

    /// Rollouts of a round.
    fn round_rollouts(&self, arm: &ReasonMaxxerArm, round: u32) -> u64 {
        let samples = round_samples(arm, round);
        self.round_problems(arm, round).len() as u64 * u64::from(samples.end - samples.start)
    }

    /// Rollouts that a round's training takes, about: what the bar counts.
    fn round_units(&self, arm: &ReasonMaxxerArm, round: u32) -> u64 {
        let kept = self.round_rollouts(arm, round) as f64 * arm.pool.trim_fraction;
        let all = (kept as u64).saturating_mul(arm.optimiser.epochs);
        match arm.optimiser.max_steps {
            0 => all,
            n => all.min(n.saturating_mul(arm.objective.grad_accum_steps as u64)),
        }
    }

    /// What the bar counts of a round: what it samples and what it learns from.
    fn one_round_units(&self, arm: &ReasonMaxxerArm, round: u32) -> u64 {
        let sampled = match round {
            0 => 0,
            r => self.round_rollouts(arm, r),
        };
        self.round_units(arm, round).saturating_add(sampled)
    }

    /// What the bar counts of an arm beside its evaluation.
    pub fn reasonmaxxer_units(&self, arm: &ReasonMaxxerArm) -> u64 {
        let rounds = 0..arm.rounds;
        let units = rounds.map(|r| self.one_round_units(arm, r));
        units.fold(0, u64::saturating_add)
    }
}

/// Samples of a round, by their numbers in the store.
fn round_samples(arm: &ReasonMaxxerArm, round: u32) -> Range<u32> {
    match arm.round_split {
        Split::Problems => 0..arm.store.samples,
        Split::Samples => {
            let range = part(arm.store.samples as usize, arm.rounds, round);
            range.start as u32..range.end as u32
        }
    }
}

/// Part `k` of `n` things in `parts` parts of nearly equal size.
fn part(n: usize, parts: u32, k: u32) -> Range<usize> {
    let at = |k: u32| (n as u128 * u128::from(k) / u128::from(parts.max(1))) as usize;
    at(k)..at(k + 1)
}

/// Completion tokens at which the objective pushes, and completion tokens.
fn touched(rollouts: &[PoolRollout], settings: &ReasonMaxxerSettings) -> (u64, u64) {
    let one = |r: &PoolRollout| {
        let right_only = settings.pos_only || settings.objective == DecisionObjective::CorrectSft;
        if r.advantage == 0.0 || (right_only && r.advantage < 0.0) {
            return 0;
        }
        match settings.variant {
            Variant::Gated => r.decisions.len() as u64,
            Variant::Fullseq => r.completion().len() as u64,
        }
    };
    let completion = rollouts.iter().map(|r| r.completion().len() as u64).sum();
    (rollouts.iter().map(one).sum(), completion)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once() {
        for n in [1usize, 7, 20, 50] {
            for parts in 1..=n as u32 {
                let ranges: Vec<_> = (0..parts).map(|k| part(n, parts, k)).collect();
                let all: Vec<usize> = ranges.iter().cloned().flatten().collect();
                assert_eq!(all, (0..n).collect::<Vec<_>>());
                assert!(ranges.iter().all(|r| !r.is_empty()));
            }
        }
    }
}
