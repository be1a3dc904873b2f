//! `forkscope grade`: whether answers are the reference answers.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_tasks::math_verify::Undecided;
use forkscope_tasks::{Verifier, stated_answer};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;

/// What `forkscope grade` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Compares answers with reference answers. Every line of FILE is a JSON object \
        with `gold` and `pred` (two answers) or with `answer` and `completion` (a reference and a \
        model's text, in which the answer is found), and `id` if there is one (else the number of \
        the line). Writes one JSON array of {id, equivalent, extracted_gold, extracted_pred}, in \
        the order of the lines. With `--verifier math-verify` the Python library of that name \
        compares, in worker processes; a check that it leaves undecided has `undecided` too: \
        `timeout` or `failed`.",
    after_help = "Example:\n  echo '{\"gold\": \"1/2\", \"pred\": \"0.5\"}' > answers.jsonl\n  \
        forkscope grade answers.jsonl"
)]
pub struct Arguments {
    /// JSON Lines
    file: PathBuf,
    /// How the answer is found in a `completion` (and, math-verify, compared): auto, answer-tag, boxed, hash4, final-answer,
    /// whole, last-number, organism or math-verify
    #[arg(long, value_name = "RULE", default_value_t = Verifier::Auto)]
    verifier: Verifier,
    /// The output is one JSON document with or without it
    #[arg(long)]
    json: bool,
}

/// One line of the result.
#[derive(Debug, Serialize)]
struct Graded {
    id: Value,
    equivalent: bool,
    extracted_gold: String,
    /// Null where the completion has no answer.
    extracted_pred: Option<String>,
    /// Why the library that was asked has no verdict, where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided: Option<Undecided>,
}

/// Lines that are read before they are graded, side by side.
const BATCH: usize = 4_096;

/// Runs the command.
pub fn run(arguments: &Arguments, _: &Settings) -> Outcome {
    let path = &arguments.file;
    arguments.verifier.ready()?;
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut graded = Vec::new();
    let mut batch: Vec<(Place<'_>, Vec<u8>)> = Vec::new();
    for (i, line) in BufReader::new(file).split(b'\n').enumerate() {
        let line = line.map_err(|error| unreadable(path, &error))?;
        if !line.iter().all(u8::is_ascii_whitespace) {
            let line_number = i.saturating_add(1);
            batch.push((
                Place {
                    path,
                    line: line_number,
                },
                line,
            ));
        }
        if batch.len() >= BATCH {
            grade_all(&mut batch, arguments.verifier, &mut graded)?;
        }
    }
    grade_all(&mut batch, arguments.verifier, &mut graded)?;
    let mut out = Output::open();
    out.json(&graded)?;
    out.finish()
}

/// Grades lines side by side; results and errors keep the order of the lines.
fn grade_all(
    batch: &mut Vec<(Place<'_>, Vec<u8>)>,
    verifier: Verifier,
    graded: &mut Vec<Graded>,
) -> Outcome {
    let lines = batch.par_drain(..);
    let found: Vec<Result<Graded, Failure>> = lines
        .map(|(place, line)| place.grade(&line, verifier))
        .collect();
    for line in found {
        graded.push(line?);
    }
    Ok(())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Input(format!(
        "cannot read {}: {error}; give a file of JSON Lines",
        path.display()
    ))
}

/// Where a line is, for messages.
struct Place<'p> {
    path: &'p Path,
    line: usize,
}

impl Place<'_> {
    fn grade(&self, line: &[u8], verifier: Verifier) -> Result<Graded, Failure> {
        let value: Value = serde_json::from_slice(line)
            .map_err(|error| self.wrong(&format!("is not JSON ({error})")))?;
        let Value::Object(fields) = value else {
            return Err(self.wrong("is not a JSON object"));
        };
        let id = match fields.get("id") {
            None | Some(Value::Null) => Value::from(self.line),
            Some(id @ (Value::String(_) | Value::Number(_))) => id.clone(),
            Some(_) => return Err(self.wrong("has an `id` that is neither text nor a number")),
        };
        let pair = fields.contains_key("gold") || fields.contains_key("pred");
        match pair {
            true => {
                let gold = self.text(&fields, "gold")?;
                let pred = self.text(&fields, "pred")?;
                let (gold, pred) = (stated_answer(&gold), stated_answer(&pred));
                let grade = verifier.compare(gold, pred);
                Ok(Graded {
                    id,
                    equivalent: grade.correct,
                    extracted_gold: gold.to_owned(),
                    extracted_pred: grade.extracted,
                    undecided: grade.undecided,
                })
            }
            false => {
                let gold = self.text(&fields, "answer")?;
                let completion = self.text(&fields, "completion")?;
                let cut = fields.get("finish_reason") == Some(&Value::from("length"));
                let grade = verifier.grade(&completion, !cut, &gold);
                Ok(Graded {
                    id,
                    equivalent: grade.correct,
                    extracted_gold: stated_answer(&gold).to_owned(),
                    extracted_pred: grade.extracted,
                    undecided: grade.undecided,
                })
            }
        }
    }

    /// A field of text, or a number as it is written.
    fn text(&self, fields: &Map<String, Value>, name: &str) -> Result<String, Failure> {
        match fields.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            Some(_) => {
                Err(self.wrong(&format!("has a `{name}` that is neither text nor a number")))
            }
            None => Err(self.wrong(&format!(
                "has no `{name}`; a line needs `gold` and `pred`, or `answer` and `completion`"
            ))),
        }
    }

    fn wrong(&self, what: &str) -> Failure {
        Failure::Input(format!(
            "{} line {} {what}; mend or remove the line",
            self.path.display(),
            self.line
        ))
    }
}
