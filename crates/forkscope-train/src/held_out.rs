//! Accuracy on problems that nobody trains on: what chooses a checkpoint.
//!
//! `pass_at_1` is the mean over problems of the share of its n samples that are
//! correct, higher is better; its interval is a cluster bootstrap over problems.
//! The problems are a split of their own: sharing one with the training data
//! would reward memory, and the benchmark that is reported at the end chooses
//! nothing (2605.06241 does the same with 60 held-out problems). Every sample's
//! random numbers are keyed by (seed, problem, sample, position), so all
//! checkpoints are asked the same questions with the same luck.

use std::collections::HashMap;

use forkscope_metrics::stats::{BootstrapSettings, Interval, mean_over_problems};
use forkscope_policy::{Completion, Ended, Policy, SamplePrompt, SampleSettings};
use forkscope_records::types::{Problem, ProblemPrompt};
use forkscope_tasks::Verifier;

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

/// Refuses held-out problems of which one is among the training problems, by
/// its text or by an id of its own.
///
/// Texts are compared without regard to white space. An id that is merely the
/// row's number is no evidence: files without ids number their rows so.
pub fn refuse_shared(held_out: &[Problem], training: &[Problem]) -> Result<(), TrainError> {
    let own_id = |i: usize, p: &Problem| (p.id != i.to_string()).then(|| p.id.clone());
    let mut ids = HashMap::new();
    let mut texts = HashMap::new();
    for (i, problem) in training.iter().enumerate() {
        if let Some(id) = own_id(i, problem) {
            ids.insert(id, &problem.id);
        }
        texts.insert(text_of(&problem.prompt), &problem.id);
    }
    for (i, problem) in held_out.iter().enumerate() {
        let by_id = own_id(i, problem).and_then(|id| ids.get(&id));
        let by_text = texts.get(&text_of(&problem.prompt));
        let (what, training) = match (by_id, by_text) {
            (Some(id), _) => ("id", id),
            (None, Some(id)) => ("text", id),
            (None, None) => continue,
        };
        return Err(TrainError::Setting(format!(
            "held-out problem `{}` has the {what} of training problem `{}`; a checkpoint must be chosen on problems that it was not trained on, take the problem out of one of the two files",
            problem.id.escape_debug(),
            training.escape_debug()
        )));
    }
    Ok(())
}

/// As [`refuse_shared`] for training data that are texts, such as the prompts of
/// preference pairs.
pub fn refuse_shared_texts<'t>(
    held_out: &[Problem],
    training: impl IntoIterator<Item = &'t ProblemPrompt>,
) -> Result<(), TrainError> {
    let problems: Vec<Problem> = training
        .into_iter()
        .enumerate()
        .map(|(i, prompt)| Problem {
            id: i.to_string(),
            prompt: prompt.clone(),
            answer: None,
            category: None,
        })
        .collect();
    refuse_shared(held_out, &problems)
}

/// All that is said, white space as one blank.
fn text_of(prompt: &ProblemPrompt) -> String {
    let mut words: Vec<&str> = Vec::new();
    match prompt {
        ProblemPrompt::Text(text) => words.extend(text.split_whitespace()),
        // What the user says is the problem; a system line says how to answer.
        ProblemPrompt::Messages(messages) => {
            for message in messages.iter().filter(|m| m.role != "system") {
                words.extend(message.content.split_whitespace());
            }
        }
    }
    words.join(" ")
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
    use forkscope_records::types::Message;

    fn problem(id: &str, text: &str) -> Problem {
        Problem {
            id: id.into(),
            prompt: ProblemPrompt::Text(text.into()),
            answer: Some("07".into()),
            category: None,
        }
    }

    #[test]
    fn a_shared_problem_is_named() {
        let training = [problem("a", "one plus one"), problem("b", "two")];
        let said =
            |held_out: &[Problem]| refuse_shared(held_out, &training).map_err(|e| e.to_string());
        assert_eq!(said(&[problem("c", "three")]), Ok(()));
        let by_id = said(&[problem("c", "three"), problem("b", "four")]).unwrap_err();
        assert!(
            by_id.contains("`b`") && by_id.contains("the id of"),
            "{by_id}"
        );
        let by_text = said(&[problem("c", "one  plus\none ")]).unwrap_err();
        assert!(
            by_text.contains("`c`") && by_text.contains("text of training problem `a`"),
            "{by_text}"
        );
        let asked = ProblemPrompt::Messages(vec![
            Message {
                role: "system".into(),
                content: "be brief".into(),
            },
            Message {
                role: "user".into(),
                content: "two".into(),
            },
        ]);
        let chat = Problem {
            prompt: asked,
            ..problem("d", "")
        };
        assert!(said(&[chat]).is_err());
        let prompts = [ProblemPrompt::Text("two".into())];
        assert!(refuse_shared_texts(&[problem("z", "two")], &prompts).is_err());
        assert!(refuse_shared_texts(&[problem("z", "three")], &prompts).is_ok());
    }

    #[test]
    fn row_numbers_are_no_ids() {
        let training = [problem("0", "one"), problem("1", "two")];
        assert!(refuse_shared(&[problem("0", "three"), problem("1", "four")], &training).is_ok());
        assert!(refuse_shared(&[problem("0", "two")], &training).is_err());
    }

    #[test]
    fn an_unanswered_problem_is_refused() {
        assert!(reference_answers(&[]).is_err());
        let unanswered = Problem {
            answer: None,
            ..problem("q", "x")
        };
        let said = reference_answers(&[unanswered]).unwrap_err().to_string();
        assert!(said.contains("`q`"), "{said}");
    }
}
