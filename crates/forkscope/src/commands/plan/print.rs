//! What is on the disk, as tables: cost against bound.

use forkscope_audit::coverage::{Cost, PlanDocument};
use forkscope_records::types::Findings;
use forkscope_records::{read_findings, read_run_json};
use forkscope_report::number;
use serde_json::{Value, json};

use super::Arguments;
use crate::failure::{Failure, Outcome};
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::write_findings;
use crate::work::coverage::PLAN;

/// A plan.
pub fn plan(a: &Arguments) -> Outcome {
    let findings = read_findings(&a.run.out)?;
    let document = document(a)?;
    let rate = match document.tokens_per_second {
        Some(rate) => Some((rate, "as given")),
        None => measured(a)?.map(|rate| (rate, "measured on the base")),
    };
    let mut out = Output::open();
    if a.run.json {
        let findings = serde_json::to_value(&findings)
            .map_err(|e| Failure::Internal(format!("findings cannot be written: {e}")))?;
        let plan = serde_json::to_value(&document)
            .map_err(|e| Failure::Internal(format!("the plan cannot be written: {e}")))?;
        out.json(&json!({
            "schema": "forkscope/plan-made/1",
            "plan": plan,
            "findings": findings.get("findings").cloned().unwrap_or(Value::Null),
            "tokens_per_second": rate.map(|(rate, _)| rate),
        }))?;
        return out.finish();
    }
    out.line(&format!(
        "{} positions of {} rollouts, {} problems; {} tokens per policy for all of them",
        number::count(document.positions),
        number::count(document.rollouts),
        number::count(document.problems),
        number::count(document.full_tokens)
    ))?;
    out.line(&sanitise(&document.changed.words()))?;
    out.line(&sanitise(&document.expectation))?;
    if let Some((rate, how)) = rate {
        out.line(&format!(
            "seconds are for both policies at {rate:.0} tokens per second each, {how}"
        ))?;
    }
    out.line("")?;
    positions(&document, rate.map(|(rate, _)| rate)).write(&mut out)?;
    out.line("")?;
    problems(&document, rate.map(|(rate, _)| rate)).write(&mut out)?;
    out.line("")?;
    place(a, &mut out)?;
    out.finish()
}

/// An executed plan.
pub fn executed(a: &Arguments) -> Outcome {
    let findings = read_findings(&a.run.out)?;
    let mut out = Output::open();
    if a.run.json {
        out.json(&findings)?;
        return out.finish();
    }
    let bounds = findings
        .findings
        .into_iter()
        .filter(|f| f.id.starts_with("coverage."))
        .collect();
    write_findings(
        &Findings {
            schema: Findings::SCHEMA.into(),
            findings: bounds,
        },
        &mut out,
    )?;
    out.line("")?;
    place(a, &mut out)?;
    out.finish()
}

fn place(a: &Arguments, out: &mut Output) -> Outcome {
    out.labelled("run", &sanitise(&a.run.out.display().to_string()))?;
    let report = a.run.out.join("report.html");
    out.labelled("report", &sanitise(&report.display().to_string()))
}

fn positions(document: &PlanDocument, rate: Option<f64>) -> Columns {
    let mut columns = Columns::new([
        ("budget", Align::Right),
        ("positions", Align::Right),
        ("by gate", Align::Right),
        ("tokens", Align::Right),
        ("of all", Align::Right),
        ("seconds", Align::Right),
        ("expected coverage", Align::Right),
        ("bound if none", Align::Right),
        ("bound expected", Align::Right),
        ("worst margin", Align::Right),
        ("JS bound", Align::Right),
    ]);
    for line in document.budgets.iter().map(|b| b.positions) {
        columns.row([
            percent(line.budget),
            number::count(line.cost.positions),
            number::count(line.certain),
            number::count(line.cost.tokens),
            percent(line.cost.tokens as f64 / document.full_tokens.max(1) as f64),
            seconds(line.cost, rate),
            line.coverage.map_or("undefined".into(), percent),
            percent(line.bound_if_none),
            percent(line.bound_expected),
            percent(line.margin_worst),
            line.js_expected
                .map_or("–".into(), |x| number::value(x, "nats")),
        ]);
    }
    columns
}

fn problems(document: &PlanDocument, rate: Option<f64>) -> Columns {
    let mut columns = Columns::new([
        ("budget", Align::Right),
        ("problems", Align::Right),
        ("tokens", Align::Right),
        ("of all", Align::Right),
        ("seconds", Align::Right),
        ("new problems: bound if none", Align::Right),
        ("bound expected", Align::Right),
        ("worst margin", Align::Right),
    ]);
    for line in document.budgets.iter().map(|b| b.problems) {
        columns.row([
            percent(line.budget),
            number::count(line.problems),
            number::count(line.cost.tokens),
            percent(line.cost.tokens as f64 / document.full_tokens.max(1) as f64),
            seconds(line.cost, rate),
            percent(line.bound_if_none),
            line.bound_expected.map_or("–".into(), percent),
            percent(line.margin_worst),
        ]);
    }
    columns
}

fn percent(share: f64) -> String {
    number::value(share, "share")
}

/// For both policies.
fn seconds(cost: Cost, rate: Option<f64>) -> String {
    match rate {
        Some(rate) => format!("{:.1}", 2.0 * cost.tokens as f64 / rate),
        None => "–".into(),
    }
}

fn document(a: &Arguments) -> Result<PlanDocument, Failure> {
    let path = a.run.out.join(PLAN);
    let bad = |said: String| Failure::Input(format!("{}: {said}", path.display()));
    let bytes = std::fs::read(&path).map_err(|e| bad(format!("cannot be read ({e})")))?;
    serde_json::from_slice(&bytes).map_err(|e| bad(format!("is no plan: {e}")))
}

/// Tokens per second of the base in this run.
fn measured(a: &Arguments) -> Result<Option<f64>, Failure> {
    let json = read_run_json(&a.run.out)?;
    let rate = json.timing.parts.get("base_tokens_per_s");
    Ok(rate.and_then(Value::as_f64).filter(|r| *r > 0.0))
}
