//! The functions that transformers adds to Jinja for chat templates:
//! `raise_exception`, `strftime_now`, and `tojson` with Python's spelling.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::bounds::{charge_read, charge_text, refuse};
use super::date::Date;

pub(super) fn install(env: &mut Environment<'_>) {
    env.add_filter("tojson", to_json);
    env.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            let message: String = message.chars().take(300).collect();
            Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("the template says: {message}"),
            ))
        },
    );
    env.add_function("range", |state: &mut State, args: Rest<ValueOrKwargs>| {
        stock(state, "range", &args.into_values())
    });
    env.add_function(
        "namespace",
        |state: &mut State, args: Rest<ValueOrKwargs>| {
            stock(state, "namespace", &args.into_values())
        },
    );
    env.add_function("dict", |state: &mut State, args: Rest<ValueOrKwargs>| {
        stock(state, "dict", &args.into_values())
    });
}

/// `strftime_now` says the given date, at midnight.
pub(super) fn install_date(env: &mut Environment<'_>, date: Date) {
    env.add_function(
        "strftime_now",
        move |format: &str| -> Result<String, Error> { date.strftime(format).map_err(refuse) },
    );
}

fn stock(state: &mut State, name: &str, args: &[Value]) -> Result<Value, Error> {
    charge_read(state, args)?;
    let mut stock = super::ops::stock_state();
    match stock.lookup(name) {
        Some(function) => function.call(&mut stock, args),
        None => Err(Error::from(ErrorKind::UnknownFunction)),
    }
}

/// How JSON is laid out.
struct Layout {
    ensure_ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort_keys: bool,
}

/// `tojson(x, ensure_ascii=False, indent=None, separators=None,
/// sort_keys=False)`, spelled as Python's `json.dumps` spells it.
fn to_json(state: &mut State, value: &Value, options: Kwargs) -> Result<Value, Error> {
    let weight = charge_read(state, std::slice::from_ref(value))?;
    let indent = match options.get::<Option<Value>>("indent")? {
        None => None,
        Some(indent) if indent.is_none() => None,
        Some(indent) => Some(match (indent.as_str(), indent.as_usize()) {
            (Some(text), _) if text.len() <= 16 => text.to_owned(),
            (None, Some(width)) if width <= 16 => " ".repeat(width),
            _ => return Err(refuse("tojson: the indent must be at most 16 wide")),
        }),
    };
    let (item, key) = match options.get::<Option<Value>>("separators")? {
        Some(given) if !given.is_none() => match given.try_iter()?.collect::<Vec<_>>().as_slice() {
            [item, key] => (item.to_string(), key.to_string()),
            _ => return Err(refuse("tojson: separators must be two strings")),
        },
        _ => (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        ),
    };
    if item.len() + key.len() > 32 {
        return Err(refuse("tojson: the separators are too long"));
    }
    let layout = Layout {
        ensure_ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent,
        item,
        key,
    };
    options.assert_all_used()?;
    // At worst every byte becomes \u00xx and every item a line of its own.
    charge_text(state, weight.bytes + weight.nodes)?;
    let mut out = String::new();
    write_json(value, &layout, 0, &mut out)?;
    charge_text(state, out.len() as u64)?;
    Ok(Value::from(out))
}

fn write_json(value: &Value, layout: &Layout, depth: usize, out: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => write_number(value, out)?,
        ValueKind::String => write_string(value.as_str().unwrap_or(""), layout, out),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut empty = true;
            for item in value.try_iter()? {
                separate(layout, &mut empty, depth, out);
                write_json(&item, layout, depth + 1, out)?;
            }
            close(layout, empty, depth, ']', out);
        }
        ValueKind::Map => {
            out.push('{');
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if layout.sort_keys {
                keys.sort();
            }
            let mut empty = true;
            for key in keys {
                separate(layout, &mut empty, depth, out);
                write_key(&key, layout, out)?;
                out.push_str(&layout.key);
                write_json(&value.get_item(&key)?, layout, depth + 1, out)?;
            }
            close(layout, empty, depth, '}', out);
        }
        kind => {
            return Err(refuse(format!(
                "tojson: a value of kind {kind} has no JSON"
            )));
        }
    }
    Ok(())
}

fn separate(layout: &Layout, empty: &mut bool, depth: usize, out: &mut String) {
    if !std::mem::replace(empty, false) {
        out.push_str(&layout.item);
    }
    new_line(layout, depth + 1, out);
}

fn close(layout: &Layout, empty: bool, depth: usize, bracket: char, out: &mut String) {
    if !empty {
        new_line(layout, depth, out);
    }
    out.push(bracket);
}

fn new_line(layout: &Layout, depth: usize, out: &mut String) {
    if let Some(indent) = &layout.indent {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }
}

/// Python writes keys that are numbers or constants as strings.
fn write_key(key: &Value, layout: &Layout, out: &mut String) -> Result<(), Error> {
    if let Some(text) = key.as_str() {
        write_string(text, layout, out);
        return Ok(());
    }
    let mut spelled = String::new();
    match key.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
            write_json(key, layout, 0, &mut spelled)?;
        }
        kind => return Err(refuse(format!("tojson: a key of kind {kind} has no JSON"))),
    }
    write_string(&spelled, layout, out);
    Ok(())
}

fn write_number(value: &Value, out: &mut String) -> Result<(), Error> {
    if value.is_integer() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{value}");
        return Ok(());
    }
    let x = f64::try_from(value.clone())?;
    out.push_str(&python_float(x));
    Ok(())
}

/// Python's `repr` of a float: the shortest digits that read back the same,
/// with an exponent below 1e-4 and from 1e16 on.
fn python_float(x: f64) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{x}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

fn write_string(text: &str, layout: &Layout, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || (layout.ensure_ascii && u32::from(c) > 0x7e) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_spelled_as_python_does() {
        for (x, spelled) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.0 / 3.0, "0.3333333333333333"),
        ] {
            assert_eq!(python_float(x), spelled);
        }
    }
}
