//! Making lessons of a pair and prompts.
//!
//! For a guarded prompt, let y be an answer of the tuned policy that behaves as
//! it should, and z one of the base that does not. A recovery is one of
//!
//! | forced | share | before y stand |
//! |---|---|---|
//! | `nothing` | 1/8 | no tokens |
//! | `prefill` | 4/8 | k tokens of z |
//! | `branch` | 2/8 | k tokens of z, y up to a deciding token, m tokens of the base from there |
//! | `relapse` | 1/8 | k tokens of z, m tokens of the tuned policy from there |
//!
//! with m and the k of `prefill` drawn evenly from 1 to the depth, the other k
//! evenly from 0 to half of it (`branch`) or from 1 (`relapse`). `branch` is what
//! an adversary meets who lets a recovery begin and forces tokens within it; it
//! becomes a `prefill` where the continuation behaves as it should anyway, and so
//! does `relapse`. End tokens are never forced.

use forkscope_metrics::rng::{Draws, Key};
use forkscope_policy::{Completion, Policy, SamplePrompt};
use rayon::prelude::*;

use super::answers::{Draw, continued, whole};
use super::decisions::{deciding, rivals};
use super::lessons::{Anchor, Decision, Forced, Lessons, Recovery};
use super::settings::HardenSettings;
use crate::TrainError;

/// Whether a completion of a prompt (by its index) behaves as guarded; `None` where
/// nobody can say.
pub type Behaves<'a> = dyn Fn(usize, &[u32]) -> Result<Option<bool>, TrainError> + Sync + 'a;

/// Two policies, their prompts, and what is guarded.
pub struct Pair<'a> {
    /// The policy before it was tuned.
    pub base: &'a Policy,
    /// The policy that is to be hardened, as it is.
    pub tuned: &'a Policy,
    /// Prompts whose behaviour is guarded.
    pub guarded: &'a [SamplePrompt],
    /// Prompts whose answers stay as they are.
    pub kept: &'a [SamplePrompt],
    /// Whether an answer to a guarded prompt behaves as it should: the prompt's
    /// index, the answer's ids. `None` if nobody can say.
    pub behaves: &'a Behaves<'a>,
    /// Asked now and then; true stops.
    pub interrupted: fn() -> bool,
}

/// A guarded prompt that can be learned from.
struct Guarded {
    prompt: usize,
    /// Answers that behave, and their deciding tokens.
    answers: Vec<(Vec<u32>, Vec<usize>)>,
    /// Answers of the base that do not, without end tokens.
    alternatives: Vec<Vec<u32>>,
}

/// A recovery to be made.
struct Cut {
    guarded: usize,
    answer: usize,
    forced: Forced,
    /// Forced tokens; where a continuation is asked for, those before it.
    before: Vec<u32>,
    /// Tokens of the continuation that are taken.
    take: usize,
    /// A prefill of the same prompt, for where the continuation will not do.
    instead: Vec<u32>,
}

/// All lessons, in the order of prompts.
pub fn make(pair: &Pair<'_>, settings: &HardenSettings) -> Result<Lessons, TrainError> {
    settings.check()?;
    let mut lessons = Lessons::default();
    lessons.made.guarded_prompts = pair.guarded.len() as u64;
    lessons.made.kept_prompts = pair.kept.len() as u64;
    let guarded = guarded(pair, settings, &mut lessons)?;
    let mut cuts: Vec<Cut> = Vec::new();
    for (i, of) in guarded.iter().enumerate() {
        let Some(prompt) = pair.guarded.get(of.prompt) else {
            continue;
        };
        let key = Key::new(settings.seed, &prompt.problem_id, 0, "harden cut");
        for n in 0..settings.recoveries {
            cuts.push(cut(i, of, settings, &mut key.rng_at(u64::from(n))));
        }
    }
    continue_all(pair, settings, &guarded, &mut cuts)?;
    let recoveries = cuts
        .par_iter()
        .map(|cut| recovery(pair, &guarded, cut))
        .collect::<Result<Vec<_>, TrainError>>()?;
    let room = pair.tuned.context_len().min(pair.base.context_len());
    let fits = |n: usize| n <= room;
    for recovery in recoveries.into_iter().flatten() {
        match fits(recovery.ids.len()) {
            true => lessons.recoveries.push(recovery),
            false => lessons.made.too_long += 1,
        }
    }
    if settings.anchored() {
        for anchor in anchors(pair, settings)? {
            match fits(anchor.ids.len()) {
                true => lessons.anchors.push(anchor),
                false => lessons.made.too_long += 1,
            }
        }
    }
    Ok(lessons)
}

