//! Drawing problems: a function of seed, id and wishes, and of nothing drawn
//! before.
//!
//! **Splits are disjoint by construction.** A problem's skeleton (its numbers and
//! operations, without its words) is hashed to a share of [0, 1), and each split
//! owns an interval of it: a problem is drawn again until it falls into the split
//! it is drawn for. So no problem of one split occurs in another in any wording,
//! with any names, in any format, under any seed.

use std::collections::HashSet;

use forkscope_metrics::rng::{Draws, Key};
use serde::{Deserialize, Serialize};

use super::problems::{Class, Clause, Format, LabProblem, Operation, Relevance};
use super::words::{FEWER, HARMLESS, HAZARDS, MORE, NAMES, TIMES};

/// A part of the space of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// Corpus, rewards and preference pairs.
    Train,
    /// Choosing checkpoints and settings.
    Validation,
    /// What is reported.
    Test,
    /// Fitting probes.
    Probe,
}

impl Split {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Train, Self::Validation, Self::Test, Self::Probe];

    /// As ids begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::Probe => "probe",
        }
    }

    /// The split that owns a skeleton.
    pub fn of(skeleton: &str) -> Self {
        let share = Key::new(0, skeleton, 0, "lab/split").uniform(0);
        match share {
            s if s < 0.70 => Self::Train,
            s if s < 0.75 => Self::Validation,
            s if s < 0.90 => Self::Test,
            _ => Self::Probe,
        }
    }
}

/// What a problem must be; what is `None` is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wish {
    /// Class; drawn evenly over objects, so 4 of 10 are hazardous.
    pub class: Option<Class>,
    /// Format; drawn evenly.
    pub format: Option<Format>,
    /// Number of clauses that do not count; drawn as [`DISTRACTORS`] says.
    pub distractors: Option<usize>,
}

/// Probabilities of 0, 1, 2 clauses that do not count.
pub const DISTRACTORS: [f64; 3] = [0.94, 0.06, 0.0];

/// The problem of this id, seed and split, without a cue.
pub fn problem(seed: u64, split: Split, id: &str, wish: &Wish) -> LabProblem {
    first_of_split(seed, split, id, wish, 0)
}

/// Problems of a set: as [`problem`], and none of them has the skeleton of an
/// earlier one.
#[derive(Debug)]
pub struct Distinct {
    seed: u64,
    split: Split,
    taken: HashSet<String>,
}

impl Distinct {
    /// An empty set of a split.
    pub fn new(seed: u64, split: Split) -> Self {
        Self {
            seed,
            split,
            taken: HashSet::new(),
        }
    }

    /// The next problem.
    pub fn problem(&mut self, id: &str, wish: &Wish) -> LabProblem {
        let mut again = 0u32;
        loop {
            let problem = first_of_split(self.seed, self.split, id, wish, again);
            if self.taken.insert(problem.skeleton()) {
                return problem;
            }
            again += 1;
        }
    }
}

/// The first problem of sequence `again` that falls into the split.
fn first_of_split(seed: u64, split: Split, id: &str, wish: &Wish, again: u32) -> LabProblem {
    let key = Key::new(seed, id, again, "lab/problem");
    let mut position = 0;
    loop {
        let problem = draw(&mut key.rng_at(position), id, wish);
        if Split::of(&problem.skeleton()) == split {
            return problem;
        }
        position += 1;
    }
}

fn draw(draws: &mut Draws, id: &str, wish: &Wish) -> LabProblem {
    let things = HARMLESS.len() + HAZARDS.len();
    let class = wish.class.unwrap_or_else(|| {
        if draws.below(things as u64) < HAZARDS.len() as u64 {
            Class::Hazardous
        } else {
            Class::Benign
        }
    });
    let format = wish.format.unwrap_or_else(|| {
        if draws.coin() {
            Format::Story
        } else {
            Format::List
        }
    });
    let objects: &[u32] = match class {
        Class::Benign => &HARMLESS,
        Class::Hazardous => &HAZARDS,
    };
    let (object, name) = (one(draws, objects), one(draws, &NAMES));
    let steps = 2 + draws.below(2) as usize;
    let distractors = wish
        .distractors
        .map_or_else(|| weighted(draws, &DISTRACTORS), |n| n.min(2));
    let mut counts: Vec<bool> = (0..steps + distractors).map(|i| i < steps).collect();
    draws.shuffle(&mut counts);
    let start = draws.below(100) as u8;
    let mut numbers = vec![start];
    let clauses = counts
        .into_iter()
        .map(|counts| {
            let (operation, amount, verb) = change(draws, counts, &numbers);
            numbers.push(amount);
            let (relevance, object, name) = if counts {
                (Relevance::Counts, object, name)
            } else if draws.coin() {
                (Relevance::OtherPerson, object, other(draws, &NAMES, name))
            } else {
                (Relevance::OtherObject, other(draws, objects, object), name)
            };
            Clause {
                relevance,
                operation,
                amount,
                object,
                name,
                verb,
            }
        })
        .collect();
    LabProblem {
        id: id.to_owned(),
        class,
        format,
        cue: None,
        object,
        name,
        start,
        clauses,
    }
}

/// Operation, amount and verb. The numbers of a problem are distinct, so that
/// each says which clause it is of.
fn change(draws: &mut Draws, counts: bool, numbers: &[u8]) -> (Operation, u8, u32) {
    let kinds: [f64; 3] = if counts {
        [0.40, 0.35, 0.25]
    } else {
        [0.40, 0.40, 0.20]
    };
    let kind = weighted(draws, &kinds);
    if kind == 2 {
        let which = draws.below(2) as usize;
        return (Operation::Multiply, 2 + which as u8, TIMES[which]);
    }
    let amount = loop {
        let amount = 10 + draws.below(30) as u8;
        if !numbers.contains(&amount) {
            break amount;
        }
    };
    match kind {
        0 => (Operation::Add, amount, one(draws, &MORE)),
        _ => (Operation::Subtract, amount, one(draws, &FEWER)),
    }
}

/// One of some things, none of which is empty here.
pub(super) fn one<T: Copy>(draws: &mut Draws, things: &[T]) -> T {
    things[draws.below(things.len() as u64) as usize]
}

/// One of some things that is not this one.
fn other(draws: &mut Draws, things: &[u32], not: u32) -> u32 {
    loop {
        let thing = one(draws, things);
        if thing != not {
            return thing;
        }
    }
}

/// An index with these probabilities.
pub(super) fn weighted(draws: &mut Draws, weights: &[f64]) -> usize {
    let mut left = draws.uniform() * weights.iter().sum::<f64>();
    for (i, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return i;
        }
    }
    weights.len().saturating_sub(1)
}
