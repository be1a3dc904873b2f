//! One page of the list: filtered, sorted, cut.

use std::cmp::Ordering;

use forkscope_records::types::Validity;
use serde_json::{Value, json};

use super::state::State;
use crate::text::visible;
use crate::view::json::short;
use crate::view::params::Params;
use crate::view::respond::Fault;

/// What may be asked.
pub const PARAMETERS: [&str; 10] = [
    "offset", "limit", "sort", "order", "problem", "correct", "validity", "class", "min", "max",
];

/// Most rollouts of one page.
const MOST: u64 = 500;
const USUAL: u64 = 100;

/// What a list is sorted by or a range is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    File,
    Problem,
    Sample,
    Tokens,
    Correct,
    Finish,
    Validity,
    Number(usize),
}

impl Field {
    fn parse(name: &str, state: &State) -> Result<Self, Fault> {
        let metrics = state.kind.metrics();
        Ok(match name {
            "file" => Self::File,
            "problem" => Self::Problem,
            "sample" => Self::Sample,
            "tokens" => Self::Tokens,
            "correct" => Self::Correct,
            "finish" => Self::Finish,
            "validity" => Self::Validity,
            _ => match metrics.iter().position(|m| m.id == name) {
                Some(at) => Self::Number(at),
                None => {
                    let known: Vec<&str> = metrics.iter().map(|m| m.id).collect();
                    return Err(Fault::Asked(format!(
                        "there is no column {name}; known are file, problem, sample, tokens, \
                         correct, finish, validity, {}",
                        known.join(", ")
                    )));
                }
            },
        })
    }

    /// The value that is compared; NaN where there is none.
    fn value(self, state: &State, place: usize) -> f64 {
        let Some(entry) = state.entries.get(place) else {
            return f64::NAN;
        };
        match self {
            Self::File | Self::Problem => place as f64,
            Self::Sample => f64::from(entry.sample),
            Self::Tokens => entry.tokens.map_or(f64::NAN, f64::from),
            Self::Correct => entry.correct.map_or(f64::NAN, |c| f64::from(u8::from(c))),
            Self::Finish => f64::from(entry.finish as u8),
            Self::Validity => f64::from(entry.validity as u8),
            Self::Number(at) => {
                let number = state.numbers.get(at).and_then(|column| column.get(place));
                number.copied().map_or(f64::NAN, f64::from)
            }
        }
    }
}

struct Filter {
    problem: Option<String>,
    correct: Option<Option<bool>>,
    validity: Option<Validity>,
    classes: Option<u8>,
    ranges: Vec<(Field, f64, f64)>,
}

impl Filter {
    fn parse(params: &Params, state: &State) -> Result<Self, Fault> {
        let correct = params.word("correct", &["yes", "no", "unknown"])?;
        let validity = params.get("validity").map(|word| {
            Validity::parse(word)
                .ok_or_else(|| Fault::Asked(format!("there is no validity {word}")))
        });
        let classes = params.word("class", &["unshifted", "reranked", "shifted", "changed"])?;
        let mut ranges = Vec::new();
        for (name, low) in [("min", true), ("max", false)] {
            for given in params.all(name) {
                ranges.push(range(name, given, low, state)?);
            }
        }
        Ok(Self {
            problem: params.get("problem").map(str::to_lowercase),
            correct: correct.map(|word| match word {
                "yes" => Some(true),
                "no" => Some(false),
                _ => None,
            }),
            validity: validity.transpose()?,
            classes: classes.map(|word| match word {
                "unshifted" => 1,
                "reranked" => 2,
                "shifted" => 4,
                _ => 6,
            }),
            ranges,
        })
    }

