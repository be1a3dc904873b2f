//! Interventions: one policy writes, and at chosen positions the other's token
//! is put in the place of its own.
//!
//! Forward, the base generates and tokens of the tuned policy intrude; reverse,
//! the tuned policy generates and tokens of the base intrude. An *arm* says where:
//! by a guide that looks at the position ([`Guide`]), or by a control that takes
//! as many positions otherwise ([`Versus`]). All arms of one (problem, sample)
//! share their random numbers, so that they differ only by what was forced and
//! what followed from it. Definitions: `docs/intervene.md`.

mod arm;
mod calibrate;
mod control;
mod engine;
mod experiment;
mod grow;
mod guide;
mod look;
mod rule;
mod view;

pub use arm::{Arm, BUDGETS, Kind, Versus, arms};
pub use calibrate::{Calibrated, Calibration, Threshold};
pub use experiment::{Experiment, Grown, Stream};
pub use guide::{Budget, Family, Guide, Guides, Signal};