/// The prompts on which the two policies behave differently.
fn guarded(
    pair: &Pair<'_>,
    settings: &HardenSettings,
    lessons: &mut Lessons,
) -> Result<Vec<Guarded>, TrainError> {
    let draw = |policy, purpose| Draw {
        policy,
        settings,
        purpose,
        interrupted: pair.interrupted,
    };
    let tuned = draw(pair.tuned, "guarded/tuned").varied(pair.guarded)?;
    let base = draw(pair.base, "guarded/base").varied(pair.guarded)?;
    let mut found = Vec::new();
    for (i, (prompt, (tuned, base))) in pair.guarded.iter().zip(tuned.iter().zip(&base)).enumerate()
    {
        let (mut answers, mut alternatives) = (Vec::new(), Vec::new());
        for answer in tuned.iter().filter(|c| whole(c)) {
            if (pair.behaves)(i, &answer.ids)? == Some(true) {
                answers.push(answer.ids.clone());
            }
        }
        for answer in base {
            let ids = without_end(&answer.ids, prompt);
            if !ids.is_empty() && (pair.behaves)(i, &answer.ids)? == Some(false) {
                alternatives.push(ids);
            }
        }
        if answers.is_empty() {
            lessons.made.without_behaviour += 1;
        } else if alternatives.is_empty() {
            lessons.made.without_alternative += 1;
        } else {
            found.push((i, answers, alternatives));
        }
    }
    found
        .into_par_iter()
        .map(|(prompt, answers, alternatives)| {
            let ids = pair.guarded.get(prompt).map_or(&[][..], |p| &p.ids);
            let decided = |answer: Vec<u32>| {
                let places = deciding(pair.base, pair.tuned, ids, &answer, settings.js_gate)?;
                Ok((answer, places))
            };
            Ok(Guarded {
                prompt,
                answers: answers
                    .into_iter()
                    .map(decided)
                    .collect::<Result<_, TrainError>>()?,
                alternatives,
            })
        })
        .collect()
}

fn without_end(ids: &[u32], prompt: &SamplePrompt) -> Vec<u32> {
    let end = ids.iter().position(|id| prompt.eos.contains(id));
    ids.get(..end.unwrap_or(ids.len())).unwrap_or(ids).to_vec()
}

/// One of `n` by a draw; 0 of none.
fn one(draws: &mut Draws, n: usize) -> usize {
    draws.below(n as u64) as usize
}

/// Draws what is forced before one recovery.
fn cut(i: usize, of: &Guarded, settings: &HardenSettings, draws: &mut Draws) -> Cut {
    let depth = settings.depth;
    let empty = Vec::new();
    let answer = one(draws, of.answers.len());
    let alternative = of
        .alternatives
        .get(one(draws, of.alternatives.len()))
        .unwrap_or(&empty);
    let first = |k: usize| alternative.iter().copied().take(k).collect::<Vec<u32>>();
    let forced = match draws.below(8) {
        0 => Forced::Nothing,
        1..=4 => Forced::Prefill,
        5..=6 => Forced::Branch,
        _ => Forced::Relapse,
    };
    let take = 1 + one(draws, depth);
    let (half, kept) = (depth / 2, draws.next_u64());
    let before = match forced {
        Forced::Nothing => Vec::new(),
        Forced::Prefill => first(take),
        Forced::Relapse => first(1 + one(draws, half.max(1))),
        Forced::Branch => {
            let mut before = first(one(draws, half + 1));
            let decided = of.answers.get(answer);
            let later = decided.map_or(&[][..], |(_, places)| places.get(1..).unwrap_or(&[]));
            if let Some((ids, at)) = decided
                .zip(later.get(kept as usize % later.len().max(1)))
                .map(|((ids, _), at)| (ids, *at))
            {
                before.extend(ids.iter().take(at));
                before
            } else {
                // Nothing decides after the first token.
                return Cut {
                    guarded: i,
                    answer,
                    forced: Forced::Prefill,
                    before: first(take),
                    take: 0,
                    instead: Vec::new(),
                };
            }
        }
    };
    let continues = matches!(forced, Forced::Branch | Forced::Relapse);
    Cut {
        guarded: i,
        answer,
        forced,
        before,
        take: if continues { take } else { 0 },
        instead: if continues { first(take) } else { Vec::new() },
    }
}

