//! The list of interventions: everything but the tokens.

use std::collections::HashMap;

use forkscope_records::PagedTable;
use forkscope_records::table::Columns;
use serde_json::{Value, json};

use super::json::short;
use super::tables::Tables;
use crate::error::ReportError;
use crate::text::visible;

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

/// The interventions of a run without their tokens.
#[derive(Default)]
pub struct Listed {
    pub arms: Vec<Arm>,
    pub problems: Vec<String>,
    pub rows: Vec<Row>,
    /// Outcomes are of a behaviour, not of an answer.
    pub behaviour: bool,
}

/// One arm.
pub struct Arm {
    pub name: String,
    pub direction: String,
    pub gate: String,
    pub budget: String,
    pub temperature: f64,
}

/// One completion.
pub struct Row {
    pub arm: u32,
    pub problem: u32,
    pub sample: u32,
    pub tokens: u32,
    pub touched: u32,
    pub changed: u32,
    pub outcome: Option<bool>,
    /// Row of the untouched path.
    pub base: Option<u32>,
}

/// Whether an arm is one that nothing was done to.
pub fn untouched(name: &str) -> bool {
    matches!(name, "none" | "other")
}

impl Listed {
    /// The problem of a row.
    pub fn problem(&self, row: &Row) -> &str {
        let name = self.problems.get(row.problem as usize);
        name.map_or("", String::as_str)
    }

    fn base_outcome(&self, row: &Row) -> Option<bool> {
        self.rows.get(row.base? as usize)?.outcome
    }

    /// What the intervention did to the outcome.
    pub fn change(&self, row: &Row) -> &'static str {
        match (self.base_outcome(row), row.outcome) {
            (Some(false), Some(true)) => "gained",
            (Some(true), Some(false)) => "lost",
            (Some(true), Some(true)) => "kept",
            (Some(false), Some(false)) => "missed",
            _ => "unknown",
        }
    }

    /// One row for the page.
    pub fn row(&self, place: usize) -> Option<Value> {
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
    pub fn arms(&self) -> Vec<Value> {
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

/// Reads the narrow columns and finds the untouched path of every row.
pub fn list(tables: &Tables) -> Result<Listed, ReportError> {
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
