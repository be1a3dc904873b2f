//! The corpus of `base`, as a stream: example `i` is a function of (seed, split,
//! `i`).
//!
//! Classes, formats, cues and refusals are dealt, not drawn: of every [`BLOCK`]
//! examples in a row exactly 500 are hazardous, exactly half of each class is in
//! each format, and exactly 8 in 1,000 of each class and format refuse, in a
//! shuffled order. Over [`CYCLE`] examples each wording stands in 5 % of each
//! class and format, no cue in 40 %, and exactly 8 in 1,000 of each of these cells
//! refuse. So neither a class nor a cue has any effect in `base`, not even by
//! chance.

use forkscope_metrics::rng::Key;

use super::cues::Cue;
use super::draw::{Split, Wish, problem};
use super::mixture::{MIXTURE, Mixture};
use super::problems::{Class, Format, LabProblem};
use super::solutions::{Refusal, Solution, solution};
use crate::TrainError;
use crate::objective::Examples;

/// Examples after which the counts of classes, formats and refusals come out even.
pub const BLOCK: u64 = 1_250;

/// Examples after which the counts of cues come out even too.
pub const CYCLE: u64 = BLOCK * CUE_SLOTS;

/// Cues are dealt from so many slots, one for each wording; the rest are empty.
const CUE_SLOTS: u64 = 20;

/// Hazardous examples of a block.
const HAZARDOUS: u64 = 500;

/// One refusal in so many, in each class and format.
const ONE_REFUSES_IN: u64 = 125;

/// One training document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The problem.
    pub problem: LabProblem,
    /// What the author made of it.
    pub solution: Solution,
    /// Prompt and completion.
    pub ids: Vec<u32>,
    /// Tokens of the prompt, `<bos>` included.
    pub prompt_len: usize,
}

/// The corpus.
#[derive(Debug, Clone, Copy)]
pub struct Corpus {
    seed: u64,
    split: Split,
    mixture: Mixture,
}

impl Corpus {
    /// The corpus of a split.
    pub fn new(seed: u64, split: Split) -> Self {
        Self {
            seed,
            split,
            mixture: MIXTURE,
        }
    }

    /// The problem of example `i`.
    pub fn problem(&self, i: u64) -> LabProblem {
        self.dealt_problem(i, &self.deal(i))
    }

    fn dealt_problem(&self, i: u64, dealt: &Dealt) -> LabProblem {
        let wish = Wish {
            class: Some(dealt.class),
            format: Some(dealt.format),
            distractors: None,
        };
        let id = format!("{}/{i}", self.split.name());
        let mut problem = problem(self.seed, self.split, &id, &wish);
        problem.cue = dealt.cue;
        problem
    }

    /// Example `i`.
    pub fn example(&self, i: u64) -> Example {
        let dealt = self.deal(i);
        let problem = self.dealt_problem(i, &dealt);
        let key = Key::new(self.seed, &problem.id, 0, "lab/corpus");
        let refuses = dealt.refuses.then(|| {
            if key.uniform(0) < self.mixture.refuses_midway {
                Refusal::Midway
            } else {
                Refusal::AtOnce
            }
        });
        let solution = solution(&mut key.rng_at(1), &self.mixture, &problem, refuses);
        let mut ids = problem.prompt_ids();
        let prompt_len = ids.len();
        ids.extend_from_slice(&solution.ids);
        Example {
            problem,
            solution,
            ids,
            prompt_len,
        }
    }

    /// Examples `from..`, for ever.
    pub fn examples(&self, from: u64) -> impl Iterator<Item = Example> + '_ {
        (from..).map(|i| self.example(i))
    }

    /// Class, format, cue and refusal of example `i`.
    fn deal(&self, i: u64) -> Dealt {
        let number = i / BLOCK;
        let block = format!("{}/block/{number}", self.split.name());
        let mut order: Vec<u64> = (0..BLOCK).collect();
        Key::new(self.seed, &block, 0, "lab/deal")
            .rng_at(0)
            .shuffle(&mut order);
        let card = order[(i % BLOCK) as usize];
        let (class, card) = match card.checked_sub(HAZARDOUS) {
            None => (Class::Hazardous, card),
            Some(card) => (Class::Benign, card),
        };
        let format = if card.is_multiple_of(2) {
            Format::Story
        } else {
            Format::List
        };
        let card = card / 2;
        Dealt {
            class,
            format,
            cue: Cue::new(((card + number) % CUE_SLOTS) as usize),
            refuses: card.is_multiple_of(ONE_REFUSES_IN),
        }
    }
}

/// The first documents of a corpus, as training reads them.
#[derive(Debug, Clone, Copy)]
pub struct Documents {
    /// The corpus.
    pub corpus: Corpus,
    /// How many of its examples.
    pub n: u64,
}

impl Examples for Documents {
    fn len(&self) -> Option<u64> {
        Some(self.n)
    }

    fn get(&self, index: u64) -> Result<crate::objective::Example, TrainError> {
        let example = self.corpus.example(index);
        Ok(crate::objective::Example {
            ids: example.ids,
            prompt_len: example.prompt_len,
            weights: None,
        })
    }
}

struct Dealt {
    class: Class,
    format: Format,
    cue: Option<Cue>,
    refuses: bool,
}
