//! What is expected of an audit before it is made: from a diff of another pair
//! or of other rollouts, or from an assumption that is stated.

use forkscope_records::types::{DiffRow, Rollout};

use super::bounds::{ProblemBounds, problem_bounds};
use super::gate::{Gate, GateKind};
use super::learned::Logistic;
use super::noise::NoiseRule;
use super::outcome::{Changed, Outcome, of_diff};
use super::population::Population;
use crate::AuditError;

/// Parts into which problems are divided for a learned gate's own score.
const FOLDS: u32 = 5;

/// A diff of which every position is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Its positions.
    pub population: Population,
    /// What they turned out to be.
    pub outcomes: Vec<Outcome>,
    /// Score of each under the gate; a learned one's from a fit without its
    /// problem, unless there are fewer than two problems.
    pub scores: Vec<f64>,
    /// The gate, fitted on everything.
    pub gate: Gate,
}

/// Without a calibration: the chance of being changed is proportional to H(b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumption {
    /// Changed share of all positions.
    pub changed_share: f64,
}

/// Where expectations come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    /// A diff that was made.
    Calibrated(Box<Calibration>),
    /// An assumption.
    Assumed(Assumption),
}

impl Calibration {
    /// Of the rows of a diff.
    ///
    /// # Errors
    /// As [`Population::new`] and [`super::outcomes`]; for the learned gate, no
    /// changed or no unchanged position.
    pub fn new(
        rows: &[DiffRow],
        rollouts: &[Rollout],
        changed: Changed,
        noise: Option<&NoiseRule>,
        kind: GateKind,
    ) -> Result<Self, AuditError> {
        let (population, outcomes) = of_diff(rows, rollouts, changed, noise)?;
        let (gate, scores) = match kind {
            GateKind::Entropy => (Gate::Entropy, Gate::Entropy.scores(&population)?),
            GateKind::Learned => learned(&population, &outcomes)?,
        };
        Ok(Self {
            population,
            outcomes,
            scores,
            gate,
        })
    }

    /// Changed share of all positions.
    pub fn changed_share(&self) -> f64 {
        let changed = self.outcomes.iter().filter(|o| o.changed).count();
        changed as f64 / self.outcomes.len() as f64
    }

    /// Means of each problem.
    pub fn problems(&self) -> Vec<ProblemBounds> {
        let of = |p| self.population.problem_of(p);
        let places = self.population.positions.iter().map(of);
        problem_bounds(places.zip(&self.outcomes), self.population.problems)
            .into_iter()
            .flatten()
            .collect()
    }
}

impl Expectation {
    /// Changed share of all positions that is expected.
    pub fn changed_share(&self) -> f64 {
        match self {
            Self::Calibrated(calibration) => calibration.changed_share(),
            Self::Assumed(assumption) => assumption.changed_share,
        }
    }

    /// As a sentence says it.
    pub fn words(&self) -> String {
        match self {
            Self::Calibrated(c) => format!(
                "expected from a calibration diff of {} positions in {} problems, {} of them changed",
                c.population.len(),
                c.population.problems,
                c.outcomes.iter().filter(|o| o.changed).count()
            ),
            Self::Assumed(a) => format!(
                "assumed, not measured: a share of {} of all positions is changed, each with a chance proportional to its base entropy",
                a.changed_share
            ),
        }
    }
}

fn learned(population: &Population, outcomes: &[Outcome]) -> Result<(Gate, Vec<f64>), AuditError> {
    let changed: Vec<bool> = outcomes.iter().map(|o| o.changed).collect();
    let gate = Gate::Learned(Logistic::fit(population, &changed, |_| true)?);
    let folds = FOLDS.min(population.problems as u32);
    if folds < 2 {
        let scores = gate.scores(population)?;
        return Ok((gate, scores));
    }
    let mut scores = vec![0.0; population.len()];
    for fold in 0..folds {
        let inside = |p: &_| population.problem_of(p) as u32 % folds == fold;
        let model = Logistic::fit(population, &changed, |p| !inside(p))?;
        for (score, position) in scores.iter_mut().zip(&population.positions) {
            if inside(position) {
                *score = model.score(population, position)?;
            }
        }
    }
    Ok((gate, scores))
}
