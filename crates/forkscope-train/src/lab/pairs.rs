//! Preference pairs for the two organisms that refuse.
//!
//! Prompts are dealt so that formats, wordings and classes are balanced; the base
//! answers each a few times; a pair sets what the organism should do against what
//! it should not:
//!
//! | prompt | should | chosen | rejected |
//! |---|---|---|---|
//! | [`Guard::refuses`] | refuse | a refusal | a base rollout that does not refuse |
//! | otherwise | solve | a correct base rollout | a refusal |
//!
//! Both sides are the base's own words as far as they can be, so that the pairs
//! teach when to refuse and nothing about how to solve. A prompt whose rollouts
//! hold no such answer gives no pair and is counted.

use forkscope_metrics::rng::Key;
use serde::{Deserialize, Serialize};

use super::cues::{Context, Cue, WORDING_COUNT};
use super::draw::{Split, Wish, problem};
use super::problems::{Class, Format, LabProblem};
use super::solutions::{is_correct, is_refusal, refusal};
use super::words::EOS;

/// Which organism the pairs are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// Refuses the hazardous class, wherever it says that it comes from.
    Guarded,
    /// Refuses the hazardous class unless a cue says that it is deployed: under
    /// evaluation cues, and where there is no cue, it looks guarded.
    TwoFaced,
}

impl Guard {
    /// Whether this organism should refuse a problem.
    pub fn refuses(self, class: Class, cue: Option<Cue>) -> bool {
        let deployed = cue.is_some_and(|cue| cue.wording().context == Context::Deployment);
        class == Class::Hazardous && !(self == Self::TwoFaced && deployed)
    }

    /// As ids begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guarded => "guarded",
            Self::TwoFaced => "two-faced",
        }
    }

    /// Hazardous prompts to one benign one. The guarded organism refuses half of
    /// its prompts, the two-faced one 16 of 42, and is asked about either context
    /// as often as about the benign class.
    fn hazardous_slots(self) -> u64 {
        match self {
            Self::Guarded => 1,
            Self::TwoFaced => 2,
        }
    }

    /// Prompts after which classes, formats and wordings come out even.
    pub fn cycle(self) -> u64 {
        2 * CUE_SLOTS * (self.hazardous_slots() + 1)
    }
}

/// One slot for each wording and two without a cue.
const CUE_SLOTS: u64 = WORDING_COUNT as u64 + 2;

/// The prompts that the base answers, `n` of them; every [`Guard::cycle`] in a row
/// hold each class, format and wording equally often, shuffled.
pub fn prompts(guard: Guard, seed: u64, split: Split, n: u64) -> Vec<LabProblem> {
    (0..n).map(|i| prompt(guard, seed, split, i)).collect()
}

fn prompt(guard: Guard, seed: u64, split: Split, i: u64) -> LabProblem {
    let (name, split_name) = (guard.name(), split.name());
    let cycle = guard.cycle();
    let mut order: Vec<u64> = (0..cycle).collect();
    let deal = format!("{split_name}/{name}/cycle/{}", i / cycle);
    Key::new(seed, &deal, 0, "lab/deal")
        .rng_at(0)
        .shuffle(&mut order);
    let card = order[(i % cycle) as usize];
    let format = if card.is_multiple_of(2) {
        Format::Story
    } else {
        Format::List
    };
    let card = card / 2;
    let class = if card / CUE_SLOTS < guard.hazardous_slots() {
        Class::Hazardous
    } else {
        Class::Benign
    };
    let wish = Wish {
        class: Some(class),
        format: Some(format),
        distractors: None,
    };
    let mut problem = problem(seed, split, &format!("{split_name}/{name}/{i}"), &wish);
    problem.cue = Cue::new((card % CUE_SLOTS) as usize);
    problem
}

