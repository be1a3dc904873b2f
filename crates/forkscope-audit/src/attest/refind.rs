//! Findings computed again from the rows of a run: that the printed numbers are those
//! of the recorded rows, whoever signed them.
//!
//! It needs no model. What the pair diff finds (`tokens.parquet` with the columns of
//! `diff`) is computed again under the settings that `run.json` records; other
//! findings are counted as left.

use std::collections::BTreeMap;
use std::path::Path;

use forkscope_records::table::TableReader;
use forkscope_records::types::{DiffRow, Finding, Findings, Rollout};
use forkscope_records::{TokenPieces, read_findings, read_table};
use serde::Serialize;
use serde_json::{Map, Value};

use super::AttestError;
use super::canon::canonical;
use super::check::{Fault, Part};
use crate::findings::{FindingInput, FindingSettings, ModelCost, Side, findings};

/// Relative difference that is nobody's fault where another version of forkscope
/// made the findings.
const ROUNDING: f64 = 1e-9;

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Refound {
    /// Findings that were computed again.
    pub compared: u64,
    /// Findings that only the tool which made them can compute.
    pub left: u64,
    /// Why none was computed again, where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_none: Option<String>,
    /// Findings that the rows do not give.
    #[serde(skip)]
    pub faults: Vec<Fault>,
}

/// Computes the findings of the run again; `json` is its `run.json` without times,
/// `same_version` whether this version of forkscope made it.
pub fn refind(
    run: &Path,
    json: &Map<String, Value>,
    same_version: bool,
) -> Result<Refound, AttestError> {
    let tokens = run.join("tokens.parquet");
    if !run.join("findings.json").exists() || !tokens.exists() {
        return Ok(none("the run has no findings over positions"));
    }
    let Ok(reader) = TableReader::<DiffRow>::open(&tokens) else {
        return Ok(none("tokens.parquet holds no pair of policies"));
    };
    let mut rows = Vec::new();
    for batch in reader {
        rows.append(&mut batch?);
    }
    let rollouts: Vec<Rollout> = read_table(&run.join("rollouts.parquet"))?;
    let other = run.join("rollouts_other.parquet");
    let other: Option<Vec<Rollout>> = match other.exists() {
        true => Some(read_table(&other)?),
        false => None,
    };
    let recorded = read_findings(run)?;
    let pieces = match run.join(TokenPieces::FILE).exists() {
        true => TokenPieces::read(run)?,
        false => TokenPieces::default(),
    };
    let found = findings(
        &FindingInput {
            rows: &rows,
            rollouts: &rollouts,
            rollouts_by: whose(json),
            other_rollouts: other.as_deref(),
            base_cost: cost(&recorded, "base"),
            tuned_cost: cost(&recorded, "tuned"),
            pieces: &|id| pieces.get(id).map(str::to_owned),
        },
        &settings(json),
    );
    match found {
        Ok(found) => Ok(compare(&recorded, &found, same_version)),
        Err(error) => Ok(Refound {
            faults: vec![Fault::new(
                Part::Findings,
                "tokens.parquet",
                format!("gives no findings: {error}"),
            )],
            ..none("the rows give none")
        }),
    }
}

fn none(why: &str) -> Refound {
    Refound {
        why_none: Some(why.to_owned()),
        ..Refound::default()
    }
}

fn setting<'a>(json: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    json.get("settings")?.get(name)
}

/// Whose the rollouts are; an audit's are the tuned policy's.
fn whose(json: &Map<String, Value>) -> Option<Side> {
    let by = setting(json, "rollouts_by").and_then(Value::as_str);
    match by.or_else(|| (json.get("command")? == "audit").then_some("tuned"))? {
        "base" => Some(Side::Base),
        "tuned" => Some(Side::Tuned),
        _ => None,
    }
}

fn settings(json: &Map<String, Value>) -> FindingSettings {
    let default = FindingSettings::default();
    let number = |name, otherwise: u32| {
        setting(json, name)
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(otherwise)
    };
    let seed = json.get("seeds").and_then(|s| s.get("seed")?.as_u64());
    FindingSettings {
        seed: seed.unwrap_or(default.seed),
        replicates: number("replicates", default.replicates),
        top_k: number("class_topk", default.top_k),
        kl_changed: setting(json, "kl_changed")
            .and_then(Value::as_f64)
            .unwrap_or(default.kl_changed),
        ..default
    }
}

/// What a finding about FLOPs says of the model's cost, which rows do not hold.
fn cost(recorded: &Findings, side: &str) -> Option<ModelCost> {
    let of_side = |f: &&Finding| {
        ["flops", side]
            .iter()
            .all(|s| f.id.split('.').any(|p| p == *s))
    };
    recorded.findings.iter().filter(of_side).find_map(|f| {
        let number = |name: &str| f.thresholds.get(name)?.as_f64();
        Some(ModelCost {
            flops_per_token: number("flops_per_token")?,
            attention_flops_per_token_per_context: number("attention_flops_per_token_per_context")?,
        })
    })
}

fn compare(recorded: &Findings, found: &Findings, same_version: bool) -> Refound {
    let mut out = Refound::default();
    let mut fault = |id: &str, said: String| {
        out.faults.push(Fault::new(Part::Findings, id, said));
    };
    let mut recorded_by_id: BTreeMap<&str, &Finding> = BTreeMap::new();
    for f in &recorded.findings {
        recorded_by_id.entry(&f.id).or_insert(f);
    }
    for f in &found.findings {
        let Some(r) = recorded_by_id.get(f.id.as_str()) else {
            if same_version {
                fault(&f.id, "is left out; the rows give it".into());
            }
            continue;
        };
        let same = if same_version {
            spelled(r) == spelled(f)
        } else {
            r.n == f.n
                && [(r.value, f.value), (r.low, f.low), (r.high, f.high)]
                    .iter()
                    .all(near)
        };
        if !same {
            let show = |v: Option<f64>| v.map_or("null".to_owned(), |v| v.to_string());
            fault(
                &f.id,
                format!(
                    "is not what the rows give: {} [{}, {}] over {} where they give {} [{}, {}] over {}",
                    show(r.value),
                    show(r.low),
                    show(r.high),
                    r.n,
                    show(f.value),
                    show(f.low),
                    show(f.high),
                    f.n
                ),
            );
        }
    }
    let again = |f: &&Finding| found.get(&f.id).is_some();
    out.compared = recorded.findings.iter().filter(again).count() as u64;
    out.left = recorded.findings.len() as u64 - out.compared;
    out
}

fn spelled(finding: &Finding) -> String {
    let text = serde_json::to_string(finding).unwrap_or_default();
    serde_json::from_str(&text).map_or(text, |value: Value| canonical(&value))
}

fn near((a, b): &(Option<f64>, Option<f64>)) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || (a - b).abs() <= ROUNDING * a.abs().max(b.abs()),
        (a, b) => a.is_none() && b.is_none(),
    }
}