    fn keeps(&self, state: &State, place: usize) -> bool {
        let Some(entry) = state.entries.get(place) else {
            return false;
        };
        let named = |part: &String| state.problem(entry).to_lowercase().contains(part.as_str());
        self.problem.as_ref().is_none_or(named)
            && self.correct.is_none_or(|c| c == entry.correct)
            && self.validity.is_none_or(|v| v == entry.validity)
            && self.classes.is_none_or(|c| c & entry.classes != 0)
            && self.ranges.iter().all(|&(field, low, high)| {
                let v = field.value(state, place);
                v >= low && v <= high
            })
    }
}

/// `FIELD:NUMBER`, the least or the greatest value that is kept.
fn range(name: &str, given: &str, low: bool, state: &State) -> Result<(Field, f64, f64), Fault> {
    let wrong = || Fault::Asked(format!("{name} {given} is not of the form COLUMN:NUMBER"));
    let (field, bound) = given.split_once(':').ok_or_else(wrong)?;
    let bound: f64 = bound.parse().map_err(|_| wrong())?;
    if bound.is_nan() {
        return Err(wrong());
    }
    let field = Field::parse(field, state)?;
    Ok(match low {
        true => (field, bound, f64::INFINITY),
        false => (field, f64::NEG_INFINITY, bound),
    })
}

/// The page that is asked for, of what is known.
pub fn page(state: &State, params: &Params) -> Result<Value, Fault> {
    let offset = params.number("offset", 0, u64::from(u32::MAX))? as usize;
    let limit = params.number("limit", USUAL, MOST)? as usize;
    let field = Field::parse(params.get("sort").unwrap_or("file"), state)?;
    let down = params.word("order", &["up", "down"])? == Some("down");
    let filter = Filter::parse(params, state)?;
    let mut places: Vec<usize> = (0..state.entries.len())
        .filter(|&place| filter.keeps(state, place))
        .collect();
    sort(state, &mut places, field, down);
    let rows: Vec<Value> = places
        .iter()
        .skip(offset)
        .take(limit)
        .filter_map(|&place| row(state, place))
        .collect();
    let metrics: Vec<Value> = state
        .kind
        .metrics()
        .iter()
        .map(|m| json!({"id": m.id, "name": m.name, "title": m.title, "kind": m.kind}))
        .collect();
    // What is sorted or filtered by may still change.
    let of_numbers = matches!(field, Field::Number(_))
        || filter.classes.is_some()
        || filter
            .ranges
            .iter()
            .any(|r| matches!(r.0, Field::Number(_)));
    let settled = state.progress.whole || (state.progress.listed && !of_numbers);
    Ok(json!({
        "kind": state.kind.as_str(),
        "metrics": metrics,
        "matched": places.len(),
        "offset": offset,
        "settled": settled,
        "rows": rows,
        "index": state.progress(),
    }))
}

/// Values without a number come last in either direction, ties keep the order
/// of the file.
fn sort(state: &State, places: &mut [usize], field: Field, down: bool) {
    let way = |o: Ordering| if down { o.reverse() } else { o };
    match field {
        Field::File if !down => {}
        Field::Problem => places.sort_by(|&a, &b| {
            let name = |place: usize| state.entries.get(place).map(|e| state.problem(e));
            way(name(a).cmp(&name(b)))
        }),
        _ => places.sort_by(|&a, &b| {
            let (x, y) = (field.value(state, a), field.value(state, b));
            match (x.is_nan(), y.is_nan()) {
                (false, false) => way(x.total_cmp(&y)),
                (one, other) => one.cmp(&other),
            }
        }),
    }
}

fn row(state: &State, place: usize) -> Option<Value> {
    let entry = state.entries.get(place)?;
    let numbers = state.numbers.iter().map(|column| column.get(place));
    let numbers: Vec<Value> = numbers
        .map(|v| short(v.copied().map_or(f64::NAN, f64::from)))
        .collect();
    Some(json!({
        "n": place,
        "problem": visible(state.problem(entry)),
        "sample": entry.sample,
        "tokens": entry.tokens,
        "correct": entry.correct,
        "finish": entry.finish.as_str(),
        "validity": entry.validity.as_str(),
        "numbers": numbers,
    }))
}
