//! What `run.json` says about the run: names, status, and every setting,
//! version and digest as a flat list.

use serde_json::Value;

/// Most settings that a report lists; the rest is counted.
const MAX_FACTS: usize = 400;

/// One line of the list of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Dotted path of the setting in `run.json`.
    pub path: String,
    /// Its value as text, not yet escaped.
    pub value: String,
}

/// All settings, in the order of `run.json`, and how many were left out.
pub fn list(run: &Value) -> (Vec<Fact>, usize) {
    let mut facts = Vec::new();
    flatten(run, String::new(), 0, &mut facts);
    let left_out = facts.len().saturating_sub(MAX_FACTS);
    facts.truncate(MAX_FACTS);
    (facts, left_out)
}

fn flatten(value: &Value, path: String, depth: usize, out: &mut Vec<Fact>) {
    let nested = match value {
        Value::Object(map) => !map.is_empty() && depth < 8,
        Value::Array(items) => items.iter().any(|v| v.is_object() || v.is_array()) && depth < 8,
        _ => false,
    };
    if !nested {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        out.push(Fact { path, value });
        return;
    }
    let join = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                flatten(value, join(key), depth + 1, out);
            }
        }
        Value::Array(items) => {
            for (i, value) in items.iter().enumerate() {
                flatten(value, join(&i.to_string()), depth + 1, out);
            }
        }
        _ => {}
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The name of the policy in a role (`base`, `tuned`), if `run.json` has one:
/// the last component of a path, or the whole of a hub id.
pub fn model_name(run: &Value, role: &str) -> Option<String> {
    let places = [
        run.get("models").and_then(|m| m.get(role)),
        run.get("settings").and_then(|s| s.get(role)),
        run.get("config").and_then(|s| s.get(role)),
        run.get(role),
    ];
    places.into_iter().flatten().find_map(name_of)
}

fn name_of(value: &Value) -> Option<String> {
    let (text, is_path) = match value {
        Value::String(text) => (text.as_str(), false),
        Value::Object(map) => {
            let text_of = |key: &&str| map.get(*key).and_then(Value::as_str);
            match ["name", "id"].iter().find_map(text_of) {
                Some(text) => (text, false),
                None => (
                    ["path", "dir", "spec", "model"].iter().find_map(text_of)?,
                    true,
                ),
            }
        }
        _ => return None,
    };
    // `DIR+ADAPTER` is one policy made of two.
    let parts: Vec<_> = text
        .split('+')
        .map(|part| last_component(part, is_path))
        .collect();
    let name = parts.join(" + ");
    (!text.is_empty()).then_some(name)
}

/// The last component of a path; a hub id (`owner/name`) as it is.
fn last_component(text: &str, is_path: bool) -> &str {
    let is_path = is_path || text.starts_with(['/', '.', '~']) || text.matches('/').count() > 1;
    let last = text.rsplit('/').find(|part| !part.is_empty());
    if is_path { last.unwrap_or(text) } else { text }
}

/// Hexadecimal digits of a digest that a summary shows.
const SHORT_DIGEST: usize = 12;

/// `forkscope diff, complete · forkscope 0.1.0 · base sha256 5d41402abc4b…`.
pub fn provenance(run: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(command) = text(run, "command") {
        let status = text(run, "status").unwrap_or("of unknown status");
        parts.push(format!("forkscope {command}, {status}"));
    }
    let texts = |key: &str| {
        let map = run.get(key).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .take(8)
    };
    parts.extend(texts("versions").map(|(name, version)| format!("{name} {version}")));
    parts.extend(texts("digests").map(|(name, digest)| {
        let digest = digest.trim_start_matches("sha256:");
        let short: String = digest.chars().take(SHORT_DIGEST).collect();
        format!("{name} sha256 {short}…")
    }));
    parts.join(" · ")
}

/// A text field at the top of `run.json`.
pub fn text<'a>(run: &'a Value, key: &str) -> Option<&'a str> {
    run.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_come_flat_and_in_order() {
        let run = json!({"command": "diff", "models": {"base": {"sha256": "ab"}}, "seeds": [1, 2],
            "files": [{"name": "x"}], "empty": {}});
        let (facts, left_out) = list(&run);
        let shown: Vec<_> = facts
            .iter()
            .map(|f| (f.path.as_str(), f.value.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("command", "diff"),
                ("models.base.sha256", "ab"),
                ("seeds", "1 2"),
                ("files.0.name", "x"),
                ("empty", "{}")
            ]
        );
        assert_eq!(left_out, 0);
    }

    #[test]
    fn provenance_is_one_line() {
        let run = json!({"command": "diff", "status": "complete", "versions": {"forkscope": "0.1.0"},
            "digests": {"base": "5d41402abc4b2a76b971"}});
        let line = "forkscope diff, complete · forkscope 0.1.0 · base sha256 5d41402abc4b…";
        assert_eq!(provenance(&run), line);
        assert_eq!(provenance(&json!(null)), "");
    }

    #[test]
    fn names_are_short() {
        let run = json!({"models": {"base": {"path": "/a/b/base/"}, "tuned": "org/model"}});
        assert_eq!(model_name(&run, "base").as_deref(), Some("base"));
        assert_eq!(model_name(&run, "tuned").as_deref(), Some("org/model"));
        let run = json!({"settings": {"tuned": "/a/b/base+/c/adapter"}});
        assert_eq!(model_name(&run, "tuned").as_deref(), Some("base + adapter"));
        assert_eq!(model_name(&json!(null), "base"), None);
    }
}
