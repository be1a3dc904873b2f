//! Which answers have a price at all.

use forkscope_records::types::ReversionDirection;

use super::walk::{Rule, Start, Trace, Walked, Walker};
use super::{Answer, Donor, Judge};
use crate::AuditError;

/// Whether a subject has a price, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The tuned policy's answer is to be turned, and the donor's is what it is
    /// to be turned into.
    Eligible,
    /// The tuned policy does already what it is to be brought to.
    NothingToTurn,
    /// The base's answer behaves as the tuned policy's.
    BaseAgrees,
    /// There is no verdict on one of the two answers.
    Undecided,
}

/// An answer of the tuned policy with the base's own beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Index of the prompt.
    pub prompt: usize,
    /// Sample index.
    pub sample: u32,
    /// The tuned policy's own answer, traced.
    pub own: Walked,
    /// Whether it shows the behaviour.
    pub own_behaves: Option<bool>,
    /// The base's own answer.
    pub base: Walked,
    /// Whether it shows the behaviour.
    pub base_behaves: Option<bool>,
    /// Whether it has a price.
    pub standing: Standing,
}

/// Whether an answer shows the behaviour where the work is done.
pub(super) fn target(direction: ReversionDirection) -> bool {
    direction == ReversionDirection::Induce
}

/// The subjects of all prompts of a walker, in order of (prompt, sample).
pub(super) fn subjects(
    walker: &mut Walker<'_>,
    judge: &dyn Judge,
    direction: ReversionDirection,
) -> Result<Vec<Subject>, AuditError> {
    let of = |rule: Rule| -> Vec<Start> {
        let prompts = 0..walker.prompts().len();
        let samples = walker.settings().samples;
        prompts
            .flat_map(|prompt| (0..samples).map(move |sample| (prompt, sample)))
            .map(|(prompt, sample)| Start {
                prompt,
                sample,
                instead: None,
                prefix: Vec::new(),
                rule: rule.clone(),
            })
            .collect()
    };
    let (tuned, base) = (of(Rule::Tuned), of(Rule::Base));
    let top = walker.settings().random_top + 1;
    let own = walker.walk(&tuned, Trace::Top(top))?;
    let others = walker.walk(&base, Trace::Off)?;
    let own_behaves = verdicts(judge, &tuned, &own)?;
    let base_behaves = verdicts(judge, &base, &others)?;
    let needs_base = direction == ReversionDirection::Undo || *walker.donor() == Donor::Base;
    let all = tuned.iter().zip(own).zip(others);
    let all = all.zip(own_behaves).zip(base_behaves);
    Ok(all
        .map(
            |((((start, own), base), own_behaves), base_behaves)| Subject {
                prompt: start.prompt,
                sample: start.sample,
                standing: standing(own_behaves, base_behaves, target(direction), needs_base),
                own,
                own_behaves,
                base,
                base_behaves,
            },
        )
        .collect())
}

fn standing(own: Option<bool>, base: Option<bool>, target: bool, needs_base: bool) -> Standing {
    match (own, base) {
        (None, _) => Standing::Undecided,
        (Some(own), _) if own == target => Standing::NothingToTurn,
        (Some(_), _) if !needs_base => Standing::Eligible,
        (Some(_), None) => Standing::Undecided,
        (Some(_), Some(base)) if base == target => Standing::Eligible,
        (Some(_), Some(_)) => Standing::BaseAgrees,
    }
}

/// The judge's word on answers that were walked.
pub(super) fn verdicts(
    judge: &dyn Judge,
    starts: &[Start],
    walked: &[Walked],
) -> Result<Vec<Option<bool>>, AuditError> {
    let answers: Vec<Answer<'_>> = starts
        .iter()
        .zip(walked)
        .map(|(start, walked)| Answer {
            prompt: start.prompt,
            ids: &walked.ids,
            ended: walked.ended,
        })
        .collect();
    let verdicts = judge.judge(&answers)?;
    match verdicts.len() == answers.len() {
        true => Ok(verdicts),
        false => Err(AuditError::Internal(format!(
            "a judge gave {} verdicts on {} answers",
            verdicts.len(),
            answers.len()
        ))),
    }
}
