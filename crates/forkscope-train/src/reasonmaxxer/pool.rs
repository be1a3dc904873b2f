//! The pool: problems of middling difficulty, and the shorter of their rollouts.
//!
//! Of a problem with n rollouts, c of them right, the pass rate is c / n. The
//! problems that have both right and wrong rollouts are taken in order of
//!
//! |c / n - 1/2|, truncated rollouts, mean completion tokens, id (as text)
//!
//! ascending, the first `max_problems` of them; of all their rollouts, in order
//! of (completion tokens, truncated, id, sample), the first
//! round(trim_fraction n) stay, a half rounded to even. Identifiers compare by
//! code point, which is the order of their UTF-8 bytes. Unit of lengths: tokens
//! of the completion, its end token included.
//!
//! Source: the published pool selection of arXiv 2605.06241, followed to the
//! letter; `tests/reasonmaxxer_pool/` holds it to that program's own output.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{Candidate, PoolSettings};
use crate::TrainError;

/// A problem of the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemStats {
    /// Problem identifier.
    pub problem_id: String,
    /// Its rollouts before trimming.
    pub rollouts: usize,
    /// The right ones among them.
    pub correct: usize,
    /// correct / rollouts.
    pub pass_rate: f64,
    /// The truncated ones among them.
    pub truncated: usize,
    /// Mean completion length in tokens.
    pub mean_completion_tokens: f64,
    /// Its rollouts after trimming.
    pub kept: usize,
    /// The right ones among those.
    pub kept_correct: usize,
}

/// How many problems and rollouts there were, and where each of them went: a
/// problem is chosen, or left out for the first of the reasons that applies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolCounts {
    /// All problems.
    pub problems: usize,
    /// Without a usable rollout.
    pub problems_unusable: usize,
    /// With rollouts that nobody graded, where those are left out.
    pub problems_ungraded: usize,
    /// Whose rollouts are all right, where both outcomes are required.
    pub problems_all_right: usize,
    /// Whose rollouts are all wrong, where both outcomes are required.
    pub problems_all_wrong: usize,
    /// Of the others, outside the band of pass rates.
    pub problems_outside_band: usize,
    /// Eligible, but farther from a pass rate of 1/2 than `max_problems` others.
    pub problems_beyond_max: usize,
    /// In the pool.
    pub problems_chosen: usize,
    /// Of those, without any rollout after trimming.
    pub problems_trimmed_away: usize,
    /// Of those, with only right or only wrong rollouts after trimming: their
    /// advantages are 0, and they serve as anchors alone.
    pub problems_one_sign_after_trim: usize,
    /// All rollouts.
    pub rollouts: usize,
    /// Without a completion, longer than the context, or of another tokenizer.
    pub rollouts_unusable: usize,
    /// Of problems that are not in the pool.
    pub rollouts_not_chosen: usize,
    /// Longer than the cutoff.
    pub rollouts_trimmed: usize,
    /// In the pool.
    pub rollouts_kept: usize,
    /// Of those, cut by the token limit.
    pub rollouts_kept_truncated: usize,
    /// Completion tokens of the longest rollout kept.
    pub cutoff_completion_tokens: usize,
}

/// The pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its problems, the closest to a pass rate of 1/2 first.
    pub problems: Vec<ProblemStats>,
    /// Its rollouts, the shortest first.
    pub rollouts: Vec<Candidate>,
    /// What was left out, and why.
    pub counts: PoolCounts,
}

/// Chooses the pool of `candidates`.
pub fn select_pool(
    candidates: Vec<Candidate>,
    settings: &PoolSettings,
) -> Result<Pool, TrainError> {
    settings.check()?;
    let mut counts = PoolCounts {
        rollouts: candidates.len(),
        ..PoolCounts::default()
    };
    counts.problems = ids(&candidates).count();
    let (usable, unusable): (Vec<_>, Vec<_>) = candidates.into_iter().partition(Candidate::usable);
    counts.rollouts_unusable = unusable.len();
    let groups = group(&usable);
    counts.problems_unusable = counts.problems - groups.len();
    refuse_unusable(&usable, &counts)?;
    let groups = graded(groups, settings, &mut counts)?;
    let mut problems = eligible(&groups, settings, &mut counts);
    problems.sort_by(closest_to_the_middle);
    counts.problems_beyond_max = problems.len().saturating_sub(settings.max_problems);
    problems.truncate(settings.max_problems);
    if problems.is_empty() {
        return Err(TrainError::Setting(nothing_mixed(&counts, settings)));
    }
    counts.problems_chosen = problems.len();
    let rollouts = trim(usable, &problems, settings.trim_fraction, &mut counts)?;
    count_kept(&rollouts, &mut problems, &mut counts);
    Ok(Pool {
        problems,
        rollouts,
        counts,
    })
}

