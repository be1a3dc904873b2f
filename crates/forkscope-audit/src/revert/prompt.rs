//! Prompt tokens: ids put before or after the user's text so that the tuned
//! policy takes the donor's token at its first decision.
//!
//! The objective is ln p(donor's token | prompt with the added ids, the answer up
//! to the first disagreement). For every length from 1 to the cap and both places
//! a coordinate search starts from random ids and replaces one id at a time by
//! the best of a random set of candidates; a forward pass of the tuned policy
//! over one changed prompt is one unit of the budget, which is shared equally by
//! lengths and places. The prompt found at each length and place is then given to
//! the tuned policy, and its answer judged: the price is the least length that
//! turns it. The search works on ids: the text of what it finds may be read back
//! as other ids.

use forkscope_metrics::normaliser;
use forkscope_metrics::rng::{Draws, Key};
use forkscope_records::types::ReversionStatus;

use super::eligible::{Subject, verdicts};
use super::forced::disagreements;
use super::walk::{Rule, Start, Trace, Walked, Walker};
use super::{Attempt, Judge, Pair};
use crate::AuditError;

/// Prompts of one forward pass at most.
const BATCH: usize = 64;

/// How a search over prompt tokens is bounded.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptSearch {
    /// Most added tokens.
    pub cap: usize,
    /// Forward passes per subject.
    pub budget: usize,
    /// Candidates per coordinate.
    pub candidates: usize,
    /// Ids that may be added: all but special ones.
    pub allowed: Vec<u32>,
    /// Where the user's text begins in a prompt, and how many ids follow it.
    pub head: usize,
    /// Ids behind the user's text.
    pub tail: usize,
}

/// Where ids are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Before the user's text.
    Before,
    /// After it.
    After,
}

/// How a prompt is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    /// Coordinate by coordinate.
    Coordinates,
    /// The best of as many random ones.
    Random,
    /// One random one.
    Single,
}

/// A prompt with added ids.
struct Found {
    subject: usize,
    prompt: Vec<u32>,
    added: Vec<usize>,
}

/// Searches for every subject; prices are numbers of added tokens.
pub(super) fn prompts(
    walker: &mut Walker<'_>,
    pair: Pair<'_>,
    judge: &dyn Judge,
    subjects: &[&Subject],
    search: &PromptSearch,
    how: Search,
    target: bool,
) -> Result<Vec<Attempt>, AuditError> {
    let mut attempts: Vec<Attempt> = subjects
        .iter()
        .map(|s| Attempt::idle(&s.own.ids, s.own.ended, s.own_behaves))
        .collect();
    for length in 1..=search.cap {
        let mut found = Vec::new();
        for (i, subject) in subjects.iter().enumerate() {
            if (walker.settings().interrupted)() {
                return Err(AuditError::Interrupted);
            }
            if attempts[i].price.is_none() {
                for placement in [Placement::Before, Placement::After] {
                    found.extend(find(
                        walker, pair, subject, i, search, how, length, placement,
                    )?);
                }
            }
        }
        judged(
            walker,
            judge,
            subjects,
            length,
            found,
            target,
            &mut attempts,
        )?;
    }
    Ok(attempts)
}

/// Gives what was found to the tuned policy.
fn judged(
    walker: &mut Walker<'_>,
    judge: &dyn Judge,
    subjects: &[&Subject],
    length: usize,
    found: Vec<Found>,
    target: bool,
    attempts: &mut [Attempt],
) -> Result<(), AuditError> {
    let starts: Vec<Start> = found
        .iter()
        .map(|f| Start {
            prompt: subjects[f.subject].prompt,
            sample: subjects[f.subject].sample,
            instead: Some(f.prompt.clone()),
            prefix: Vec::new(),
            rule: Rule::Tuned,
        })
        .collect();
    let walked = walker.walk(&starts, Trace::Off)?;
    let behaves = verdicts(judge, &starts, &walked)?;
    for ((found, walked), behaves) in found.into_iter().zip(walked).zip(behaves) {
        let attempt = &mut attempts[found.subject];
        attempt.tries += 1;
        if attempt.price.is_some() {
            continue;
        }
        attempt.status = ReversionStatus::NotReached;
        level(attempt, length, behaves, target);
        let Walked { ids, ended, .. } = walked;
        attempt.prompt = Some(found.prompt);
        attempt.added = found.added;
        attempt.ids = ids;
        attempt.ended = ended;
        attempt.behaviour = behaves;
        if behaves == Some(target) {
            attempt.reached(length as f64);
        }
    }
    Ok(())
}

/// One level per length: turned if either place turned it.
fn level(attempt: &mut Attempt, length: usize, behaves: Option<bool>, target: bool) {
    let turned = behaves.map(|b| b == target);
    match attempt.levels.last_mut() {
        Some((last, before)) if *last == length as f32 => {
            if *before != Some(true) {
                *before = turned;
            }
        }
        _ => attempt.levels.push((length as f32, turned)),
    }
}

