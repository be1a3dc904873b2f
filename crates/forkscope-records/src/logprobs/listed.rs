//! One position of a response: which of the listed log-probs bound the tail.
//!
//! Servers list the k most probable tokens and add the sampled one where it is
//! not among them. A token that is not listed has at most the smallest of the
//! k, and may well have more than the added one; so the added one is kept
//! apart. Where a layout does not tell which it is (no ranks), the smallest is
//! taken for it: bounds get wider, never wrong.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use crate::logprobs::table::decimals;

/// What is known of the distribution at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// ln p of the most probable tokens, descending: every token that is in
    /// neither list has at most the last of these.
    pub leading: Vec<f64>,
    /// ln p of further tokens; they do not bound the others.
    pub beyond: Vec<f64>,
    /// ln p of the token that came next, where it is known.
    pub next: Option<f64>,
    /// Entries left out because they repeat another.
    pub duplicates: u32,
    /// Entries that say "very unlikely" and not how much: -inf, or at most [`Listed::SENTINEL`].
    /// They are part of the tail.
    pub sentinels: u32,
}

impl Listed {
    /// OpenAI's and vLLM's "not among the most likely", and vLLM's -inf.
    pub const SENTINEL: f64 = -9999.0;

    /// Half-width in nats of a log-prob computed in f32 over a large vocabulary.
    pub const MIN_ROUNDING: f64 = 1e-6;

    /// By how much listed probabilities may exceed one beyond their rounding:
    /// those of an f32 softmax do not sum to one exactly.
    const MASS_TOLERANCE: f64 = 1e-5;

    /// Rounding never counts for more than two printed decimals.
    const MAX_ROUNDING: f64 = 5e-3;
}

/// Why a position has no number. Such positions are counted, not dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unusable {
    /// Nothing recorded, as for the first token of a prompt.
    Missing,
    /// A log-prob is NaN or +inf.
    NonFinite,
    /// A log-prob is above zero by more than rounding.
    AboveZero,
    /// The listed probabilities sum to more than one by more than rounding.
    MassAboveOne,
    /// One token has two log-probs.
    Contradiction,
}

impl Unusable {
    /// Its name, as users read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "no_logprobs",
            Self::NonFinite => "non_finite",
            Self::AboveZero => "logprob_above_zero",
            Self::MassAboveOne => "mass_above_one",
            Self::Contradiction => "contradictory_duplicate",
        }
    }
}

/// A position with or without a number.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// Bounds can be computed.
    Usable(Listed),
    /// They cannot.
    Unusable(Unusable),
}

/// A token with its log-prob, as a response lists it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Token id, or text with bytes.
    pub(super) token: Box<str>,
    /// Whether `token` names one token only (ids do, texts need not).
    pub(super) exact: bool,
    pub(super) logprob: f64,
    pub(super) rank: Option<f64>,
}

/// What a response says of one position.
#[derive(Debug, Clone, Default)]
pub(super) struct Raw {
    /// The listed tokens.
    pub(super) listed: Vec<Entry>,
    /// The token that came next, listed or not.
    pub(super) next: Option<Entry>,
    /// Whether `listed` may hold, without saying so, one token that is not among the k most probable.
    pub(super) may_hold_extra: bool,
    /// Whether tokens of the same text were merged by the layout (an object keyed by text).
    pub(super) keyed_by_text: bool,
}

impl Raw {
    fn logprobs(&self) -> impl Iterator<Item = f64> {
        self.listed.iter().chain(&self.next).map(|e| e.logprob)
    }

    /// The most decimals that a log-prob of this position was printed with.
    pub(super) fn decimals(&self) -> usize {
        self.logprobs()
            .filter(|lp| lp.is_finite())
            .map(decimals)
            .max()
            .unwrap_or(0)
    }

    /// Sorts the entries into what bounds the tail and what does not.
    pub(super) fn reading(self, rounding: f64) -> Reading {
        self.sorted(rounding)
            .map_or_else(Reading::Unusable, Reading::Usable)
    }

