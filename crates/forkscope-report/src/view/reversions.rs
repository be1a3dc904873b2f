//! Reversions: how much it takes to bring the other behaviour back.
//!
//! The survival curve of a method is S(x) = the share of its attempts that have
//! not turned at a price of at most x. Attempts that did not turn within the
//! cap count as surviving to its end; attempts without a statement
//! (`not_verified`, `not_applicable`, invalid text) are left out and counted.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use forkscope_records::types::{Reversion, ReversionStatus, Validity};
use serde_json::{Value, json};

use super::json::{maybe, short};
use super::params::Params;
use super::respond::Fault;
use super::rollout::read_rows;
use super::survival::{figure, summary};
use super::tables::{Tables, Words};
use crate::error::ReportError;
use crate::text::visible;

/// What may be asked of the list.
pub const PARAMETERS: [&str; 7] = [
    "direction",
    "method",
    "control",
    "problem",
    "status",
    "offset",
    "limit",
];

const MOST: u64 = 500;
const USUAL: u64 = 100;

const NARROW: [&str; 14] = [
    "direction",
    "method",
    "control",
    "problem_id",
    "sample",
    "status",
    "price",
    "cap",
    "unit",
    "kl_nats",
    "tries",
    "positions",
    "behaviour",
    "validity",
];

/// The reversions of a run, listed once somebody asks.
#[derive(Default)]
pub struct Reversions(OnceLock<Result<Vec<Row>, String>>);

/// One attempt, without its text.
pub struct Row {
    pub direction: String,
    pub method: String,
    pub control: String,
    pub problem: String,
    pub sample: u32,
    pub status: ReversionStatus,
    pub price: Option<f64>,
    pub cap: f64,
    pub unit: String,
    pub kl_nats: Option<f64>,
    pub positions: u32,
    pub valid: bool,
}

impl Row {
    /// Whether the row says for a price whether the behaviour had turned.
    pub fn counts(&self) -> bool {
        let stated = matches!(
            self.status,
            ReversionStatus::Reached | ReversionStatus::NotReached
        );
        stated && self.valid
    }
}

impl Reversions {
    fn rows(&self, tables: &Tables) -> Result<&[Row], Fault> {
        let rows = self
            .0
            .get_or_init(|| list(tables).map_err(|e| e.to_string()));
        match rows {
            Ok(rows) => Ok(rows),
            Err(said) => Err(Fault::Broken(said.clone())),
        }
    }

    /// Figures and counts, by direction and method.
    pub fn curves(&self, tables: &Tables) -> Result<Value, Fault> {
        let mut panels: BTreeMap<Panel<'_>, Controls<'_>> = BTreeMap::new();
        for row in self.rows(tables)? {
            if row.status == ReversionStatus::Untouched {
                continue;
            }
            // Undoing comes first.
            let panel = (
                row.direction != "undo",
                order(&row.method),
                row.method.as_str(),
                row.direction.as_str(),
            );
            let controls = panels.entry(panel).or_default();
            controls.entry(row.control.as_str()).or_default().push(row);
        }
        let (mut figures, mut groups) = (Vec::new(), Vec::new());
        for ((_, _, method, direction), controls) in &panels {
            figures.extend(figure(direction, method, controls));
            for (control, rows) in controls {
                groups.push(summary(direction, method, control, rows));
            }
        }
        Ok(json!({ "figures": figures, "groups": groups }))
    }

    /// A page of attempts, the cheapest first: the weakest links.
    pub fn links(&self, tables: &Tables, params: &Params) -> Result<Value, Fault> {
        let rows = self.rows(tables)?;
        let offset = params.number("offset", 0, u64::from(u32::MAX))? as usize;
        let limit = params.number("limit", USUAL, MOST)? as usize;
        let part = params.get("problem").map(str::to_lowercase);
        let is = |name: &str, own: &str| params.get(name).is_none_or(|word| word == own);
        let control = params.get("control").unwrap_or("none");
        let mut places: Vec<usize> = (0..rows.len())
            .filter(|&i| {
                rows.get(i).is_some_and(|r| {
                    r.status != ReversionStatus::Untouched
                        && is("direction", &r.direction)
                        && is("method", &r.method)
                        && is("status", r.status.as_str())
                        && (control == "all" || control == r.control)
                        && part
                            .as_ref()
                            .is_none_or(|p| r.problem.to_lowercase().contains(p))
                })
            })
            .collect();
        // By method first: prices of different units do not compare.
        places.sort_by(|&a, &b| match (rows.get(a), rows.get(b)) {
            (Some(a), Some(b)) => {
                let end = f64::INFINITY;
                let key = |r: &Row| (r.price.unwrap_or(end), r.kl_nats.unwrap_or(end));
                order(&a.method)
                    .cmp(&order(&b.method))
                    .then_with(|| b.direction.cmp(&a.direction))
                    .then_with(|| key(a).0.total_cmp(&key(b).0))
                    .then_with(|| key(a).1.total_cmp(&key(b).1))
            }
            _ => std::cmp::Ordering::Equal,
        });
        let shown = places.iter().skip(offset).take(limit);
        let shown: Vec<Value> = shown
            .filter_map(|&i| rows.get(i).map(|r| link(i, r)))
            .collect();
        Ok(json!({ "matched": places.len(), "offset": offset, "rows": shown }))
    }

