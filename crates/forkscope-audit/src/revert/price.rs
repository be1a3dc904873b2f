//! All prices of a set of prompts.

use forkscope_policy::SamplePrompt;
use forkscope_records::types::{
    ReversionControl, ReversionDirection, ReversionMethod, ReversionStatus,
};

use super::alpha::{Shift, alpha};
use super::eligible::{Standing, Subject, subjects};
use super::forced::{Pick, at_random, force};
use super::minimal::{Minimal, minimal};
use super::prefill::prefill;
use super::prompt::{Search, prompts};
use super::walk::Walker;
use super::{Attempt, Donor, Forced, Judge, Pair, RevertSettings};
use crate::AuditError;

/// A subject with everything that was tried on it; nothing if it has no price.
#[derive(Debug, Clone, PartialEq)]
pub struct Priced {
    /// The answers by themselves.
    pub subject: Subject,
    /// In the order of rows.
    pub attempts: Vec<(ReversionMethod, ReversionControl, Attempt)>,
}

/// What forced tokens cost on one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenPrice {
    /// Index of the prompt.
    pub prompt: usize,
    /// Sample index.
    pub sample: u32,
    /// Whether it has a price.
    pub standing: Standing,
    /// Least number of forced donor tokens that turned the answer, of both rules
    /// (highest JS, first disagreement); `None` if not within the cap, or without
    /// a price.
    pub price: Option<u32>,
    /// The tokens forced at that price.
    pub forced: Vec<Forced>,
    /// The tuned policy's own answer.
    pub own: Vec<u32>,
}

/// The price in forced base tokens of undoing a behaviour, prompt by prompt: the
/// least of the rules `tokens` and `tokens_first`, without controls.
///
/// # Errors
/// Settings out of range, a policy or a judge that fails, an interruption.
pub fn price_tokens(
    pair: Pair<'_>,
    prompts: &[SamplePrompt],
    judge: &dyn Judge,
    settings: &RevertSettings,
) -> Result<Vec<TokenPrice>, AuditError> {
    let donor = Donor::Base;
    let mut walker = Walker::new(pair, prompts, &donor, settings)?;
    let all = subjects(&mut walker, judge, ReversionDirection::Undo)?;
    let eligible: Vec<&Subject> = eligible(&all);
    let highest = force(&mut walker, judge, &eligible, Pick::HighestJs, false)?;
    let first = force(&mut walker, judge, &eligible, Pick::First, false)?;
    let mut found = highest.into_iter().zip(first).map(|(a, b)| cheaper(a, b));
    Ok(all
        .iter()
        .map(|s| {
            let found = match s.standing {
                Standing::Eligible => found.next(),
                _ => None,
            };
            let reached = found.filter(|a| a.price.is_some());
            TokenPrice {
                prompt: s.prompt,
                sample: s.sample,
                standing: s.standing,
                price: reached.as_ref().and_then(|a| Some(a.price? as u32)),
                forced: reached.map(|a| a.forced).unwrap_or_default(),
                own: s.own.ids.clone(),
            }
        })
        .collect())
}

/// Every method and control on every subject of these prompts.
///
/// # Errors
/// As [`price_tokens`].
pub fn price_all(
    pair: Pair<'_>,
    prompts: &[SamplePrompt],
    judge: &dyn Judge,
    donor: &Donor,
    direction: ReversionDirection,
    settings: &RevertSettings,
) -> Result<Vec<Priced>, AuditError> {
    let mut walker = Walker::new(pair, prompts, donor, settings)?;
    let all = subjects(&mut walker, judge, direction)?;
    let eligible = eligible(&all);
    let columns = columns(&mut walker, pair, judge, &eligible, direction)?;
    let mut tried: Vec<Vec<_>> = eligible.iter().map(|_| Vec::new()).collect();
    for (method, control, attempts) in columns {
        for (of, attempt) in tried.iter_mut().zip(attempts) {
            of.push((method, control, attempt));
        }
    }
    let mut tried = tried.into_iter();
    Ok(all
        .into_iter()
        .map(|subject| {
            let attempts = match subject.standing {
                Standing::Eligible => tried.next().unwrap_or_default(),
                _ => Vec::new(),
            };
            Priced { subject, attempts }
        })
        .collect())
}

fn eligible(all: &[Subject]) -> Vec<&Subject> {
    let of = all.iter();
    of.filter(|s| s.standing == Standing::Eligible).collect()
}

type Column = (ReversionMethod, ReversionControl, Vec<Attempt>);

