//! `run.json`: what was run, on what, with which settings.
//!
//! Everything but `timing` is the same after a resumed run as after an
//! uninterrupted one. Settings that may differ between resumes (`--threads`)
//! therefore stand under `timing.settings`.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::RecordsError;
use crate::documents::{parse, read_document, to_bytes};

/// What a command says of itself before it starts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunManifest {
    command: String,
    versions: Map<String, Value>,
    seeds: Map<String, Value>,
    settings: Map<String, Value>,
    digests: Map<String, Value>,
    free: Map<String, Value>,
}

impl RunManifest {
    /// A manifest of that command, e.g. `diff`.
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            ..Self::default()
        }
    }

    /// A version the bytes depend on, e.g. `forkscope` or `numerics`.
    pub fn version(mut self, name: &str, version: impl Into<String>) -> Self {
        self.versions
            .insert(name.into(), Value::String(version.into()));
        self
    }

    /// A seed.
    pub fn seed(mut self, name: &str, seed: u64) -> Self {
        self.seeds.insert(name.into(), seed.into());
        self
    }

    /// A setting that must be the same when the run is resumed. They are
    /// compared in the order they are given.
    pub fn setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// A setting that no byte but `timing` depends on, e.g. `threads`.
    pub fn free_setting(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.free.insert(name.into(), value.into());
        self
    }

    /// SHA-256 of an input: `base`, `tuned`, `tokenizer`, `template`, `data`, ...
    pub fn digest(mut self, name: &str, sha256: impl Into<String>) -> Self {
        self.digests
            .insert(name.into(), Value::String(sha256.into()));
        self
    }

    pub(super) fn start(&self, now: String) -> RunJson {
        RunJson {
            schema: RunJson::SCHEMA.into(),
            command: self.command.clone(),
            status: RunStatus::Running,
            versions: self.versions.clone(),
            seeds: self.seeds.clone(),
            settings: self.settings.clone(),
            digests: self.digests.clone(),
            notes: Map::new(),
            timing: Timing {
                started: now,
                settings: self.free.clone(),
                ..Timing::default()
            },
        }
    }

    pub(super) fn free(&self) -> &Map<String, Value> {
        &self.free
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Being written, or killed without a chance to say so.
    Running,
    /// Ended by an error.
    Incomplete,
    /// All files are there.
    Complete,
}

/// The content of `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunJson {
    /// Version of this layout, `forkscope/run/1`.
    pub schema: String,
    /// The subcommand.
    pub command: String,
    /// Where the run stands.
    pub status: RunStatus,
    /// Versions that the bytes depend on.
    #[serde(default)]
    pub versions: Map<String, Value>,
    /// Seeds by purpose.
    #[serde(default)]
    pub seeds: Map<String, Value>,
    /// Settings in the order the command lists them.
    #[serde(default)]
    pub settings: Map<String, Value>,
    /// SHA-256 of the inputs by name.
    #[serde(default)]
    pub digests: Map<String, Value>,
    /// What the command learnt on the way that is no finding, e.g. counts.
    #[serde(default)]
    pub notes: Map<String, Value>,
    /// Times and what else may differ between two equal runs.
    pub timing: Timing,
}

/// What may differ between two equal runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Start of the first attempt, UTC.
    pub started: String,
    /// End of the last attempt, UTC; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Seconds of all attempts that said when they ended.
    #[serde(default)]
    pub seconds: f64,
    /// How often the run was resumed.
    #[serde(default)]
    pub resumed: u32,
    /// Seconds by part of the work, of the last attempt.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parts: Map<String, Value>,
    /// Settings that no other byte depends on, of the last attempt.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
}

impl RunJson {
    /// The layout that this version writes.
    pub const SCHEMA: &'static str = "forkscope/run/1";

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordsError> {
        to_bytes(self)
    }

    /// The `run.json` of these bytes; `path` is for messages.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, RecordsError> {
        checked(parse(bytes, path)?, path)
    }

    /// All but `timing`: what an equal run has equal.
    pub fn stable(&self) -> Result<Map<String, Value>, RecordsError> {
        let mut map = serde_json::to_value(self).map(|value| match value {
            Value::Object(map) => map,
            _ => Map::new(),
        });
        if let Ok(map) = &mut map {
            map.shift_remove("timing");
        }
        map.map_err(|e| RecordsError::Misuse(format!("run.json cannot be written: {e}")))
    }

    /// The first setting in which a new call differs from this run.
    pub(super) fn first_difference(&self, given: &RunJson) -> Option<Difference> {
        let command = |r: &RunJson| Value::String(r.command.clone());
        let pairs = [
            ("command", command(self), command(given)),
            ("versions", object(&self.versions), object(&given.versions)),
            ("seeds", object(&self.seeds), object(&given.seeds)),
            ("settings", object(&self.settings), object(&given.settings)),
            ("digests", object(&self.digests), object(&given.digests)),
        ];
        pairs
            .into_iter()
            .find_map(|(name, recorded, given)| differ(name, &recorded, &given))
    }
}

/// A setting with both of its values, as JSON.
pub(super) struct Difference {
    pub setting: String,
    pub recorded: String,
    pub given: String,
}

/// As it would read back from the file: floats that JSON rounds compare equal.
fn object(map: &Map<String, Value>) -> Value {
    let value = Value::Object(map.clone());
    serde_json::from_str(&value.to_string()).unwrap_or(value)
}

fn differ(name: &str, recorded: &Value, given: &Value) -> Option<Difference> {
    if recorded == given {
        return None;
    }
    if let (Value::Object(a), Value::Object(b)) = (recorded, given) {
        let keys = b.keys().chain(a.keys().filter(|k| !b.contains_key(*k)));
        for key in keys {
            let (x, y) = (a.get(key), b.get(key));
            let inner = format!("{name}.{key}");
            let found = match (x, y) {
                (Some(x), Some(y)) => differ(&inner, x, y),
                _ => Some(Difference {
                    setting: inner,
                    recorded: show(x),
                    given: show(y),
                }),
            };
            if found.is_some() {
                return found;
            }
        }
    }
    let (recorded, given) = (show(Some(recorded)), show(Some(given)));
    Some(Difference {
        setting: name.into(),
        recorded,
        given,
    })
}

fn show(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "nothing".into(), Value::to_string);
    if text.chars().count() <= 80 {
        text
    } else {
        text.chars().take(79).chain(['…']).collect()
    }
}

/// Reads the `run.json` of a run directory.
pub fn read_run_json(run: &Path) -> Result<RunJson, RecordsError> {
    let path = run.join("run.json");
    checked(read_document(&path)?, &path)
}

fn checked(json: RunJson, path: &Path) -> Result<RunJson, RecordsError> {
    if json.schema != RunJson::SCHEMA {
        let reason = format!(
            "schema {:?} is not {:?}; it was written by another version of forkscope",
            json.schema,
            RunJson::SCHEMA
        );
        return Err(RecordsError::json(path, reason));
    }
    Ok(json)
}