/// The problems' identifiers, each once, as they first appear.
fn ids(candidates: &[Candidate]) -> impl Iterator<Item = &str> {
    let mut seen = HashSet::new();
    let all = candidates.iter().map(|c| c.rollout.problem_id.as_str());
    all.filter(move |id| seen.insert(*id))
}

/// Candidates by problem, problems as they first appear.
pub(super) fn group(candidates: &[Candidate]) -> Vec<(&str, Vec<&Candidate>)> {
    let mut place: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<(&str, Vec<&Candidate>)> = Vec::new();
    for c in candidates {
        let id = c.rollout.problem_id.as_str();
        let at = *place.entry(id).or_insert(groups.len());
        match groups.get_mut(at) {
            Some((_, members)) => members.push(c),
            None => groups.push((id, vec![c])),
        }
    }
    groups
}

fn refuse_unusable(usable: &[Candidate], counts: &PoolCounts) -> Result<(), TrainError> {
    if usable.is_empty() {
        return Err(TrainError::Setting(format!(
            "none of the {} rollouts can be trained on: all are without a completion, longer than \
             the context or of another tokenizer; sample them again with the base model",
            counts.rollouts
        )));
    }
    refuse_all_truncated(usable)
}

/// Where every completion was cut, none shows what its policy would have
/// answered.
pub(super) fn refuse_all_truncated(rollouts: &[Candidate]) -> Result<(), TrainError> {
    if rollouts.is_empty() || !rollouts.iter().all(Candidate::truncated) {
        return Ok(());
    }
    let longest = rollouts.iter().map(Candidate::completion_tokens).max();
    Err(TrainError::Setting(format!(
        "every one of the {} rollouts was cut by the token limit, at {} tokens or fewer, so no \
         completion shows its answer; sample again with a larger --max-tokens, or with a prompt \
         style whose stop strings the model produces",
        rollouts.len(),
        longest.unwrap_or(0)
    )))
}

/// The problems whose rollouts are all graded; the others are an error unless
/// they are to be skipped.
fn graded<'c>(
    groups: Vec<(&'c str, Vec<&'c Candidate>)>,
    settings: &PoolSettings,
    counts: &mut PoolCounts,
) -> Result<Vec<(&'c str, Vec<&'c Candidate>)>, TrainError> {
    let (graded, ungraded): (Vec<_>, Vec<_>) = groups
        .into_iter()
        .partition(|(_, members)| members.iter().all(|c| c.rollout.correct.is_some()));
    counts.problems_ungraded = ungraded.len();
    match ungraded.first() {
        Some((id, members)) if !settings.skip_ungraded || graded.is_empty() => {
            let without = members.iter().filter(|c| c.rollout.correct.is_none());
            Err(TrainError::Setting(format!(
                "problem {id:?} has {} rollouts without `correct` ({} problems have such): its answer \
                 key is missing; give the problems an `answer` and sample or grade again{}",
                without.count(),
                counts.problems_ungraded,
                match graded.is_empty() {
                    true => "",
                    false => ", or leave those problems out with --skip-ungraded",
                }
            )))
        }
        _ => Ok(graded),
    }
}

fn eligible(
    groups: &[(&str, Vec<&Candidate>)],
    settings: &PoolSettings,
    counts: &mut PoolCounts,
) -> Vec<ProblemStats> {
    let mut out = Vec::new();
    for (id, members) in groups {
        let n = members.len();
        let correct = members.iter().filter(|c| c.right()).count();
        let pass_rate = correct as f64 / n as f64;
        let mixed = 0 < correct && correct < n;
        if !mixed && settings.require_both {
            counts.problems_all_right += usize::from(correct == n);
            counts.problems_all_wrong += usize::from(correct == 0);
            continue;
        }
        if !(settings.min_pass..=settings.max_pass).contains(&pass_rate) {
            counts.problems_outside_band += 1;
            continue;
        }
        let tokens: usize = members.iter().map(|c| c.completion_tokens()).sum();
        out.push(ProblemStats {
            problem_id: (*id).to_owned(),
            rollouts: n,
            correct,
            pass_rate,
            truncated: members.iter().filter(|c| c.truncated()).count(),
            mean_completion_tokens: tokens as f64 / n as f64,
            kept: 0,
            kept_correct: 0,
        });
    }
    out
}

