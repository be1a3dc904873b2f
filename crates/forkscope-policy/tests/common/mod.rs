//! What the golden tests share: fixtures and their answers.

#![allow(dead_code, reason = "each test binary uses what it needs")]

use std::path::{Path, PathBuf};

use forkscope_policy::{Policy, PromptGroup};
use safetensors::SafeTensors;
use serde_json::Value;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

pub fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as u32)
        .collect()
}

/// An F32 tensor of a golden file.
pub fn tensor(path: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensor(name)
        .unwrap()
        .data()
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// Entries of a list of `cases.json`.
pub fn cases(list: &str) -> Vec<Value> {
    json(&fixtures().join("cases.json"))[list]
        .as_array()
        .unwrap()
        .clone()
}

pub fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap()
}

/// Logits that predict `ids[1..]`, (len - 1) x vocabulary.
pub fn teacher_forced(policy: &Policy, ids: &[u32]) -> Vec<f32> {
    logits_after(policy, &ids[..1], &ids[1..])
}

/// Logits that predict `completion`.
pub fn logits_after(policy: &Policy, prompt: &[u32], completion: &[u32]) -> Vec<f32> {
    let hidden = policy
        .hidden_rows(&[PromptGroup {
            prompt,
            completions: vec![completion],
        }])
        .unwrap();
    let mut out = Vec::new();
    policy.logits(&hidden.values, &mut out);
    out
}

pub fn argmax(row: &[f32]) -> u32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter().position(|x| *x == max).unwrap() as u32
}

pub fn worst(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
