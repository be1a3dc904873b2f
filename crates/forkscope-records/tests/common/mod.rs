//! Rows that differ in every column, made from a number.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;

use forkscope_records::types::{
    DiffRow, FinishReason, Rollout, ScoreRow, ShiftClass, TopK, Validity,
};
use forkscope_records::{Mode, Opened, RunDir, RunManifest};

pub fn topk(i: u32, k: u32) -> TopK {
    TopK {
        ids: (0..k).map(|j| i.wrapping_mul(7) % 900 + j).collect(),
        logprobs: (0..k).map(|j| -0.25 * j as f32 - (i % 13) as f32).collect(),
    }
}

pub fn diff_row(i: u32) -> DiffRow {
    let x = f64::from(i.wrapping_mul(2_654_435_761) >> 8) / 16_777_216.0;
    DiffRow {
        problem_id: format!("p/{}", i / 40),
        sample: i / 20 % 2,
        t: 9 + i % 20,
        token_id: i % 188,
        validity: if i.is_multiple_of(97) {
            Validity::NonFinite
        } else {
            Validity::Ok
        },
        entropy_base_nats: x,
        entropy_tuned_nats: x * 0.5,
        kl_tuned_base_nats: (!i.is_multiple_of(11)).then_some(x * x),
        kl_base_tuned_nats: (!i.is_multiple_of(17)).then_some(x * 0.25),
        js_nats: x * 0.125,
        tv: x * 0.0625,
        ce_base_tuned_nats: Some(x + 1.0),
        delta_logprob: (!i.is_multiple_of(5)).then_some(-x),
        logprob_base: -x as f32,
        logprob_tuned: if i.is_multiple_of(53) {
            f32::NEG_INFINITY
        } else {
            -2.0 * x as f32
        },
        rank_base: 1 + i % 4,
        rank_tuned: 1 + i % 3,
        argmax_base_id: i % 188,
        argmax_tuned_id: i % 187,
        mass_outside_base: 0.0,
        mass_outside_tuned: 0.0,
        base_rank_of_tuned_argmax: 1 + i % 7,
        class: [
            ShiftClass::Unshifted,
            ShiftClass::Reranked,
            ShiftClass::Shifted,
        ][i as usize % 3],
        topk_base: topk(i, 5),
        topk_tuned: topk(i + 1, i % 6),
    }
}

pub fn score_row(i: u32) -> ScoreRow {
    ScoreRow {
        problem_id: i.to_string(),
        sample: i % 3,
        t: i,
        token_id: i % 188,
        validity: Validity::Ok,
        entropy_nats: f64::from(i) / 7.0,
        logprob: -(i as f32) / 3.0,
        rank: 1 + i % 5,
        argmax_id: i % 100,
        topk: topk(i, 3),
    }
}

pub fn rollout(i: u32) -> Rollout {
    let completion = i % 9;
    Rollout {
        problem_id: format!("p{}", i / 2),
        sample: i % 2,
        token_ids: (0..4 + completion).collect(),
        prompt_len: 4,
        finish_reason: if i.is_multiple_of(2) {
            FinishReason::Eos
        } else {
            FinishReason::Length
        },
        text: format!("text \"{i}\"\u{1f600}\n"),
        correct: [None, Some(true), Some(false)][i as usize % 3],
        validity: if completion == 0 {
            Validity::Empty
        } else {
            Validity::Ok
        },
        logprobs: (!i.is_multiple_of(4)).then(|| (0..completion).map(|j| -(j as f32)).collect()),
    }
}

pub fn manifest() -> RunManifest {
    RunManifest::new("diff")
        .version("forkscope", "0.1.0")
        .seed("sampling", 42)
        .setting("record_topk", 5)
        .setting("temperature", 0.1 + 0.2)
        .setting("gate", serde_json::json!({"kind": "entropy", "tau": 1.4}))
        .digest("base", "ab".repeat(32))
        .free_setting("threads", 2)
}

pub fn start(path: &Path) -> RunDir {
    RunDir::open(path, manifest(), Mode::Resume)
        .unwrap()
        .to_write()
        .unwrap()
}

pub fn is_continue(opened: &Opened) -> bool {
    matches!(opened, Opened::Continue(_))
}

/// Every file below a directory with its bytes; `timing` of `run.json` is left
/// out, since it alone may differ.
pub fn bytes_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    collect(dir, "", &mut files);
    if let Some(json) = files.get_mut("run.json") {
        let mut value: serde_json::Value = serde_json::from_slice(json).unwrap();
        value.as_object_mut().unwrap().remove("timing");
        *json = value.to_string().into_bytes();
    }
    files
}

fn collect(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
}
