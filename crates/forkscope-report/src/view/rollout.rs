//! One rollout: its tokens, and what each policy thought at each of them.

use std::time::Duration;

use forkscope_records::types::{DiffRow, Rollout, ScoreRow, TopK};
use forkscope_records::{PagedTable, Record};
use serde_json::{Value, json};

use super::find::locate;
use super::index::{Kind, State};
use super::json::{maybe, short};
use super::params::Params;
use super::respond::Fault;
use super::run::RunView;
use super::tables::Words;
use crate::error::ReportError;
use crate::text::{visible, visible_up_to};

/// What may be asked.
pub const PARAMETERS: [&str; 3] = ["n", "from", "count"];

/// Most token rows of one answer.
const MOST_ROWS: u64 = 2000;
/// Most tokens of a prompt.
const PROMPT_TOKENS: usize = 4000;
/// Most characters of a text whose tokens have none.
const TEXT_CHARS: usize = 40_000;
/// Longest wait for the list to reach a rollout.
const PATIENCE: Duration = Duration::from_secs(5);

/// The page of one rollout.
pub fn page(run: &RunView, params: &Params) -> Result<Value, Fault> {
    let place = params.number("n", 0, u64::from(u32::MAX))? as usize;
    let from = params.number("from", 0, u64::from(u32::MAX))?;
    let count = params.number("count", MOST_ROWS, MOST_ROWS)?;
    run.begin();
    let (entry, problem, kind, expected) = {
        let state = run
            .index
            .when(PATIENCE, |s: &State| s.entries.len() > place);
        let Some(entry) = state.entries.get(place).cloned() else {
            return Err(match state.progress.ended {
                true => Fault::Absent(format!("there is no rollout {place} in this run")),
                false => Fault::Later("the list of rollouts has not come so far yet".into()),
            });
        };
        let problem = state.problem(&entry).to_owned();
        (entry, problem, state.kind, state.expected_row(place))
    };
    let rollout = recorded(run, place)?;
    let mut words = Words::new(run.tables.pieces()?);
    let (rows, total) = match run.tables.tokens()?.filter(|_| kind != Kind::Plain) {
        Some(tokens) => {
            let (first, rows) = locate(tokens, &entry, &problem, expected)?;
            let range = first + from.min(rows)..first + from.saturating_add(count).min(rows);
            let rows_json = match kind {
                Kind::Diff => diff(read_rows(tokens, range)?, &mut words),
                _ => score(read_rows(tokens, range)?, &mut words),
            };
            (rows_json, rows)
        }
        None => plain(rollout.as_ref(), from as usize, count as usize, &mut words),
    };
    let prompt = rollout.as_ref().map(|r| {
        let ids = r.token_ids.get(..r.prompt_len).unwrap_or(&r.token_ids);
        words.all(ids.get(..PROMPT_TOKENS).unwrap_or(ids))
    });
    let has_pieces = run.tables.pieces()?.is_some();
    let text = rollout
        .as_ref()
        .filter(|_| !has_pieces)
        .map(|r| visible_up_to(&r.text, TEXT_CHARS));
    Ok(json!({
        "n": place,
        "problem": visible(&problem),
        "sample": entry.sample,
        "correct": entry.correct,
        "finish": entry.finish.as_str(),
        "validity": entry.validity.as_str(),
        "prompt_len": rollout.as_ref().map(|r| r.prompt_len),
        "kind": kind.as_str(),
        "from": from,
        "total": total,
        "rows": rows,
        "prompt": prompt,
        "text": text,
        "words": words.finish(),
    }))
}

/// The record of a rollout; rows of the table are the first places of the list.
fn recorded(run: &RunView, place: usize) -> Result<Option<Rollout>, ReportError> {
    let Some(table) = run.tables.rollouts()? else {
        return Ok(None);
    };
    let row = place as u64;
    Ok(read_rows(table, row..row + 1)?.into_iter().next())
}

/// Whole rows of a table.
pub fn read_rows<R: Record>(
    table: &PagedTable,
    rows: std::ops::Range<u64>,
) -> Result<Vec<R>, ReportError> {
    let schema = R::schema()?;
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut out = Vec::new();
    for group in table.groups_of(rows.clone()) {
        table.read(group, &columns, rows.clone(), |c| {
            out.append(&mut R::from_columns(c)?);
            Ok(())
        })?;
    }
    Ok(out)
}