    /// One attempt with its text.
    pub fn detail(&self, tables: &Tables, row: u64) -> Result<Value, Fault> {
        let absent = || Fault::Absent(format!("there is no reversion {row} in this run"));
        let table = tables.reversions()?.ok_or_else(absent)?;
        let found: Vec<Reversion> = read_rows(table, row..row.saturating_add(1))?;
        let r = found.first().ok_or_else(absent)?;
        let mut words = Words::new(tables.pieces()?);
        let prompt = words.all(r.token_ids.get(..r.prompt_len).unwrap_or(&[]));
        let tokens = words.all(r.token_ids.get(r.prompt_len..).unwrap_or(&[]));
        let forced: Vec<Value> = (0..r.positions.len())
            .map(|i| {
                json!({
                    "t": r.positions.get(i),
                    "donor": r.donor_ids.get(i).map(|id| words.of(*id)),
                    "margin": maybe(r.margins_nats.get(i).map(|v| f64::from(*v))),
                    "js": maybe(r.js_nats.get(i).map(|v| f64::from(*v))),
                })
            })
            .collect();
        let levels = r.levels.iter().zip(&r.turned);
        let levels: Vec<Value> = levels
            .map(|(price, turned)| json!([short(f64::from(*price)), turned]))
            .collect();
        Ok(json!({
            "row": row,
            "direction": r.direction.as_str(),
            "method": r.method.as_str(),
            "control": r.control.as_str(),
            "problem": visible(&r.problem_id),
            "sample": r.sample,
            "status": r.status.as_str(),
            "price": maybe(r.price),
            "cap": short(r.cap),
            "unit": visible(&r.unit),
            "kl_nats": maybe(r.kl_nats),
            "tries": r.tries,
            "behaviour": r.behaviour,
            "finish": r.finish_reason.as_str(),
            "validity": r.validity.as_str(),
            "prompt_len": r.prompt_len,
            "prompt": prompt,
            "tokens": tokens,
            "forced": forced,
            "levels": levels,
            "words": words.finish(),
        }))
    }
}

/// Whether it induces, place of the method, method, direction.
type Panel<'a> = (bool, usize, &'a str, &'a str);
/// Attempts by control.
pub type Controls<'a> = BTreeMap<&'a str, Vec<&'a Row>>;

/// Place of a method among the methods.
fn order(method: &str) -> usize {
    let all = [
        "tokens_minimal",
        "tokens",
        "tokens_first",
        "prefill",
        "alpha",
        "nats",
        "prompt",
    ];
    all.iter().position(|m| *m == method).unwrap_or(all.len())
}

fn link(place: usize, r: &Row) -> Value {
    json!({
        "row": place,
        "direction": visible(&r.direction),
        "method": visible(&r.method),
        "control": visible(&r.control),
        "problem": visible(&r.problem),
        "sample": r.sample,
        "status": r.status.as_str(),
        "price": maybe(r.price),
        "cap": short(r.cap),
        "unit": visible(&r.unit),
        "kl_nats": maybe(r.kl_nats),
        "positions": r.positions,
        "valid": r.valid,
    })
}

fn list(tables: &Tables) -> Result<Vec<Row>, ReportError> {
    let mut rows = Vec::new();
    let Some(table) = tables.reversions()? else {
        return Ok(rows);
    };
    for group in 0..table.groups() {
        table.read(group, &NARROW, 0..u64::MAX, |c| {
            let (direction, method) = (c.texts("direction")?, c.texts("method")?);
            let (control, unit) = (c.texts("control")?, c.texts("unit")?);
            let (sample, cap) = (c.u32s("sample")?, c.f64s("cap")?);
            let (price, kl) = (c.opt_f64s("price")?, c.opt_f64s("kl_nats")?);
            let status = c.words("status", ReversionStatus::parse)?;
            let validity = c.words("validity", Validity::parse)?;
            let positions = c.list_lengths("positions")?;
            for (i, problem) in c.identifiers("problem_id")?.into_iter().enumerate() {
                let text = |all: &[&str]| all.get(i).map_or_else(String::new, |t| (*t).to_owned());
                let number = |all: &[Option<f64>]| all.get(i).copied().flatten();
                let valid = validity.get(i).copied().unwrap_or(Validity::NonFinite);
                rows.push(Row {
                    direction: text(&direction),
                    method: text(&method),
                    control: text(&control),
                    problem,
                    sample: sample.get(i).copied().unwrap_or(0),
                    status: status
                        .get(i)
                        .copied()
                        .unwrap_or(ReversionStatus::NotApplicable),
                    price: number(&price),
                    cap: cap.get(i).copied().unwrap_or(f64::NAN),
                    unit: text(&unit),
                    kl_nats: number(&kl),
                    positions: positions.get(i).copied().unwrap_or(0) as u32,
                    valid: matches!(valid, Validity::Ok | Validity::Truncated),
                });
            }
            Ok(())
        })?;
    }
    Ok(rows)
}
