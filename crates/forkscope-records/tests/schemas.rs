//! The published JSON Schemas say what is written: documents validate, and the
//! columns of each table are those of its schema, in order, with their types.

mod common;

use std::path::PathBuf;

use arrow_schema::DataType;
use common::{diff_row, manifest, start};
use forkscope_records::types::{
    AwarenessRow, DiffRow, Finding, Findings, Intervention, NeuronRow, Reversion, Rollout,
    ScoreRow, SteeringRow,
};
use forkscope_records::{
    HiddenRollout, HiddenWriter, Mode, Record, RunDir, TokenPieces, read_findings, read_run_json,
    write_findings,
};
use serde_json::{Value, json};

fn schema(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/schema")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The keywords that our schemas use, and no others.
fn check(schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let schema = schema.as_object().ok_or("a schema must be an object")?;
    for (keyword, rule) in schema {
        let fits = match keyword.as_str() {
            "$schema" | "title" | "description" | "parquet" => true,
            "properties" | "items" | "additionalProperties" => true,
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|v| v >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|v| v <= rule.as_f64().unwrap()),
            "anyOf" => rule
                .as_array()
                .unwrap()
                .iter()
                .any(|s| check(s, value, at).is_ok()),
            "required" => {
                let names = rule.as_array().unwrap();
                names
                    .iter()
                    .all(|n| value.get(n.as_str().unwrap()).is_some())
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|t| is(t, value)),
                one => is(one, value),
            },
            other => return Err(format!("{at}: keyword {other} is not understood")),
        };
        if !fits {
            return Err(format!("{at}: {value} does not fit {keyword} {rule}"));
        }
    }
    if let (Some(object), Some(Value::Object(known))) =
        (value.as_object(), schema.get("properties"))
    {
        for (key, v) in object {
            match (known.get(key), schema.get("additionalProperties")) {
                (Some(s), _) => check(s, v, &format!("{at}.{key}"))?,
                (None, Some(Value::Bool(false))) => {
                    return Err(format!("{at}: {key} is not known"));
                }
                _ => {}
            }
        }
    } else if let (Some(object), Some(rule @ Value::Object(_))) =
        (value.as_object(), schema.get("additionalProperties"))
    {
        object
            .iter()
            .try_for_each(|(k, v)| check(rule, v, &format!("{at}.{k}")))?;
    }
    if let (Some(list), Some(rule)) = (value.as_array(), schema.get("items")) {
        list.iter().try_for_each(|v| check(rule, v, at))?;
    }
    Ok(())
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    }
}

fn finding(value: Option<f64>) -> Finding {
    Finding {
        id: "kl.mean".into(),
        definition: "mean KL(tuned || base)".into(),
        value,
        unit: "nats".into(),
        low: Some(0.5),
        high: Some(f64::INFINITY),
        level: Some(0.95),
        method: "cluster bootstrap".into(),
        n: 10,
        n_clusters: 3,
        n_invalid: 0,
        thresholds: [("k".to_owned(), json!(5))].into(),
        label: None,
    }
}

#[test]
fn documents_fit_their_schemas_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = start(&dir.path().join("run"));
    let path = run.path().to_owned();
    let value = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(path.join(name)).unwrap()).unwrap()
    };
    check(&schema("run.schema.json"), &value("run.json"), "run").unwrap();

    let findings = Findings {
        schema: Findings::SCHEMA.into(),
        findings: vec![
            finding(Some(1.0 / 3.0)),
            finding(None),
            finding(Some(f64::NEG_INFINITY)),
        ],
    };
    write_findings(&run, &findings).unwrap();
    let written = value("findings.json");
    check(&schema("findings.schema.json"), &written, "findings").unwrap();
    assert_eq!(written["findings"][0]["high"], json!("inf"));
    assert_eq!(written["findings"][1]["value"], Value::Null);
    assert_eq!(read_findings(&path).unwrap(), findings);

    let pieces: TokenPieces = [(12, " the".to_owned()), (3, "\u{fffd}".to_owned())]
        .into_iter()
        .collect();
    pieces.write(&run).unwrap();
    let written = value("token_pieces.json");
    check(&schema("token_pieces.schema.json"), &written, "pieces").unwrap();
    assert_eq!(
        written["pieces"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["3", "12"]
    );
    assert_eq!(TokenPieces::read(&path).unwrap(), pieces);
    assert_eq!(pieces.get(12), Some(" the"));

    run.note("positions", 7);
    run.time("scoring", 1.5);
    run.complete().unwrap();
    check(&schema("run.schema.json"), &value("run.json"), "run").unwrap();
    assert_eq!(read_run_json(&path).unwrap().notes["positions"], 7);
}

