//! Prefilling: the donor's own answer's first k tokens stand already, the tuned
//! policy goes on.
//!
//! Every k up to the cap is tried, because more need not turn what less did: the
//! price is the least k that turns the answer, and what every k did is kept.

use forkscope_metrics::rng::Key;
use forkscope_records::types::ReversionStatus;

use super::eligible::{Subject, verdicts};
use super::walk::{Rule, Start, Trace, Walked, Walker};
use super::{Attempt, Donor, Judge};
use crate::AuditError;

/// Prefills each answer with the donor's own, or with that of another prompt.
pub(super) fn prefill(
    walker: &mut Walker<'_>,
    judge: &dyn Judge,
    subjects: &[&Subject],
    target: bool,
    others: bool,
) -> Result<Vec<Attempt>, AuditError> {
    let cap = walker.settings().prefill_cap;
    let mut starts = Vec::new();
    let mut whose = Vec::new();
    for (i, subject) in subjects.iter().enumerate() {
        let opening = match others {
            true => of_another(walker, subjects, i),
            false => Some(opening(walker.donor(), subject)),
        };
        let Some(opening) = opening else { continue };
        for k in 1..=cap.min(opening.len()) {
            whose.push((i, k));
            starts.push(Start {
                prompt: subject.prompt,
                sample: subject.sample,
                instead: None,
                prefix: opening.get(..k).unwrap_or(opening).to_vec(),
                rule: Rule::Tuned,
            });
        }
    }
    let walked = walker.walk(&starts, Trace::Off)?;
    let behaves = verdicts(judge, &starts, &walked)?;
    let mut attempts: Vec<Attempt> = subjects
        .iter()
        .map(|s| Attempt::idle(&s.own.ids, s.own.ended, s.own_behaves))
        .collect();
    for (((i, k), walked), behaves) in whose.into_iter().zip(walked).zip(behaves) {
        if let Some(attempt) = attempts.get_mut(i) {
            note(attempt, k as f64, behaves, target, walked);
        }
    }
    Ok(attempts)
}

/// Adds a level that was tried; the first that turned is the price.
pub(super) fn note(
    attempt: &mut Attempt,
    level: f64,
    behaves: Option<bool>,
    target: bool,
    walked: Walked,
) {
    attempt.tries += 1;
    attempt
        .levels
        .push((level as f32, behaves.map(|b| b == target)));
    if attempt.price.is_some() {
        return;
    }
    attempt.status = ReversionStatus::NotReached;
    attempt.ids = walked.ids;
    attempt.ended = walked.ended;
    attempt.behaviour = behaves;
    if behaves == Some(target) {
        attempt.reached(level);
    }
}

/// What the donor says by itself.
pub(super) fn opening<'s>(donor: &'s Donor, subject: &'s Subject) -> &'s [u32] {
    match donor {
        Donor::Base => &subject.base.ids,
        Donor::Text(ids) => ids,
    }
}

/// The base's answer to another prompt of those given, drawn at random.
fn of_another<'s>(walker: &Walker<'_>, subjects: &[&'s Subject], i: usize) -> Option<&'s [u32]> {
    let subject = subjects.get(i)?;
    let others: Vec<&&Subject> = subjects
        .iter()
        .filter(|other| other.prompt != subject.prompt && !other.base.ids.is_empty())
        .collect();
    let prompt = walker.prompts().get(subject.prompt)?;
    let seed = walker.settings().seed;
    let key = Key::new(
        seed,
        &prompt.problem_id,
        subject.sample,
        "revert-other-prompt",
    );
    let drawn = key.rng_at(0).below(others.len() as u64) as usize;
    others.get(drawn).map(|other| other.base.ids.as_slice())
}
