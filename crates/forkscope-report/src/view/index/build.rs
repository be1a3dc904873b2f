//! Building the index: rollouts first, then their token rows.

use forkscope_records::table::Columns;
use forkscope_records::types::{FinishReason, Validity};
use forkscope_records::{PagedTable, RecordsError};

use super::Index;
use super::metrics::{Gathered, How, Kind};
use super::state::Entry;
use crate::error::ReportError;
use crate::view::tables::Tables;

const NARROW: [&str; 7] = [
    "problem_id",
    "sample",
    "token_ids",
    "prompt_len",
    "finish_reason",
    "correct",
    "validity",
];

/// Builds it; returns early when it is to stop.
pub fn run(index: &Index, tables: &Tables) -> Result<(), ReportError> {
    let tokens = tables.tokens()?;
    let kind = Kind::of(tokens);
    index.change(|state| {
        state.set_kind(kind);
        state.progress.rows_total = tokens.map_or(0, PagedTable::rows);
    });
    if let Some(rollouts) = tables.rollouts()? {
        list(index, rollouts, kind)?;
    }
    index.change(|state| state.progress.listed = true);
    match tokens {
        Some(tokens) if kind != Kind::Plain => gather(index, tokens, kind),
        _ => Ok(()),
    }
}

/// Every rollout of the table, in its order.
fn list(index: &Index, rollouts: &PagedTable, kind: Kind) -> Result<(), ReportError> {
    index.change(|state| state.progress.rollouts_total = rollouts.rows());
    let mut columns = NARROW.to_vec();
    if kind == Kind::Plain {
        columns.push("logprobs");
    }
    for group in 0..rollouts.groups() {
        if index.stopped() {
            break;
        }
        rollouts.read(group, &columns, 0..u64::MAX, |c| {
            let listed = entries(c)?;
            let sums = log_probs(c)?;
            index.change(|state| {
                for (i, (problem, entry)) in listed.into_iter().enumerate() {
                    let at = state.push(&problem, entry);
                    let gathered = sums.get(i).copied().unwrap_or_default();
                    for (number, how) in state.numbers.iter_mut().zip([How::Sum, How::Mean]) {
                        if let (Kind::Plain, Some(slot)) = (kind, number.get_mut(at)) {
                            *slot = gathered.give(how, 0);
                        }
                    }
                }
            });
            Ok(())
        })?;
    }
    Ok(())
}

fn entries(c: &Columns<'_>) -> Result<Vec<(String, Entry)>, RecordsError> {
    let problems = c.identifiers("problem_id")?;
    let samples = c.u32s("sample")?;
    let lengths = c.list_lengths("token_ids")?;
    let prompts = c.u32s("prompt_len")?;
    let finishes = match c.has("finish_reason") {
        true => c.words("finish_reason", FinishReason::parse)?,
        false => vec![FinishReason::Unknown; c.rows()],
    };
    let grades = match c.has("correct") {
        true => c.opt_bools("correct")?,
        false => vec![None; c.rows()],
    };
    let validities = match c.has("validity") {
        true => c.words("validity", Validity::parse)?,
        false => vec![Validity::Ok; c.rows()],
    };
    let sizes = samples.into_iter().zip(lengths.into_iter().zip(prompts));
    let words = finishes.into_iter().zip(grades.into_iter().zip(validities));
    let all = problems.into_iter().zip(sizes.zip(words));
    Ok(all
        .map(
            |(problem, ((sample, (len, prompt)), (finish, (correct, validity))))| {
                let tokens = len.saturating_sub(prompt as usize);
                let entry = Entry {
                    problem: 0,
                    sample,
                    tokens: u32::try_from(tokens).ok(),
                    correct,
                    finish,
                    validity,
                    classes: 0,
                    first_row: 0,
                    rows: 0,
                };
                (problem, entry)
            },
        )
        .collect())
}

