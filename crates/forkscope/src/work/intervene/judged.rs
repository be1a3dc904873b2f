//! Completions of arms as rows: text, grade, behaviour.

use std::collections::HashMap;

use forkscope_audit::intervene::{Grown, Stream};
use forkscope_policy::Ended;
use forkscope_policy::text::TextSide;
use forkscope_records::types::{FinishReason, Intervention, Validity};
use rayon::prelude::*;

use super::Job;
use crate::failure::Failure;

/// Makes rows of completions.
pub struct Judged<'j, 'a> {
    job: &'j Job<'a>,
    text: Option<&'a TextSide>,
}

/// What is said of one text.
#[derive(Clone, Default)]
struct Said {
    text: String,
    correct: Option<bool>,
    behaviour: Option<bool>,
}

impl<'j, 'a> Judged<'j, 'a> {
    /// For the completions of a job.
    pub fn new(job: &'j Job<'a>) -> Self {
        Self {
            job,
            text: job.tuned.policy.text(),
        }
    }

    /// The rows of a stream, in the order of the arms. Equal completions are
    /// judged once.
    pub fn rows(&self, stream: Stream, grown: Vec<Grown>) -> Result<Vec<Intervention>, Failure> {
        let mut first: HashMap<(&[u32], bool), usize> = HashMap::new();
        let mut distinct: Vec<&Grown> = Vec::new();
        let places: Vec<usize> = grown
            .iter()
            .map(|g| {
                *first.entry((&g.ids, whole(g.ended))).or_insert_with(|| {
                    distinct.push(g);
                    distinct.len() - 1
                })
            })
            .collect();
        let said: Vec<Result<Said, Failure>> =
            distinct.par_iter().map(|g| self.judge(stream, g)).collect();
        // The first failure in order, whichever came first in time.
        let said: Vec<Said> = said.into_iter().collect::<Result<_, _>>()?;
        let rows = grown.iter().zip(places).zip(self.job.arms);
        let said = |at: usize| said.get(at).cloned().unwrap_or_default();
        Ok(rows
            .map(|((grown, at), arm)| {
                let prompt = self.job.prompts.get(stream.problem);
                let ids = prompt.map_or(&[][..], |p| &p.ids);
                let at_t = |o: &u32| ids.len() as u32 + o;
                let Said {
                    text,
                    correct,
                    behaviour,
                } = said(at);
                Intervention {
                    arm: arm.name(),
                    direction: arm.direction,
                    gate: arm.gate(),
                    budget: arm.budget(),
                    temperature: self.temperature(stream),
                    problem_id: prompt.map_or_else(String::new, |p| p.problem_id.clone()),
                    sample: stream.sample,
                    token_ids: ids.iter().chain(&grown.ids).copied().collect(),
                    prompt_len: ids.len(),
                    touched: grown.touched.iter().map(at_t).collect(),
                    changed: grown.changed.iter().map(at_t).collect(),
                    touched_entropy_nats: grown.touched_entropy_nats,
                    finish_reason: reason(grown.ended),
                    text,
                    correct,
                    behaviour,
                    validity: match whole(grown.ended) {
                        true => Validity::Ok,
                        false => Validity::Truncated,
                    },
                }
            })
            .collect())
    }

    fn temperature(&self, stream: Stream) -> f64 {
        let t = self.job.temperatures.get(stream.temperature);
        t.copied().unwrap_or(0.0)
    }

    fn judge(&self, stream: Stream, grown: &Grown) -> Result<Said, Failure> {
        let text = self.text.map(|t| t.tokenizer.decode(&grown.ids, true));
        let text = text.unwrap_or_default();
        let problem = self.job.problems.get(stream.problem);
        let gold = problem.and_then(|p| p.answer.as_deref());
        let grade = |gold| self.job.verifier.grade(&text, whole(grown.ended), gold);
        let correct = gold.map(|gold| grade(gold).correct);
        let behaviour = self.job.behaviour.judge(&text, correct).map_err(|e| {
            let id = problem.map_or("", |p| p.id.as_str());
            Failure::Input(format!("an answer to problem `{}`: {e}", id.escape_debug()))
        })?;
        Ok(Said {
            text,
            correct,
            behaviour,
        })
    }
}

/// Whether the text came to its own end.
fn whole(ended: Ended) -> bool {
    matches!(ended, Ended::Eos | Ended::Stop)
}

fn reason(ended: Ended) -> FinishReason {
    match ended {
        Ended::Eos => FinishReason::Eos,
        Ended::Stop => FinishReason::Stop,
        Ended::Length => FinishReason::Length,
        Ended::Context => FinishReason::Context,
    }
}
