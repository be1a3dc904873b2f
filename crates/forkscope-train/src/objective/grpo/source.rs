//! Where the steps of a GRPO run come from.
//!
//! Round r = step / mu samples P problems, shuffled anew every epoch; what is
//! left over of an epoch is not sampled. A round is a function of the seed, r
//! and the parameters; with mu > 1 the parameters have moved when its later
//! steps come, so that a checkpoint keeps its completions.

use forkscope_policy::SamplePrompt;
use forkscope_records::types::Problem;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::log::Log;
use super::reward::WeightedReward;
use super::rollout::Group;
use super::sample::sample;
use super::settings::GrpoSettings;
use super::work::Work;
use crate::TrainError;
use crate::engine::{Network, Sums, Trainable};
use crate::objective::{BatchSettings, Batches, Order};
use crate::run::{Source, Step};

/// A problem and the prompt that the policy gets.
#[derive(Debug, Clone)]
pub struct GrpoProblem {
    /// What the rewards see.
    pub problem: Problem,
    /// What the policy sees.
    pub prompt: SamplePrompt,
}

/// The completions of a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Round {
    /// Its number.
    pub round: u64,
    /// One group per problem.
    pub groups: Vec<Group>,
}

/// Samples, rewards, and yields the shards of each step.
#[derive(Debug)]
pub struct GrpoSource {
    problems: Vec<GrpoProblem>,
    rewards: Vec<WeightedReward>,
    settings: GrpoSettings,
    batches: Batches,
    round: Option<Round>,
    log: Log,
}

impl GrpoSource {
    /// A source over `problems`, judged by the weighted sum of `rewards`.
    pub fn new(
        problems: Vec<GrpoProblem>,
        rewards: Vec<WeightedReward>,
        settings: GrpoSettings,
    ) -> Result<Self, TrainError> {
        settings.check(problems.len())?;
        if rewards.is_empty() || rewards.iter().any(|r| !r.weight.is_finite()) {
            return Err(TrainError::Setting(
                "a run needs at least one reward, each of a finite weight".into(),
            ));
        }
        for GrpoProblem { problem, prompt } in &problems {
            for weighted in &rewards {
                weighted.reward.check(problem)?;
            }
            if prompt.ids.is_empty() {
                return Err(TrainError::Setting(format!(
                    "the prompt of problem `{}` has no token; leave it out",
                    problem.id.escape_debug()
                )));
            }
        }
        let batches = BatchSettings {
            batch: settings.problems,
            order: Order::Shuffled,
            keep_last: false,
            seed: settings.seed,
            shard_rows: settings.shard_rows,
        };
        Ok(Self {
            batches: Batches::new(Some(problems.len() as u64), batches)?,
            problems,
            rewards,
            settings,
            round: None,
            log: Log::default(),
        })
    }

    /// Steps of an epoch: every problem once, but for a rest smaller than P.
    pub fn steps_per_epoch(&self) -> u64 {
        let rounds = self.batches.steps_per_epoch().unwrap_or(0);
        rounds.saturating_mul(u64::from(self.settings.iterations))
    }

    /// Makes sure that the round of this step is at hand.
    fn prepare(&mut self, step: u64, network: &Network) -> Result<(), TrainError> {
        let iterations = u64::from(self.settings.iterations);
        let round = step / iterations;
        if self.round.as_ref().is_some_and(|r| r.round == round) {
            return Ok(());
        }
        if !step.is_multiple_of(iterations) {
            return Err(TrainError::Setting(format!(
                "step {step} learns from completions of an earlier step, which the checkpoint \
                 lacks; resume from the step before round {round}, or start a new run"
            )));
        }
        let chosen = self.batches.at(round, &mut |_| Ok(1))?;
        let chosen: Vec<usize> = chosen.into_iter().map(|i| i as usize).collect();
        let policy = network.policy()?;
        let groups = sample(
            &policy,
            &self.problems,
            &chosen,
            &self.rewards,
            &self.settings,
            round,
        )?;
        self.round = Some(Round { round, groups });
        Ok(())
    }

    /// Tokens of all sequences, prompts included.
    fn tokens_of(&self, groups: &[Group]) -> u64 {
        let group = |group: &Group| {
            let prompt = self.problems[group.problem].prompt.ids.len();
            let lengths = group.rollouts.iter().map(|r| prompt + r.ids.len());
            lengths.sum::<usize>() as u64
        };
        groups.iter().map(group).sum()
    }
}

impl Source for GrpoSource {
    fn step(&mut self, step: u64, network: &Network) -> Result<Step, TrainError> {
        if self.settings.needs_reference() && *network.trainable() == Trainable::Full {
            return Err(TrainError::Setting(
                "a KL to the reference or divergence weights need the reference policy, which \
                 is the model without its adapter; train an adapter, or set beta to 0 and leave \
                 divergence weights out"
                    .into(),
            ));
        }
        self.prepare(step, network)?;
        let Some(round) = &self.round else {
            return Err(TrainError::Internal("a round was not kept".into()));
        };
        let work = Work::of(&round.groups, &self.problems, &self.settings, network)?;
        self.log = Log::of(&round.groups, &work, &self.rewards, &self.settings);
        let rounds = (step / u64::from(self.settings.iterations)).saturating_add(1);
        let mut log = self.log.before();
        log.push(("epoch".to_owned(), self.batches.epochs(rounds)));
        let out = Step {
            tokens: self.tokens_of(&round.groups),
            log,
            inspect: work.inspect(&round.groups, &self.problems),
            shards: work.shards,
        };
        if (step + 1).is_multiple_of(u64::from(self.settings.iterations)) {
            self.round = None;
        }
        Ok(out)
    }

    fn after(&mut self, sums: &Sums) -> Vec<(String, f64)> {
        self.log.after(sums, &self.settings)
    }

    fn state(&self) -> Value {
        json!({ "round": self.round })
    }

    fn restore(&mut self, state: &Value) -> Result<(), TrainError> {
        let broken = || {
            TrainError::Setting(
                "the checkpoint's data state has no usable `round`; resume from another \
                 checkpoint or start anew"
                    .into(),
            )
        };
        let round = state.get("round").ok_or_else(broken)?;
        self.round = Option::<Round>::deserialize(round).map_err(|_| broken())?;
        let problems = self.problems.len();
        let held = self.round.iter().flat_map(|r| &r.groups);
        held.into_iter().try_for_each(|group| group.check(problems))
    }
}
