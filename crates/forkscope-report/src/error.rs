//! What can go wrong between a run and its report.

use std::path::PathBuf;

use forkscope_records::RecordsError;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The records of the run could not be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// There is nothing that a report could show.
    #[error(
        "{dir} has neither findings nor rows that compare two policies, so there is nothing to report; `forkscope diff` makes both",
        dir = .dir.display()
    )]
    Nothing {
        /// The run directory.
        dir: PathBuf,
    },
    /// A report could not be written.
    #[error("cannot write {path}: {source}; check that the folder exists and has room", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A value could not be turned into JSON.
    #[error("cannot encode {what} as JSON: {source}")]
    Encode {
        /// What was being encoded.
        what: &'static str,
        /// The encoder's sentence.
        source: serde_json::Error,
    },
    /// The viewer could not listen.
    #[error(
        "cannot listen on 127.0.0.1:{port}: {reason}; choose another --port, or none for a free one",
        reason = listen_reason(source)
    )]
    Listen {
        /// The port asked for; 0 is any.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gave no random numbers for the viewer's address.
    #[error("the system gave no random numbers for the viewer's address: {reason}")]
    Random {
        /// What the system said.
        reason: String,
    },
    /// What was said when a table was opened; it is said again to everybody who asks.
    #[error("{said}")]
    Shown {
        /// The sentence.
        said: String,
    },
    /// One rollout has more rows than a page can address.
    #[error(
        "one rollout has {rows} rows, more than a page can address; report a run with shorter rollouts"
    )]
    TooLarge {
        /// Number of rows.
        rows: usize,
    },
}

fn listen_reason(source: &std::io::Error) -> String {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => "the port is in use".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => source.to_string(),
    }
}