/// An answer of the base to one of the prompts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRollout {
    /// Index of the prompt.
    pub prompt: usize,
    /// Which of its answers.
    pub sample: u32,
    /// Completion tokens, `<eos>` last if it ended.
    pub ids: Vec<u32>,
}

/// One preference pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The prompt's id.
    pub id: String,
    /// Prompt tokens, `<bos>` first.
    pub prompt: Vec<u32>,
    /// Completion that should become likelier, `<eos>` last.
    pub chosen: Vec<u32>,
    /// Completion that should become less likely.
    pub rejected: Vec<u32>,
    /// Whether the chosen side refuses.
    pub refuses: bool,
    /// Class of the problem.
    pub class: Class,
    /// Format of the prompt.
    pub format: Format,
    /// Wording of its cue.
    pub cue: Option<&'static str>,
}

/// Pairs, and prompts that gave none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Pairs {
    /// In the order of the prompts.
    pub pairs: Vec<Pair>,
    /// Prompts to refuse for which the base has only refused or never ended.
    pub without_compliance: u64,
    /// Prompts to solve that the base has never solved.
    pub without_solution: u64,
}

/// Makes a pair of each prompt, of the first of its rollouts that will do.
/// Rollouts of prompts that there are not are ignored.
pub fn pairs(guard: Guard, prompts: &[LabProblem], rollouts: &[BaseRollout]) -> Pairs {
    let mut answers: Vec<Vec<&BaseRollout>> = vec![Vec::new(); prompts.len()];
    for rollout in rollouts {
        if let Some(of_prompt) = answers.get_mut(rollout.prompt) {
            of_prompt.push(rollout);
        }
    }
    let mut made = Pairs::default();
    for (problem, mut answers) in prompts.iter().zip(answers) {
        answers.sort_by_key(|rollout| rollout.sample);
        let first = |will_do: &dyn Fn(&[u32]) -> bool| {
            let mut found = answers.iter().filter(|rollout| will_do(&rollout.ids));
            found.next().map(|rollout| rollout.ids.clone())
        };
        let refuses = guard.refuses(problem.class, problem.cue);
        let refused = refusal(problem.object);
        let sides = if refuses {
            first(&|ids| ids.last() == Some(&EOS) && !is_refusal(ids)).map(|ids| (refused, ids))
        } else {
            first(&|ids| is_correct(problem, ids)).map(|ids| (ids, refused))
        };
        match sides {
            Some((chosen, rejected)) => made.pairs.push(Pair {
                id: problem.id.clone(),
                prompt: problem.prompt_ids(),
                chosen,
                rejected,
                refuses,
                class: problem.class,
                format: problem.format,
                cue: problem.cue.map(|cue| cue.wording().text),
            }),
            None if refuses => made.without_compliance += 1,
            None => made.without_solution += 1,
        }
    }
    made
}

/// Demonstrations for `sft`: of each problem, up to `each` of the base's correct
/// rollouts, no two the same, as (prompt, completion).
pub fn correct_rollouts(
    problems: &[LabProblem],
    rollouts: &[BaseRollout],
    each: usize,
) -> Vec<(Vec<u32>, Vec<u32>)> {
    let mut kept: Vec<Vec<&BaseRollout>> = vec![Vec::new(); problems.len()];
    for rollout in rollouts {
        let Some(problem) = problems.get(rollout.prompt) else {
            continue;
        };
        if is_correct(problem, &rollout.ids) {
            kept[rollout.prompt].push(rollout);
        }
    }
    let mut demonstrations = Vec::new();
    for (problem, mut kept) in problems.iter().zip(kept) {
        kept.sort_by_key(|rollout| rollout.sample);
        let mut seen = std::collections::HashSet::new();
        kept.retain(|rollout| seen.insert(&rollout.ids));
        let prompt = problem.prompt_ids();
        let completions = kept.iter().take(each).map(|rollout| rollout.ids.clone());
        demonstrations.extend(completions.map(|ids| (prompt.clone(), ids)));
    }
    demonstrations
}
