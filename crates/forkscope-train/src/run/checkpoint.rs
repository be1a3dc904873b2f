//! Checkpoints: everything that a run needs to go on to the same bytes.
//!
//! `checkpoints/step-000024/` is the state after 24 steps:
//! - `parameters.safetensors`: the trained tensors, f32, under the names that
//!   the saved model gives them (a LoRA run: the adapter's alone);
//! - `optimiser.safetensors`: `exp_avg.NAME` and `exp_avg_sq.NAME`;
//! - `state.json`: `{sha256, state}`, where `state` is a [`State`] and `sha256`
//!   the digest of its compact JSON.
//!
//! A folder gets its name when all of it is on the disk, so a full disk or a
//! kill leaves the checkpoints before it as they are. One whose digests do not
//! match is refused with a sentence, and the one before it is used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use forkscope_records::RunDir;
use forkscope_records::digest::{FileDigest, sha256_bytes, sha256_handle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::optimiser::AdamW;
use super::tensors::{self, Named};
use crate::TrainError;
use crate::engine::Parameter;

/// Folder of the checkpoints in a run.
pub const CHECKPOINTS: &str = "checkpoints";

const PARAMETERS: &str = "parameters.safetensors";
const MOMENTS: &str = "optimiser.safetensors";
const STATE: &str = "state.json";
const SCHEMA: &str = "forkscope/checkpoint/1";

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps taken when it was made.
    pub step: u64,
    /// Its score; the greatest is the best, of equals the earliest.
    pub score: f64,
}

/// A file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    path: String,
    bytes: u64,
    sha256: String,
}

impl From<FileDigest> for Entry {
    fn from(file: FileDigest) -> Self {
        let FileDigest {
            path,
            bytes,
            sha256,
        } = file;
        Self {
            path,
            bytes,
            sha256,
        }
    }
}

/// Where a run stands, beside parameters and moments. The schedule and every
/// random draw are functions of the step, so they need no place here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub schema: String,
    /// Steps taken, skipped ones included.
    pub step: u64,
    /// Steps that changed the parameters.
    pub updates: u64,
    /// Steps without a shard.
    pub skipped: u64,
    /// Tokens trained on.
    pub tokens: u64,
    pub best: Option<Best>,
    /// Lengths of the growing files, in bytes.
    pub logs: BTreeMap<String, u64>,
    /// What the source keeps.
    pub source: Value,
    /// The other files of the checkpoint.
    pub files: Vec<Entry>,
}

impl State {
    /// Before the first step.
    pub fn start() -> Self {
        Self {
            schema: SCHEMA.into(),
            step: 0,
            updates: 0,
            skipped: 0,
            tokens: 0,
            best: None,
            logs: BTreeMap::new(),
            source: Value::Null,
            files: Vec::new(),
        }
    }
}

/// The name of a checkpoint in its run.
fn name(step: u64) -> String {
    format!("{CHECKPOINTS}/step-{step:06}")
}

/// Names and shapes of the moments, first then second.
fn moment_names(parameters: &[Parameter]) -> impl Iterator<Item = (String, &[usize])> {
    let of = |prefix: &'static str| {
        let named = move |p: &Parameter| format!("{prefix}.{}", p.name);
        parameters
            .iter()
            .map(move |p| (named(p), p.shape.as_slice()))
    };
    of("exp_avg").chain(of("exp_avg_sq"))
}

/// Writes the checkpoint of `state`, whose file list it fills in.
pub(super) fn save(
    run: &RunDir,
    state: &mut State,
    parameters: &[Parameter],
    adam: &AdamW,
) -> Result<(), TrainError> {
    let own: Vec<Named<'_>> = parameters
        .iter()
        .map(|p| Named {
            name: p.name.clone(),
            shape: &p.shape,
            values: &p.values,
        })
        .collect();
    let (first, second) = adam.moments();
    let moments: Vec<Named<'_>> = moment_names(parameters)
        .zip(first.iter().chain(second))
        .map(|((name, shape), values)| Named {
            name,
            shape,
            values,
        })
        .collect();
    let mut folder = run.folder(&name(state.step))?;
    state.updates = adam.updates();
    state.files = vec![
        folder
            .file(PARAMETERS, |to| tensors::write(to, &own))?
            .into(),
        folder
            .file(MOMENTS, |to| tensors::write(to, &moments))?
            .into(),
    ];
    let text = sealed(state)?;
    folder.file(STATE, |to| to.write_all(&text))?;
    Ok(folder.finish()?)
}

fn sealed(state: &State) -> Result<Vec<u8>, TrainError> {
    let fault = |e: serde_json::Error| TrainError::Internal(e.to_string());
    let state = serde_json::to_value(state).map_err(fault)?;
    let sha256 = sha256_bytes(state.to_string().as_bytes());
    let document = json!({"sha256": sha256, "state": state});
    let mut text = serde_json::to_vec_pretty(&document).map_err(fault)?;
    text.push(b'\n');
    Ok(text)
}

/// A checkpoint whose digests match.
#[derive(Debug)]
pub(super) struct Whole {
    pub state: State,
    dir: PathBuf,
    /// The handles that were digested: parameters and moments.
    files: [File; 2],
}

/// The newest whole checkpoint, and why newer ones are not used.
#[derive(Debug)]
pub(super) struct Found {
    pub newest: Option<Whole>,
    pub refused: Vec<TrainError>,
}

