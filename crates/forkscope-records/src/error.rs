//! Everything that can go wrong with records, each naming file, field and remedy.

use std::io;
use std::path::{Path, PathBuf};

/// What went wrong while records were read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// A file or directory cannot be read.
    #[error("cannot read {}: {}; check the path and its permissions", path.display(), io_reason(source))]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written: disk full, quota, permissions.
    #[error("cannot write {}: {}; {}", path.display(), io_reason(source), write_remedy(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A fresh run was asked for where something lies already.
    #[error(
        "the output directory {} is not empty: give an empty one, or --resume to continue the run that is in it",
        path.display()
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that holds files, but no run.
    #[error("{} is not a run: it has no run.json; give a run directory, or an empty one for a new run", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// Another process writes this run.
    #[error("{} is being written by another process; wait until it has ended, or choose another --out", path.display())]
    Locked {
        /// The run directory.
        path: PathBuf,
    },
    /// A run cannot be continued under other settings.
    #[error(
        "cannot resume {}: {setting} differs (recorded {recorded}, given {given}); repeat the recorded setting, or choose another --out",
        path.display()
    )]
    SettingDiffers {
        /// The run directory.
        path: PathBuf,
        /// Dotted name of the first setting that differs, e.g. `settings.temperature`.
        setting: String,
        /// What run.json says, as JSON.
        recorded: String,
        /// What this call says, as JSON.
        given: String,
    },
    /// A JSON document that does not parse or lacks a field.
    #[error("{}: {}", path.display(), advised(reason, "correct the document, or write it again with what made it"))]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
    /// A line of a JSON Lines file that does not parse or lacks a field.
    #[error("{} line {line}: {}", path.display(), advised(reason, "correct this line"))]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// One entry of a document is not what it must be.
    #[error("{}: {}: {}", path.display(), brief(at), advised(reason, "correct this entry"))]
    Entry {
        /// The file.
        path: PathBuf,
        /// Where in it, e.g. `rollouts[3].prompt_length` or `row 7`.
        at: String,
        /// What is wrong.
        reason: String,
    },
    /// A Parquet file that cannot be read as a table.
    #[error("{} is not a readable Parquet table: {}", path.display(), advised(reason, "give a whole Parquet file"))]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A column that is missing, of another type, or holds what it may not.
    #[error("{}: column {column}: {}", path.display(), advised(reason, "write the table again with the columns of its schema"))]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong.
        reason: String,
    },
    /// A file that claims more than its size can honestly hold.
    #[error("{}: {}", path.display(), advised(reason, "check that the file is what its name says"))]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which claim.
        reason: String,
    },
    /// Rows that cannot be encoded.
    #[error("cannot encode table {table}: {reason}")]
    Encode {
        /// The table.
        table: String,
        /// What the encoder said.
        reason: String,
    },
    /// The caller broke the order of calls; a fault of forkscope, not of its input.
    #[error("internal fault: {0}")]
    Misuse(String),
}

impl RecordsError {
    /// Whether this is a fault of the program, and not of files or disks.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Misuse(_) | Self::Encode { .. })
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn json(path: &Path, reason: impl ToString) -> Self {
        Self::Json {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn line(path: &Path, line: u64, reason: impl ToString) -> Self {
        Self::Line {
            path: path.to_owned(),
            line,
            reason: reason.to_string(),
        }
    }

    pub(crate) fn entry(path: &Path, at: impl Into<String>, reason: impl ToString) -> Self {
        Self::Entry {
            path: path.to_owned(),
            at: at.into(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn table(path: &Path, reason: impl ToString) -> Self {
        Self::Table {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn column(path: &Path, column: &str, reason: impl ToString) -> Self {
        Self::Column {
            path: path.to_owned(),
            column: column.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn encode(table: &str, reason: impl ToString) -> Self {
        Self::Encode {
            table: table.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// A reason with a remedy behind it, unless it names one itself.
fn advised(reason: &str, remedy: &str) -> String {
    let reason = brief(reason);
    if reason.contains(';') {
        reason
    } else {
        format!("{reason}; {remedy}")
    }
}

/// Text of a hostile file may be as long as the file.
fn brief(text: &str) -> String {
    const MOST: usize = 300;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{} ...", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

/// The system's words without its error number, in lower case.
fn io_reason(e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        io::ErrorKind::StorageFull => "no space left on the device".into(),
        io::ErrorKind::QuotaExceeded => "the disk quota is used up".into(),
        io::ErrorKind::FileTooLarge => "the file is larger than the system allows".into(),
        io::ErrorKind::IsADirectory => "it is a directory".into(),
        io::ErrorKind::NotADirectory => "a part of the path is not a directory".into(),
        _ => {
            let text = e.to_string();
            let mut chars = text.chars();
            chars
                .next()
                .map(|c| c.to_lowercase().chain(chars).collect())
                .unwrap_or(text)
        }
    }
}

/// What a user can do about a failed write.
fn write_remedy(e: &io::Error) -> &'static str {
    match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free space or raise the limit, then repeat the command with --resume"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose an --out that you may write to"
        }
        _ => "check the path, then repeat the command with --resume",
    }
}
