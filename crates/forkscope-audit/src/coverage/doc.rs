//! `plan.json`: everything that decides which positions are audited and what
//! will be said about them, before the tuned policy is seen.

use serde::{Deserialize, Serialize};

use super::design::Kind;
use super::expect::{BudgetLine, ProblemLine};
use super::gate::Gate;
use super::noise::NoiseRule;
use super::outcome::Changed;

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanDocument {
    /// [`PlanDocument::SCHEMA`].
    pub schema: String,
    /// What `plan.parquet` lists: positions, or all positions of drawn problems.
    pub design: Kind,
    /// Share of a budget that the certain stratum gets.
    pub certain_share: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// SHA-256 of the seed's eight bytes, little-endian, after the line
    /// `forkscope/audit-plan/1`: a commitment that can be published alone.
    pub seed_sha256: String,
    /// Confidence level of every bound.
    pub level: f64,
    /// When a position is changed.
    pub changed: Changed,
    /// The noise that the rule on noise looks at.
    pub noise: Option<NoiseRule>,
    /// What puts positions in the certain stratum.
    pub gate: Gate,
    /// Where expectations come from, in words.
    pub expectation: String,
    /// Changed share that is expected.
    pub expected_changed_share: f64,
    /// Positions of the population.
    pub positions: u64,
    /// Its rollouts.
    pub rollouts: u64,
    /// Its problems.
    pub problems: u64,
    /// Tokens to forward for all of it, for one policy.
    pub full_tokens: u64,
    /// Tokens per second and policy, where a rate was given.
    pub tokens_per_second: Option<f64>,
    /// What each budget buys.
    pub budgets: Vec<BudgetPlan>,
}

/// Both designs under one budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BudgetPlan {
    /// Positions: a certain stratum and a sample of the rest.
    pub positions: BudgetLine,
    /// Whole problems.
    pub problems: ProblemLine,
}

impl PlanDocument {
    /// Schema name.
    pub const SCHEMA: &'static str = "forkscope/audit-plan/1";
}
