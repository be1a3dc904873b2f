//! Forced tokens: one more, let the tuned policy go on, look whether the answer
//! turned, repeat.

use std::collections::BTreeSet;

use forkscope_metrics::rng::Key;
use forkscope_records::types::ReversionStatus;

use super::eligible::{Subject, verdicts};
use super::walk::{Rule, Start, Step, Trace, Walker};
use super::{Attempt, Forced, Judge};
use crate::AuditError;

/// Where the next token is forced, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pick {
    /// The donor's, where JS is highest (ties: the first).
    HighestJs,
    /// The donor's, at the first disagreement.
    First,
    /// Where JS is highest, one of the donor's most probable tokens at random,
    /// the tuned policy's own excepted.
    RandomToken,
}

/// An answer on which tokens have been forced.
struct State {
    attempt: Attempt,
    /// Of every position of `attempt.ids`.
    steps: Vec<Step>,
    open: bool,
}

/// Forces tokens until each answer turns, `token_cap` at most.
pub(super) fn force(
    walker: &mut Walker<'_>,
    judge: &dyn Judge,
    subjects: &[&Subject],
    pick: Pick,
    target: bool,
) -> Result<Vec<Attempt>, AuditError> {
    let (cap, seed) = (walker.settings().token_cap, walker.settings().seed);
    let prompts = walker.prompts();
    let mut states: Vec<State> = subjects.iter().map(|s| State::new(s)).collect();
    for level in 1..=cap {
        let mut starts = Vec::new();
        let mut growing = Vec::new();
        for (i, (state, subject)) in states.iter_mut().zip(subjects).enumerate() {
            let id = prompts.get(subject.prompt).map_or("", |p| &p.problem_id);
            let key = Key::new(seed, id, subject.sample, "revert-random-tokens");
            let forced = state.open.then(|| state.next(pick, &key, level)).flatten();
            match forced {
                Some(forced) => {
                    starts.push(state.start(subject, forced));
                    growing.push(i);
                }
                None => state.open = false,
            }
        }
        if starts.is_empty() {
            break;
        }
        let walked = walker.walk(&starts, Trace::Top(walker.settings().random_top + 1))?;
        let behaves = verdicts(judge, &starts, &walked)?;
        for ((i, walked), behaves) in growing.into_iter().zip(walked).zip(behaves) {
            let Some(state) = states.get_mut(i) else {
                continue;
            };
            let attempt = &mut state.attempt;
            attempt.tries += 1;
            attempt
                .levels
                .push((level as f32, behaves.map(|b| b == target)));
            attempt.ids = walked.ids;
            attempt.ended = walked.ended;
            attempt.behaviour = behaves;
            state.steps.extend(walked.steps);
            if behaves == Some(target) {
                attempt.reached(level as f64);
                state.open = false;
            }
        }
    }
    Ok(states.into_iter().map(|s| s.attempt).collect())
}

impl State {
    fn new(subject: &Subject) -> Self {
        let own = &subject.own;
        Self {
            attempt: Attempt {
                status: ReversionStatus::NotReached,
                ..Attempt::idle(&own.ids, own.ended, subject.own_behaves)
            },
            steps: own.steps.clone(),
            open: true,
        }
    }

    /// What is forced next; `None` where the donor agrees with all that follows.
    fn next(&self, pick: Pick, key: &Key, level: usize) -> Option<Forced> {
        let after = self.attempt.forced.last().map_or(0, |f| f.index + 1);
        let ids = &self.attempt.ids;
        let mut candidates = disagreements(ids, &self.steps).filter(|f| f.index >= after);
        let chosen = match pick {
            Pick::First => candidates.next()?,
            Pick::HighestJs | Pick::RandomToken => highest(candidates)?,
        };
        if pick != Pick::RandomToken {
            return Some(chosen);
        }
        let own = ids.get(chosen.index)?;
        let top = &self.steps.get(chosen.index)?.top;
        let others: Vec<_> = top
            .iter()
            .filter(|(token, ..)| token != own)
            .take(top.len().saturating_sub(1))
            .collect();
        let drawn = key.rng_at(level as u64).below(others.len() as u64) as usize;
        let (token, margin, kl) = **others.get(drawn)?;
        Some(Forced {
            token,
            margin,
            kl,
            ..chosen
        })
    }