    fn sorted(self, rounding: f64) -> Result<Listed, Unusable> {
        if self.listed.is_empty() && self.next.is_none() {
            return Err(Unusable::Missing);
        }
        for logprob in self.logprobs() {
            if logprob.is_nan() || logprob == f64::INFINITY {
                return Err(Unusable::NonFinite);
            }
            if logprob > rounding {
                return Err(Unusable::AboveZero);
            }
        }
        let (mut listed, duplicates) = distinct(self.listed, rounding)?;
        let next = self.next;
        let added = match &next {
            Some(next) => !is_among(next, &listed, rounding)?,
            None => false,
        };
        listed.sort_by(|a, b| b.logprob.total_cmp(&a.logprob));
        let merged = self.keyed_by_text
            && listed
                .iter()
                .any(|e| !e.exact && e.token.contains('\u{fffd}'));
        let leading = if merged {
            0
        } else {
            leading(&mut listed, next.as_ref(), self.may_hold_extra, rounding)
        };
        let mut beyond: Vec<Entry> = listed.split_off(leading.min(listed.len()));
        if added {
            beyond.extend(next.clone());
        }
        let mut sentinels = 0;
        let mut known = |entries: Vec<Entry>| -> Vec<f64> {
            let (known, vague): (Vec<f64>, Vec<f64>) = entries
                .into_iter()
                .map(|e| e.logprob)
                .partition(|&lp| lp > Listed::SENTINEL);
            sentinels += u32::try_from(vague.len()).unwrap_or(u32::MAX);
            known
        };
        let (leading, beyond) = (known(listed), known(beyond));
        let mass: f64 = leading
            .iter()
            .chain(&beyond)
            .map(|lp| (lp - rounding).exp())
            .sum();
        if mass > 1.0 + Listed::MASS_TOLERANCE {
            return Err(Unusable::MassAboveOne);
        }
        let next = next.map(|e| e.logprob).filter(|&lp| lp > Listed::SENTINEL);
        Ok(Listed {
            leading,
            beyond,
            next,
            duplicates,
            sentinels,
        })
    }
}

/// Half a unit of the last printed decimal.
pub(super) fn rounding(decimals: usize) -> f64 {
    let half_unit = 0.5 * 10f64.powi(-(decimals.min(300) as i32));
    half_unit.clamp(Listed::MIN_ROUNDING, Listed::MAX_ROUNDING)
}

fn agree(a: f64, b: f64, rounding: f64) -> bool {
    a == b || (a - b).abs() <= 2.0 * rounding
}

/// The entries without repeats, and how many those were. Different tokens may
/// have the same text, but hardly the same log-prob too.
fn distinct(entries: Vec<Entry>, rounding: f64) -> Result<(Vec<Entry>, u32), Unusable> {
    let mut seen: HashMap<Box<str>, f64> = HashMap::with_capacity(entries.len());
    let mut kept = Vec::with_capacity(entries.len());
    let mut duplicates = 0u32;
    for entry in entries {
        match seen.entry(entry.token.clone()) {
            Slot::Vacant(slot) => _ = slot.insert(entry.logprob),
            Slot::Occupied(slot) if agree(*slot.get(), entry.logprob, rounding) => {
                duplicates = duplicates.saturating_add(1);
                continue;
            }
            Slot::Occupied(_) if entry.exact => return Err(Unusable::Contradiction),
            Slot::Occupied(_) => {}
        }
        kept.push(entry);
    }
    Ok((kept, duplicates))
}

/// Whether the next token is one of the listed.
fn is_among(next: &Entry, listed: &[Entry], rounding: f64) -> Result<bool, Unusable> {
    let mut same = listed.iter().filter(|e| e.token == next.token).peekable();
    if same.peek().is_none() {
        return Ok(false);
    }
    if same.any(|e| agree(e.logprob, next.logprob, rounding)) {
        return Ok(true);
    }
    if next.exact {
        Err(Unusable::Contradiction)
    } else {
        Ok(false)
    }
}

