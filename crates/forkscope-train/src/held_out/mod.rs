//! Accuracy on problems that nobody trains on: what chooses a checkpoint.
//!
//! `pass_at_1` is the mean over problems of the share of its n samples that are
//! correct, higher is better; its interval is a cluster bootstrap over problems.
//! The problems are a split of their own: sharing one with the training data
//! would reward memory, and the benchmark that is reported at the end chooses
//! nothing (2605.06241 does the same with 60 held-out problems). Every sample's
//! random numbers are keyed by (seed, problem, sample, position), so all
//! checkpoints are asked the same questions with the same luck.

mod choose;
mod shared;

use forkscope_metrics::stats::{BootstrapSettings, Interval, mean_over_problems};
use forkscope_policy::{Completion, Ended, Policy, SamplePrompt, SampleSettings};
use forkscope_records::types::Problem;
use forkscope_tasks::Verifier;

pub use choose::HeldOutEvaluation;
pub use shared::{refuse_shared, refuse_shared_prompts};

use crate::TrainError;

/// How held-out problems are answered and graded.
#[derive(Debug, Clone)]
pub struct HeldOutSettings {
    /// Samples per problem, temperature, length and seed. `skip` must be 0.
    pub sampler: SampleSettings,
    /// How answers are found.
    pub verifier: Verifier,
    /// Of the interval.
    pub bootstrap: BootstrapSettings,
}

/// An evaluation on held-out problems.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    /// Mean over problems of the share of correct samples.
    pub pass_at_1: f64,
    /// Interval of it over problems; `None` with one problem.
    pub interval: Option<Interval>,
    /// Samples.
    pub n: u64,
    /// Problems.
    pub n_problems: u64,
    /// Samples cut by the token limit or the context.
    pub truncated: u64,
    /// Samples in which no answer was found.
    pub no_answer: u64,
    /// Mean completion tokens.
    pub tokens_per_answer: f64,
}

/// Samples and grades every held-out problem; `prompts` are the problems as
/// prompts, in the same order.
///
/// # Errors
/// No problem, one without a reference answer, a policy that cannot be sampled,
/// an interrupt.
pub fn evaluate(
    policy: &Policy,
    prompts: &[SamplePrompt],
    problems: &[Problem],
    settings: &HeldOutSettings,
) -> Result<HeldOut, TrainError> {
    let answers = reference_answers(problems)?;
    if prompts.len() != problems.len() {
        return Err(TrainError::Internal(format!(
            "{} prompts for {} held-out problems",
            prompts.len(),
            problems.len()
        )));
    }
    let n = settings.sampler.n.max(1);
    let mut tally = Tally::new(policy, answers, settings.verifier);
    policy.sample(prompts, &settings.sampler, &mut |completion| {
        tally.add(&completion);
        true
    })?;
    let expected = problems.len() as u64 * u64::from(n);
    if tally.n < expected {
        return Err(match (settings.sampler.interrupted)() {
            true => TrainError::Interrupted,
            false => TrainError::Internal(format!(
                "{} of {expected} held-out samples were drawn",
                tally.n
            )),
        });
    }
    tally.finish(n, &settings.bootstrap)
}

fn reference_answers(problems: &[Problem]) -> Result<Vec<&str>, TrainError> {
    if problems.is_empty() {
        return Err(TrainError::Setting(
            "there is no held-out problem; give at least one".into(),
        ));
    }
    problems
        .iter()
        .map(|p| {
            p.answer.as_deref().ok_or_else(|| {
                TrainError::Setting(format!(
                    "held-out problem `{}` has no `answer`, so it cannot be graded; add it or leave the problem out",
                    p.id.escape_debug()
                ))
            })
        })
        .collect()
}

struct Tally<'a> {
    policy: &'a Policy,
    answers: Vec<&'a str>,
    verifier: Verifier,
    correct: Vec<u32>,
    n: u64,
    truncated: u64,
    no_answer: u64,
    tokens: u64,
}

impl<'a> Tally<'a> {
    fn new(policy: &'a Policy, answers: Vec<&'a str>, verifier: Verifier) -> Self {
        Self {
            policy,
            correct: vec![0; answers.len()],
            answers,
            verifier,
            n: 0,
            truncated: 0,
            no_answer: 0,
            tokens: 0,
        }
    }

    fn add(&mut self, completion: &Completion) {
        let ended = matches!(completion.ended, Ended::Eos | Ended::Stop);
        let text = self.policy.text();
        let text = text.map_or_else(String::new, |t| t.tokenizer.decode(&completion.ids, true));
        let gold = self.answers.get(completion.prompt).copied();
        let grade = self.verifier.grade(&text, ended, gold.unwrap_or_default());
        if let Some(correct) = self.correct.get_mut(completion.prompt) {
            *correct += u32::from(grade.correct);
        }
        self.n += 1;
        self.truncated += u64::from(!ended);
        self.no_answer += u64::from(grade.extracted.is_none());
        self.tokens += completion.ids.len() as u64;
    }

    fn finish(self, n: u32, bootstrap: &BootstrapSettings) -> Result<HeldOut, TrainError> {
        let share = |c: &u32| f64::from(*c) / f64::from(n);
        let shares: Vec<f64> = self.correct.iter().map(share).collect();
        let (pass_at_1, interval) = mean_over_problems(&shares, bootstrap)
            .map_err(|e| TrainError::Internal(e.to_string()))?;
        Ok(HeldOut {
            pass_at_1,
            interval: interval.ok().map(|found| found.interval),
            n: self.n,
            n_problems: shares.len() as u64,
            truncated: self.truncated,
            no_answer: self.no_answer,
            tokens_per_answer: self.tokens as f64 / self.n.max(1) as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkscope_records::types::ProblemPrompt;

    #[test]
    fn an_unanswered_problem_is_refused() {
        assert!(reference_answers(&[]).is_err());
        let unanswered = Problem {
            id: "q".into(),
            prompt: ProblemPrompt::Text("x".into()),
            answer: None,
            category: None,
        };
        let said = reference_answers(&[unanswered]).unwrap_err().to_string();
        assert!(said.contains("`q`"), "{said}");
    }
}
