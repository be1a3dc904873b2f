//! What is printed of a run: read from its directory, so that a complete run
//! and a new one print the same.

use std::path::Path;

use forkscope_records::read_findings;
use forkscope_report::number;
use serde_json::{Value, json};

use super::eval::{BASE, TUNED};
use super::stages::STAGES;
use crate::commands::train::summary::Summary;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::work::ledger::{COSTS, read_costs, write_costs};

/// Prints the summary of a complete run.
pub fn print(run: &Path, as_json: bool) -> Outcome {
    let summary = Summary::read(run)?;
    let costs = read_costs(&run.join(COSTS))?;
    let answers = answers(run)?;
    let mut out = Output::open();
    if as_json {
        let mut document = summary.json(run);
        document["costs"] = costs.json();
        document["evaluation"] = answers.map_or(Value::Null, |a| a.json());
        out.json(&document)?;
        return out.finish();
    }
    summary.write(run, &mut out)?;
    let data = summary.note("data");
    if let Some(said) = gate(&data) {
        out.labelled("gate", &said)?;
    }
    if let Some(answers) = answers {
        out.labelled("pass@1", &answers.said())?;
    }
    out.line("")?;
    write_costs(&costs, &mut out)?;
    out.finish()
}

/// What the gate chose.
fn gate(data: &Value) -> Option<String> {
    let gate = &data["gate"];
    let share = 100.0 * gate["share"].as_f64()?;
    Some(format!(
        "{}: {share:.2} % of {} completion positions of {} rollouts",
        sanitise(gate["gate"].as_str()?),
        number::count(gate["positions"].as_u64()?),
        number::count(gate["rollouts"].as_u64()?),
    ))
}

/// pass@1 of base and checkpoint.
struct Answers {
    base: Value,
    tuned: Value,
    chose: bool,
}

fn answers(run: &Path) -> Result<Option<Answers>, Failure> {
    let stage = |name: &str| -> Result<Option<Value>, Failure> {
        let path = run.join(STAGES).join(name);
        if !path.is_dir() {
            return Ok(None);
        }
        let found = read_findings(&path)?;
        let finding = found.findings.iter().find(|f| f.id == "pass_at_1");
        Ok(finding.map(|f| json!(f)))
    };
    let (Some(base), Some(tuned)) = (stage(BASE)?, stage(TUNED)?) else {
        return Ok(None);
    };
    let settings = forkscope_records::read_run_json(run)?.settings;
    let chose = settings.get("test_problems").is_none_or(Value::is_null);
    Ok(Some(Answers { base, tuned, chose }))
}

impl Answers {
    fn json(&self) -> Value {
        json!({ "base": self.base, "tuned": self.tuned, "on_problems_that_chose": self.chose })
    }

    fn said(&self) -> String {
        let one = |f: &Value| {
            let value = f["value"].as_f64().unwrap_or(f64::NAN);
            match (f["low"].as_f64(), f["high"].as_f64()) {
                (Some(low), Some(high)) => format!("{value:.4} [{low:.4}, {high:.4}]"),
                _ => format!("{value:.4}"),
            }
        };
        let caveat = match self.chose {
            true => {
                " on the held-out problems, which chose the checkpoint: give --test-problems for an unbiased figure"
            }
            false => " on the test problems",
        };
        format!(
            "{} of the base, {} of the checkpoint,{caveat}",
            one(&self.base),
            one(&self.tuned)
        )
    }
}