fn closest_to_the_middle(a: &ProblemStats, b: &ProblemStats) -> std::cmp::Ordering {
    let distance = |p: &ProblemStats| (p.pass_rate - 0.5).abs();
    distance(a)
        .total_cmp(&distance(b))
        .then(a.truncated.cmp(&b.truncated))
        .then(
            a.mean_completion_tokens
                .total_cmp(&b.mean_completion_tokens),
        )
        .then_with(|| a.problem_id.cmp(&b.problem_id))
}

/// The shortest rollouts of the chosen problems.
fn trim(
    usable: Vec<Candidate>,
    problems: &[ProblemStats],
    fraction: f64,
    counts: &mut PoolCounts,
) -> Result<Vec<Candidate>, TrainError> {
    let chosen: HashSet<&str> = problems.iter().map(|p| p.problem_id.as_str()).collect();
    let all = usable.len();
    let mut rollouts: Vec<Candidate> = usable
        .into_iter()
        .filter(|c| chosen.contains(c.rollout.problem_id.as_str()))
        .collect();
    counts.rollouts_not_chosen = all - rollouts.len();
    rollouts.sort_by(|a, b| {
        a.completion_tokens()
            .cmp(&b.completion_tokens())
            .then(a.truncated().cmp(&b.truncated()))
            .then_with(|| a.rollout.problem_id.cmp(&b.rollout.problem_id))
            .then(a.rollout.sample.cmp(&b.rollout.sample))
    });
    // Python's `round`: a half goes to the even neighbour.
    let keep = (fraction * rollouts.len() as f64).round_ties_even() as usize;
    if keep == 0 {
        return Err(TrainError::Setting(format!(
            "trim_fraction {fraction} of {} rollouts leaves none; give a larger one",
            rollouts.len()
        )));
    }
    counts.rollouts_trimmed = rollouts.len().saturating_sub(keep);
    rollouts.truncate(keep);
    Ok(rollouts)
}

fn count_kept(rollouts: &[Candidate], problems: &mut [ProblemStats], counts: &mut PoolCounts) {
    let mut kept: HashMap<&str, (usize, usize)> = HashMap::new();
    for c in rollouts {
        let entry = kept.entry(c.rollout.problem_id.as_str()).or_default();
        entry.0 += 1;
        entry.1 += usize::from(c.right());
    }
    for p in problems {
        (p.kept, p.kept_correct) = kept.get(p.problem_id.as_str()).copied().unwrap_or((0, 0));
        let one_sign = p.kept_correct == 0 || p.kept_correct == p.kept;
        counts.problems_trimmed_away += usize::from(p.kept == 0);
        counts.problems_one_sign_after_trim += usize::from(p.kept > 0 && one_sign);
    }
    counts.rollouts_kept = rollouts.len();
    counts.rollouts_kept_truncated = rollouts.iter().filter(|c| c.truncated()).count();
    counts.cutoff_completion_tokens = rollouts.last().map_or(0, Candidate::completion_tokens);
}

/// What happened to every problem, and what to do about it.
fn nothing_mixed(counts: &PoolCounts, settings: &PoolSettings) -> String {
    let PoolCounts {
        problems_all_right: right,
        problems_all_wrong: wrong,
        problems_outside_band: outside,
        ..
    } = *counts;
    let remedy = match (right, wrong) {
        _ if outside > 0 => "widen the band with --min-pass and --max-pass",
        (r, w) if r > w => {
            "the problems are too easy for this model: give harder ones, sample at a higher \
             temperature, or draw more rollouts per problem"
        }
        (r, w) if w > r => {
            "the problems are too hard for this model: give easier ones, draw more rollouts per \
             problem, or check that the verifier and the prompt style fit"
        }
        _ => "give problems of middling difficulty, or draw more rollouts per problem",
    };
    format!(
        "no problem of {} can be learned from: {right} all right, {wrong} all wrong, {outside} \
         outside pass rates {} to {}, {} ungraded, {} without a usable rollout; a problem needs \
         right and wrong rollouts, best about half of each; {remedy}",
        counts.problems,
        settings.min_pass,
        settings.max_pass,
        counts.problems_ungraded,
        counts.problems_unusable,
    )
}
