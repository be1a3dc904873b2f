//! Commands that make runs, and the comparison of two runs byte by byte.
#![allow(dead_code, reason = "every test file uses another part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[path = "../common/mod.rs"]
pub mod common;

use common::Sandbox;

/// A pair comparison on rollouts that lie in `rollouts`: some 30 row groups.
pub const DIFF: &[&str] = &[
    "diff",
    "--base",
    "embedded:base",
    "--tuned",
    "embedded:reasoner",
    "--rollouts",
    "rollouts",
    "--row-group-rows",
    "8",
    "--replicates",
    "20",
];

/// The same from problems: both policies are sampled first.
pub const FROM_PROBLEMS: &[&str] = &[
    "diff",
    "--base",
    "embedded:base",
    "--tuned",
    "embedded:reasoner",
    "--problems",
    "embedded:problems",
    "--limit",
    "6",
    "-n",
    "24",
    "--max-tokens",
    "12",
    "--row-group-rows",
    "64",
    "--replicates",
    "20",
];

/// Fourteen groups of 64 rollouts; 384 are sampled at a time.
pub const SAMPLE: &[&str] = &[
    "sample",
    "--model",
    "embedded:base",
    "--problems",
    "embedded:problems",
    "--limit",
    "18",
    "-n",
    "48",
    "--max-tokens",
    "8",
    "--temperature",
    "0.7",
];

pub const SCORE: &[&str] = &[
    "score",
    "--model",
    "embedded:reasoner",
    "--rollouts",
    "rollouts",
    "--row-group-rows",
    "16",
];

/// A folder with rollouts to compare on.
pub fn with_rollouts() -> Sandbox {
    let sandbox = Sandbox::new();
    let line = "sample --model embedded:reasoner --problems embedded:problems --limit 2 -n 2 \
                --max-tokens 64 --out rollouts";
    sandbox.ok(&line.split_whitespace().collect::<Vec<_>>());
    sandbox
}

pub fn to<'a>(args: &[&'a str], out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [args, &["--out", out], more].concat()
}

/// Every file below a run but what may differ: `timing` in `run.json`.
pub fn bytes(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut content = fs::read(&path).unwrap();
            if path.ends_with("run.json") {
                let mut json: Value = serde_json::from_slice(&content).unwrap();
                json.as_object_mut().unwrap().remove("timing").unwrap();
                content = serde_json::to_vec_pretty(&json).unwrap();
            }
            files.insert(path.strip_prefix(run).unwrap().to_owned(), content);
        }
    }
    files
}

pub fn assert_same_bytes(sandbox: &Sandbox, left: &str, right: &str) {
    let (left_files, right_files) = (
        bytes(&sandbox.path().join(left)),
        bytes(&sandbox.path().join(right)),
    );
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&left_files),
        names(&right_files),
        "{left} and {right} hold other files"
    );
    for (name, content) in &left_files {
        assert!(
            content == &right_files[name],
            "{} differs between {left} and {right}",
            name.display()
        );
    }
}
