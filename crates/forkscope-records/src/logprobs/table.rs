//! Probability tables: every row a whole distribution.
//!
//! Probabilities lie in [0, 1] and a row sums to one within
//! [`SUM_TOLERANCE`]; rows printed with d >= 4 decimals may miss it by their
//! rounding, `n / 2 * 10^-d` for n entries, 0.001 at most. Rows are taken as
//! they are: nothing is renormalised, nothing left out; one bad row refuses
//! the file.

use std::collections::HashMap;
use std::path::Path;

use crate::RecordsError;
use crate::logprobs::Layout;
use crate::logprobs::json::Json;

/// How far from one a row may sum, whatever its decimals.
pub const SUM_TOLERANCE: f64 = 1e-6;

/// The most that printed decimals may excuse.
const MAX_ROUNDING: f64 = 1e-3;

/// Fewer decimals than these excuse nothing.
const MIN_DECIMALS: usize = 4;

/// One distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow {
    /// Name in the file, or `line 3` / `row 3` (from 1) where it has none.
    pub name: String,
    /// Probabilities in the order of the file, checked.
    pub probs: Vec<f64>,
}

/// Where a row stands, for its name and for messages.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// Line of a text file, from 1.
    Line(u64),
    /// Row of a JSON document, from 1.
    Row(usize),
}

impl Place {
    fn name(self) -> String {
        match self {
            Self::Line(line) => format!("line {line}"),
            Self::Row(row) => format!("row {row}"),
        }
    }

    /// The place in words, with the row's name where it has one of its own.
    fn with_name(self, name: &str) -> String {
        match self {
            _ if name == self.name() => name.to_owned(),
            Self::Line(line) => format!("line {line} (row {name:?})"),
            Self::Row(_) => format!("row {name:?}"),
        }
    }
}

/// The rows of a JSON document.
pub(super) fn from_json(path: &Path, document: &Json) -> Result<Vec<TableRow>, RecordsError> {
    match document {
        // [p, p, p]: one nameless row; [[p, ...], ...] and [{...}, ...]: many.
        Json::List(list) if list.iter().any(|item| item.number().is_none()) => list
            .iter()
            .enumerate()
            .map(|(i, item)| row_of(path, Place::Row(i + 1), item))
            .collect(),
        Json::Object(pairs) if named_row(document).is_none() => {
            refuse_repeats(path, pairs)?;
            pairs
                .iter()
                .map(|(name, probs)| row(path, Place::Row(0), name, probs))
                .collect()
        }
        _ => Ok(vec![row_of(path, Place::Row(1), document)?]),
    }
}

/// The row of one line of JSON Lines.
pub(super) fn from_line(path: &Path, line: u64, document: &Json) -> Result<TableRow, RecordsError> {
    row_of(path, Place::Line(line), document)
}

/// One row: a bare list, `{"name": ..., "probs": [...]}`, or `{"name": [...]}`.
fn row_of(path: &Path, place: Place, item: &Json) -> Result<TableRow, RecordsError> {
    if let Some((name, probs)) = named_row(item) {
        let name = name.map_or_else(|| place.name(), str::to_owned);
        return row(path, place, &name, probs);
    }
    match item {
        Json::Object(pairs) => match pairs.as_slice() {
            [(name, probs @ Json::List(_))] => row(path, place, name, probs),
            _ => Err(RecordsError::entry(
                path,
                place.name(),
                "this object is not a row; give a list of probabilities, or an object with \"name\" and \"probs\"",
            )),
        },
        other => row(path, place, &place.name(), other),
    }
}

/// Name and probabilities of `{"name": ..., "probs": [...]}`.
fn named_row(item: &Json) -> Option<(Option<&str>, &Json)> {
    let probs = item.get("probs").or_else(|| item.get("probabilities"))?;
    match item.get("name") {
        Some(name) => Some((Some(name.text()?), probs)),
        // {"probs": [...]} alone is a row without a name.
        None if item.object()?.len() == 1 => Some((None, probs)),
        None => None,
    }
}

/// JSON readers disagree about repeated names; most lose a row in silence.
fn refuse_repeats(path: &Path, pairs: &[(Box<str>, Json)]) -> Result<(), RecordsError> {
    let mut seen = HashMap::with_capacity(pairs.len());
    for (i, (name, _)) in pairs.iter().enumerate() {
        if let Some(first) = seen.insert(name, i + 1) {
            let reason = format!(
                "the name stands for rows {first} and {}; give every row a name of its own",
                i + 1
            );
            return Err(RecordsError::entry(path, format!("row {name:?}"), reason));
        }
    }
    Ok(())
}

fn row(path: &Path, place: Place, name: &str, probs: &Json) -> Result<TableRow, RecordsError> {
    let fail = |reason: String| Err(RecordsError::entry(path, place.with_name(name), reason));
    let Json::List(items) = probs else {
        return fail(format!(
            "expected a list of probabilities, found {}",
            probs.kind()
        ));
    };
    let mut values = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        match item.number() {
            Some(value) => values.push(value),
            None => {
                return fail(format!(
                    "probability {} is {}; give a number",
                    i + 1,
                    item.kind()
                ));
            }
        }
    }
    match checked(values) {
        Ok(probs) => Ok(TableRow {
            name: name.to_owned(),
            probs,
        }),
        Err(reason) => fail(reason),
    }
}

