//! The published schemas say what is written.

use std::path::Path;

use serde_json::Value;

use super::run::{Attested, Fallible};

fn schema(name: &str) -> Fallible<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    Ok(serde_json::from_slice(&std::fs::read(path.join(name))?)?)
}

/// The keywords that the two schemas use.
fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{at}: {what}"));
    if schema.get("const").is_some_and(|c| c != value) {
        return wrong("is another constant");
    }
    let of_type = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        _ => value.is_null(),
    };
    let fits = match schema.get("type") {
        Some(Value::String(name)) => of_type(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(of_type),
        _ => true,
    };
    if !fits {
        return wrong("is of another type");
    }
    for item in value.as_array().into_iter().flatten() {
        check(&schema["items"], item, &format!("{at}[]"))?;
    }
    let Some(known) = schema.get("properties").and_then(Value::as_object) else {
        return Ok(());
    };
    let required = schema["required"].as_array().into_iter().flatten();
    for name in required.filter_map(Value::as_str) {
        if value.get(name).is_none() {
            return wrong(&format!("lacks {name}"));
        }
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        match known.get(key) {
            Some(schema) => check(schema, inner, &format!("{at}.{key}"))?,
            None => return wrong(&format!("has {key}, which the schema has not")),
        }
    }
    Ok(())
}

#[test]
fn statement_and_envelope_are_as_published() -> Fallible {
    let attested = Attested::new("any", |_, _| {})?;
    let statement: Value = serde_json::from_slice(&attested.statement()?.to_bytes()?)?;
    check(&schema("statement.schema.json")?, &statement, "statement")?;
    let envelope: Value = serde_json::from_slice(&std::fs::read(attested.sign(7)?)?)?;
    check(
        &schema("attestation.schema.json")?,
        &envelope,
        "attestation",
    )?;
    Ok(())
}
