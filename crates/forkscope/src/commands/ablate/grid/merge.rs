//! Arms as they are written: defaults that are merged in, and crosses.

use serde_json::{Map, Value};

/// What the grid gives all arms, or all arms of a kind.
pub struct Defaults<'a> {
    /// All arms that learn.
    pub train: &'a Map<String, Value>,
    /// ReasonMaxxer arms.
    pub reasonmaxxer: &'a Map<String, Value>,
    /// GRPO arms.
    pub grpo: &'a Map<String, Value>,
}

/// Parts of a path; settings are nested less deeply.
const MOST_PARTS: usize = 8;

/// An arm's name and the rest of its fields.
pub type NamedArm = (String, Map<String, Value>);

/// Settings of which later ones win, object by object.
pub fn merged(layers: &[&Map<String, Value>]) -> Map<String, Value> {
    let mut out = Map::new();
    for layer in layers {
        over(&mut out, layer);
    }
    out
}

fn over(under: &mut Map<String, Value>, upper: &Map<String, Value>) {
    for (name, value) in upper {
        match (under.get_mut(name), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => over(inner, value),
            _ => {
                under.insert(name.clone(), value.clone());
            }
        }
    }
}

/// The arms that the entry `i` of `arms` stands for: itself, or one for every
/// combination of its `cross`, named after the values. The fields of `cross` are
/// paths with dots, e.g. `optimiser.learning_rate`.
pub fn expand(i: usize, given: &Map<String, Value>) -> Result<Vec<NamedArm>, String> {
    let mut settings = given.clone();
    let name = match settings.remove("name") {
        Some(Value::String(name)) => name,
        _ => {
            return Err(format!(
                "`arms[{i}].name` is missing or no text; give every arm a name"
            ));
        }
    };
    check_name(&name)?;
    let cross = match settings.remove("cross") {
        None => Map::new(),
        Some(Value::Object(cross)) => cross,
        Some(_) => {
            return Err(format!(
                "arm `{name}`: `cross` is no object; give {{\"field\": [values]}}"
            ));
        }
    };
    let mut out = vec![(name.clone(), settings)];
    for (path, values) in &cross {
        if path.split('.').count() > MOST_PARTS {
            return Err(format!(
                "arm `{name}`: a path of `cross` has more than {MOST_PARTS} parts; give a field of the arm"
            ));
        }
        let values = match values {
            Value::Array(values) if !values.is_empty() => values,
            _ => {
                return Err(format!(
                    "arm `{name}`: `cross.{path}` is no list of values; give at least one"
                ));
            }
        };
        if out.len().saturating_mul(values.len()) > 10_000 {
            return Err(format!("arm `{name}`: `cross` makes more than 10000 arms"));
        }
        let mut next = Vec::new();
        for (name, settings) in &out {
            for (k, value) in values.iter().enumerate() {
                let mut settings = settings.clone();
                put(&mut settings, path, value).map_err(|e| format!("arm `{name}`: {e}"))?;
                let name = format!("{name}-{}", label(path, k, value));
                check_name(&name)?;
                next.push((name, settings));
            }
        }
        out = next;
    }
    Ok(out)
}

/// Sets the field at a path with dots.
fn put(settings: &mut Map<String, Value>, path: &str, value: &Value) -> Result<(), String> {
    match path.split_once('.') {
        None => {
            settings.insert(path.to_owned(), value.clone());
            Ok(())
        }
        Some((head, rest)) => {
            let inner = settings
                .entry(head)
                .or_insert_with(|| Value::Object(Map::new()));
            match inner {
                Value::Object(inner) => put(inner, rest, value),
                _ => Err(format!("`cross.{path}`: `{head}` holds no fields")),
            }
        }
    }
}

/// What a value adds to an arm's name: the field's last word and the value.
fn label(path: &str, place: usize, value: &Value) -> String {
    let field = path.rsplit('.').next().unwrap_or(path);
    let said = match value {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Array(_) => place.to_string(),
        other => other.to_string(),
    };
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') => c,
        _ => '-',
    };
    format!("{field}-{said}").chars().map(plain).collect()
}

/// Names are those of folders and ends of findings' ids.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    match starts && name.len() <= 120 && name.chars().all(plain) && !name.ends_with('.') {
        true => Ok(()),
        false => Err(format!(
            "`arms`: the name {name:?} is not made of 1 to 120 letters, digits, `-`, `_` and `.`, a letter or digit first"
        )),
    }
}