#[test]
fn the_index_of_hidden_states_fits_its_schema() {
    let dir = tempfile::tempdir().unwrap();
    let run = start(&dir.path().join("run"));
    let mut writer = HiddenWriter::open(&run, "m", 1).unwrap();
    for (sample, prompt_rows) in [(0, Some(&[0.5f32][..])), (1, None)] {
        let rollout = HiddenRollout {
            problem_id: "p",
            sample,
            token_ids: &[1, 2, 3],
            prompt_len: 2,
            prompt_rows,
            completion_rows: &[0.25],
        };
        writer.append(&rollout).unwrap();
    }
    writer.finish().unwrap();
    let written = std::fs::read(run.path().join("hidden.json")).unwrap();
    let written: Value = serde_json::from_slice(&written).unwrap();
    check(&schema("hidden.schema.json"), &written, "hidden").unwrap();
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    let run = schema("run.schema.json");
    let dir = tempfile::tempdir().unwrap();
    RunDir::open(dir.path(), manifest(), Mode::Fresh).unwrap();
    let good: Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("run.json")).unwrap()).unwrap();
    check(&run, &good, "run").unwrap();
    for (key, bad) in [
        ("status", json!("done")),
        ("schema", json!("forkscope/run/2")),
        ("seeds", json!({"x": -1})),
        ("digests", json!({"x": 1})),
        ("timing", json!({})),
        ("unknown", json!(1)),
    ] {
        let mut value = good.clone();
        value[key] = bad;
        assert!(check(&run, &value, "run").is_err(), "{key}");
    }
}

fn parquet_type(kind: &DataType) -> String {
    match kind {
        DataType::List(element) => format!("list<{}>", parquet_type(element.data_type())),
        other => other.to_string().to_lowercase(),
    }
}

fn same_columns<R: Record>(file: &str) {
    let schema = schema(file);
    let published: Vec<(String, String, bool)> = schema["properties"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, p)| {
            let nullable = p["type"]
                .as_array()
                .is_some_and(|t| t.contains(&json!("null")));
            assert!(p["description"].is_string(), "{name} has no description");
            (
                name.clone(),
                p["parquet"].as_str().unwrap().to_owned(),
                nullable,
            )
        })
        .collect();
    let written: Vec<(String, String, bool)> = R::schema()
        .unwrap()
        .fields()
        .iter()
        .map(|f| {
            (
                f.name().clone(),
                parquet_type(f.data_type()),
                f.is_nullable(),
            )
        })
        .collect();
    assert_eq!(published, written, "{file}");
}

#[test]
fn every_table_has_the_columns_of_its_schema() {
    same_columns::<Rollout>("rollouts.schema.json");
    same_columns::<ScoreRow>("tokens.score.schema.json");
    same_columns::<DiffRow>("tokens.diff.schema.json");
    same_columns::<Intervention>("interventions.schema.json");
    same_columns::<Reversion>("reversions.schema.json");
    same_columns::<forkscope_records::types::PatchingRow>("patching.schema.json");
    same_columns::<forkscope_records::types::FeatureRow>("awareness_features.schema.json");
    same_columns::<AwarenessRow>("awareness.schema.json");
    same_columns::<NeuronRow>("awareness_neurons.schema.json");
    same_columns::<SteeringRow>("awareness_steering.schema.json");
    same_columns::<forkscope_records::types::PlanRow>("plan.schema.json");
    same_columns::<forkscope_records::types::NoiseRow>("noise.schema.json");
    same_columns::<forkscope_records::types::BeyondNoiseRow>("beyond_noise.schema.json");
}

#[test]
fn words_in_the_schemas_are_the_words_in_the_files() {
    let row = serde_json::to_value(diff_row(1)).unwrap();
    let diff = schema("tokens.diff.schema.json");
    for key in ["class", "validity"] {
        check(&diff["properties"][key], &row[key], key).unwrap();
    }
}

#[test]
fn damaged_documents_name_file_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("findings.json");
    for (text, expected) in [
        ("", "findings.json"),
        (
            "{\"schema\": \"forkscope/findings/2\", \"findings\": []}",
            "another version",
        ),
        (
            "{\"schema\": \"forkscope/findings/1\", \"findings\": [{\"id\": 7}]}",
            "findings[0].id",
        ),
        (
            "{\"schema\": \"forkscope/findings/1\", \"findings\": []} x",
            "trailing",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let message = read_findings(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains("findings.json") && message.contains(expected),
            "{message}"
        );
    }
    std::fs::write(
        dir.path().join("token_pieces.json"),
        "{\"schema\": \"x\", \"pieces\": {}}",
    )
    .unwrap();
    let message = TokenPieces::read(dir.path()).unwrap_err().to_string();
    assert!(message.contains("token_pieces.json"), "{message}");
}
