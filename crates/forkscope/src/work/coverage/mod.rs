//! An audit planned under a budget, and its execution.

mod execute;
mod plan;

pub use execute::{Execution, Planned, execute};
pub use plan::{Job, plan};

/// Name of the document of a plan.
pub const PLAN: &str = "plan.json";

/// Rows per row group of the tables.
const ROW_GROUP: usize = 4096;
