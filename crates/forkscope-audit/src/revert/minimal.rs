//! The least number of forced tokens, where all smaller numbers were tried.
//!
//! One token: every position of the tuned policy's own answer at which the donor
//! disagrees. Two: every such first position, with every later disagreement on
//! the text that it leaves. Where there are more than `exhaustive` of them, those
//! with the highest JS are tried and the number is not verified.

use forkscope_records::types::ReversionStatus;

use super::eligible::{Subject, verdicts};
use super::forced::disagreements;
use super::walk::{Rule, Start, Trace, Walked, Walker};
use super::{Attempt, Forced, Judge};
use crate::AuditError;

/// What a search for the least number found about one subject.
pub(super) struct Minimal {
    pub(super) attempt: Attempt,
    /// Whether its forced tokens are a set that this search found to turn the
    /// answer, and not what another way found.
    pub(super) turning: bool,
}

/// A set that is tried.
struct Candidate {
    subject: usize,
    forced: Vec<Forced>,
    start: Start,
}

/// `found` are the attempts that give an upper bound, one list per way.
pub(super) fn minimal(
    walker: &mut Walker<'_>,
    judge: &dyn Judge,
    subjects: &[&Subject],
    found: &[&[Attempt]],
    target: bool,
) -> Result<Vec<Minimal>, AuditError> {
    let limit = walker.settings().exhaustive;
    let mut out: Vec<Minimal> = Vec::with_capacity(subjects.len());
    let mut singles = Vec::new();
    let mut whole: Vec<bool> = Vec::with_capacity(subjects.len());
    for (i, subject) in subjects.iter().enumerate() {
        let own = &subject.own;
        out.push(Minimal {
            attempt: Attempt {
                status: ReversionStatus::NotVerified,
                ..Attempt::idle(&own.ids, own.ended, subject.own_behaves)
            },
            turning: false,
        });
        let (chosen, all) = limited(disagreements(&own.ids, &own.steps).collect(), limit);
        whole.push(all);
        singles.extend(chosen.into_iter().map(|forced| Candidate {
            subject: i,
            start: start(subject, &own.ids, forced),
            forced: vec![forced],
        }));
    }
    let walked = attempt(walker, judge, &singles, &mut out, target, true)?;
    let mut pairs = Vec::new();
    for (i, subject) in subjects.iter().enumerate() {
        let best = least(found, i);
        if out[i].attempt.price.is_some() || best == Some(2) && whole[i] {
            continue;
        }
        let mut of_subject: Vec<Candidate> = Vec::new();
        for (single, walked) in singles.iter().zip(&walked) {
            if single.subject != i {
                continue;
            }
            let Some(first) = single.forced.first() else {
                continue;
            };
            // Traced behind the prefix, which ends with the forced token.
            let from = first.index + 1;
            let later = walked.ids.get(from..).unwrap_or(&[]);
            for forced in disagreements(later, &walked.steps) {
                let second = Forced {
                    index: from + forced.index,
                    ..forced
                };
                of_subject.push(Candidate {
                    subject: i,
                    start: start(subject, &walked.ids, second),
                    forced: vec![*first, second],
                });
            }
        }
        whole[i] &= of_subject.len() <= limit;
        of_subject.sort_by(|a, b| js(b).total_cmp(&js(a)));
        of_subject.truncate(limit);
        pairs.extend(of_subject);
    }
    attempt(walker, judge, &pairs, &mut out, target, false)?;
    for (i, minimal) in out.iter_mut().enumerate() {
        let price = minimal.attempt.price;
        let best = least(found, i);
        let known = match (price, best) {
            (Some(price), _) => price <= 1.0 || whole[i],
            (None, Some(best)) => whole[i] && best <= 3,
            (None, None) => false,
        };
        if !known {
            minimal.attempt.status = ReversionStatus::NotVerified;
            minimal.attempt.price = None;
        } else if let (None, Some(best)) = (price, best) {
            adopt(&mut minimal.attempt, found, i, best);
        }
    }
    Ok(out)
}

/// Tries sets; gives what became of each.
fn attempt(
    walker: &mut Walker<'_>,
    judge: &dyn Judge,
    candidates: &[Candidate],
    out: &mut [Minimal],
    target: bool,
    single: bool,
) -> Result<Vec<Walked>, AuditError> {
    let starts: Vec<Start> = candidates.iter().map(|c| c.start.clone()).collect();
    let trace = if single { Trace::Top(1) } else { Trace::Off };
    let walked = walker.walk(&starts, trace)?;
    let behaves = verdicts(judge, &starts, &walked)?;
    for ((candidate, walked), behaves) in candidates.iter().zip(&walked).zip(behaves) {
        let Some(minimal) = out.get_mut(candidate.subject) else {
            continue;
        };
        let attempt = &mut minimal.attempt;
        attempt.tries += 1;
        let turned = behaves.map(|b| b == target);
        if let (true, Some(first)) = (single, candidate.forced.first()) {
            attempt.levels.push((first.index as f32, turned));
        }
        if turned != Some(true) {
            continue;
        }
        // Of the sets of one size the one with the least margins stands.
        let cheaper = attempt.price.is_none() || nats(&candidate.forced) < attempt.nats();
        if cheaper {
            attempt.reached(candidate.forced.len() as f64);
            attempt.forced.clone_from(&candidate.forced);
            attempt.ids.clone_from(&walked.ids);
            attempt.ended = walked.ended;
            attempt.behaviour = behaves;
        }
        minimal.turning = true;
    }
    Ok(walked)
}

fn start(subject: &Subject, ids: &[u32], forced: Forced) -> Start {
    let mut prefix = ids.get(..forced.index).unwrap_or(ids).to_vec();
    prefix.push(forced.token);
    Start {
        prompt: subject.prompt,
        sample: subject.sample,
        instead: None,
        prefix,
        rule: Rule::Tuned,
    }
}

/// The `limit` with the highest JS, and whether that is all of them.
fn limited(mut all: Vec<Forced>, limit: usize) -> (Vec<Forced>, bool) {
    let whole = all.len() <= limit;
    if !whole {
        all.sort_by(|a, b| b.js.total_cmp(&a.js).then(a.index.cmp(&b.index)));
        all.truncate(limit);
        all.sort_by_key(|f| f.index);
    }
    (all, whole)
}

fn js(candidate: &Candidate) -> f64 {
    candidate.forced.iter().map(|f| f.js).sum()
}

fn nats(forced: &[Forced]) -> f64 {
    forced.iter().map(|f| f.margin).sum()
}

/// The least price that any way found.
fn least(found: &[&[Attempt]], i: usize) -> Option<usize> {
    let prices = found.iter().filter_map(|way| way.get(i)?.price);
    prices.map(|p| p as usize).min()
}

/// Takes over what a way found, now that nothing smaller turns the answer.
fn adopt(attempt: &mut Attempt, found: &[&[Attempt]], i: usize, best: usize) {
    let of = found
        .iter()
        .filter_map(|way| way.get(i))
        .find(|a| a.price == Some(best as f64));
    if let Some(of) = of {
        attempt.reached(best as f64);
        attempt.forced.clone_from(&of.forced);
        attempt.ids.clone_from(&of.ids);
        attempt.ended = of.ended;
        attempt.behaviour = of.behaviour;
    }
}
