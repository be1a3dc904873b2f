//! Interventions: the untouched path beside the one that was interfered with.
//!
//! Every row of an arm belongs to the row of arm `none` of the same direction,
//! temperature, problem and sample. The two paths part at the first index at
//! which their token ids differ.

use std::collections::HashMap;
use std::sync::OnceLock;

use forkscope_records::PagedTable;
use forkscope_records::table::Columns;
use forkscope_records::types::Intervention;
use serde_json::{Value, json};

use super::json::short;
use super::params::Params;
use super::respond::Fault;
use super::rollout::read_rows;
use super::tables::{Tables, Words};
use crate::error::ReportError;
use crate::text::visible;

/// What may be asked of the list.
pub const PARAMETERS: [&str; 7] = [
    "arm", "problem", "outcome", "offset", "limit", "sort", "order",
];

const MOST: u64 = 500;
const USUAL: u64 = 100;
/// Most tokens of one path.
const PATH_TOKENS: usize = 8000;

const NARROW: [&str; 13] = [
    "arm",
    "direction",
    "gate",
    "budget",
    "temperature",
    "problem_id",
    "sample",
    "token_ids",
    "prompt_len",
    "touched",
    "changed",
    "correct",
    "behaviour",
];

/// The interventions of a run, listed once somebody asks.
#[derive(Default)]
pub struct Branches(OnceLock<Result<Listed, String>>);

#[derive(Default)]
struct Listed {
    arms: Vec<Arm>,
    problems: Vec<String>,
    rows: Vec<Row>,
    /// Outcomes are of a behaviour, not of an answer.
    behaviour: bool,
}

struct Arm {
    name: String,
    direction: String,
    gate: String,
    budget: String,
    temperature: f64,
}

struct Row {
    arm: u32,
    problem: u32,
    sample: u32,
    tokens: u32,
    touched: u32,
    changed: u32,
    outcome: Option<bool>,
    /// Row of the untouched path.
    base: Option<u32>,
}

impl Branches {
    fn listed(&self, tables: &Tables) -> Result<&Listed, Fault> {
        let listed = self
            .0
            .get_or_init(|| list(tables).map_err(|e| e.to_string()));
        listed.as_ref().map_err(|said| Fault::Broken(said.clone()))
    }

    /// The arms, and a page of one arm's rows.
    pub fn page(&self, tables: &Tables, params: &Params) -> Result<Value, Fault> {
        let listed = self.listed(tables)?;
        let usual = listed.arms.iter().position(|a| !untouched(&a.name));
        let arm = params.number("arm", usual.unwrap_or(0) as u64, u64::from(u32::MAX))? as u32;
        let outcome = params.word("outcome", &OUTCOMES)?;
        let sort = params.word("sort", &["file", "problem", "touched", "changed", "tokens"])?;
        let down = params.word("order", &["up", "down"])? == Some("down");
        let offset = params.number("offset", 0, u64::from(u32::MAX))? as usize;
        let limit = params.number("limit", USUAL, MOST)? as usize;
        let part = params.get("problem").map(str::to_lowercase);
        let mut places: Vec<usize> = (0..listed.rows.len())
            .filter(|&i| {
                listed.rows.get(i).is_some_and(|row| {
                    let named =
                        |part: &String| listed.problem(row).to_lowercase().contains(part.as_str());
                    row.arm == arm
                        && part.as_ref().is_none_or(named)
                        && outcome.is_none_or(|o| listed.change(row) == o)
                })
            })
            .collect();
        let key = |&i: &usize| {
            let row = listed.rows.get(i);
            row.map_or(0, |r| match sort {
                Some("touched") => i64::from(r.touched),
                Some("changed") => i64::from(r.changed),
                Some("tokens") => i64::from(r.tokens),
                _ => 0,
            })
        };
        match (sort, down) {
            (Some("problem"), _) => {
                places.sort_by_key(|&i| listed.rows.get(i).map(|r| listed.problem(r)));
                if down {
                    places.reverse();
                }
            }
            (_, false) => places.sort_by_key(key),
            (_, true) => places.sort_by_key(|i| std::cmp::Reverse(key(i))),
        }
        let rows = places.iter().skip(offset).take(limit);
        let rows: Vec<Value> = rows.filter_map(|&i| listed.row(i)).collect();
        Ok(json!({
            "measure": if listed.behaviour { "behaviour" } else { "correct" },
            "arms": listed.arms(),
            "arm": arm,
            "matched": places.len(),
            "offset": offset,
            "rows": rows,
        }))
    }

