//! What a run writes about its steps, one line each.
//!
//! - `metrics.jsonl`: a JSON object a step, under the names of transformers'
//!   Trainer and TRL where they have one. Floats are the shortest text that
//!   reads back as the same f64; `null` where a value is undefined, `"inf"` and
//!   `"-inf"` where it is infinite. The same bytes after a resume.
//! - `tensorboard/`: the finite numbers of that line as scalars.
//! - `timing.jsonl`: seconds and tokens per second. It differs from run to run,
//!   only grows, and holds a step twice that was repeated after an interruption.

use std::collections::BTreeMap;

use forkscope_records::RunDir;
use forkscope_records::run::AppendLog;
use serde_json::{Map, Number, Value};

use super::tensorboard;
use crate::TrainError;

/// File name of the metrics.
pub const METRICS: &str = "metrics.jsonl";
/// File name of the times.
pub const TIMING: &str = "timing.jsonl";

/// A float as it stands in JSON.
pub(super) fn number(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value == f64::INFINITY => "inf".into(),
        None if value == f64::NEG_INFINITY => "-inf".into(),
        None => Value::Null,
    }
}

/// One line: names and values in the order in which they were put.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line(Map<String, Value>);

impl Line {
    /// Sets a value; of two under one name, the first stands.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), value.into());
        }
    }

    /// Sets several floats.
    pub fn floats(&mut self, values: &[(String, f64)]) {
        for (name, value) in values {
            self.put(name, number(*value));
        }
    }

    /// A number that was put.
    pub fn float(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    /// Puts what another line holds behind this one.
    pub fn extend(&mut self, other: Self) {
        for (name, value) in other.0 {
            self.put(&name, value);
        }
    }

    fn bytes(self) -> Vec<u8> {
        let mut text = Value::Object(self.0).to_string();
        text.push('\n');
        text.into_bytes()
    }

    /// The numbers, with the tags that transformers' callback gives them.
    fn scalars(&self) -> Vec<(String, f32)> {
        let named = self.0.iter().filter(|(name, _)| *name != "step");
        named
            .filter_map(|(name, value)| {
                let tag = match name.strip_prefix("eval_") {
                    Some(rest) => format!("eval/{rest}"),
                    None => format!("train/{name}"),
                };
                Some((tag, value.as_f64()? as f32))
            })
            .collect()
    }
}

/// The growing files of a run.
#[derive(Debug)]
pub(super) struct Logs {
    metrics: AppendLog,
    timing: AppendLog,
    board: Option<AppendLog>,
}

impl Logs {
    /// Opens the files and cuts them back to the lengths that a checkpoint
    /// knows; without one, to nothing.
    pub fn open(
        run: &RunDir,
        with_board: bool,
        known: &BTreeMap<String, u64>,
    ) -> Result<Self, TrainError> {
        let cut = |name: &str| -> Result<AppendLog, TrainError> {
            let mut log = run.append_log(name)?;
            log.cut(known.get(name).copied().unwrap_or(0))?;
            Ok(log)
        };
        let mut board = None;
        if with_board {
            let mut log = cut(tensorboard::FILE)?;
            if log.bytes() == 0 {
                log.append(&tensorboard::start())?;
            }
            board = Some(log);
        }
        Ok(Self {
            metrics: cut(METRICS)?,
            timing: run.append_log(TIMING)?,
            board,
        })
    }

    /// Writes the line of a step.
    pub fn write(&mut self, step: u64, line: Line) -> Result<(), TrainError> {
        if let Some(board) = &mut self.board {
            board.append(&tensorboard::scalars(step, &line.scalars()))?;
        }
        Ok(self.metrics.append(&line.bytes())?)
    }

    /// Writes how long a step took.
    pub fn time(&mut self, line: Line) -> Result<(), TrainError> {
        Ok(self.timing.append(&line.bytes())?)
    }

    /// Puts everything on the disk; what a checkpoint records of it.
    pub fn sync(&mut self) -> Result<BTreeMap<String, u64>, TrainError> {
        self.metrics.sync()?;
        let mut known = BTreeMap::from([(METRICS.to_owned(), self.metrics.bytes())]);
        if let Some(board) = &mut self.board {
            board.sync()?;
            known.insert(tensorboard::FILE.to_owned(), board.bytes());
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_order_and_first_values_and_says_what_is_undefined() {
        let mut line = Line::default();
        line.put("step", 3u64);
        line.put("loss", number(0.1 + 0.2));
        line.floats(&[
            ("loss".into(), 9.0),
            ("reward".into(), f64::NAN),
            ("kl".into(), f64::INFINITY),
            ("eval_score".into(), 1.0),
        ]);
        let scalars = line.scalars();
        assert_eq!(
            scalars,
            [
                ("train/loss".to_owned(), 0.3),
                ("eval/score".to_owned(), 1.0)
            ]
        );
        let text = String::from_utf8(line.bytes()).unwrap();
        assert_eq!(
            text,
            "{\"step\":3,\"loss\":0.30000000000000004,\"reward\":null,\"kl\":\"inf\",\"eval_score\":1.0}\n"
        );
    }
}
