//! The statement: which files were audited, what was run on them, and what came out.
//!
//! An in-toto Statement v1. Subjects are the files of the models and of the data;
//! the predicate carries `run.json` without its times, the findings, the digest of
//! every file of the run, and the tree over its rows. Its bytes are its canonical
//! JSON ([`canonical`](super::canonical)).

use std::fs;
use std::path::Path;

use forkscope_records::digest::sha256_bytes;
use forkscope_records::run::{RunJson, RunStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::AttestError;
use super::canon::canonical;
use super::files::{self, FileEntry, Listed};
use super::rows::{Merkle, TableEntry};

/// `_type` of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `predicateType` of a statement about a run.
pub const PREDICATE_TYPE: &str = "urn:forkscope:attestation:1";
/// `schema` of the predicate.
pub const SCHEMA: &str = "forkscope/attestation/1";
/// What of `run.json` is digested.
const RUN_FORM: &str = "canonical JSON without timing";

/// A file that was audited, or that an audit was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Role and path: `base/model.safetensors`, `tuned/adapter/adapter_config.json`,
    /// `data/problems.jsonl`.
    pub name: String,
    /// Its digest.
    pub digest: Sha256Digest,
}

/// A digest as in-toto writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sha256Digest {
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

impl Subject {
    /// A subject of that name and SHA-256.
    pub fn new(name: impl Into<String>, sha256: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            digest: Sha256Digest {
                sha256: sha256.into(),
            },
        }
    }
}

/// A statement about a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub kind: String,
    /// The audited files in order of names.
    pub subject: Vec<Subject>,
    /// [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said of them.
    pub predicate: Predicate,
}

/// What is said of the subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicate {
    /// [`SCHEMA`].
    pub schema: String,
    /// `run.json` without `timing`: command, versions with the numerics profile,
    /// seeds, settings, digests, notes.
    pub run: Map<String, Value>,
    /// The content of `findings.json`; null where the run has none.
    pub findings: Value,
    /// Every file of the run in order of names.
    pub files: Vec<FileEntry>,
    /// The tree over the rows.
    pub merkle: Merkle,
}

/// Why bytes are no statement that can be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A statement of another kind or version: nothing is wrong with it.
    Version(String),
    /// What no writer of statements writes.
    Fault(String),
}

impl Statement {
    /// The statement about the files at `run`, described by `json`, which counts as
    /// complete; `writing` where the run is still open.
    pub fn of_run(
        run: &Path,
        json: &RunJson,
        mut subjects: Vec<Subject>,
        writing: bool,
    ) -> Result<Self, AttestError> {
        let complete = RunJson {
            status: RunStatus::Complete,
            ..json.clone()
        };
        let stable = complete.stable()?;
        let (mut entries, mut tables, mut findings) = (Vec::new(), Vec::new(), Value::Null);
        for listed in files::list(run, writing)? {
            if !listed.plain {
                return Err(AttestError::Run {
                    path: listed.path,
                    reason: "is no plain file; a run that is attested has files and folders only"
                        .into(),
                });
            }
            if listed.name == files::RUN {
                entries.push(run_entry(&stable));
            } else if files::is_table(&listed.name) {
                let (entry, table) = table(&listed)?;
                entries.push(entry);
                tables.push(table);
            } else {
                entries.push(files::digest(&listed)?);
            }
            if listed.name == "findings.json" {
                let bytes = fs::read(&listed.path).map_err(AttestError::read(&listed.path))?;
                findings = serde_json::from_slice(&bytes).map_err(|e| AttestError::Run {
                    path: listed.path,
                    reason: format!("is no JSON document ({e}); make the run again"),
                })?;
            }
        }
        subjects.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            kind: STATEMENT_TYPE.into(),
            subject: subjects,
            predicate_type: PREDICATE_TYPE.into(),
            predicate: Predicate {
                schema: SCHEMA.into(),
                run: stable,
                findings,
                files: entries,
                merkle: Merkle::over(tables),
            },
        })
    }

    /// The canonical bytes: the content of `statement.json` and of an envelope.
    pub fn to_bytes(&self) -> Result<Vec<u8>, AttestError> {
        let value = serde_json::to_value(self)
            .map_err(|e| AttestError::Internal(format!("a statement cannot be written: {e}")))?;
        Ok(canonical(&value).into_bytes())
    }

    /// The statement of these bytes, which must be its canonical ones.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|e| Refusal::Fault(format!("is no JSON document ({e})")))?;
        if canonical(&value).as_bytes() != bytes {
            return Err(Refusal::Fault("is not in its canonical bytes".into()));
        }
        for (at, known) in [
            ("/_type", STATEMENT_TYPE),
            ("/predicateType", PREDICATE_TYPE),
            ("/predicate/schema", SCHEMA),
        ] {
            let name = at.trim_start_matches('/').replace('/', ".");
            match value.pointer(at).map(Value::as_str) {
                Some(Some(found)) if found == known => {}
                Some(Some(found)) => {
                    let found: String = found.chars().take(80).collect();
                    return Err(Refusal::Version(format!(
                        "{name} is {found:?}, and this version checks {known:?}; use the version of forkscope that wrote it"
                    )));
                }
                _ => return Err(Refusal::Fault(format!("has no {name}"))),
            }
        }
        serde_json::from_value(value)
            .map_err(|e| Refusal::Fault(format!("is no statement about a run ({e})")))
    }

    /// The subject of that name.
    pub fn subject(&self, name: &str) -> Option<&Subject> {
        self.subject.iter().find(|s| s.name == name)
    }

    /// A field of `run.json`, e.g. `/settings/base`.
    pub fn run_text(&self, group: &str, name: &str) -> Option<&str> {
        self.predicate.run.get(group)?.get(name)?.as_str()
    }
}

/// The entry of `run.json`: its digest leaves out the times.
pub(super) fn run_entry(stable: &Map<String, Value>) -> FileEntry {
    let text = canonical(&json!(stable));
    FileEntry {
        name: files::RUN.into(),
        bytes: text.len() as u64,
        sha256: sha256_bytes(text.as_bytes()),
        of: Some(RUN_FORM.into()),
    }
}

/// A table's digest and tree, of one reading.
pub(super) fn table(listed: &Listed) -> Result<(FileEntry, TableEntry), AttestError> {
    let bytes = fs::read(&listed.path).map_err(AttestError::read(&listed.path))?;
    let entry = FileEntry {
        name: listed.name.clone(),
        bytes: bytes.len() as u64,
        sha256: sha256_bytes(&bytes),
        of: None,
    };
    let table = TableEntry::of(&listed.name, bytes.into(), &listed.path)?;
    Ok((entry, table))
}