    /// Both paths of one row.
    pub fn detail(&self, tables: &Tables, row: u64) -> Result<Value, Fault> {
        let listed = self.listed(tables)?;
        let absent = || Fault::Absent(format!("there is no intervention {row} in this run"));
        let light = usize::try_from(row).ok().and_then(|i| listed.rows.get(i));
        let light = light.ok_or_else(absent)?;
        let table = tables.interventions()?.ok_or_else(absent)?;
        let one = |row: u64| -> Result<Option<Intervention>, ReportError> {
            Ok(read_rows(table, row..row + 1)?.into_iter().next())
        };
        let other = one(row)?.ok_or_else(absent)?;
        let base = match light.base {
            Some(base) => one(u64::from(base))?,
            None => None,
        };
        let parting = base
            .as_ref()
            .and_then(|b| parting(&b.token_ids, &other.token_ids));
        let mut words = Words::new(tables.pieces()?);
        let prompt = other.token_ids.get(..other.prompt_len).unwrap_or(&[]);
        let prompt = words.all(prompt.get(..PATH_TOKENS).unwrap_or(prompt));
        let base = base.as_ref().map(|b| path(b, &mut words));
        let path = path(&other, &mut words);
        Ok(json!({
            "row": row,
            "arm": visible(&other.arm),
            "direction": other.direction.as_str(),
            "gate": visible(&other.gate),
            "budget": visible(&other.budget),
            "temperature": short(other.temperature),
            "problem": visible(&other.problem_id),
            "sample": other.sample,
            "measure": if listed.behaviour { "behaviour" } else { "correct" },
            "prompt_len": other.prompt_len,
            "prompt": prompt,
            "parting": parting,
            "base": base,
            "path": path,
            "words": words.finish(),
        }))
    }
}

const OUTCOMES: [&str; 5] = ["gained", "lost", "kept", "missed", "unknown"];

/// Whether an arm is one that nothing was done to.
fn untouched(name: &str) -> bool {
    matches!(name, "none" | "other")
}

/// The first index at which the two differ; `None` for the same tokens.
fn parting(a: &[u32], b: &[u32]) -> Option<usize> {
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    (same < a.len().max(b.len())).then_some(same)
}

fn path(r: &Intervention, words: &mut Words<'_>) -> Value {
    let completion = r.completion();
    let shown = completion.get(..PATH_TOKENS).unwrap_or(completion);
    json!({
        "tokens": words.all(shown),
        "length": completion.len(),
        "touched": r.touched,
        "changed": r.changed,
        "correct": r.correct,
        "behaviour": r.behaviour,
        "finish": r.finish_reason.as_str(),
        "validity": r.validity.as_str(),
    })
}

impl Listed {
    fn problem(&self, row: &Row) -> &str {
        let name = self.problems.get(row.problem as usize);
        name.map_or("", String::as_str)
    }

    fn base_outcome(&self, row: &Row) -> Option<bool> {
        self.rows.get(row.base? as usize)?.outcome
    }

    /// What the intervention did to the outcome.
    fn change(&self, row: &Row) -> &'static str {
        match (self.base_outcome(row), row.outcome) {
            (Some(false), Some(true)) => "gained",
            (Some(true), Some(false)) => "lost",
            (Some(true), Some(true)) => "kept",
            (Some(false), Some(false)) => "missed",
            _ => "unknown",
        }
    }

    fn row(&self, place: usize) -> Option<Value> {
        let row = self.rows.get(place)?;
        Some(json!({
            "row": place,
            "problem": visible(self.problem(row)),
            "sample": row.sample,
            "tokens": row.tokens,
            "touched": row.touched,
            "changed": row.changed,
            "before": self.base_outcome(row),
            "after": row.outcome,
            "change": self.change(row),
        }))
    }

    /// Each arm with counts of its rows.
    fn arms(&self) -> Vec<Value> {
        let mut counts = vec![HashMap::<&str, u64>::new(); self.arms.len()];
        for row in &self.rows {
            if let Some(count) = counts.get_mut(row.arm as usize) {
                *count.entry("rows").or_default() += 1;
                *count.entry(self.change(row)).or_default() += 1;
                *count.entry("touched").or_default() += u64::from(row.touched);
                *count.entry("changed").or_default() += u64::from(row.changed);
                *count.entry("right").or_default() += u64::from(row.outcome == Some(true));
                *count.entry("graded").or_default() += u64::from(row.outcome.is_some());
            }
        }
        let arms = self.arms.iter().zip(counts).enumerate();
        arms.map(|(i, (arm, count))| {
            json!({
                "arm": i,
                "name": visible(&arm.name),
                "direction": visible(&arm.direction),
                "gate": visible(&arm.gate),
                "budget": visible(&arm.budget),
                "temperature": short(arm.temperature),
                "counts": count,
            })
        })
        .collect()
    }
}

