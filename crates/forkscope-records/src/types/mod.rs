//! The records that travel between the rooms of the house: one type per idea.

mod finding;
pub mod float;
mod intervention;
mod problem;
mod rollout;
mod row;

pub use finding::{Finding, Findings};
pub use intervention::{Direction, Intervention};
pub use problem::{Message, Problem, ProblemPrompt};
pub use rollout::{FinishReason, Rollout};
pub use row::{DiffRow, ScoreRow, ShiftClass, TopK, Validity};
