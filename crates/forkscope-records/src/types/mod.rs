//! The records that travel between the rooms of the house: one type per idea.

mod awareness;
mod contrast;
mod coverage;
mod feature;
mod finding;
pub mod float;
mod intervention;
mod patching;
mod problem;
mod reversion;
mod rollout;
mod row;

pub use awareness::{AwarenessRow, NeuronRow, SteeringRow};
pub use contrast::{ContrastContext, ContrastItem};
pub use coverage::{BeyondNoiseRow, NoiseRow, PlanRow, Stratum};
pub use feature::FeatureRow;
pub use finding::{Finding, Findings};
pub use intervention::{Direction, Intervention};
pub use patching::{PatchArm, PatchDirection, PatchingRow};
pub use problem::{Message, Problem, ProblemPrompt};
pub use reversion::{
    Reversion, ReversionControl, ReversionDirection, ReversionMethod, ReversionStatus,
};
pub use rollout::{FinishReason, Rollout};
pub use row::{DiffRow, ScoreRow, ShiftClass, TopK, Validity};
