//! What a run writes about its steps.

mod common;
mod run_toy;

use std::collections::BTreeMap;
use std::path::Path;

use run_toy::{STEPS, whole};
use serde_json::Value;

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[test]
fn metrics_have_a_line_a_step_under_the_names_of_trl() {
    let dir = tempfile::tempdir().unwrap();
    whole(dir.path(), false);
    let metrics = lines(&dir.path().join("metrics.jsonl"));
    assert_eq!(metrics.len() as u64, STEPS);
    let mut tokens = 0;
    for (i, line) in metrics.iter().enumerate() {
        let step = i as u64 + 1;
        assert_eq!(line["step"], step);
        let skipped = i % 5 == 3;
        assert_eq!(line["loss"].is_null(), skipped);
        assert_eq!(line["grad_norm"].is_null(), skipped);
        assert_eq!(line["reward_std"].is_null(), skipped);
        assert!(line["learning_rate"].is_f64());
        tokens += if skipped { 0 } else { 60 + i as u64 };
        assert_eq!(line["num_tokens"], tokens);
        assert_eq!(line["completions/mean_length"], 6.5);
        assert_eq!(line.get("eval_score").is_some(), step.is_multiple_of(3));
        let timed = line.as_object().unwrap().keys();
        assert!(
            timed
                .clone()
                .all(|k| !k.contains("second") && !k.contains("runtime"))
        );
    }
    let timing = lines(&dir.path().join("timing.jsonl"));
    assert_eq!(timing.len() as u64, STEPS);
    assert!(timing.iter().all(|t| t["tokens_per_second"].is_f64()));
}

/// Reads the bytes of one protobuf message: field -> raw value.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                all.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            wire => panic!("wire type {wire}"),
        };
        let (value, rest) = bytes.split_at(length);
        bytes = rest;
        all.push((key >> 3, value.to_vec()));
    }
    all
}

#[test]
fn the_event_file_reads_back_as_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    whole(dir.path(), false);
    let path = dir.path().join(forkscope_train::run::TENSORBOARD);
    let bytes = std::fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        events.push(fields(&rest[12..12 + length]));
        rest = &rest[16 + length..];
    }
    assert_eq!(events[0][1], (3, b"brain.Event:2".to_vec()));
    let metrics = lines(&dir.path().join("metrics.jsonl"));
    assert_eq!(events.len(), metrics.len() + 1);
    for (event, line) in events[1..].iter().zip(&metrics) {
        let step = line["step"].as_u64().unwrap();
        assert_eq!(event[0], (1, (step as f64).to_le_bytes().to_vec()));
        assert_eq!(event[1], (2, step.to_le_bytes().to_vec()));
        let scalars: BTreeMap<String, f32> = fields(&event[2].1)
            .into_iter()
            .map(|(_, value)| {
                let parts = fields(&value);
                let tag = String::from_utf8(parts[0].1.clone()).unwrap();
                let number = parts[1].1.as_slice().try_into().unwrap();
                (tag, f32::from_le_bytes(number))
            })
            .collect();
        let numbers = line.as_object().unwrap().iter();
        let expected: BTreeMap<String, f32> = numbers
            .filter(|(name, value)| *name != "step" && value.is_number())
            .map(|(name, value)| {
                let tag = match name.strip_prefix("eval_") {
                    Some(rest) => format!("eval/{rest}"),
                    None => format!("train/{name}"),
                };
                (tag, value.as_f64().unwrap() as f32)
            })
            .collect();
        assert_eq!(scalars, expected);
    }
}
