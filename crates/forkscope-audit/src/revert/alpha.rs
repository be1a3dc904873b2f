//! Mixing: ln π = (1-α) ln p + α ln b + c at every position.
//!
//! α = 0 is the tuned policy, 1 the base, beyond 1 what emulated disalignment
//! does; to induce a behaviour α is negative, away from the base. All weights of
//! the grid are tried. Between the last one below the least that turned the
//! answer and that one, the interval is halved; that finds a threshold only if
//! nothing turns back in between, and what the grid did is kept to see it.

use forkscope_records::types::ReversionDirection;

use super::eligible::{Subject, verdicts};
use super::prefill::note;
use super::walk::{Rule, Start, Trace, Walker};
use super::{Attempt, Judge};
use crate::AuditError;

/// Which shift is mixed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    /// ln b - ln p.
    Base,
    /// The same with its entries permuted over the vocabulary.
    Permuted,
}

/// Mixes at every weight of the grid; the price is |α|.
pub(super) fn alpha(
    walker: &mut Walker<'_>,
    judge: &dyn Judge,
    subjects: &[&Subject],
    direction: ReversionDirection,
    shift: Shift,
) -> Result<Vec<Attempt>, AuditError> {
    let target = super::eligible::target(direction);
    let sign = if target { -1.0 } else { 1.0 };
    let start = |subject: &Subject, alpha: f64| Start {
        prompt: subject.prompt,
        sample: subject.sample,
        instead: None,
        prefix: Vec::new(),
        rule: match shift {
            Shift::Base => Rule::Mix(sign * alpha),
            Shift::Permuted => Rule::Permuted(sign * alpha),
        },
    };
    let grid = &walker.settings().alphas;
    let places = || (0..subjects.len()).flat_map(|i| grid.iter().map(move |a| (i, *a)));
    let starts: Vec<Start> = places().map(|(i, a)| start(subjects[i], a)).collect();
    let walked = walker.walk(&starts, Trace::Off)?;
    let behaves = verdicts(judge, &starts, &walked)?;
    let mut attempts: Vec<Attempt> = subjects
        .iter()
        .map(|s| Attempt::idle(&s.own.ids, s.own.ended, s.own_behaves))
        .collect();
    for (((i, alpha), walked), behaves) in places().zip(walked).zip(behaves) {
        note(&mut attempts[i], alpha, behaves, target, walked);
    }
    if shift == Shift::Base {
        bisect(walker, judge, subjects, target, &start, &mut attempts)?;
    }
    Ok(attempts)
}

fn bisect(
    walker: &mut Walker<'_>,
    judge: &dyn Judge,
    subjects: &[&Subject],
    target: bool,
    start: &dyn Fn(&Subject, f64) -> Start,
    attempts: &mut [Attempt],
) -> Result<(), AuditError> {
    let settings = walker.settings();
    let below = |price: f64| {
        let smaller = settings.alphas.iter().copied().filter(|a| *a < price);
        smaller.fold(0.0, f64::max)
    };
    let mut brackets: Vec<Option<(f64, f64)>> = attempts
        .iter()
        .map(|a| a.price.map(|price| (below(price), price)))
        .collect();
    for _ in 0..settings.bisections {
        let (mut starts, mut whose) = (Vec::new(), Vec::new());
        for (i, (bracket, subject)) in brackets.iter().zip(subjects).enumerate() {
            if let Some((low, high)) = bracket {
                let middle = (low + high) / 2.0;
                starts.push(start(subject, middle));
                whose.push((i, middle));
            }
        }
        let walked = walker.walk(&starts, Trace::Off)?;
        let behaves = verdicts(judge, &starts, &walked)?;
        for (((i, middle), walked), behaves) in whose.into_iter().zip(walked).zip(behaves) {
            let (Some(attempt), Some(Some(bracket))) = (attempts.get_mut(i), brackets.get_mut(i))
            else {
                continue;
            };
            attempt.tries += 1;
            if behaves == Some(target) {
                bracket.1 = middle;
                attempt.price = Some(middle);
                attempt.ids = walked.ids;
                attempt.ended = walked.ended;
                attempt.behaviour = behaves;
            } else {
                bracket.0 = middle;
            }
        }
    }
    Ok(())
}
