//! What rendering a template may cost.
//!
//! A chat template comes with a model and is hostile until shown otherwise. A
//! render is charged for what it reads and what it makes; the charges depend on
//! the template and the messages only, never on the clock, so the same
//! template fails in the same way on every machine.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// Largest template source, bytes.
pub(super) const MAX_SOURCE: usize = 256 << 10;
/// Most tokens in one `{{ }}` or `{% %}`.
pub(super) const MAX_EXPRESSION_TOKENS: usize = 2_000;
/// Largest constant that an expression may fold into when compiled, bytes.
pub(super) const MAX_FOLDED: f64 = 1e6;
/// Largest result, and largest string on the way to it, bytes.
pub(super) const MAX_TEXT: u64 = 8 << 20;
/// Instructions of a render, at most.
pub(super) const MAX_FUEL: u64 = 1_000_000;
/// Bytes of literal template text that a render may emit, captured or not.
pub(super) const MAX_RAW: u64 = 256 << 20;
/// Values (list items, mapping entries) within one value, at most.
const MAX_NODES: u64 = 200_000;
/// Nesting of a value, at most.
const MAX_DEPTH: usize = 48;
/// Bytes of all strings and lists that a render makes, at most.
const MAX_MADE: u64 = 64 << 20;
/// Work of a render: values visited plus bytes read / 16, at most.
const MAX_WORK: u64 = 1 << 26;

/// What a render has cost so far; lives in the state of the render.
#[derive(Debug, Default)]
struct Spent {
    work: u64,
    made: u64,
    emitted: u64,
}

/// Size of a value as a tree: shared parts count as often as they occur.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Weight {
    /// Values in it.
    pub nodes: u64,
    /// Bytes of strings in it.
    pub bytes: u64,
}

pub(super) fn refuse(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

fn weigh_into(value: &Value, depth: usize, total: &mut Weight) -> Result<(), Error> {
    total.nodes += 1;
    if let Some(text) = value.as_str() {
        total.bytes += text.len() as u64;
    } else if let Some(bytes) = value.as_bytes() {
        total.bytes += bytes.len() as u64;
    } else if matches!(
        value.kind(),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map
    ) {
        if depth >= MAX_DEPTH {
            return Err(refuse(format!(
                "a value is nested more than {MAX_DEPTH} deep"
            )));
        }
        let is_map = value.kind() == ValueKind::Map;
        for item in value.try_iter()? {
            weigh_into(&item, depth + 1, total)?;
            if is_map {
                weigh_into(&value.get_item(&item)?, depth + 1, total)?;
            }
            if total.nodes > MAX_NODES {
                return Err(refuse(format!("a value has more than {MAX_NODES} items")));
            }
        }
    }
    if total.bytes > MAX_TEXT {
        return Err(refuse(format!("a value holds more than {MAX_TEXT} bytes")));
    }
    Ok(())
}

/// Charges for reading values, and says what they weigh.
pub(super) fn charge_read(state: &mut State, values: &[Value]) -> Result<Weight, Error> {
    let mut total = Weight::default();
    for value in values {
        weigh_into(value, 0, &mut total)?;
    }
    let spent = state.get_or_insert_extension(Spent::default());
    spent.work = spent
        .work
        .saturating_add(1 + total.nodes + total.bytes / 16);
    if spent.work > MAX_WORK {
        return Err(refuse("the template works without end"));
    }
    Ok(total)
}

/// Charges for a text of `bytes` that is about to be made.
pub(super) fn charge_text(state: &mut State, bytes: u64) -> Result<(), Error> {
    if bytes > MAX_TEXT {
        return Err(refuse(format!(
            "a text would have {bytes} bytes, more than {MAX_TEXT}"
        )));
    }
    charge_made(state, bytes)
}

/// Charges for a value that was made.
pub(super) fn charge_value(state: &mut State, value: Value) -> Result<Value, Error> {
    let mut weight = Weight::default();
    weigh_into(&value, 0, &mut weight)?;
    charge_made(state, weight.bytes + 32 * weight.nodes)?;
    Ok(value)
}

fn charge_made(state: &mut State, bytes: u64) -> Result<(), Error> {
    let spent = state.get_or_insert_extension(Spent::default());
    spent.made = spent.made.saturating_add(bytes);
    if spent.made > MAX_MADE {
        return Err(refuse(format!(
            "the template makes more than {MAX_MADE} bytes of values"
        )));
    }
    Ok(())
}

/// Charges for text that `{{ }}` emits.
pub(super) fn charge_emit(state: &mut State, value: &Value) -> Result<(), Error> {
    let weight = charge_read(state, std::slice::from_ref(value))?;
    let spent = state.get_or_insert_extension(Spent::default());
    spent.emitted = spent
        .emitted
        .saturating_add(weight.bytes + 8 * weight.nodes);
    if spent.emitted > 2 * MAX_TEXT {
        return Err(refuse(format!(
            "the template emits more than {MAX_TEXT} bytes"
        )));
    }
    Ok(())
}
