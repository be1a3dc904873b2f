//! What a task asks of a rollout: the answer it gives, whether that answer is
//! the reference answer, and whether it behaves in a given way.
//!
//! ```text
//! completion --Verifier--> extracted answer --equivalent--> correct?
//! completion --Behaviour--> holds?
//! ```
//!
//! Model text is hostile: it is matched and parsed, never evaluated, and every
//! step is linear in its length up to the depth of nested brackets, which is
//! bounded.

mod answer;
mod behaviour;
mod equivalence;
mod error;
mod extract;
mod judge;
mod math;
pub mod math_verify;
mod verifier;
mod vote;

pub use behaviour::Behaviour;
pub use equivalence::{Equivalence, equivalent};
pub use error::TaskError;
pub use extract::stated_answer;
pub use judge::{JudgeCommand, JudgeLimits};
pub use math::rational::Rational;
pub use verifier::{Grade, Verifier};
pub use vote::votes;