/// Looks for a checkpoint to go on from. Where there are some and none is
/// whole, that is an error: nothing starts again unasked.
pub(super) fn find(run: &Path) -> Result<Found, TrainError> {
    let mut refused = Vec::new();
    for step in steps(run)?.into_iter().rev() {
        match open(run.join(name(step)), step) {
            Ok(whole) => {
                return Ok(Found {
                    newest: Some(whole),
                    refused,
                });
            }
            Err(e) => refused.push(e),
        }
    }
    match refused.into_iter().next() {
        None => Ok(Found {
            newest: None,
            refused: Vec::new(),
        }),
        Some(e) => Err(TrainError::bad(
            &run.join(CHECKPOINTS),
            format!("no checkpoint is whole ({e})"),
            "remove this folder to train from the first step on",
        )),
    }
}

/// Steps of which there is a checkpoint, whole or not, ascending.
pub(super) fn steps(run: &Path) -> Result<Vec<u64>, TrainError> {
    let dir = run.join(CHECKPOINTS);
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|e| TrainError::read(&dir, e))?,
    };
    let mut steps = Vec::new();
    for entry in entries {
        let file = entry.map_err(|e| TrainError::read(&dir, e))?.file_name();
        let step = file
            .to_str()
            .and_then(|f| f.strip_prefix("step-")?.parse().ok());
        // A folder that is not named as `name` names it is somebody else's.
        steps.extend(step.filter(|s| dir.join(&file) == run.join(name(*s))));
    }
    steps.sort_unstable();
    Ok(steps)
}

fn open(dir: PathBuf, step: u64) -> Result<Whole, TrainError> {
    let state = read_state(&dir.join(STATE))?;
    if state.step != step {
        return Err(damaged(
            &dir.join(STATE),
            format!("`step` is {}", state.step),
        ));
    }
    let files = [
        digested(&dir, PARAMETERS, &state)?,
        digested(&dir, MOMENTS, &state)?,
    ];
    Ok(Whole { state, dir, files })
}

fn damaged(path: &Path, problem: String) -> TrainError {
    let remedy = "this checkpoint is not used, restore it from a copy or go on from the one before";
    TrainError::bad(path, problem, remedy)
}

fn read_state(path: &Path) -> Result<State, TrainError> {
    let text = fs::read(path).map_err(|e| TrainError::read(path, e))?;
    let no_json = |e: serde_json::Error| damaged(path, format!("cannot be read as JSON ({e})"));
    let mut document: Value = serde_json::from_slice(&text).map_err(no_json)?;
    let state = document.get_mut("state").map(Value::take);
    let state = state.unwrap_or(Value::Null);
    let sha256 = sha256_bytes(state.to_string().as_bytes());
    if document.get("sha256").and_then(Value::as_str) != Some(&sha256) {
        return Err(damaged(
            path,
            "its `sha256` is not that of its `state`".into(),
        ));
    }
    if state["schema"] != SCHEMA {
        return Err(TrainError::bad(
            path,
            format!("`schema` is {}, not \"{SCHEMA}\"", state["schema"]),
            "resume with the version of forkscope that wrote it",
        ));
    }
    serde_json::from_value(state).map_err(no_json)
}

/// The open file, if it is what the state says.
fn digested(dir: &Path, name: &str, state: &State) -> Result<File, TrainError> {
    let path = dir.join(name);
    let Some(entry) = state.files.iter().find(|f| f.path == name) else {
        return Err(damaged(&dir.join(STATE), format!("`files` lacks {name}")));
    };
    let mut file = File::open(&path).map_err(|e| TrainError::read(&path, e))?;
    let sha256 = sha256_handle(&mut file, &path)?;
    if sha256 != entry.sha256 {
        let bytes = file
            .metadata()
            .map_err(|e| TrainError::read(&path, e))?
            .len();
        let problem = format!(
            "its SHA-256 ({sha256}, {bytes} bytes) is not that in {STATE} ({}, {} bytes)",
            entry.sha256, entry.bytes
        );
        return Err(damaged(&path, problem));
    }
    Ok(file)
}

impl Whole {
    /// Puts the recorded values in place; if they are of another network,
    /// nothing changes.
    pub fn restore(
        &self,
        parameters: &mut [Parameter],
        adam: &mut AdamW,
    ) -> Result<(), TrainError> {
        let [own, moments] = &self.files;
        let names = parameters
            .iter()
            .map(|p| (p.name.clone(), p.shape.as_slice()));
        let values = tensors::read(own, &self.dir.join(PARAMETERS), names)?;
        let names = moment_names(parameters);
        let mut first = tensors::read(moments, &self.dir.join(MOMENTS), names)?;
        let second = first.split_off(parameters.len());
        for (parameter, values) in parameters.iter_mut().zip(values) {
            parameter.values = values;
        }
        adam.restore(self.state.updates, first, second);
        Ok(())
    }
}

/// Removes what is no longer needed once the checkpoint of `step` is whole:
/// all but the newest `keep` of the regular ones; those of an interruption (not
/// regular) but `step`; and newer ones, which were refused when the run went on.
pub(super) fn prune(
    run: &RunDir,
    step: u64,
    keep: usize,
    regular: impl Fn(u64) -> bool,
) -> Result<(), TrainError> {
    let steps = steps(run.path())?;
    let kept: Vec<u64> = steps
        .iter()
        .copied()
        .filter(|s| *s <= step && regular(*s))
        .rev()
        .take(keep)
        .collect();
    for s in steps {
        if s != step && !kept.contains(&s) {
            run.remove(&name(s))?;
        }
    }
    Ok(())
}
