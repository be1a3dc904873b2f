//! Everything that can go wrong between two checkpoints and an adapter.

use std::path::{Path, PathBuf};

/// Why no adapter could be made. Messages name file, field and remedy.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}; check the path and its permissions", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read and does not say what it should.
    #[error("{}: {problem}; {remedy}", path.display())]
    Bad {
        /// The file or directory.
        path: PathBuf,
        /// The field and what is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// The checkpoints differ where a projection adapter cannot follow.
    #[error(
        "the checkpoints differ outside the adapted projections: {}; \
         a LoRA adapter on the projections cannot hold this, keep the tuned model as it is",
        names.join(", ")
    )]
    OutsideProjections {
        /// The tensors, each with what is different about it.
        names: Vec<String>,
    },
    /// The difference of one projection has no low rank within the tolerance.
    #[error(
        "the difference of {module} is not of low rank: {residual:.3e} of its norm is left at \
         rank {max_rank}, the tolerance is {tolerance:.1e}; raise the rank or the tolerance"
    )]
    NotLowRank {
        /// The projection.
        module: String,
        /// Relative Frobenius residual at the largest allowed rank.
        residual: f64,
        /// The largest allowed rank.
        max_rank: usize,
        /// The tolerance asked for.
        tolerance: f64,
    },
    /// The two checkpoints are the same.
    #[error(
        "the two checkpoints are identical, there is no difference to make an adapter of; check the two paths"
    )]
    Identical,
    /// NaN or infinity in a loss or gradient: the run stops.
    #[error("{0}; the batch was kept for inspection, lower the learning rate or mend the data")]
    NonFinite(String),
    /// A gate could not be decided.
    #[error(transparent)]
    Audit(#[from] forkscope_audit::AuditError),
    /// The policy could not be opened, run or sampled.
    #[error(transparent)]
    Policy(#[from] forkscope_policy::PolicyError),
    /// A record could not be read or written.
    #[error(transparent)]
    Records(#[from] forkscope_records::RecordsError),
    /// Somebody asked to stop; what is on disk can be resumed.
    #[error("interrupted; the same command with --resume goes on where this one stopped")]
    Interrupted,
    /// A setting outside its range.
    #[error("{0}")]
    Setting(String),
    /// A fault of forkscope, not of the input.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl TrainError {
    /// Whether it is forkscope's fault, not the input's.
    pub fn is_internal(&self) -> bool {
        match self {
            Self::Internal(_) => true,
            Self::Audit(error) => error.is_internal(),
            Self::Policy(error) => error.is_internal(),
            Self::Records(error) => error.is_internal(),
            _ => false,
        }
    }

    /// A [`TrainError::Bad`] in one call.
    pub(crate) fn bad(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Bad {
            path: path.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// A file that could not be read.
    pub(crate) fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action: "read",
            path: path.to_owned(),
            source,
        }
    }

    /// A file that could not be written.
    pub(crate) fn write(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            action: "write",
            path: path.to_owned(),
            source,
        }
    }
}
