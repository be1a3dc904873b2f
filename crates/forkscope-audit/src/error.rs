//! What can be wrong with the material of an audit.

use forkscope_metrics::MetricsError;
use forkscope_metrics::stats::StatsError;
use forkscope_policy::PolicyError;

/// Why an audit, or a part of it, could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A setting outside its range.
    #[error("{setting} is {value}; it must lie in {range}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        value: f64,
        /// Where it must lie.
        range: &'static str,
    },
    /// Two rollouts of one name.
    #[error(
        "rollout {sample} of problem {problem_id:?} is there twice; give every rollout of a problem its own sample index"
    )]
    DuplicateRollout {
        /// Problem.
        problem_id: String,
        /// Sample index.
        sample: u32,
    },
    /// A row of a rollout that nobody gave.
    #[error(
        "row {row} is about rollout {sample} of problem {problem_id:?}, which is not among the rollouts; give the rollouts that were scored"
    )]
    UnknownRollout {
        /// Index of the row.
        row: usize,
        /// Problem.
        problem_id: String,
        /// Sample index.
        sample: u32,
    },
    /// A row outside its rollout's completion.
    #[error(
        "row {row} is about position {t} of rollout {sample} of problem {problem_id:?}, whose completion is positions {start} to {end} (exclusive)"
    )]
    OutsideCompletion {
        /// Index of the row.
        row: usize,
        /// Problem.
        problem_id: String,
        /// Sample index.
        sample: u32,
        /// Position.
        t: u32,
        /// First completion position.
        start: usize,
        /// One past the last.
        end: usize,
    },
    /// Rows that are not grouped by rollout with ascending positions.
    #[error(
        "row {row} (problem {problem_id:?}, sample {sample}, t {t}) is out of order or there twice; rows must be grouped by rollout, t ascending"
    )]
    RowOrder {
        /// Index of the row.
        row: usize,
        /// Problem.
        problem_id: String,
        /// Sample index.
        sample: u32,
        /// Position.
        t: u32,
    },
    /// A number that cannot be.
    #[error(
        "row {row} (problem {problem_id:?}, sample {sample}, t {t}) has {field} = {value}; it must lie in {range}"
    )]
    RowValue {
        /// Index of the row.
        row: usize,
        /// Problem.
        problem_id: String,
        /// Sample index.
        sample: u32,
        /// Position.
        t: u32,
        /// Column.
        field: &'static str,
        /// Its value.
        value: f64,
        /// Where it must lie.
        range: &'static str,
    },
    /// A rollout that the policies cannot score.
    #[error("rollout {sample} of problem {problem_id:?}: {problem}")]
    Rollout {
        /// Problem.
        problem_id: String,
        /// Sample index.
        sample: u32,
        /// What is wrong, and the remedy.
        problem: String,
    },
    /// A gate that is written wrongly or lacks what it looks at.
    #[error("gate {gate:?}: {problem}")]
    Gate {
        /// The gate as written.
        gate: String,
        /// What is wrong, and the remedy.
        problem: String,
    },
    /// A gate that suits no position, or every one.
    #[error(
        "gate {gate} chooses {} of the {positions} completion positions; {distribution}; {remedy}",
        if *everything { "every one" } else { "none" }
    )]
    GateExtreme {
        /// The gate.
        gate: String,
        /// Every position, not none.
        everything: bool,
        /// Positions there are.
        positions: u64,
        /// What to do.
        remedy: &'static str,
        /// Quantiles of what the gate looks at.
        distribution: String,
    },
    /// A number that no gate can be decided on.
    #[error(
        "rollout {sample} of problem {problem_id:?}, completion position {offset}: {field} is {value}; it must lie in {range}"
    )]
    GateValue {
        /// Problem.
        problem_id: String,
        /// Sample index.
        sample: u32,
        /// Offset into the completion, 0-based.
        offset: usize,
        /// What the number is.
        field: &'static str,
        /// Its value.
        value: f64,
        /// Where it must lie.
        range: &'static str,
    },
    /// A contrast set that nothing can be learnt from.
    #[error("{0}")]
    Contrast(String),
    /// A feature dictionary that does not fit the activations.
    #[error("{0}")]
    Dictionary(String),
    /// Policies between which no value can be patched.
    #[error("{0}")]
    Patching(String),
    /// A sample on which no threshold can be calibrated.
    #[error("a threshold cannot be calibrated: {0}")]
    Calibration(String),
    /// A plan or its material that says nothing, or contradicts itself.
    #[error("{0}")]
    Coverage(String),
    /// A policy produced NaN, +inf or nothing at all; the run stops.
    #[error(
        "rollout {sample} of problem {problem_id:?}, position {t}: {source}; the weights are broken or overflow, and no number of this window was recorded"
    )]
    Broken {
        /// Problem.
        problem_id: String,
        /// Sample index.
        sample: u32,
        /// Index of the predicted token.
        t: usize,
        /// What the metrics found.
        source: MetricsError,
    },
    /// Rows that the metrics cannot take.
    #[error(transparent)]
    Metrics(MetricsError),
    /// A policy that could not be run.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Somebody asked to stop; what was recorded before can be continued.
    #[error("interrupted")]
    Interrupted,
    /// Whoever judges answers failed; nothing can be said about any of them.
    #[error("{0}")]
    Judge(String),
    /// A fault of forkscope.
    #[error("internal fault: {0}")]
    Internal(String),
    /// A statistic that could not be set up.
    #[error(transparent)]
    Stats(#[from] StatsError),
}

impl AuditError {
    /// Whether this is forkscope's fault, not the input's.
    pub fn is_internal(&self) -> bool {
        match self {
            Self::Policy(error) => error.is_internal(),
            Self::Internal(_) => true,
            _ => false,
        }
    }
}
