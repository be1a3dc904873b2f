//! What is printed of a training run: read from its directory, so that a
//! complete run and a new one print the same.

use std::path::Path;

use forkscope_records::{RecordsError, read_run_json};
use forkscope_train::run::{BEST, FINAL, METRICS};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;

/// Prints the summary of a complete run.
pub fn print(run: &Path, as_json: bool) -> Outcome {
    let summary = Summary::read(run)?;
    let mut out = Output::open();
    match as_json {
        true => out.json(&summary.json(run))?,
        false => summary.write(run, &mut out)?,
    }
    out.finish()
}

/// A training run as its directory describes it.
pub struct Summary {
    command: String,
    notes: Map<String, Value>,
    first: Value,
    last: Value,
}

impl Summary {
    /// Reads it.
    pub fn read(run: &Path) -> Result<Self, Failure> {
        let json = read_run_json(run)?;
        let path = run.join(METRICS);
        let text = std::fs::read_to_string(&path).map_err(|source| RecordsError::Read {
            path: path.clone(),
            source,
        })?;
        let line = |line: Option<&str>| {
            let value = line.and_then(|l| serde_json::from_str(l).ok());
            value.unwrap_or(Value::Null)
        };
        Ok(Self {
            command: json.command,
            notes: json.notes,
            first: line(text.lines().next()),
            last: line(text.lines().last()),
        })
    }

    /// A note of `run.json`.
    pub fn note(&self, name: &str) -> Value {
        self.notes.get(name).cloned().unwrap_or(Value::Null)
    }

    /// For `--json`.
    pub fn json(&self, run: &Path) -> Value {
        let best = self.note("best");
        let folder = |name: &str| run.join(name).display().to_string();
        json!({
            "schema": "forkscope/train/1",
            "run": run.display().to_string(),
            "command": self.command,
            "steps": self.note("steps"),
            "skipped_steps": self.note("skipped_steps"),
            "tokens": self.note("tokens"),
            "trained_parameters": self.note("trained_parameters"),
            "model_parameters": self.note("model_parameters"),
            "data": self.note("data"),
            "first": self.first,
            "last": self.last,
            "final": folder(FINAL),
            "best_folder": if best.is_null() { Value::Null } else { folder(BEST).into() },
            "best": best,
        })
    }

    /// For reading.
    pub fn write(&self, run: &Path, out: &mut Output) -> Outcome {
        out.labelled("run", &sanitise(&run.display().to_string()))?;
        let count = |name: &str| self.note(name).as_u64().unwrap_or(0);
        let steps = format!(
            "{} ({} without anything to learn from), {} tokens",
            count("steps"),
            count("skipped_steps"),
            count("tokens")
        );
        out.labelled("steps", &steps)?;
        let (trained, all) = (count("trained_parameters"), count("model_parameters"));
        let share = 100.0 * trained as f64 / all.max(1) as f64;
        out.labelled(
            "trained",
            &format!("{trained} values, {share:.3} % of the model's {all}"),
        )?;
        if let Some(left_out) = left_out(&self.note("data")) {
            out.labelled("left out", &left_out)?;
        }
        for name in [
            "loss",
            "reward",
            "rewards/accuracies",
            "kl",
            "kl_lower_bound",
        ] {
            if let (Some(first), Some(last)) = (
                self.first.get(name).and_then(Value::as_f64),
                self.last.get(name).and_then(Value::as_f64),
            ) {
                out.labelled(
                    name,
                    &format!("{first:.4} at the first step, {last:.4} at the last"),
                )?;
            }
        }
        let best = self.note("best");
        if let (Some(step), Some(score)) = (best["step"].as_u64(), best["score"].as_f64()) {
            let said = format!("{score:.4} on held-out problems after step {step}");
            out.labelled("best", &said)?;
        }
        out.labelled("final", &sanitise(&run.join(FINAL).display().to_string()))
    }
}

/// Counts of rows that were not used.
fn left_out(data: &Value) -> Option<String> {
    let counts = [
        ("broken", "broken"),
        ("too_long", "too long"),
        ("not_correct", "not correct"),
        ("invalid", "invalid"),
        ("identical", "with two equal completions"),
    ];
    let said: Vec<String> = counts
        .iter()
        .filter_map(|(key, word)| Some((data.get(*key)?.as_u64()?, word)))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}
