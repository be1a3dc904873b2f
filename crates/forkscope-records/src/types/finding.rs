//! A finding: one number with its unit, denominator, interval and method.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One number that a report may print. `findings.json` is the single source of
/// every renderer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable identifier, e.g. `share.reranked`.
    pub id: String,
    /// What the number is, in one sentence with its formula where it has one.
    pub definition: String,
    /// The number; `None` where it is undefined (the definition says when).
    #[serde(default, with = "super::float")]
    pub value: Option<f64>,
    /// Unit: `share`, `nats`, `tokens`, `ratio`, `rank`, `auroc`, ...
    pub unit: String,
    /// Lower end of the interval, if there is one.
    #[serde(default, with = "super::float")]
    pub low: Option<f64>,
    /// Upper end of the interval, if there is one.
    #[serde(default, with = "super::float")]
    pub high: Option<f64>,
    /// Confidence level of the interval, e.g. 0.95.
    pub level: Option<f64>,
    /// How the interval was made, e.g. `cluster bootstrap over problems, 1000 replicates, percentile`.
    pub method: String,
    /// Number of units (positions, rollouts) in the denominator.
    pub n: u64,
    /// Number of problems they come from.
    pub n_clusters: u64,
    /// Units left out because they were invalid.
    pub n_invalid: u64,
    /// Thresholds and settings that the number depends on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub thresholds: BTreeMap<String, serde_json::Value>,
    /// Text of the token or category the number is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The content of `findings.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// Version of this layout, `forkscope/findings/1`.
    pub schema: String,
    /// The findings in the order a report prints them.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// The layout that this version writes.
    pub const SCHEMA: &'static str = "forkscope/findings/1";

    /// The finding of that id.
    pub fn get(&self, id: &str) -> Option<&Finding> {
        self.findings.iter().find(|f| f.id == id)
    }
}