/// Replaces what stands before a continuation by itself and the continuation.
fn continue_all(
    pair: &Pair<'_>,
    settings: &HardenSettings,
    guarded: &[Guarded],
    cuts: &mut [Cut],
) -> Result<(), TrainError> {
    for (forced, policy, purpose) in [
        (Forced::Branch, pair.base, "branch"),
        (Forced::Relapse, pair.tuned, "relapse"),
    ] {
        let room = policy.context_len();
        let mut asked: Vec<(&mut Cut, usize, SamplePrompt)> = Vec::new();
        for (n, cut) in cuts
            .iter_mut()
            .enumerate()
            .filter(|(_, c)| c.forced == forced)
        {
            let prompt = guarded.get(cut.guarded).map(|g| g.prompt);
            let Some((at, prompt)) = prompt.and_then(|at| Some((at, pair.guarded.get(at)?))) else {
                continue;
            };
            let prompt = continued(prompt, &cut.before, n);
            match prompt.ids.len() < room {
                true => asked.push((cut, at, prompt)),
                false => cut.fall_back(),
            }
        }
        let draw = Draw {
            policy,
            settings,
            purpose,
            interrupted: pair.interrupted,
        };
        let prompts: Vec<SamplePrompt> = asked.iter().map(|(_, _, p)| p.clone()).collect();
        let found = draw.answers(&prompts, 1, settings.temperature, settings.max_tokens)?;
        for ((cut, at, prompt), found) in asked.into_iter().zip(found) {
            let Some(completion) = found.into_iter().next() else {
                continue;
            };
            let answer = [cut.before.as_slice(), &completion.ids].concat();
            let mut tokens = without_end(&completion.ids, &prompt);
            tokens.truncate(cut.take);
            if !tokens.is_empty() && (pair.behaves)(at, &answer)? == Some(false) {
                cut.before.extend(tokens);
            } else {
                cut.fall_back();
            }
        }
    }
    Ok(())
}

impl Cut {
    fn fall_back(&mut self) {
        self.forced = Forced::Prefill;
        self.before = std::mem::take(&mut self.instead);
    }
}

/// The lesson of a cut; `None` where nothing is left of its answer.
fn recovery(
    pair: &Pair<'_>,
    guarded: &[Guarded],
    cut: &Cut,
) -> Result<Option<Recovery>, TrainError> {
    let Some(of) = guarded.get(cut.guarded) else {
        return Ok(None);
    };
    let (Some(prompt), Some((answer, places))) =
        (pair.guarded.get(of.prompt), of.answers.get(cut.answer))
    else {
        return Ok(None);
    };
    let mut ids = prompt.ids.clone();
    ids.extend(&cut.before);
    let from = ids.len();
    ids.extend(answer);
    let room = pair.base.context_len();
    let places: Vec<usize> = places.iter().map(|offset| from + offset).collect();
    let rivals = match ids.len() <= room {
        true => {
            let vocab = pair.base.vocab_size().min(pair.tuned.vocab_size());
            rivals(pair.base, vocab, &ids, from, &places)?
        }
        false => Vec::new(),
    };
    let decision = |(t, rival): (&usize, u32)| Decision { t: *t, rival };
    Ok(Some(Recovery {
        problem_id: prompt.problem_id.clone(),
        forced: cut.forced,
        prompt_len: prompt.ids.len(),
        from,
        decisions: places.iter().zip(rivals).map(decision).collect(),
        ids,
    }))
}

/// Answers of the tuned policy to the prompts that are kept.
fn anchors(pair: &Pair<'_>, settings: &HardenSettings) -> Result<Vec<Anchor>, TrainError> {
    let draw = Draw {
        policy: pair.tuned,
        settings,
        purpose: "kept",
        interrupted: pair.interrupted,
    };
    let answers = draw.answers(
        pair.kept,
        settings.anchors,
        settings.temperature,
        settings.max_tokens,
    )?;
    let of = |(prompt, answers): (&SamplePrompt, Vec<Completion>)| {
        let (id, ids) = (prompt.problem_id.clone(), prompt.ids.clone());
        answers
            .into_iter()
            .filter(|c| !c.ids.is_empty())
            .map(move |c| Anchor {
                problem_id: id.clone(),
                ids: [ids.as_slice(), &c.ids].concat(),
                prompt_len: ids.len(),
            })
    };
    Ok(pair.kept.iter().zip(answers).flat_map(of).collect())
}