/// Sums of the log-probs that the rollouts themselves have.
fn log_probs(c: &Columns<'_>) -> Result<Vec<Gathered>, RecordsError> {
    if !c.has("logprobs") {
        return Ok(Vec::new());
    }
    let lists = c.opt_f32_lists("logprobs")?;
    Ok(lists
        .into_iter()
        .map(|list| {
            let mut gathered = Gathered::default();
            for lp in list.unwrap_or_default() {
                gathered.add(f64::from(lp));
            }
            gathered
        })
        .collect())
}

/// The rollout whose rows are being read.
struct Current {
    problem: String,
    sample: u32,
    first_row: u64,
    rows: u32,
    left_out: u32,
    classes: u8,
    gathered: Vec<Gathered>,
}

/// The numbers of every rollout, from its token rows.
fn gather(index: &Index, tokens: &PagedTable, kind: Kind) -> Result<(), ReportError> {
    let mut current: Option<Current> = None;
    let mut row = 0u64;
    for group in 0..tokens.groups() {
        if index.stopped() {
            return Ok(());
        }
        tokens.read(group, kind.columns(), 0..u64::MAX, |c| {
            let mut done = Vec::new();
            fold(c, kind, &mut row, &mut current, &mut done)?;
            index.change(|state| {
                done.iter().for_each(|one| store(state, kind, one));
                state.progress.rows = row;
            });
            Ok(())
        })?;
    }
    index.change(|state| current.iter().for_each(|one| store(state, kind, one)));
    Ok(())
}

/// Adds a batch; rollouts that end in it go to `done`.
fn fold(
    c: &Columns<'_>,
    kind: Kind,
    row: &mut u64,
    current: &mut Option<Current>,
    done: &mut Vec<Current>,
) -> Result<(), RecordsError> {
    let problems = c.identifiers("problem_id")?;
    let samples = c.u32s("sample")?;
    let validities = c.words("validity", Validity::parse)?;
    let (values, classes) = kind.values(c)?;
    let keys = problems
        .into_iter()
        .zip(samples)
        .zip(validities)
        .enumerate();
    for (i, ((problem, sample), validity)) in keys {
        let goes_on = |one: &Current| one.sample == sample && one.problem == problem;
        if !current.as_ref().is_some_and(goes_on) {
            done.extend(current.take());
        }
        let one = current.get_or_insert_with(|| Current {
            problem,
            sample,
            first_row: *row,
            rows: 0,
            left_out: 0,
            classes: 0,
            gathered: vec![Gathered::default(); values.len()],
        });
        *row += 1;
        one.rows = one.rows.saturating_add(1);
        if !matches!(validity, Validity::Ok | Validity::Truncated) {
            one.left_out += 1;
            continue;
        }
        if let Some(class) = classes.as_ref().and_then(|all| all.get(i)) {
            one.classes |= 1 << class;
        }
        for (gathered, column) in one.gathered.iter_mut().zip(&values) {
            gathered.add(column.get(i).copied().unwrap_or(f64::NAN));
        }
    }
    Ok(())
}

fn store(state: &mut super::State, kind: Kind, one: &Current) {
    let at = state.find(&one.problem, one.sample).unwrap_or_else(|| {
        // A table of token rows can hold rollouts that are listed nowhere.
        let entry = Entry {
            problem: 0,
            sample: one.sample,
            tokens: None,
            correct: None,
            finish: FinishReason::Unknown,
            validity: Validity::Ok,
            classes: 0,
            first_row: 0,
            rows: 0,
        };
        state.push(&one.problem, entry)
    });
    let Some(entry) = state.entries.get_mut(at) else {
        return;
    };
    if entry.rows > 0 {
        state.progress.scattered += 1;
        return;
    }
    (entry.first_row, entry.rows, entry.classes) = (one.first_row, one.rows, one.classes);
    for (metric, column) in kind.metrics().iter().zip(&mut state.numbers) {
        let gathered = one.gathered.get(metric.source).copied();
        if let Some(slot) = column.get_mut(at) {
            *slot = gathered.unwrap_or_default().give(metric.how, one.left_out);
        }
    }
}
