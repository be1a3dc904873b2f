//! Coverage: which positions to audit under a budget, and what the audit of
//! some says about all.
//!
//! A *population* is the completion positions of rollouts that are listed before
//! anything of the tuned policy is seen ([`Population`]); the base alone gives
//! each an entropy and its two greatest probabilities. A *design* (`design`)
//! spends part of a budget on a certain stratum, the positions that a gate puts
//! first ([`Gate`]), and the rest on a simple random sample of all others; or it
//! draws whole problems. Afterwards (`bounds`)
//!
//! - the changed share of what was not looked at has an exact upper bound
//!   (hypergeometric tail, [`forkscope_metrics::stats::hypergeometric_upper`]);
//! - the mean JS (in [0, ln 2]) and TV (in [0, 1]) have betting bounds for
//!   sampling without replacement ([`forkscope_metrics::stats::betting_upper`]);
//! - KL has no upper end, so its shares are estimates and no bound is given;
//! - for new problems the unit is the whole problem: a betting bound on the mean
//!   changed share of problems, for problems drawn as these were.
//!
//! Bounds are one-sided, at the level stated, and about the population alone:
//! other rollouts of the same problems are another population.

mod after;
mod base_view;
mod bounds;
mod calibration;
mod cost;
mod design;
mod doc;
mod execute;
mod expect;
mod gate;
mod learned;
mod noise;
mod noise_findings;
mod outcome;
mod plan_findings;
mod population;

pub use after::{Audited, coverage_findings, new_problem_findings};
pub use bounds::{
    Bounded, Mass, NewProblems, PositionBounds, ProblemBounds, new_problem_bounds, position_bounds,
    problem_bounds,
};
pub use calibration::{Assumption, Calibration, Expectation};
pub use cost::{Cost, full_cost};
pub use design::{Design, Draw, Drawn, Kind};
pub use doc::{BudgetPlan, PlanDocument};
pub use execute::audit_window;
pub use expect::{BudgetLine, ProblemLine, expect_positions, expect_problems};
pub use gate::{Gate, GateKind};
pub use learned::Logistic;
pub use noise::{DECILES, NoiseFloor, NoiseRule, beyond_noise, noise_window};
pub use noise_findings::noise_findings;
pub use outcome::{Changed, Outcome, outcomes};
pub use plan_findings::plan_findings;
pub use population::{Member, Population, Position};
