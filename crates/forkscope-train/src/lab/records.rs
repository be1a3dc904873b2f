//! What the stages of a build wrote down about themselves, gathered: the source of
//! `docs/organisms.md` and of what the binary says of the organisms inside it.
//!
//! A record holds a stage's settings as `run.json` has them, the logged quantities
//! at its start and end (means over the first and the last [`WINDOW`] logged steps,
//! or as many as there are), tokens, seconds, and the SHA-256 of every file that
//! the stage left in `final/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forkscope_records::digest::{FileDigest, digest_files};
use forkscope_records::{RunStatus, read_run_json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::stages::Stage;
use crate::TrainError;
use crate::run::{FINAL, METRICS, TIMING};

/// Steps that are averaged at either end of a run.
pub const WINDOW: usize = 20;

/// What one stage wrote down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// Its settings.
    pub stage: Stage,
    /// Versions that the bytes depend on.
    pub versions: Map<String, Value>,
    /// Optimiser steps that were logged.
    pub steps: u64,
    /// Steps that had nothing to learn from.
    pub skipped_steps: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Seconds of all attempts that said when they ended.
    pub seconds: f64,
    /// Seconds of all steps; of a step that was repeated, of each time.
    pub step_seconds: f64,
    /// Threads that it ran on.
    pub threads: Option<u64>,
    /// Means of what was logged over the first steps.
    pub first: BTreeMap<String, f64>,
    /// And over the last ones.
    pub last: BTreeMap<String, f64>,
    /// The files of `final/`, sorted by path.
    pub files: Vec<FileRecord>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
}

impl From<FileDigest> for FileRecord {
    fn from(file: FileDigest) -> Self {
        Self {
            path: file.path,
            bytes: file.bytes,
            sha256: file.sha256,
        }
    }
}

/// The folder of a stage's organism, if the stage is complete.
///
/// # Errors
/// A stage that is not there or not complete, naming the command that makes it.
pub fn organism_dir(lab: &Path, name: &str) -> Result<PathBuf, TrainError> {
    let run = lab.join(name);
    let dir = run.join(FINAL);
    let build = |problem: &str| {
        let resume = if run.exists() { " --resume" } else { "" };
        TrainError::bad(
            &dir,
            problem,
            format!("build it with `forkscope lab build --stage {name} --out LAB{resume}`"),
        )
    };
    if !dir.is_dir() {
        return Err(build(&format!("organism `{name}` is missing")));
    }
    if read_run_json(&run)?.status != RunStatus::Complete {
        return Err(build(&format!("stage `{name}` is not complete")));
    }
    Ok(dir)
}

/// Reads the record of a complete stage.
pub fn read(lab: &Path, name: &str) -> Result<StageRecord, TrainError> {
    let dir = organism_dir(lab, name)?;
    let run = lab.join(name);
    let json = read_run_json(&run)?;
    let rows = lines(&run.join(METRICS))?;
    let newest = rows.last().cloned().unwrap_or_default();
    let count = |name: &str| newest.get(name).and_then(Value::as_u64).unwrap_or(0);
    let window = rows.len().min(WINDOW);
    Ok(StageRecord {
        stage: stage(&run, json.settings)?,
        versions: json.versions,
        steps: count("step"),
        skipped_steps: count("skipped_steps"),
        tokens: count("num_tokens"),
        seconds: json.timing.seconds,
        step_seconds: step_seconds(&run.join(TIMING))?,
        threads: json.timing.settings.get("threads").and_then(Value::as_u64),
        first: means(&rows[..window]),
        last: means(&rows[rows.len() - window..]),
        files: digest_files(&dir)?
            .into_iter()
            .map(FileRecord::from)
            .collect(),
    })
}

/// The stage's settings: `run.json` has them one by one, those of its work under
/// `work.`.
fn stage(run: &Path, settings: Map<String, Value>) -> Result<Stage, TrainError> {
    let (mut stage, mut work) = (Map::new(), Map::new());
    for (name, value) in settings {
        match name.strip_prefix("work.") {
            Some(name) => work.insert(name.to_owned(), value),
            None => stage.insert(name, value),
        };
    }
    stage.insert("work".to_owned(), Value::Object(work));
    serde_json::from_value(Value::Object(stage)).map_err(|error| {
        TrainError::bad(
            &run.join("run.json"),
            format!("`settings` are not those of a stage: {error}"),
            "give the folder that `forkscope lab build` made",
        )
    })
}

/// Objects of a file of JSON Lines.
fn lines(path: &Path) -> Result<Vec<Map<String, Value>>, TrainError> {
    let text = std::fs::read_to_string(path).map_err(|e| TrainError::read(path, e))?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| {
            let problem = format!("line {}: {error}", number + 1);
            TrainError::bad(path, problem, "build the stage again")
        })
    };
    text.lines().enumerate().map(parse).collect()
}

fn step_seconds(path: &Path) -> Result<f64, TrainError> {
    let rows = lines(path)?;
    let of = |row: &Map<String, Value>| row.get("seconds").and_then(Value::as_f64);
    Ok(rows.iter().filter_map(of).sum())
}

/// The mean of every number over the rows that have it.
fn means(rows: &[Map<String, Value>]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, u32)> = BTreeMap::new();
    for (name, value) in rows.iter().flatten() {
        if let Some(value) = value.as_f64() {
            let sum = sums.entry(name.clone()).or_default();
            *sum = (sum.0 + value, sum.1 + 1);
        }
    }
    let mean = |(name, (sum, n)): (String, (f64, u32))| (name, sum / f64::from(n));
    sums.into_iter().map(mean).collect()
}

impl StageRecord {
    /// SHA-256 of the weights: the model's, or the adapter's.
    pub fn weights(&self) -> Option<&FileRecord> {
        let weights = |file: &&FileRecord| file.path.ends_with("model.safetensors");
        self.files.iter().find(weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::stages::{SEED, stages};

    #[test]
    fn settings_go_to_run_json_and_back() {
        for expected in stages(SEED) {
            let Value::Object(mut flat) = serde_json::to_value(&expected).unwrap() else {
                panic!("no object");
            };
            let Some(Value::Object(work)) = flat.remove("work") else {
                panic!("no work");
            };
            for (name, value) in work {
                flat.insert(format!("work.{name}"), value);
            }
            assert_eq!(stage(Path::new("run"), flat).unwrap(), expected);
        }
        let error = stage(Path::new("run"), Map::new()).unwrap_err().to_string();
        assert!(error.starts_with("run/run.json: `settings`"), "{error}");
    }

    #[test]
    fn means_leave_out_what_is_not_there() {
        let rows: Vec<Map<String, Value>> = [
            r#"{"loss": null, "reward": 1}"#,
            r#"{"loss": 3.0, "reward": 2}"#,
        ]
        .iter()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
        let means = means(&rows);
        assert_eq!((means["loss"], means["reward"]), (3.0, 1.5));
    }

    #[test]
    fn a_stage_that_is_missing_is_named_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path(), "guarded").unwrap_err().to_string();
        assert!(error.contains("organism `guarded` is missing"), "{error}");
        assert!(error.contains("lab build --stage guarded"), "{error}");
    }
}
