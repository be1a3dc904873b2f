//! Where the steps of a GRPO run come from.
//!
//! Round r = step / mu samples the next P problems of the order of epoch
//! r / floor(N / P), which a key of (seed, epoch) shuffles; what is left over
//! of an epoch is not sampled. A round is a function of the seed, r and the
//! parameters; with mu > 1 the parameters have moved when its later steps come,
//! so that a checkpoint keeps its completions.

use forkscope_metrics::rng::Key;
use forkscope_policy::SamplePrompt;
use forkscope_records::types::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::log::Log;
use super::reward::WeightedReward;
use super::rollout::Group;
use super::sample::sample;
use super::settings::GrpoSettings;
use super::work::Work;
use crate::TrainError;
use crate::engine::{Network, Sums, Trainable};
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
        Ok(Self {
            problems,
            rewards,
            settings,
            round: None,
            log: Log::default(),
        })
    }

    /// Steps of an epoch: every problem once, but for a rest smaller than P.
    pub fn steps_per_epoch(&self) -> u64 {
        self.rounds_per_epoch() * u64::from(self.settings.iterations)
    }

    fn rounds_per_epoch(&self) -> u64 {
        (self.problems.len() / self.settings.problems.max(1)).max(1) as u64
    }

    /// Indices of the problems of a round.
    fn chosen(&self, round: u64) -> Vec<usize> {
        let (epoch, place) = (
            round / self.rounds_per_epoch(),
            (round % self.rounds_per_epoch()) as usize,
        );
        let mut order: Vec<usize> = (0..self.problems.len()).collect();
        Key::new(self.settings.seed, "", 0, "grpo order")
            .rng_at(epoch)
            .shuffle(&mut order);
        let p = self.settings.problems;
        order.into_iter().skip(place * p).take(p).collect()
    }

    /// Makes sure that the round of this step is at hand.
    fn prepare(&mut self, step: u64, network: &Network) -> Result<(), TrainError> {
        let iterations = u64::from(self.settings.iterations);
        let round = step / iterations;
        if self.round.as_ref().is_some_and(|r| r.round == round) {
            let held = self.round.iter().flat_map(|r| &r.groups);
            let vocab = network.config().vocab_size;
            return held.into_iter().try_for_each(|g| g.check(self.problems.len(), vocab));
        }
        if step % iterations != 0 {
            return Err(TrainError::Setting(format!(
                "step {step} learns from completions of an earlier step, which the checkpoint \
                 lacks; resume from the step before round {round}, or start a new run"
            )));
        }
        let chosen = self.chosen(round);
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
        let out = Step {
            tokens: work.tokens,
            log: self.log.before(),
            inspect: work.inspect(&round.groups, &self.problems),
            shards: work.shards,
        };
        if (step + 1) % u64::from(self.settings.iterations) == 0 {
            self.round = None;
        }
        Ok(out)
    }

    fn after(&mut self, sums: &Sums) -> Vec<(String, f64)> {
        self.log.after(sums, &self.settings)
    }

    fn state(&self) -> Value {
        self.round
            .as_ref()
            .and_then(|round| serde_json::to_value(round).ok())
            .unwrap_or(Value::Null)
    }

    fn restore(&mut self, state: &Value) -> Result<(), TrainError> {
        self.round = match state {
            Value::Null => None,
            kept => Some(Round::deserialize(kept).map_err(|error| {
                TrainError::Setting(format!(
                    "the state of the data in the checkpoint cannot be read: {error}; start a \
                     new run"
                ))
            })?),
        };
        Ok(())
    }
}
