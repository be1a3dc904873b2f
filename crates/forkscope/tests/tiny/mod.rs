//! Tiny model directories to damage, and how a refusal looks.
#![allow(dead_code, reason = "every test file uses another part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

#[path = "../common/mod.rs"]
pub mod common;

use common::Sandbox;

/// A sandbox in which no command reaches a hub.
pub struct Bench {
    pub sandbox: Sandbox,
}

impl Bench {
    /// With rollouts that every fixture model can score, in `rollouts.json`.
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.file(
            "rollouts.json",
            rollouts(&[1, 5, 9, 3, 7, 2], 3).to_string(),
        );
        sandbox.file("problems.jsonl", "{\"problem\": \"a ann has 7 coins .\"}\n");
        Self { sandbox }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.path().join(name)
    }

    /// Copies a fixture of the policy crate: `models/llama-default`, `adapters/qv`.
    pub fn fixture(&self, fixture: &str, name: &str) -> Model {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../forkscope-policy/tests/fixtures")
            .join(fixture);
        Model::copy(&from, self.path(name))
    }

    /// Copies the embedded base model: it has a tokenizer.
    pub fn organism(&self, name: &str) -> Model {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/organism/base");
        Model::copy(&from, self.path(name))
    }

    fn run(&self, line: &str) -> common::Ended {
        let began = Instant::now();
        let home = self.path("hub");
        let output = self
            .sandbox
            .command()
            .args(line.split_whitespace())
            .env("HF_HUB_OFFLINE", "1")
            .env("HF_HOME", &home)
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_ENDPOINT")
            .output()
            .expect("the built binary");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{line} took {:?}",
            began.elapsed()
        );
        common::Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Expects a line to end well.
    pub fn accepted(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, Some(0), "{line}: {ended:?}");
        let _ = fs::remove_dir_all(self.path("run"));
        ended.stdout
    }

    /// Expects a refusal that names all of `says`, before anything was made at `run`.
    pub fn refused(&self, line: &str, says: &[&str]) {
        self.ended_badly(line, says);
        assert!(
            !self.path("run").exists(),
            "{line}: a run was started before its input was checked"
        );
    }

    /// Expects a refusal that may leave a run, but not one marked complete.
    pub fn refused_on_the_way(&self, line: &str, says: &[&str]) {
        self.ended_badly(line, says);
        if let Ok(json) = fs::read(self.path("run/run.json")) {
            let json: Value = serde_json::from_slice(&json).expect("a whole run.json");
            assert_eq!(json["status"], "incomplete", "{line}");
        }
        let _ = fs::remove_dir_all(self.path("run"));
    }

    fn ended_badly(&self, line: &str, says: &[&str]) {
        let ended = self.run(line);
        if std::env::var_os("SHOW_REFUSALS").is_some() {
            eprint!("{}", ended.stderr);
        }
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(3), ""),
            "{line}: {ended:?}"
        );
        let said = ended.stderr;
        assert!(
            said.starts_with("error: ") && said.lines().count() == 1,
            "{line}: {said}"
        );
        for word in ["panick", "internal fault", "fault of forkscope", ".rs:"] {
            assert!(!said.contains(word), "{line}: {said}");
        }
        assert!(said.len() < 1000, "{line}: {} bytes: {said}", said.len());
        for word in says {
            assert!(said.contains(word), "{line}: no `{word}` in: {said}");
        }
    }
}

/// The reference's rollout JSON with one rollout.
pub fn rollouts(tokens: &[u32], prompt_length: usize) -> Value {
    json!({"rollouts": [{"problem_id": "p", "gen_index": 0, "tokens": tokens,
        "prompt_length": prompt_length, "correct": true}]})
}

/// Scoring with the model `m`.
pub const SCORE: &str = "score --model m --rollouts rollouts.json --out run";

/// A model directory.
pub struct Model {
    pub dir: PathBuf,
}

impl Model {
    fn copy(from: &Path, dir: PathBuf) -> Self {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("a new folder");
        for entry in fs::read_dir(from).expect("the fixture") {
            let entry = entry.expect("an entry");
            if !entry.file_name().to_string_lossy().starts_with("golden") {
                fs::copy(entry.path(), dir.join(entry.file_name())).expect("a copy");
            }
        }
        Self { dir }
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.dir.join(name)).expect("a file of the model")
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.dir.join(name), bytes).expect("a written file");
        self
    }

    pub fn remove(&self, name: &str) -> &Self {
        fs::remove_file(self.dir.join(name)).expect("a file to remove");
        self
    }

    /// Changes a JSON file.
    pub fn edit(&self, name: &str, change: impl FnOnce(&mut Map<String, Value>)) -> &Self {
        let mut json: Value = serde_json::from_slice(&self.bytes(name)).expect("JSON");
        change(json.as_object_mut().expect("an object"));
        self.write(name, json.to_string())
    }

    /// Sets one field of `config.json`.
    pub fn config(&self, key: &str, value: Value) -> &Self {
        self.edit("config.json", |map| {
            map.insert(key.to_owned(), value);
        })
    }

    /// Changes the header and the data of a safetensors file.
    pub fn tensors(
        &self,
        name: &str,
        change: impl FnOnce(&mut BTreeMap<String, Value>, &mut Vec<u8>),
    ) -> &Self {
        let bytes = self.bytes(name);
        let (size, rest) = bytes.split_first_chunk::<8>().expect("a header's size");
        let (header, data) = rest.split_at(u64::from_le_bytes(*size) as usize);
        let mut header = serde_json::from_slice(header).expect("a header");
        let mut data = data.to_vec();
        change(&mut header, &mut data);
        self.write(name, safetensors(&json!(header).to_string(), &data))
    }

    /// Writes bytes over the start of a tensor's data.
    pub fn overwrite(&self, file: &str, tensor: &str, bytes: &[u8]) -> &Self {
        self.tensors(file, |header, data| {
            let at = header[tensor]["data_offsets"][0]
                .as_u64()
                .expect("an offset") as usize;
            data[at..at + bytes.len()].copy_from_slice(bytes);
        })
    }
}

/// A safetensors file of a header and data.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let size = (header.len() as u64).to_le_bytes();
    [&size[..], header.as_bytes(), data].concat()
}
