//! The files of a run directory, each with its digest.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use forkscope_records::digest::sha256_reader;
use serde::{Deserialize, Serialize};

use super::AttestError;

/// The signed attestation of a run.
pub const ATTESTATION: &str = "attestation.json";
/// The statement that an attestation signs.
pub const STATEMENT: &str = "statement.json";
/// What was run.
pub const RUN: &str = "run.json";

/// What is unfinished while a run is written.
const SPOOL: &str = ".spool";
/// Folders below a run deeper than this are refused.
const MAX_DEPTH: usize = 16;

/// One file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path below the run, parts joined by `/`.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// What was digested where it is not the file as it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// Something below a run directory.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Path below the run, parts joined by `/`.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it is a plain file (no link, no device).
    pub plain: bool,
}

/// Everything below a run but the attestation and the statement themselves, sorted
/// by name; `writing` leaves out what is unfinished, too.
pub fn list(run: &Path, writing: bool) -> Result<Vec<Listed>, AttestError> {
    let mut found = Vec::new();
    collect(run, "", 0, writing, &mut found)?;
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn collect(
    dir: &Path,
    prefix: &str,
    depth: usize,
    writing: bool,
    found: &mut Vec<Listed>,
) -> Result<(), AttestError> {
    if depth > MAX_DEPTH {
        return Err(AttestError::Run {
            path: dir.to_owned(),
            reason: format!("lies deeper than {MAX_DEPTH} levels; a run has no such folder"),
        });
    }
    for entry in fs::read_dir(dir).map_err(AttestError::read(dir))? {
        let entry = entry.map_err(AttestError::read(dir))?;
        let path = entry.path();
        let name = entry.file_name();
        // A name that is no UTF-8 is nobody's of a run; it is shown, not matched.
        let name = format!("{prefix}{}", name.to_string_lossy());
        let kind = entry.file_type().map_err(AttestError::read(&path))?;
        let own = name == ATTESTATION || name == STATEMENT || (writing && name == SPOOL);
        if kind.is_dir() && !own {
            collect(&path, &format!("{name}/"), depth + 1, writing, found)?;
        } else if !own {
            let plain = kind.is_file();
            found.push(Listed { name, path, plain });
        }
    }
    Ok(())
}

/// Digests a file from the handle that is read.
pub fn digest(listed: &Listed) -> Result<FileEntry, AttestError> {
    let file = File::open(&listed.path).map_err(AttestError::read(&listed.path))?;
    let (sha256, bytes) = sha256_reader(file).map_err(AttestError::read(&listed.path))?;
    Ok(FileEntry {
        name: listed.name.clone(),
        bytes,
        sha256,
        of: None,
    })
}

/// Whether the file is a table whose rows are leaves of the tree.
pub fn is_table(name: &str) -> bool {
    name.ends_with(".parquet")
}