/// The best prompt of a length and place.
#[allow(clippy::too_many_arguments, reason = "one place in a grid of searches")]
fn find(
    walker: &Walker<'_>,
    pair: Pair<'_>,
    subject: &Subject,
    index: usize,
    search: &PromptSearch,
    how: Search,
    length: usize,
    placement: Placement,
) -> Result<Option<Found>, AuditError> {
    let first = disagreements(&subject.own.ids, &subject.own.steps).next();
    let prompt = walker.prompts().get(subject.prompt);
    let (Some(first), Some(prompt)) = (first, prompt) else {
        return Ok(None);
    };
    if search.allowed.is_empty() || search.head + search.tail > prompt.ids.len() {
        return Ok(None);
    }
    let at = match placement {
        Placement::Before => search.head,
        Placement::After => prompt.ids.len() - search.tail,
    };
    let objective = Objective {
        pair,
        head: prompt.ids.get(..at).unwrap_or(&[]),
        tail: prompt.ids.get(at..).unwrap_or(&[]),
        answer: subject.own.ids.get(..first.index).unwrap_or(&[]),
        token: first.token,
    };
    let before = objective.head.len() + length + objective.tail.len();
    if before + objective.answer.len() + 1 >= pair.tuned.context_len() {
        return Ok(None);
    }
    let purpose = match (how, placement) {
        (Search::Coordinates, Placement::Before) => "revert-prompt-before",
        (Search::Coordinates, Placement::After) => "revert-prompt-after",
        (_, Placement::Before) => "revert-prompt-random-before",
        (_, Placement::After) => "revert-prompt-random-after",
    };
    let seed = walker.settings().seed;
    let key = Key::new(seed, &prompt.problem_id, subject.sample, purpose);
    let mut draws = key.rng_at(length as u64);
    let budget = (search.budget / (2 * search.cap.max(1))).max(1);
    let added = match how {
        Search::Single => draw(&mut draws, search, length),
        Search::Random => objective.best_of_random(&mut draws, search, length, budget)?,
        Search::Coordinates => objective.climb(&mut draws, search, length, budget)?,
    };
    Ok(Some(Found {
        subject: index,
        prompt: [objective.head, &added, objective.tail].concat(),
        added: (at..at + length).collect(),
    }))
}

fn draw(draws: &mut Draws, search: &PromptSearch, length: usize) -> Vec<u32> {
    let one = |_| {
        let drawn = draws.below(search.allowed.len() as u64) as usize;
        search.allowed.get(drawn).copied().unwrap_or_default()
    };
    (0..length).map(one).collect()
}

/// ln p of a token behind a prompt with added ids.
struct Objective<'s> {
    pair: Pair<'s>,
    head: &'s [u32],
    tail: &'s [u32],
    answer: &'s [u32],
    token: u32,
}

impl Objective<'_> {
    /// One value per list of added ids.
    fn values(&self, added: &[Vec<u32>]) -> Result<Vec<f64>, AuditError> {
        let vocab = self.pair.tuned.vocab_size();
        let mut values = Vec::with_capacity(added.len());
        let mut logits = Vec::new();
        for batch in added.chunks(BATCH) {
            let prompts: Vec<Vec<u32>> = batch
                .iter()
                .map(|added| [self.head, added, self.tail, self.answer].concat())
                .collect();
            let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
            let mut sequences = self.pair.tuned.sequences();
            let ids = sequences.open(&prompts)?;
            sequences.logits(&ids, &mut logits)?;
            for row in logits.chunks_exact(vocab) {
                let norm = normaliser(row).map_err(AuditError::Metrics)?;
                let z = row.get(self.token as usize);
                values.push(z.map_or(f64::NEG_INFINITY, |z| norm.logprob(*z)));
            }
        }
        Ok(values)
    }

    fn best_of_random(
        &self,
        draws: &mut Draws,
        search: &PromptSearch,
        length: usize,
        budget: usize,
    ) -> Result<Vec<u32>, AuditError> {
        let all: Vec<Vec<u32>> = (0..budget).map(|_| draw(draws, search, length)).collect();
        let values = self.values(&all)?;
        let best = best(&values).and_then(|(i, _)| all.into_iter().nth(i));
        Ok(best.unwrap_or_default())
    }

    /// Coordinate after coordinate, round after round, until the budget is spent
    /// or a round over all coordinates changes nothing.
    fn climb(
        &self,
        draws: &mut Draws,
        search: &PromptSearch,
        length: usize,
        budget: usize,
    ) -> Result<Vec<u32>, AuditError> {
        let mut added = draw(draws, search, length);
        let mut value = f64::NEG_INFINITY;
        let (mut left, mut coordinate, mut still) = (budget, 0, 0);
        let everything = search.allowed.len() <= search.candidates;
        while left > 0 && still < length {
            let mut tokens: Vec<u32> = match everything {
                true => search.allowed.clone(),
                false => draw(draws, search, search.candidates),
            };
            tokens.truncate(left);
            left -= tokens.len();
            let all: Vec<Vec<u32>> = tokens
                .into_iter()
                .map(|token| {
                    let mut changed = added.clone();
                    if let Some(slot) = changed.get_mut(coordinate) {
                        *slot = token;
                    }
                    changed
                })
                .collect();
            match best(&self.values(&all)?) {
                Some((i, found)) if found > value => {
                    value = found;
                    added.clone_from(&all[i]);
                    still = 0;
                }
                // Other candidates may be better the next time.
                _ => still += usize::from(everything),
            }
            coordinate = (coordinate + 1) % length;
        }
        Ok(added)
    }
}

/// The greatest value and where it is first.
fn best(values: &[f64]) -> Option<(usize, f64)> {
    let all = values.iter().copied().enumerate();
    all.reduce(|best, next| if next.1 > best.1 { next } else { best })
}
