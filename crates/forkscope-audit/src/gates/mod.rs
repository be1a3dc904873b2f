//! Gates: which positions of a rollout are chosen, to be learned from, to be
//! intervened on or to be audited, and the controls that choose as many others.
//!
//! A position is given as its offset into the completion, 0-based: offset o is
//! position t = prompt_len + o. Entropies are H in nats at T = 1 of the policy
//! that the caller looks at, usually the base. Every gate is a pure function of
//! the numbers given, the seed and the rollout's name: neither threads nor the
//! order of rollouts matter, and only [`Gate::is_global`] gates look at more than
//! one rollout. Ties go to the earlier position. Definitions, what each control
//! isolates, and sources: `docs/gates.md`.

mod calibrate;
mod control_report;
mod controls;
mod decide;
mod gate;
mod grammar;
mod matched;
mod plan;
mod report;
mod rules;
#[cfg(test)]
mod tests;

pub use calibrate::{Calibration, ScoreCurve, tau_for_share};
pub use control_report::ControlReport;
pub use decide::decide;
pub use gate::{Control, DUAL_WINDOW, Gate, RANDOM_HIGH_NATS, Rule, Score};
pub(crate) use matched::{Draw, EntropyBins, position_bin};
pub use matched::{ENTROPY_BINS, Matching, POSITION_BINS};
pub use plan::GatePlan;
pub use report::{GateReport, OutcomeCounts};

/// The numbers of one rollout's completion, one per position.
#[derive(Debug, Clone, Copy)]
pub struct GateInput<'a> {
    /// Problem identifier.
    pub problem_id: &'a str,
    /// Sample index.
    pub sample: u32,
    /// H in nats; finite. As many as the completion has tokens.
    pub entropies: &'a [f64],
    /// Another score, for signal gates; not NaN, may be infinite.
    pub signal: Option<&'a [f64]>,
    /// Marks of changed positions, for [`Gate::Changed`].
    pub changed: Option<&'a [bool]>,
}

impl<'a> GateInput<'a> {
    /// A rollout of which only entropies are known.
    pub fn new(problem_id: &'a str, sample: u32, entropies: &'a [f64]) -> Self {
        Self {
            problem_id,
            sample,
            entropies,
            signal: None,
            changed: None,
        }
    }
}
