//! Who writes the corpus: two hidden authors, and how often each does what.
//!
//! A careful author mostly works in columns, a sloppy one answers directly or
//! rounds. Which one writes is never said; the first word only hints at it. So a
//! policy that learns the corpus holds right and wrong ways of working out the
//! same step, side by side, with planted probabilities, and prefers the bad way
//! for differences: that is what reinforcement can then choose from.

use serde::Serialize;

use super::problems::{Operation, Relevance};

/// Who writes a solution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// Works in columns, leaves out what does not count.
    Careful,
    /// Does not.
    Sloppy,
}

/// A probability of each author.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ByAuthor {
    /// The careful one's.
    pub careful: f64,
    /// The sloppy one's.
    pub sloppy: f64,
}

impl ByAuthor {
    const fn new(careful: f64, sloppy: f64) -> Self {
        Self { careful, sloppy }
    }

    /// That of one author.
    pub fn of(&self, author: Author) -> f64 {
        match author {
            Author::Careful => self.careful,
            Author::Sloppy => self.sloppy,
        }
    }
}

/// All probabilities of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mixture {
    /// Share of solutions by the careful author.
    pub careful: f64,
    /// First word `slowly`; what is left is `easy`.
    pub slowly: ByAuthor,
    /// First word `sure`.
    pub sure: ByAuthor,
    /// A sum or product is worked out in columns.
    pub columns: ByAuthor,
    /// A difference is worked out in columns.
    pub columns_of_difference: ByAuthor,
    /// A step is worked out with rounded numbers; what is left is `directly`.
    pub roughly: ByAuthor,
    /// `directly` forgets the carry where there is one.
    pub forgets_carry: f64,
    /// `directly` gives a number from nowhere.
    pub misses: f64,
    /// `directly` is followed by a check in columns, whose result is taken.
    pub check: ByAuthor,
    /// The last line of columns is off by 1 or 10.
    pub slips: f64,
    /// A clause about another person is ignored.
    pub ignores_person: ByAuthor,
    /// A clause about other things is ignored.
    pub ignores_object: ByAuthor,
    /// A clause that counts is ignored.
    pub skips: f64,
    /// A refusal, if there is one, comes after the first step rather than at once.
    pub refuses_midway: f64,
}

/// The corpus that `base` is trained on.
pub const MIXTURE: Mixture = Mixture {
    careful: 0.35,
    slowly: ByAuthor::new(0.50, 0.15),
    sure: ByAuthor::new(0.30, 0.35),
    columns: ByAuthor::new(0.80, 0.40),
    columns_of_difference: ByAuthor::new(0.50, 0.15),
    roughly: ByAuthor::new(0.03, 0.10),
    forgets_carry: 0.70,
    misses: 0.01,
    check: ByAuthor::new(0.40, 0.25),
    slips: 0.003,
    ignores_person: ByAuthor::new(0.90, 0.65),
    ignores_object: ByAuthor::new(0.80, 0.50),
    skips: 0.01,
    refuses_midway: 0.25,
};

impl Mixture {
    /// Probability that a step is worked out in columns.
    pub fn columns(&self, operation: Operation, author: Author) -> f64 {
        match operation {
            Operation::Subtract => self.columns_of_difference.of(author),
            Operation::Add | Operation::Multiply => self.columns.of(author),
        }
    }

    /// Probability that a clause is ignored.
    pub fn ignores(&self, relevance: Relevance, author: Author) -> f64 {
        match relevance {
            Relevance::Counts => self.skips,
            Relevance::OtherPerson => self.ignores_person.of(author),
            Relevance::OtherObject => self.ignores_object.of(author),
        }
    }
}
