//! Interventions: the untouched path beside the one that was interfered with.
//!
//! Every row of an arm belongs to the row of arm `none` of the same direction,
//! temperature, problem and sample. The two paths part at the first index at
//! which their token ids differ.

use std::sync::OnceLock;

use forkscope_records::types::Intervention;
use serde_json::{Value, json};

use super::branch_list::{Listed, list, untouched};
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

/// The interventions of a run, listed once somebody asks.
#[derive(Default)]
pub struct Branches(OnceLock<Result<Listed, String>>);

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
