//! The run that is looked at.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forkscope_records::types::{AwarenessRow, Findings};
use forkscope_records::{read_findings, read_run_json};
use serde_json::{Value, json};

use super::index::{Index, page};
use super::params::Params;
use super::respond::Fault;
use super::tables::Tables;
use super::{branches::Branches, reversions::Reversions};
use crate::error::ReportError;
use crate::figures::figures;
use crate::number;
use crate::text::{visible, visible_up_to};

/// Longest wait for the first rollouts of the list.
const PATIENCE: Duration = Duration::from_millis(200);
/// Least number of rollouts that end the wait.
const ENOUGH: usize = 500;
/// Most characters of a sentence of a finding.
const SENTENCE: usize = 2000;

/// A run, as far as somebody has looked.
pub struct RunView {
    run: Value,
    findings: Findings,
    name: String,
    /// Its tables.
    pub tables: Arc<Tables>,
    /// Its rollouts.
    pub index: Arc<Index>,
    /// Its interventions.
    pub branches: Branches,
    /// Its reversions.
    pub reversions: Reversions,
}

impl RunView {
    /// Reads `run.json` and the findings; tables wait until they are needed.
    pub fn open(dir: &Path) -> Result<Self, ReportError> {
        let manifest = read_run_json(dir)?;
        let run = serde_json::to_value(&manifest).map_err(|source| ReportError::Encode {
            what: "run.json",
            source,
        })?;
        let tables = Arc::new(Tables::new(dir));
        let findings = match tables.has("findings.json") {
            true => read_findings(dir)?,
            false => Findings {
                schema: Findings::SCHEMA.into(),
                findings: Vec::new(),
            },
        };
        let name = dir.canonicalize().ok();
        let name = name.as_deref().unwrap_or(dir).file_name();
        Ok(Self {
            run,
            findings,
            name: name.map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
            tables,
            index: Arc::new(Index::new()),
            branches: Branches::default(),
            reversions: Reversions::default(),
        })
    }

    /// Begins to index the rollouts.
    pub fn begin(&self) {
        self.index.begin(&self.tables);
    }

    /// What the run is and what there is to look at.
    pub fn overview(&self) -> Value {
        let has = |name: &str| self.tables.has(name);
        let findings: Vec<Value> = self.findings.findings.iter().map(finding).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "name": visible(&self.name),
            "run": inert(&self.run),
            "findings": findings,
            "has": {
                "rollouts": has("rollouts.parquet") || has("tokens.parquet"),
                "branches": has("interventions.parquet"),
                "reversions": has("reversions.parquet"),
                "awareness": has("awareness.parquet"),
            },
        })
    }

    /// The figures that the findings support.
    pub fn figures(&self) -> Value {
        let all = figures(&self.findings);
        let all: Vec<Value> = all
            .iter()
            .map(|f| json!({ "title": visible(&f.title), "caption": visible_up_to(&f.caption, SENTENCE), "svg": f.svg }))
            .collect();
        json!({ "figures": all })
    }

    /// How far the index is.
    pub fn progress(&self) -> Value {
        self.begin();
        self.index.now().progress()
    }

    /// A page of the list of rollouts.
    pub fn rollouts(&self, params: &Params) -> Result<Value, Fault> {
        self.begin();
        let known = self
            .index
            .when(PATIENCE, |s| s.progress.listed || s.entries.len() >= ENOUGH);
        if let (true, Some(error)) = (known.entries.is_empty(), &known.progress.error) {
            return Err(Fault::Broken(error.clone()));
        }
        page(&known, params)
    }

    /// The rows about evaluation awareness.
    pub fn awareness_rows(&self) -> Result<Vec<AwarenessRow>, ReportError> {
        self.tables.whole("awareness.parquet")
    }
}

/// A finding with its numbers as the report writes them.
fn finding(f: &forkscope_records::types::Finding) -> Value {
    let shown = number::finding(f);
    let thresholds = serde_json::to_value(&f.thresholds).unwrap_or_default();
    json!({
        "id": visible(&f.id),
        "value": shown.value,
        "range": shown.range(),
        "level": f.level.map(number::level),
        "unit": visible(&f.unit),
        "n": number::count(f.n),
        "n_clusters": number::count(f.n_clusters),
        "n_invalid": number::count(f.n_invalid),
        "definition": visible_up_to(&f.definition, SENTENCE),
        "method": visible_up_to(&f.method, SENTENCE),
        "label": f.label.as_deref().map(visible),
        "thresholds": inert(&thresholds),
    })
}

/// A document with every text and every name in it made visible.
fn inert(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(visible_up_to(text, SENTENCE)),
        Value::Array(all) => all.iter().map(inert).collect(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(name, v)| (visible(name), inert(v)));
            Value::Object(pairs.collect())
        }
        other => other.clone(),
    }
}