/// The methods and controls that these settings ask for, in the order of rows.
pub(super) fn asked(
    settings: &RevertSettings,
    donor: &Donor,
) -> Vec<(ReversionMethod, ReversionControl)> {
    use ReversionControl as C;
    use ReversionMethod as M;
    let of_base = *donor == Donor::Base;
    let mut all = vec![
        (M::Tokens, C::None),
        (M::Tokens, C::RandomPositions),
        (M::Tokens, C::RandomTokens),
        (M::TokensFirst, C::None),
        (M::TokensMinimal, C::None),
        (M::Nats, C::None),
        (M::Nats, C::RandomTokens),
        (M::Prefill, C::None),
        (M::Prefill, C::OtherPrompt),
        (M::Alpha, C::None),
        (M::Alpha, C::Permuted),
    ];
    if settings.prompt.is_some() {
        all.extend([
            (M::Prompt, C::None),
            (M::Prompt, C::RandomSearch),
            (M::Prompt, C::RandomPrompt),
        ]);
    }
    // A text is the same for every prompt, and has no distribution to draw from.
    let meant = |(_, control): &(M, C)| match control {
        C::RandomTokens | C::OtherPrompt => of_base && settings.controls,
        C::None => true,
        _ => settings.controls,
    };
    all.into_iter().filter(meant).collect()
}

fn columns(
    walker: &mut Walker<'_>,
    pair: Pair<'_>,
    judge: &dyn Judge,
    of: &[&Subject],
    direction: ReversionDirection,
) -> Result<Vec<Column>, AuditError> {
    use ReversionControl as C;
    use ReversionMethod as M;
    let target = super::eligible::target(direction);
    let settings = walker.settings();
    let tokens = force(walker, judge, of, Pick::HighestJs, target)?;
    let first = force(walker, judge, of, Pick::First, target)?;
    let least = minimal(walker, judge, of, &[&tokens, &first], target)?;
    let asked = asked(settings, walker.donor());
    let random_tokens = match asked.contains(&(M::Tokens, C::RandomTokens)) {
        true => force(walker, judge, of, Pick::RandomToken, target)?,
        false => Vec::new(),
    };
    let mut columns = Vec::with_capacity(asked.len());
    for (method, control) in asked {
        let column = match (method, control) {
            (M::Tokens, C::None) => tokens.clone(),
            (M::Tokens, C::RandomPositions) => at_random(walker, judge, of, target)?,
            (M::Tokens, _) => random_tokens.clone(),
            (M::TokensFirst, _) => first.clone(),
            (M::TokensMinimal, _) => least.iter().map(|m| m.attempt.clone()).collect(),
            (M::Nats, C::None) => nats(&tokens, &first, &least, settings.nats_cap),
            (M::Nats, _) => as_nats(&random_tokens, settings.nats_cap),
            (M::Prefill, _) => prefill(walker, judge, of, target, control == C::OtherPrompt)?,
            (M::Alpha, C::None) => alpha(walker, judge, of, direction, Shift::Base)?,
            (M::Alpha, _) => alpha(walker, judge, of, direction, Shift::Permuted)?,
            (M::Prompt, _) => {
                let how = match control {
                    C::None => Search::Coordinates,
                    C::RandomSearch => Search::Random,
                    _ => Search::Single,
                };
                let Some(search) = &settings.prompt else {
                    continue;
                };
                prompts(walker, pair, judge, of, search, how, target)?
            }
            (M::Tuned | M::Base, _) => continue,
        };
        columns.push((method, control, column));
    }
    Ok(columns)
}

/// The one with the smaller price, the first at a tie.
fn cheaper(a: Attempt, b: Attempt) -> Attempt {
    match (a.price, b.price) {
        (Some(first), Some(second)) if second < first => b,
        (None, Some(_)) => b,
        _ => a,
    }
}

/// The least sum of margins of all sets of forced tokens known to turn an answer.
fn nats(tokens: &[Attempt], first: &[Attempt], least: &[Minimal], cap: f64) -> Vec<Attempt> {
    let ways = tokens.iter().zip(first).zip(least);
    ways.map(|((tokens, first), least)| {
        let reached = [tokens, first].into_iter().filter(|a| a.price.is_some());
        let searched = Some(&least.attempt).filter(|_| least.turning);
        let cheapest = reached
            .chain(searched)
            .min_by(|a, b| a.nats().total_cmp(&b.nats()));
        let mut attempt = cheapest.unwrap_or(tokens).clone();
        attempt.tries = tokens.tries + first.tries + least.attempt.tries;
        let nats = cheapest.map(Attempt::nats);
        in_nats(&mut attempt, nats, cap);
        attempt
    })
    .collect()
}

fn as_nats(attempts: &[Attempt], cap: f64) -> Vec<Attempt> {
    let mut attempts = attempts.to_vec();
    for attempt in &mut attempts {
        let nats = attempt.price.map(|_| attempt.nats());
        in_nats(attempt, nats, cap);
    }
    attempts
}

/// The same attempt with its price in nats.
fn in_nats(attempt: &mut Attempt, nats: Option<f64>, cap: f64) {
    attempt.levels.clear();
    attempt.price = None;
    attempt.status = ReversionStatus::NotReached;
    if let Some(price) = nats.filter(|p| *p <= cap) {
        attempt.reached(price);
    }
}
