//! What keeps an attestation from being made or checked. That a check fails is no
//! error: it is a [`Fault`](super::Fault).

use std::io;
use std::path::{Path, PathBuf};

use forkscope_records::RecordsError;

/// Why an attestation could not be made or checked.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}; check the folder and its permissions", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key file that holds no key of the right kind.
    #[error("{}: {reason}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A statement of another kind or version.
    #[error("{name}: {reason}")]
    Version {
        /// The attestation.
        name: String,
        /// Which one it is, and what to do.
        reason: String,
    },
    /// A run that cannot be attested as it is.
    #[error("{}: {reason}", path.display())]
    Run {
        /// The run, or the file in it.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// Records that cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// A fault of forkscope.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl AttestError {
    /// Whether this is a fault of the program, and not of files.
    pub fn is_internal(&self) -> bool {
        match self {
            Self::Internal(_) => true,
            Self::Records(e) => e.is_internal(),
            _ => false,
        }
    }

    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}
