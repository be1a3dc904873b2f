//! Which units an audit looks at under a budget.
//!
//! One random order of all units, drawn from the seed before anything else,
//! serves every budget, so a larger budget contains the smaller one's sample as
//! far as the certain stratum leaves it. Given the certain stratum, which the
//! base alone decides, the first s others of a uniformly random order are a
//! simple random sample without replacement of the rest, and their order is a
//! random one.

use forkscope_metrics::rng::Key;
use serde::{Deserialize, Serialize};

use super::gate;
use super::population::Population;
use crate::AuditError;

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Positions: a certain stratum and a sample of the rest.
    Positions,
    /// Whole problems, at random.
    Problems,
}

/// The orders in which units are taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Design {
    /// Share of a budget that the certain stratum gets.
    certain_share: f64,
    gated: Vec<u32>,
    drawn: Vec<u32>,
    problems: Vec<u32>,
}

/// What is drawn under one budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Draw {
    /// The budget: share of the units.
    pub budget: f64,
    /// What came of it.
    pub drawn: Drawn,
}

/// The units of a draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drawn {
    /// Positions.
    Positions {
        /// Indices of the certain stratum, by descending score.
        certain: Vec<u32>,
        /// Indices of the sample, in the order of drawing.
        sampled: Vec<u32>,
    },
    /// Indices of problems, in the order of drawing.
    Problems(Vec<u32>),
}

impl Design {
    /// Orders by the scores of a gate and by the seed. `certain_share` is the
    /// share of a budget that goes to the certain stratum.
    ///
    /// # Errors
    /// A share outside [0, 1), or not one score per position.
    pub fn new(
        population: &Population,
        scores: &[f64],
        certain_share: f64,
        seed: u64,
    ) -> Result<Self, AuditError> {
        if !(0.0..1.0).contains(&certain_share) {
            return Err(AuditError::Setting {
                setting: "share of the budget for the certain stratum",
                value: certain_share,
                range: "[0, 1)",
            });
        }
        if scores.len() != population.len() || scores.iter().any(|s| s.is_nan()) {
            return Err(AuditError::Internal(format!(
                "{} scores for {} positions",
                scores.len(),
                population.len()
            )));
        }
        let shuffled = |n: usize, purpose: &str| {
            let mut order: Vec<u32> = (0..n as u32).collect();
            Key::new(seed, "", 0, purpose).rng_at(0).shuffle(&mut order);
            order
        };
        Ok(Self {
            certain_share,
            gated: gate::order(scores),
            drawn: shuffled(population.len(), "plan positions"),
            problems: shuffled(population.problems, "plan problems"),
        })
    }

    /// The draw of a kind under a budget: the nearest number of units, at least
    /// one drawn at random.
    ///
    /// # Errors
    /// A budget outside (0, 1].
    pub fn draw(&self, kind: Kind, budget: f64) -> Result<Draw, AuditError> {
        if !(budget > 0.0 && budget <= 1.0) {
            return Err(AuditError::Setting {
                setting: "budget",
                value: budget,
                range: "(0, 1]",
            });
        }
        let drawn = match kind {
            Kind::Positions => self.positions(budget),
            Kind::Problems => {
                let n = units(budget, self.problems.len());
                Drawn::Problems(self.problems.iter().copied().take(n).collect())
            }
        };
        Ok(Draw { budget, drawn })
    }

    fn positions(&self, budget: f64) -> Drawn {
        let total = units(budget, self.gated.len());
        let wanted = (self.certain_share * total as f64).floor() as usize;
        let certain: Vec<u32> = self
            .gated
            .iter()
            .copied()
            .take(wanted.min(total.saturating_sub(1)))
            .collect();
        let mut taken = vec![false; self.gated.len()];
        for index in &certain {
            if let Some(mark) = taken.get_mut(*index as usize) {
                *mark = true;
            }
        }
        let free = |i: &u32| !taken.get(*i as usize).copied().unwrap_or(true);
        let left = total - certain.len();
        let sampled = self.drawn.iter().copied().filter(free).take(left).collect();
        Drawn::Positions { certain, sampled }
    }
}

/// budget x n to the nearest, halves up, at least 1 where n is.
fn units(budget: f64, n: usize) -> usize {
    ((budget * n as f64 + 0.5).floor() as usize).clamp(1, n.max(1))
}

impl Draw {
    /// Every position that is looked at, ascending: index, whether it is of the
    /// certain stratum, and the probability that it is looked at.
    pub fn strata(&self, population: &Population) -> Vec<(u32, bool, f64)> {
        let mut out: Vec<(u32, bool, f64)> = match &self.drawn {
            Drawn::Positions { certain, sampled } => {
                let rest = population.len().saturating_sub(certain.len()).max(1);
                let share = sampled.len() as f64 / rest as f64;
                let certain = certain.iter().map(|i| (*i, true, 1.0));
                certain
                    .chain(sampled.iter().map(|i| (*i, false, share)))
                    .collect()
            }
            Drawn::Problems(problems) => {
                let share = problems.len() as f64 / population.problems.max(1) as f64;
                let of = self.positions(population).into_iter();
                of.map(|i| (i, false, share)).collect()
            }
        };
        out.sort_unstable_by_key(|(i, _, _)| *i);
        out
    }

    /// Indices of all positions that are looked at, ascending.
    pub fn positions(&self, population: &Population) -> Vec<u32> {
        let mut out: Vec<u32> = match &self.drawn {
            Drawn::Positions { certain, sampled } => {
                certain.iter().chain(sampled).copied().collect()
            }
            Drawn::Problems(problems) => {
                let mut taken = vec![false; population.problems];
                for problem in problems {
                    if let Some(mark) = taken.get_mut(*problem as usize) {
                        *mark = true;
                    }
                }
                let of = |p| {
                    taken
                        .get(population.problem_of(p))
                        .copied()
                        .unwrap_or(false)
                };
                (0..)
                    .zip(&population.positions)
                    .filter(|(_, p)| of(p))
                    .map(|(i, _)| i)
                    .collect()
            }
        };
        out.sort_unstable();
        out
    }
}