fn list(tables: &Tables) -> Result<Listed, ReportError> {
    let mut listed = Listed::default();
    let Some(table) = tables.interventions()? else {
        return Ok(listed);
    };
    read(table, &mut listed)?;
    let mut bases = HashMap::new();
    let key = |arms: &[Arm], row: &Row| {
        let arm = arms.get(row.arm as usize);
        let of = arm.map(|a| (a.direction.clone(), a.temperature.to_bits()));
        (of, row.problem, row.sample)
    };
    for (i, row) in (0u32..).zip(&listed.rows) {
        if listed
            .arms
            .get(row.arm as usize)
            .is_some_and(|a| a.name == "none")
        {
            bases.insert(key(&listed.arms, row), i);
        }
    }
    let found: Vec<Option<u32>> = listed
        .rows
        .iter()
        .map(|row| bases.get(&key(&listed.arms, row)).copied())
        .collect();
    for (row, base) in listed.rows.iter_mut().zip(found) {
        row.base = base;
    }
    Ok(listed)
}

fn read(table: &PagedTable, listed: &mut Listed) -> Result<(), ReportError> {
    let mut arms: HashMap<(String, String, String, String, u64), u32> = HashMap::new();
    let mut problems: HashMap<String, u32> = HashMap::new();
    let mut graded = false;
    for group in 0..table.groups() {
        table.read(group, &NARROW, 0..u64::MAX, |c: &Columns<'_>| {
            let texts = |name| c.texts(name);
            let (arm, direction) = (texts("arm")?, texts("direction")?);
            let (gate, budget) = (texts("gate")?, texts("budget")?);
            let temperature = c.f64s("temperature")?;
            let (samples, prompts) = (c.u32s("sample")?, c.u32s("prompt_len")?);
            let lengths = c.list_lengths("token_ids")?;
            let (touched, changed) = (c.list_lengths("touched")?, c.list_lengths("changed")?);
            let (correct, behaviour) = (c.opt_bools("correct")?, c.opt_bools("behaviour")?);
            let names = c.identifiers("problem_id")?;
            for (i, name) in names.into_iter().enumerate() {
                let text = |all: &[&str]| all.get(i).map_or_else(String::new, |t| (*t).to_owned());
                let size = |all: &[usize]| all.get(i).copied().unwrap_or(0) as u32;
                let grade = |all: &[Option<bool>]| all.get(i).copied().flatten();
                let t = temperature.get(i).copied().unwrap_or(0.0);
                let own = (
                    text(&arm),
                    text(&direction),
                    text(&gate),
                    text(&budget),
                    t.to_bits(),
                );
                let place =
                    *arms
                        .entry(own)
                        .or_insert_with_key(|(name, direction, gate, budget, _)| {
                            listed.arms.push(Arm {
                                name: name.clone(),
                                direction: direction.clone(),
                                gate: gate.clone(),
                                budget: budget.clone(),
                                temperature: t,
                            });
                            (listed.arms.len() - 1) as u32
                        });
                let problem = *problems.entry(name).or_insert_with_key(|name| {
                    listed.problems.push(name.clone());
                    (listed.problems.len() - 1) as u32
                });
                graded |= grade(&correct).is_some();
                listed.rows.push(Row {
                    arm: place,
                    problem,
                    sample: samples.get(i).copied().unwrap_or(0),
                    tokens: size(&lengths).saturating_sub(prompts.get(i).copied().unwrap_or(0)),
                    touched: size(&touched),
                    changed: size(&changed),
                    outcome: grade(&correct).or(grade(&behaviour)),
                    base: None,
                });
            }
            Ok(())
        })?;
    }
    listed.behaviour = !graded;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_part_where_they_first_differ() {
        assert_eq!(parting(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(parting(&[1, 2, 3], &[1, 9, 3]), Some(1));
        assert_eq!(parting(&[1, 2], &[1, 2, 3]), Some(2));
        assert_eq!(parting(&[], &[7]), Some(0));
    }
}