/// The rows of comma- or tab-separated values.
pub(super) fn from_csv(path: &Path, text: &str) -> Result<Vec<TableRow>, RecordsError> {
    let tabs = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("tsv"));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .delimiter(if tabs { b'\t' } else { b',' })
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for (i, record) in reader.records().enumerate() {
        let record =
            record.map_err(|e| RecordsError::json(path, format!("not readable as CSV: {e}")))?;
        let line = record.position().map_or(0, csv::Position::line);
        let mut fields: Vec<&str> = record.iter().collect();
        // Spreadsheets pad short rows with empty fields.
        while fields.len() > 1 && fields.last().is_some_and(|f| f.is_empty()) {
            fields.pop();
        }
        let Some((name, values)) = fields.split_first() else {
            continue;
        };
        let header = i == 0 && values.iter().all(|v| v.parse::<f64>().is_err());
        if !(header || values.is_empty() && name.is_empty()) {
            rows.push(csv_row(path, line, name, values)?);
        }
    }
    if rows.is_empty() {
        return Err(RecordsError::json(
            path,
            "no row of probabilities; give a name and probabilities per line",
        ));
    }
    Ok(rows)
}

fn csv_row(path: &Path, line: u64, name: &str, fields: &[&str]) -> Result<TableRow, RecordsError> {
    let fail = |reason: String| {
        Err(RecordsError::entry(
            path,
            Place::Line(line).with_name(name),
            reason,
        ))
    };
    let mut values = Vec::with_capacity(fields.len());
    for (i, field) in fields.iter().enumerate() {
        match field.parse::<f64>() {
            Ok(value) => values.push(value),
            Err(_) => {
                let i = i + 1;
                return fail(format!(
                    "probability {i} is {field:?}; give a number, with a point for the decimals"
                ));
            }
        }
    }
    match checked(values) {
        Ok(probs) => Ok(TableRow {
            name: name.to_owned(),
            probs,
        }),
        Err(reason) => fail(reason),
    }
}

/// The values if they are a distribution, else what is wrong and what to do.
fn checked(values: Vec<f64>) -> Result<Vec<f64>, String> {
    if values.is_empty() {
        return Err(
            "the row has no probabilities; give at least one, or leave the row out".to_owned(),
        );
    }
    let tolerance = tolerance(&values);
    for (i, &p) in values.iter().enumerate() {
        if !(0.0..=1.0 + tolerance).contains(&p) {
            let i = i + 1;
            return Err(format!(
                "probability {i} is {p}, outside of [0, 1]; exponentiate log-probs, apply softmax to logits"
            ));
        }
    }
    let sum = sum(&values);
    if (sum - 1.0).abs() > tolerance * (1.0 + 1e-9) {
        return Err(format!(
            "the probabilities sum to {sum:.9}, not to one within {tolerance:.1e}; list the whole distribution, \
             or give top-k log-probs in a response layout"
        ));
    }
    Ok(values)
}

/// Neumaier's compensated sum: 150,000 entries do not use up the tolerance.
fn sum(values: &[f64]) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    for &v in values {
        let next = sum + v;
        lost += if sum.abs() >= v.abs() {
            (sum - next) + v
        } else {
            (v - next) + sum
        };
        sum = next;
    }
    sum + lost
}

fn tolerance(values: &[f64]) -> f64 {
    let decimals = values.iter().map(|&p| decimals(p)).max().unwrap_or(0);
    if decimals < MIN_DECIMALS {
        return SUM_TOLERANCE;
    }
    let rounding = values.len() as f64 * 0.5 * 10f64.powi(-(decimals.min(300) as i32));
    rounding.clamp(SUM_TOLERANCE, MAX_ROUNDING)
}

/// Decimals of the shortest text that reads back as `value`: those it was
/// printed with, trailing zeros apart.
pub(super) fn decimals(value: f64) -> usize {
    let text = format!("{value}");
    text.split_once('.')
        .map_or(0, |(_, fraction)| fraction.len())
}

impl Layout {
    /// Whether rows are whole distributions.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl | Self::Csv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_decimals_excuse_their_rounding_only() {
        assert!(checked(vec![0.3333; 3]).is_ok());
        assert!(checked(vec![0.333; 3]).is_err());
        assert!(checked(vec![0.5, 0.4]).is_err());
        assert!(checked(vec![0.5, 0.4999]).is_ok());
        assert!(checked(vec![0.5, 0.4998]).is_err());
        assert!(checked(vec![1.0]).is_ok());
        // Many entries never excuse more than 0.001.
        let mut many = vec![0.0001; 9_000];
        many.push(0.0989);
        assert!(checked(many.clone()).is_err());
        many.push(0.0005);
        assert!(checked(many).is_ok());
    }

    #[test]
    fn a_row_that_is_no_distribution_says_why() {
        for (row, said) in [
            (vec![], "no probabilities"),
            (vec![-0.1, 1.1], "probability 1 is -0.1"),
            (vec![0.5, f64::NAN], "probability 2 is NaN"),
            (vec![1.1], "probability 1 is 1.1"),
            (vec![f64::INFINITY], "probability 1 is inf"),
            (vec![0.0, 0.0], "sum to 0.0000"),
        ] {
            let reason = checked(row).unwrap_err();
            assert!(reason.contains(said), "{reason}");
        }
    }
}