/// How many of the entries, put into order, are certainly the most probable ones.
fn leading(
    listed: &mut [Entry],
    next: Option<&Entry>,
    may_hold_extra: bool,
    rounding: f64,
) -> usize {
    if listed.iter().all(|e| e.rank.is_some()) {
        let rank = |e: &Entry| e.rank.unwrap_or(f64::INFINITY);
        listed.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        return listed
            .iter()
            .enumerate()
            .take_while(|(i, e)| rank(e) <= (i + 1) as f64)
            .count();
    }
    let smallest_may_be_extra = match (listed.last(), next) {
        (Some(last), Some(next)) => next.logprob <= last.logprob + 2.0 * rounding,
        (Some(_), None) => true,
        (None, _) => false,
    };
    listed.len() - usize::from(may_hold_extra && smallest_may_be_extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDING: f64 = 1e-6;

    fn entry(token: &str, p: f64, rank: Option<f64>) -> Entry {
        Entry {
            token: token.into(),
            exact: token.parse::<u32>().is_ok(),
            logprob: p.ln(),
            rank,
        }
    }

    fn usable(raw: Raw) -> Listed {
        match raw.reading(ROUNDING) {
            Reading::Usable(listed) => listed,
            Reading::Unusable(why) => panic!("{why:?}"),
        }
    }

    fn counts(listed: &Listed) -> [usize; 4] {
        [
            listed.leading.len(),
            listed.beyond.len(),
            listed.duplicates as usize,
            listed.sentinels as usize,
        ]
    }

    #[test]
    fn a_rank_beyond_the_list_does_not_bound_the_tail() {
        let listed = vec![
            entry("7", 0.01, Some(9.0)),
            entry("1", 0.6, Some(1.0)),
            entry("2", 0.2, Some(2.0)),
        ];
        let listed = usable(Raw {
            listed,
            ..Raw::default()
        });
        assert_eq!(counts(&listed), [2, 1, 0, 0]);
        assert_eq!(listed.leading, [0.6f64.ln(), 0.2f64.ln()]);
    }

    #[test]
    fn without_ranks_the_smallest_may_be_the_sampled_one() {
        let list = || vec![entry("a", 0.6, None), entry("b", 0.3, None)];
        let raw = |next, may_hold_extra| Raw {
            listed: list(),
            next,
            may_hold_extra,
            keyed_by_text: false,
        };
        assert_eq!(
            counts(&usable(raw(Some(entry("b", 0.3, None)), true))),
            [1, 1, 0, 0]
        );
        assert_eq!(
            counts(&usable(raw(Some(entry("a", 0.6, None)), true))),
            [2, 0, 0, 0]
        );
        assert_eq!(
            counts(&usable(raw(Some(entry("b", 0.3, None)), false))),
            [2, 0, 0, 0]
        );
        // The sampled token is outside of the list, with its log-prob.
        assert_eq!(
            counts(&usable(raw(Some(entry("c", 0.05, None)), false))),
            [2, 1, 0, 0]
        );
    }

    #[test]
    fn sentinels_and_repeats_are_counted() {
        let vague = Entry {
            logprob: -9999.0,
            ..entry("x", 1.0, None)
        };
        let listed = vec![
            entry("a", 0.6, None),
            entry("a", 0.6, None),
            entry("a", 0.1, None),
            Entry {
                logprob: f64::NEG_INFINITY,
                ..entry("y", 1.0, None)
            },
        ];
        let read = usable(Raw {
            listed,
            next: Some(vague),
            ..Raw::default()
        });
        assert_eq!(counts(&read), [2, 0, 1, 2]);
        assert_eq!(read.next, None);
    }

    #[test]
    fn what_cannot_be_is_unusable() {
        let raw = |listed| {
            Raw {
                listed,
                ..Raw::default()
            }
            .reading(ROUNDING)
        };
        for (listed, why) in [
            (vec![], Unusable::Missing),
            (vec![entry("1", f64::NAN, None)], Unusable::NonFinite),
            (vec![entry("1", 1.01, None)], Unusable::AboveZero),
            (
                vec![entry("1", 0.7, None), entry("2", 0.4, None)],
                Unusable::MassAboveOne,
            ),
            (
                vec![entry("1", 0.7, None), entry("1", 0.1, None)],
                Unusable::Contradiction,
            ),
        ] {
            assert_eq!(raw(listed), Reading::Unusable(why));
        }
    }

    #[test]
    fn merged_texts_bound_nothing() {
        let listed = vec![entry("\u{fffd}", 0.6, None), entry("b", 0.3, None)];
        let read = usable(Raw {
            listed,
            keyed_by_text: true,
            ..Raw::default()
        });
        assert_eq!(counts(&read), [0, 2, 0, 0]);
    }
}