    fn start(&mut self, subject: &Subject, forced: Forced) -> Start {
        let ids = &self.attempt.ids;
        let mut prefix = ids.get(..forced.index).unwrap_or(ids).to_vec();
        prefix.push(forced.token);
        self.steps.truncate(prefix.len());
        self.attempt.forced.push(forced);
        Start {
            prompt: subject.prompt,
            sample: subject.sample,
            instead: None,
            prefix,
            rule: Rule::Tuned,
        }
    }
}

/// The positions of an answer at which the donor would choose another token.
pub(super) fn disagreements<'s>(
    ids: &'s [u32],
    steps: &'s [Step],
) -> impl Iterator<Item = Forced> + 's {
    let all = ids.iter().zip(steps).enumerate();
    all.filter_map(|(index, (own, step))| {
        let token = step.donor.filter(|donor| donor != own)?;
        Some(Forced {
            index,
            token,
            margin: step.margin,
            kl: step.kl,
            js: step.js,
        })
    })
}

/// The first of those with the highest JS.
fn highest(candidates: impl Iterator<Item = Forced>) -> Option<Forced> {
    candidates.reduce(|best, next| match next.js > best.js {
        true => next,
        false => best,
    })
}

/// As many donor tokens as `token_cap` at positions of the answer that are drawn
/// beforehand, all with the same probability; the sets are nested.
pub(super) fn at_random(
    walker: &mut Walker<'_>,
    judge: &dyn Judge,
    subjects: &[&Subject],
    target: bool,
) -> Result<Vec<Attempt>, AuditError> {
    let settings = walker.settings();
    let prompts = walker.prompts();
    let mut attempts: Vec<Attempt> = Vec::with_capacity(subjects.len());
    let mut orders: Vec<Vec<usize>> = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let own = &subject.own;
        let mut order: Vec<usize> = (0..own.ids.len()).collect();
        let id = prompts.get(subject.prompt).map_or("", |p| &p.problem_id);
        Key::new(settings.seed, id, subject.sample, "revert-random-positions")
            .rng_at(0)
            .shuffle(&mut order);
        orders.push(order);
        attempts.push(Attempt {
            status: ReversionStatus::NotReached,
            ..Attempt::idle(&own.ids, own.ended, subject.own_behaves)
        });
    }
    for level in 1..=settings.token_cap {
        let open: Vec<usize> = (0..subjects.len())
            .filter(|i| attempts[*i].price.is_none() && orders[*i].len() >= level)
            .collect();
        if open.is_empty() {
            break;
        }
        let starts: Vec<Start> = open
            .iter()
            .map(|i| {
                let (subject, order) = (subjects[*i], &orders[*i]);
                let at: BTreeSet<usize> = order.iter().take(level).copied().collect();
                let first = at.first().copied().unwrap_or(0);
                let own = &subject.own.ids;
                Start {
                    prompt: subject.prompt,
                    sample: subject.sample,
                    instead: None,
                    prefix: own.get(..first).unwrap_or(own).to_vec(),
                    rule: Rule::DonorAt(at),
                }
            })
            .collect();
        let walked = walker.walk(&starts, Trace::Top(1))?;
        let behaves = verdicts(judge, &starts, &walked)?;
        for (((i, start), walked), behaves) in open.iter().zip(&starts).zip(walked).zip(behaves) {
            let attempt = &mut attempts[*i];
            attempt.tries += 1;
            attempt
                .levels
                .push((level as f32, behaves.map(|b| b == target)));
            attempt.forced = of_donor(start, &walked.steps);
            attempt.ids = walked.ids;
            attempt.ended = walked.ended;
            attempt.behaviour = behaves;
            if behaves == Some(target) {
                attempt.reached(level as f64);
            }
        }
    }
    Ok(attempts)
}

/// The tokens that a walk took from the donor.
fn of_donor(start: &Start, steps: &[Step]) -> Vec<Forced> {
    let Rule::DonorAt(at) = &start.rule else {
        return Vec::new();
    };
    let from = start.prefix.len();
    let forced = |index: &usize| {
        let step = steps.get(index.checked_sub(from)?)?;
        Some(Forced {
            index: *index,
            token: step.donor?,
            margin: step.margin,
            kl: step.kl,
            js: step.js,
        })
    };
    at.iter().filter_map(forced).collect()
}