/// The listed tokens of each row as `[[word, ln p], ...]`; a row without any
/// still names the most probable one.
fn listed<'a>(rows: impl Iterator<Item = (&'a TopK, u32)>, words: &mut Words<'_>) -> Vec<Value> {
    rows.map(|(top, argmax)| {
        if top.ids.is_empty() {
            return json!([[words.of(argmax), Value::Null]]);
        }
        let pairs = top.ids.iter().zip(&top.logprobs);
        let pairs: Vec<Value> = pairs
            .map(|(id, lp)| json!([words.of(*id), short(f64::from(*lp))]))
            .collect();
        Value::Array(pairs)
    })
    .collect()
}

fn diff(rows: Vec<DiffRow>, words: &mut Words<'_>) -> Value {
    let each = |f: &dyn Fn(&DiffRow) -> Value| -> Vec<Value> { rows.iter().map(f).collect() };
    let token: Vec<u32> = rows.iter().map(|r| words.of(r.token_id)).collect();
    let base = listed(rows.iter().map(|r| (&r.topk_base, r.argmax_base_id)), words);
    let tuned = listed(
        rows.iter().map(|r| (&r.topk_tuned, r.argmax_tuned_id)),
        words,
    );
    json!({
        "t": each(&|r| json!(r.t)),
        "token": token,
        "validity": each(&|r| json!(r.validity.as_str())),
        "class": each(&|r| json!(r.class as u8)),
        "kl": each(&|r| maybe(r.kl_tuned_base_nats)),
        "kl_rev": each(&|r| maybe(r.kl_base_tuned_nats)),
        "js": each(&|r| short(r.js_nats)),
        "tv": each(&|r| short(r.tv)),
        "h_base": each(&|r| short(r.entropy_base_nats)),
        "h_tuned": each(&|r| short(r.entropy_tuned_nats)),
        "delta": each(&|r| maybe(r.delta_logprob)),
        "lp_base": each(&|r| short(f64::from(r.logprob_base))),
        "lp_tuned": each(&|r| short(f64::from(r.logprob_tuned))),
        "rank_base": each(&|r| json!(r.rank_base)),
        "rank_tuned": each(&|r| json!(r.rank_tuned)),
        "argmax_rank": each(&|r| json!(r.base_rank_of_tuned_argmax)),
        "base": base,
        "tuned": tuned,
    })
}

fn score(rows: Vec<ScoreRow>, words: &mut Words<'_>) -> Value {
    let each = |f: &dyn Fn(&ScoreRow) -> Value| -> Vec<Value> { rows.iter().map(f).collect() };
    let token: Vec<u32> = rows.iter().map(|r| words.of(r.token_id)).collect();
    let top = listed(rows.iter().map(|r| (&r.topk, r.argmax_id)), words);
    json!({
        "t": each(&|r| json!(r.t)),
        "token": token,
        "validity": each(&|r| json!(r.validity.as_str())),
        "h": each(&|r| short(r.entropy_nats)),
        "lp": each(&|r| short(f64::from(r.logprob))),
        "rank": each(&|r| json!(r.rank)),
        "top": top,
    })
}

/// Tokens of a rollout that nobody has scored, with the log-probs of the
/// sampler where there are some.
fn plain(
    rollout: Option<&Rollout>,
    from: usize,
    count: usize,
    words: &mut Words<'_>,
) -> (Value, u64) {
    let Some(r) = rollout else {
        return (json!({ "t": [], "token": [] }), 0);
    };
    let ids = r.completion();
    let shown = ids.iter().enumerate().skip(from).take(count);
    let token: Vec<u32> = shown.clone().map(|(_, id)| words.of(*id)).collect();
    let t: Vec<usize> = shown.clone().map(|(i, _)| r.prompt_len + i).collect();
    let lp = r.logprobs.as_ref().map(|all| {
        let of = |(i, _): (usize, &u32)| all.get(i).map_or(Value::Null, |v| short(f64::from(*v)));
        shown.map(of).collect::<Vec<Value>>()
    });
    (
        json!({ "t": t, "token": token, "lp": lp }),
        ids.len() as u64,
    )
}
