//! How each organism was made, from the stages' records.

use forkscope_report::number::count;
use forkscope_train::lab::records::{StageRecord, WINDOW};
use serde_json::Value;

/// Tables of stages, their settings and their files.
pub fn recipes(records: &[StageRecord]) -> String {
    let mut text = format!(
        "## How they were made

| organism | from | objective | steps | without anything to learn from | tokens | minutes | {} |
|---|---|---|--:|--:|--:|--:|---|
",
        "logged, start to end"
    );
    for record in records {
        let stage = &record.stage;
        text.push_str(&format!(
            "| `{}` | {} | {} | {} | {} | {} | {:.1} | {} |\n",
            stage.name,
            stage
                .from
                .as_ref()
                .map_or_else(|| "random weights".to_owned(), |f| format!("`{f}`")),
            objective(record),
            count(record.steps),
            count(record.skipped_steps),
            count(record.tokens),
            record.seconds / 60.0,
            logged(record)
        ));
    }
    text.push_str(&format!(
        "
Logged quantities are means over the first and the last {WINDOW} steps that were
logged. Tokens are those trained on. Every setting, as `run.json` of the stage has it:

"
    ));
    for record in records {
        text.push_str(&format!(
            "- `{}`: {}\n",
            record.stage.name,
            settings(record)
        ));
    }
    text.push_str("\n| file | bytes | SHA-256 |\n|---|--:|---|\n");
    for record in records {
        for file in &record.files {
            text.push_str(&format!(
                "| `{}/{}` | {} | `{}` |\n",
                record.stage.name,
                file.path,
                count(file.bytes),
                file.sha256
            ));
        }
    }
    let versions = |record: &StageRecord| {
        let of = |(name, value): (&String, &Value)| format!("{name} {}", plain(value));
        record
            .versions
            .iter()
            .map(of)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let all: std::collections::BTreeSet<String> = records.iter().map(versions).collect();
    let all: Vec<String> = all.into_iter().collect();
    text.push_str(&format!("\nMade with {}.\n", all.join("; ")));
    text
}

fn objective(record: &StageRecord) -> String {
    let json = serde_json::to_value(&record.stage).unwrap_or_default();
    plain(&json["work"]["objective"])
}

/// What says how a stage went, where it was logged.
fn logged(record: &StageRecord) -> String {
    let names = [
        "loss",
        "reward",
        "rewards/accuracies",
        "entropy",
        "mean_token_accuracy",
    ];
    let shown = |name: &&str| {
        let (first, last) = (record.first.get(*name)?, record.last.get(*name)?);
        Some(format!("{name} {first:.3} to {last:.3}"))
    };
    let all: Vec<String> = names.iter().filter_map(shown).collect();
    all.join("; ")
}

/// All settings of a stage on a line, nested ones with dots.
fn settings(record: &StageRecord) -> String {
    let mut all = Vec::new();
    let json = serde_json::to_value(&record.stage).unwrap_or_default();
    flatten("", &json, &mut all);
    all.retain(|(name, _)| name != "name");
    let shown = |(name, value): &(String, String)| format!("{name} {value}");
    all.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn flatten(prefix: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = match prefix {
                    "" => name.clone(),
                    _ => format!("{prefix}.{name}"),
                };
                flatten(&name, value, out);
            }
        }
        _ => out.push((prefix.to_owned(), plain(value))),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}
