//! Rewards of completions, without unit.
//!
//! DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13) adds, for a
//! completion of n tokens: 0 up to L_max - L_cache, then
//! ((L_max - L_cache) - n) / L_cache, and -1 beyond L_max.

use forkscope_records::types::Problem;
use forkscope_tasks::{Behaviour, Verifier};

use crate::TrainError;

/// What a completion earns.
pub trait Reward: Send + Sync {
    /// Its name in the log: `rewards/{name}/mean`.
    fn name(&self) -> &str;

    /// Refuses a problem that it cannot judge, before anything is sampled.
    fn check(&self, _problem: &Problem) -> Result<(), TrainError> {
        Ok(())
    }

    /// The reward of a completion. `text` is without special tokens; `ended`
    /// says that the policy ended it, so that it was not cut off.
    fn reward(&self, text: &str, ended: bool, problem: &Problem) -> f64;
}

/// 1 for the right answer, else 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct VerifierReward {
    /// How the answer is found and compared.
    pub verifier: Verifier,
}

impl Reward for VerifierReward {
    fn name(&self) -> &str {
        self.verifier.name()
    }

    fn check(&self, problem: &Problem) -> Result<(), TrainError> {
        if problem.answer.is_none() {
            return Err(TrainError::Setting(format!(
                "problem `{}` has no answer to compare with; give it an `answer` field or leave \
                 it out",
                problem.id.escape_debug()
            )));
        }
        Ok(())
    }

    fn reward(&self, text: &str, ended: bool, problem: &Problem) -> f64 {
        let gold = problem.answer.as_deref();
        gold.map_or(f64::NAN, |gold| {
            f64::from(u8::from(self.verifier.grade(text, ended, gold).correct))
        })
    }
}

/// 1 for a completion that behaves so (or, `wanted` false, does not), else 0.
#[derive(Debug, Clone)]
pub struct BehaviourReward {
    /// Its name in the log.
    pub name: String,
    /// The behaviour; [`Behaviour::Correct`] is judged by the verifier.
    pub behaviour: Behaviour,
    /// Whether it is wanted.
    pub wanted: bool,
    /// How correctness is judged.
    pub verifier: Verifier,
}

impl Reward for BehaviourReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, problem: &Problem) -> Result<(), TrainError> {
        match self.behaviour {
            Behaviour::Correct => VerifierReward {
                verifier: self.verifier,
            }
            .check(problem),
            _ => Ok(()),
        }
    }

    fn reward(&self, text: &str, ended: bool, problem: &Problem) -> f64 {
        let gold = problem.answer.as_deref();
        let correct = gold.map(|gold| self.verifier.grade(text, ended, gold).correct);
        let holds = self.behaviour.holds(text, correct);
        holds.map_or(f64::NAN, |holds| f64::from(u8::from(holds == self.wanted)))
    }
}

/// A reward and its factor in the sum.
pub struct WeightedReward {
    /// The reward.
    pub reward: Box<dyn Reward>,
    /// Its factor.
    pub weight: f64,
}

impl WeightedReward {
    /// A reward that counts once.
    pub fn once(reward: impl Reward + 'static) -> Self {
        Self {
            reward: Box::new(reward),
            weight: 1.0,
        }
    }
}

impl std::fmt::Debug for WeightedReward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {}", self.weight, self.reward.name())
    }
}

/// DAPO's punishment of long completions, added to the reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftOverlong {
    /// L_max, tokens.
    pub max: usize,
    /// L_cache, tokens: over how many the punishment grows to -1.
    pub cache: usize,
}

impl SoftOverlong {
    /// Refuses lengths that make no ramp.
    pub fn check(&self) -> Result<(), TrainError> {
        if self.cache > self.max {
            return Err(TrainError::Setting(format!(
                "the soft overlong punishment starts {} tokens before its maximum of {}; give a \
                 cache of at most the maximum",
                self.cache, self.max
            )));
        }
        Ok(())
    }

    /// What a completion of `tokens` tokens loses, from -1 to 0.
    pub fn of(&self, tokens: usize) -> f64 {
        let free = self.max.saturating_sub(self.cache);
        if tokens <= free {
            0.0
        } else if tokens <= self.max {
            -((tokens - free) as f64) / self.cache as f64
        } else {
            -1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use forkscope_records::types::ProblemPrompt;

    use super::*;

    fn problem(answer: Option<&str>) -> Problem {
        Problem {
            id: "p-1".into(),
            prompt: ProblemPrompt::Text("2 + 2".into()),
            answer: answer.map(str::to_owned),
            category: None,
        }
    }

    #[test]
    fn the_verifier_pays_for_right_answers_and_needs_one_to_compare() {
        let reward = VerifierReward::default();
        let of = |text| reward.reward(text, true, &problem(Some("4")));
        assert_eq!((of("\\boxed{4}"), of("\\boxed{5}")), (1.0, 0.0));
        let error = reward.check(&problem(None)).unwrap_err().to_string();
        assert!(error.contains("`p-1` has no answer"), "{error}");
        assert!(reward.reward("4", true, &problem(None)).is_nan());
    }

    #[test]
    fn behaviours_pay_where_they_are_wanted() {
        let reward = |behaviour: &str, wanted| BehaviourReward {
            name: "behaviour".into(),
            behaviour: behaviour.parse().unwrap(),
            wanted,
            verifier: Verifier::Auto,
        };
        let refusal = "I'm sorry, but I can't help with that.";
        let of = |wanted, text| reward("refusal", wanted).reward(text, true, &problem(None));
        assert_eq!((of(true, refusal), of(false, refusal)), (1.0, 0.0));
        assert_eq!((of(true, "4"), of(false, "4")), (0.0, 1.0));
        assert!(reward("correct", true).check(&problem(None)).is_err());
    }

    #[test]
    fn the_overlong_ramp_is_that_of_the_paper() {
        let ramp = SoftOverlong {
            max: 100,
            cache: 20,
        };
        let found: Vec<f64> = [0, 80, 81, 90, 100, 101].map(|n| ramp.of(n)).into();
        assert_eq!(found, [0.0, 0.0, -0.05, -0.5, -1.0, -1.0]);
        let cliff = SoftOverlong { max: 10, cache: 0 };
        assert_eq!((cliff.of(10), cliff.of(11)), (0.0, -1.0));
        assert!(SoftOverlong { max: 1, cache: 2 }.check().is_err());
    }
}
