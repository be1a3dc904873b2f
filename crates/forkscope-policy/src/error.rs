//! Everything that can go wrong between a model directory and a number.

use std::path::{Path, PathBuf};

/// Why a policy could not be opened or run. Messages name file, field and
/// remedy; all but [`PolicyError::Internal`] are the input's fault.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file could not be read.
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was read and does not say what it should.
    #[error("{}: {problem}; {remedy}", path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong with it.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
    /// Token ids that the policy cannot take.
    #[error("{0}")]
    Ids(String),
    /// A row, layer, vector or patch that does not fit the model or sequence.
    #[error("{0}")]
    Activation(String),
    /// A model produced NaN or +inf; the run stops.
    #[error(
        "the model produced {what} in row {row}, position {position}; the weights are broken or overflow, nothing was recorded for this row"
    )]
    NonFinite {
        /// `NaN` or `+inf`.
        what: &'static str,
        /// Which rollout or row of the batch.
        row: String,
        /// Index of the predicted token.
        position: usize,
    },
    /// A fault of forkscope, not of the input.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl PolicyError {
    /// Whether this is forkscope's fault, not the input's.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Internal(_))
    }

    /// A [`PolicyError::Bad`] in one call.
    pub fn bad(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Bad {
            path: path.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}
