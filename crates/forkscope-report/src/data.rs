//! What a report is made of, and how it is read from a run directory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use forkscope_records::types::{DiffRow, Findings, Rollout};
use forkscope_records::{RecordsError, read_table, run};
use serde::de::DeserializeOwned;

use crate::error::ReportError;

/// A run in memory: everything a renderer may look at.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportData {
    /// The content of `run.json`.
    pub run: serde_json::Value,
    /// The content of `findings.json`: the only source of every number outside
    /// the token views.
    pub findings: Findings,
    /// The rollouts, in the order of the run.
    pub rollouts: Vec<Rollout>,
    /// One row per position, in the order of the run; empty where the run
    /// compares nothing (`sample`, `score`).
    pub rows: Vec<DiffRow>,
    /// Text of every token that occurs, for reading only.
    pub pieces: BTreeMap<u32, String>,
}

impl ReportData {
    /// Reads a run directory. Only `run.json` must be there; a run with neither
    /// findings nor rows of two policies is refused, because there would be
    /// nothing to show.
    pub fn load(run_dir: &Path) -> Result<Self, ReportError> {
        let manifest = run::read_run_json(run_dir)?;
        let run: serde_json::Value =
            json(&run_dir.join("run.json"))?.ok_or_else(|| RecordsError::NotARun {
                path: run_dir.to_owned(),
            })?;
        let findings = findings(run_dir)?;
        let compares = !matches!(manifest.command.as_str(), "sample" | "score");
        let tokens = run_dir.join("tokens.parquet");
        let rows = if compares && tokens.exists() {
            read_table(&tokens)?
        } else {
            Vec::new()
        };
        if findings.findings.is_empty() && rows.is_empty() {
            return Err(ReportError::Nothing {
                dir: run_dir.to_owned(),
            });
        }
        let rollouts = run_dir.join("rollouts.parquet");
        Ok(Self {
            run,
            findings,
            rollouts: if rollouts.exists() {
                read_table(&rollouts)?
            } else {
                Vec::new()
            },
            rows,
            pieces: json(&run_dir.join("token_pieces.json"))?.unwrap_or_default(),
        })
    }
}

fn findings(run_dir: &Path) -> Result<Findings, ReportError> {
    let path = run_dir.join("findings.json");
    let none = || Findings {
        schema: Findings::SCHEMA.into(),
        findings: Vec::new(),
    };
    let findings: Findings = json(&path)?.unwrap_or_else(none);
    if findings.schema == Findings::SCHEMA {
        return Ok(findings);
    }
    Err(ReportError::Schema {
        path,
        found: findings.schema,
        known: Findings::SCHEMA,
    })
}

/// A JSON document; `None` where there is no such file.
fn json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReportError> {
    let bytes = match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(RecordsError::Read {
                path: path.to_owned(),
                source,
            }
            .into());
        }
        Ok(bytes) => bytes,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        let reason = format!("{e}; restore the file as it was written, or run the command again");
        RecordsError::Json {
            path: path.to_owned(),
            reason,
        }
        .into()
    })
}
