//! What a report is made of, and how it is read from a run directory.

use std::collections::BTreeMap;
use std::path::Path;

use forkscope_records::types::{DiffRow, Findings, Rollout};
use forkscope_records::{TokenPieces, read_findings, read_run_json, read_table};

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
        let manifest = read_run_json(run_dir)?;
        let run = serde_json::to_value(&manifest).map_err(|source| ReportError::Encode {
            what: "run.json",
            source,
        })?;
        // Times differ between equal runs, and a report must not.
        let run = match run {
            serde_json::Value::Object(mut map) => {
                map.shift_remove("timing");
                serde_json::Value::Object(map)
            }
            other => other,
        };
        let file = |name: &str| Some(run_dir.join(name)).filter(|path| path.exists());
        let findings = match file("findings.json") {
            Some(_) => read_findings(run_dir)?,
            None => Findings {
                schema: Findings::SCHEMA.into(),
                findings: Vec::new(),
            },
        };
        // The rows of these commands are of one policy, or of planned positions only.
        let compares = !matches!(manifest.command.as_str(), "sample" | "score" | "plan");
        let rows = match file("tokens.parquet").filter(|_| compares) {
            Some(path) => read_table(&path)?,
            None => Vec::new(),
        };
        if findings.findings.is_empty() && rows.is_empty() {
            return Err(ReportError::Nothing {
                dir: run_dir.to_owned(),
            });
        }
        let rollouts = match file("rollouts.parquet") {
            Some(path) => read_table(&path)?,
            None => Vec::new(),
        };
        let pieces = match file(TokenPieces::FILE) {
            Some(_) => TokenPieces::read(run_dir)?.pieces,
            None => BTreeMap::new(),
        };
        Ok(Self {
            run,
            findings,
            rollouts,
            rows,
            pieces,
        })
    }
}
