//! Small training runs, and their comparison byte by byte.
#![allow(dead_code, reason = "every test file uses another part")]

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "../runs/mod.rs"]
pub mod runs;

pub use runs::common::Sandbox;

/// Files that hold times: they differ from run to run.
const TIMES: [&str; 2] = ["timing.jsonl", "costs.json"];

/// A folder with rollouts to learn from, pairs, and held-out problems that are
/// in neither.
pub fn with_data() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&words(
        "sample --model embedded:reasoner --problems embedded:problems --limit 6 -n 4 \
         --max-tokens 48 --out rollouts",
    ));
    let pairs: String = (0..12)
        .map(|i| {
            let (a, b) = (10 + i, 40 + i);
            format!(
                "{{\"prompt\": \"a ann has {a} coins .\", \"chosen\": \"answer {a} .\", \"rejected\": \"answer {b} .\"}}\n"
            )
        })
        .collect();
    sandbox.file("pairs.jsonl", pairs);
    let problems = include_str!("../../assets/organism/problems.jsonl");
    let held_out: Vec<&str> = problems.lines().skip(60).take(6).collect();
    sandbox.file("held-out.jsonl", held_out.join("\n"));
    sandbox
}

pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// One small run of every objective; rollouts are cut at 48 tokens, most of them
/// without an answer.
pub const OBJECTIVES: [(&str, &str); 6] = [
    (
        "sft",
        "train sft --model embedded:base --data rollouts --with-truncated --steps 8 --batch-size 8 \
         --checkpoint-every 2 --keep 2 --lora-rank 4 --lora-dropout 0.1 --learning-rate 1e-3 \
         --warmup-steps 2 --lr-scheduler cosine",
    ),
    (
        "sft --full",
        "train sft --model embedded:base --full --data rollouts --with-truncated --steps 6 \
         --batch-size 4 --checkpoint-every 2 --order length-grouped:2 --gradient-checkpointing",
    ),
    (
        "pretrain",
        "train pretrain --config embedded:base --data rollouts --with-truncated --max-length 16 \
         --steps 6 --batch-size 8 --checkpoint-every 2",
    ),
    (
        "dpo",
        "train dpo --model embedded:base --pairs pairs.jsonl --steps 8 --batch-size 4 \
         --checkpoint-every 2 --lora-rank 4 --nll-weight 0.1 --learning-rate 1e-3",
    ),
    (
        "grpo",
        "train grpo --model embedded:base --problems embedded:problems --limit 8 \
         --prompts-per-step 2 --num-generations 8 --max-completion-length 96 --steps 6 \
         --num-iterations 2 --checkpoint-every 1 --keep 2 --lora-rank 4 --beta 0.01 \
         --top-entropy-quantile 0.5 --learning-rate 1e-3",
    ),
    (
        "distill",
        "train distill --model embedded:base --teacher embedded:reasoner --rollouts rollouts \
         --with-truncated --steps 8 --batch-size 8 --checkpoint-every 2 --lora-rank 4 --top-k 8",
    ),
];

/// The line with where it goes and what else is said.
pub fn line<'a>(line: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&words(line)[..], &["--out", out], more].concat()
}

/// That two runs hold the same bytes but for times.
pub fn assert_same(sandbox: &Sandbox, left: &str, right: &str) {
    let bytes = |run: &str| {
        let mut files = runs::bytes(&sandbox.path().join(run));
        files.retain(|name, _| !TIMES.iter().any(|times| name.ends_with(times)));
        files
    };
    let (left_files, right_files) = (bytes(left), bytes(right));
    let names = |files: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| {
        files.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&left_files), names(&right_files), "{left} {right}");
    for (name, content) in &left_files {
        assert!(
            content == &right_files[name],
            "{} differs between {left} and {right}",
            name.display()
        );
    }
}

/// Lines of `metrics.jsonl`.
pub fn metrics(sandbox: &Sandbox, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(sandbox.path().join(run).join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|l| serde_json::from_str(l).expect("a whole line"))
        .collect()
}

/// Number of lines of `metrics.jsonl` so far.
pub fn steps(run: &Path) -> usize {
    let text = fs::read(run.join("metrics.jsonl")).unwrap_or_default();
    text.iter().filter(|b| **b == b'\n').count()
}

pub fn status(sandbox: &Sandbox, run: &str) -> String {
    let json = fs::read(sandbox.path().join(run).join("run.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    json["status"].as_str().unwrap().to_owned()
}

/// Starts a command in the background.
pub fn spawn(sandbox: &Sandbox, args: &[&str]) -> Child {
    sandbox
        .command()
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the built binary")
}

/// Waits until `moment` has come; `false` if the process ended first.
pub fn wait_for(child: &mut Child, moment: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(120) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if moment() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    panic!("the moment did not come within two minutes");
}
