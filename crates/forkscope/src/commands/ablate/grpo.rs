//! GRPO arms: a budget of rollouts, spent online.

use std::path::Path;

use forkscope_train::engine::{Network, Trainable};
use forkscope_train::objective::grpo::{GrpoProblem, GrpoSource, VerifierReward, WeightedReward};
use serde_json::{Value, json};

use super::Ablation;
use super::cell::{Cost, Made, adapter_of};
use super::grid::{Arm, GrpoArm};
use crate::failure::Failure;
use crate::work::run;

impl Ablation<'_> {
    /// Rounds of sampling that an arm's budget pays for.
    pub fn grpo_rounds(&self, arm: &Arm, settings: &GrpoArm) -> u64 {
        let budget = self.store_rollouts() as f64 * arm.budget;
        (budget / settings.per_round().max(1) as f64 + 1e-9) as u64
    }

    /// What the bar counts of an arm beside its evaluation: rollouts sampled, and
    /// learned from.
    pub fn grpo_units(&self, arm: &Arm, settings: &GrpoArm) -> u64 {
        let rounds = self.grpo_rounds(arm, settings);
        rounds
            .saturating_mul(settings.per_round())
            .saturating_mul(2)
    }

    /// Rollouts of the grid's store.
    pub fn store_rollouts(&self) -> u64 {
        let store = &self.grid.store;
        self.problems_of(store) as u64 * u64::from(store.samples)
    }

    /// Problems that an arm asks.
    fn grpo_problems(&self, settings: &GrpoArm) -> usize {
        let all = self.training.problems.len();
        match settings.problems {
            Some(n) => n.min(all),
            None => self.problems_of(&self.grid.store),
        }
    }

    /// Refuses a budget that pays for no step, and steps of more problems than
    /// there are.
    pub fn check_grpo(&self, arm: &Arm, settings: &GrpoArm) -> Result<(), Failure> {
        let said = |e: String| {
            Failure::Input(format!(
                "{}: arm `{}`: {e}",
                self.a.grid.display(),
                arm.name
            ))
        };
        if self.grpo_rounds(arm, settings) == 0 {
            return Err(said(format!(
                "a step samples {} x {} rollouts and the budget is {} x {}; give fewer problems per step or samples",
                settings.problems_per_step,
                settings.samples,
                arm.budget,
                self.store_rollouts()
            )));
        }
        let max_tokens = settings.max_tokens.unwrap_or(self.grid.store.max_tokens);
        settings
            .settings(0, max_tokens)
            .check(self.grpo_problems(settings))
            .map_err(|e| said(e.to_string()))
    }

    /// Trains an arm under a seed.
    pub fn grpo(
        &self,
        arm: &Arm,
        settings: &GrpoArm,
        seed: u64,
        cell: &Path,
    ) -> Result<Made, Failure> {
        let path = cell.join("training");
        let manifest = self
            .manifest("ablate training", seed)?
            .setting("arm", json!(arm))
            .setting("rollouts", self.store_rollouts());
        let name = &arm.name;
        let rounds = self.grpo_rounds(arm, settings);
        if let Some(mut dir) = run::open(&self.options(&path), manifest)? {
            let max_tokens = settings.max_tokens.unwrap_or(self.grid.store.max_tokens);
            let t = &self.training;
            let pairs = t.problems.iter().zip(&t.prompts.prompts);
            let problems = pairs
                .take(self.grpo_problems(settings))
                .map(|(problem, prompt)| GrpoProblem {
                    problem: problem.clone(),
                    prompt: prompt.clone(),
                });
            let reward = WeightedReward::once(VerifierReward {
                verifier: self.grid.verifier,
            });
            let mut source = GrpoSource::new(
                problems.collect(),
                vec![reward],
                settings.settings(seed, max_tokens),
            )?;
            let lora = settings.adapter.lora().map_err(Failure::Input)?;
            let dropout = (lora.dropout > 0.0).then_some(seed);
            let mut network = Network::open(&self.start.files, &Trainable::Lora(lora), seed)?;
            let steps = rounds.saturating_mul(settings.iterations.into());
            let train = settings
                .optimiser
                .train(steps, steps, dropout)
                .map_err(Failure::Input)?;
            let what = format!("{name} seed {seed}");
            let units = self.grpo_units(arm, settings);
            let (steps, tokens) =
                self.learn(&mut dir, &mut network, &mut source, train, (&what, units))?;
            let (touched, completion_tokens) = touched(&path, settings)?;
            let cost = Cost {
                rollouts: rounds.saturating_mul(settings.per_round()),
                steps,
                tokens,
                touched,
                completion_tokens,
            };
            dir.note("cost", json!(cost));
            dir.complete()?;
        } else {
            self.progress.skip(self.grpo_units(arm, settings));
        }
        Ok(Made {
            cost: Cost::noted(&path)?,
            adapter: Some(adapter_of(&path)),
        })
    }
}

/// Completion tokens that the loss looked at, and completion tokens sampled,
/// from the log: groups of equal rewards are left out by their share of groups,
/// tokens by the share that the entropy mask kept.
fn touched(path: &Path, settings: &GrpoArm) -> Result<(u64, u64), Failure> {
    let file = path.join("metrics.jsonl");
    let bytes = crate::work::rollouts::bytes_of(&file)?;
    let (mut touched, mut all) = (0.0, 0.0);
    for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        let line: Value = serde_json::from_slice(line).map_err(|e| {
            Failure::Input(format!(
                "{}: {e}; remove the folder and resume",
                file.display()
            ))
        })?;
        let number = |name: &str| line.get(name).and_then(Value::as_f64);
        let length = number("completions/mean_length").unwrap_or(0.0);
        // A round that is learned from several times was sampled once.
        let tokens = length * settings.per_round() as f64 / f64::from(settings.iterations);
        let flat = number("frac_reward_zero_std").unwrap_or(0.0);
        all += tokens;
        touched += tokens * (1.0 - flat) * number("top_entropy/kept").unwrap_or(1.0);
    }
    Ok((touched.round() as u64, all.round() as u64))
}
