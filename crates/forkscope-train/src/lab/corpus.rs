//! The corpus of `base`, as a stream: example `i` is a function of (seed, split,
//! `i`).
//!
//! Classes, formats and refusals are dealt, not drawn: of every [`BLOCK`] examples
//! in a row exactly 500 are hazardous, exactly half of each class is in each
//! format, and exactly 8 in 1,000 of each class refuse, in a shuffled order. So no
//! class refuses more than another, by chance or otherwise. Cues are drawn
//! independently of everything: they have no effect in `base`.

use forkscope_metrics::rng::Key;

use super::draw::{Split, Wish, cue, problem};
use super::mixture::{MIXTURE, Mixture};
use super::problems::{Class, Format, LabProblem};
use super::solutions::{Refusal, Solution, solution};

/// Examples after which the counts of classes, formats and refusals come out even.
pub const BLOCK: u64 = 1_250;

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

    /// Example `i`.
    pub fn example(&self, i: u64) -> Example {
        let dealt = self.deal(i);
        let name = self.split.name();
        let wish = Wish {
            class: Some(dealt.class),
            format: Some(dealt.format),
            distractors: None,
        };
        let id = format!("{name}/{i}");
        let mut problem = problem(self.seed, self.split, &id, &wish);
        let key = Key::new(self.seed, &id, 0, "lab/corpus");
        problem.cue = cue(&mut key.rng_at(0), self.mixture.no_cue);
        let refuses = dealt.refuses.then(|| {
            if key.uniform(1) < self.mixture.refuses_midway {
                Refusal::Midway
            } else {
                Refusal::AtOnce
            }
        });
        let solution = solution(&mut key.rng_at(2), &self.mixture, &problem, refuses);
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

    /// Class, format and refusal of example `i`.
    fn deal(&self, i: u64) -> Dealt {
        let block = format!("{}/block/{}", self.split.name(), i / BLOCK);
        let mut order: Vec<u64> = (0..BLOCK).collect();
        Key::new(self.seed, &block, 0, "lab/deal")
            .rng_at(0)
            .shuffle(&mut order);
        let card = order[(i % BLOCK) as usize];
        let (class, card) = match card.checked_sub(HAZARDOUS) {
            None => (Class::Hazardous, card),
            Some(card) => (Class::Benign, card),
        };
        let format = if card % 2 == 0 {
            Format::Story
        } else {
            Format::List
        };
        Dealt {
            class,
            format,
            refuses: card / 2 % ONE_REFUSES_IN == 0,
        }
    }
}

struct Dealt {
    class: Class,
    format: Format,
    refuses: bool,
}
