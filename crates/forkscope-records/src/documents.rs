//! JSON documents of a run, read with errors that name file and field.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::Findings;
use crate::{RecordsError, RunDir};

/// Reads one JSON document.
pub(crate) fn read_document<T: DeserializeOwned>(path: &Path) -> Result<T, RecordsError> {
    let bytes = fs::read(path).map_err(RecordsError::read(path))?;
    parse(&bytes, path)
}

/// Parses one JSON document; nothing may follow it.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(
    bytes: &'a [u8],
    path: &Path,
) -> Result<T, RecordsError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let (at, reason) = (e.path().to_string(), e.inner().to_string());
        if at == "." {
            RecordsError::json(path, reason)
        } else {
            RecordsError::entry(path, at, reason)
        }
    })?;
    json.end().map_err(|e| RecordsError::json(path, e))?;
    Ok(value)
}

/// A document as a run keeps it: indented, with a final line feed.
pub(crate) fn to_bytes(value: &impl Serialize) -> Result<Vec<u8>, RecordsError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| RecordsError::Misuse(format!("a document cannot be written: {e}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads `findings.json` of a run directory.
pub fn read_findings(run: &Path) -> Result<Findings, RecordsError> {
    let path = run.join("findings.json");
    let findings: Findings = read_document(&path)?;
    if findings.schema != Findings::SCHEMA {
        let reason = format!(
            "schema {:?} is not {:?}; it was written by another version of forkscope",
            findings.schema,
            Findings::SCHEMA
        );
        return Err(RecordsError::json(&path, reason));
    }
    Ok(findings)
}

/// Writes `findings.json` into a run.
pub fn write_findings(run: &RunDir, findings: &Findings) -> Result<(), RecordsError> {
    run.write_atomic("findings.json", &to_bytes(findings)?)
}
