//! `forkscope harden` on the embedded guard, tiny: what it writes, that it goes
//! on where it was stopped, and what it refuses.

#![cfg(unix)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Sandbox;

/// Problems to learn from and held-out ones, and a run of two steps.
const ARGS: [&str; 28] = [
    "harden",
    "--base",
    "embedded:base",
    "--tuned",
    "embedded:guarded",
    "--problems",
    "embedded:hazardous",
    "--benign",
    "embedded:problems",
    "--behaviour",
    "refusal",
    "--limit",
    "8",
    "--max-tokens",
    "48",
    "--cap",
    "2",
    "--steps",
    "4",
    "--checkpoint-every",
    "1",
    "--keep",
    "9",
    "-n",
    "1",
    "--replicates",
    "50",
    "-q",
];

fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ARGS.iter().copied().chain(more.iter().copied()).collect()
}

/// Every file of a run by its path, times left out.
fn files(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path
                .strip_prefix(run)
                .expect("inside")
                .display()
                .to_string();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with("run.json") {
                let text = fs::read_to_string(&path).expect("text");
                let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                json["timing"] = serde_json::Value::Null;
                all.insert(name, json.to_string().into_bytes());
            } else if name != "timing.jsonl" {
                all.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    all
}

#[test]
fn a_run_holds_an_adapter_and_both_sides_and_survives_being_killed() {
    let sandbox = Sandbox::new();
    let findings = sandbox.json(&args(&["--out", "whole"]));
    let of = |id: &str| {
        let all = findings["findings"].as_array().expect("findings");
        all.iter()
            .find(|f| f["id"] == id)
            .unwrap_or_else(|| panic!("no finding {id}"))
            .clone()
    };
    for when in ["before", "after"] {
        for what in [
            "tokens.restricted_mean",
            "tokens.turned_by.1",
            "prefill.restricted_mean",
            "alpha.restricted_mean",
            "nats.restricted_mean",
            "behaviour.guarded",
            "behaviour.benign",
            "accuracy.benign",
        ] {
            let found = of(&format!("harden.{when}.{what}"));
            assert_eq!(found["n_clusters"], 2, "{found}");
            assert!(
                found["value"].is_number() && found["low"].is_number(),
                "{found}"
            );
        }
    }
    assert!(of("harden.ratio.tokens.restricted_mean")["value"].is_number());
    assert!(of("harden.change.accuracy.benign")["thresholds"]["p_value"].is_number());
    let whole = sandbox.path().join("whole");
    for name in [
        "lessons.jsonl",
        "metrics.jsonl",
        "report.html",
        "before/reversions.parquet",
    ] {
        assert!(whole.join(name).is_file(), "{name}");
    }
    // The adapter is one that other commands open.
    let spec = "embedded:base+whole/final";
    sandbox.ok(&[
        "sample",
        "--model",
        spec,
        "--problems",
        "embedded:hazardous",
        "--limit",
        "1",
        "--max-tokens",
        "8",
        "--out",
        "sampled",
        "-q",
    ]);

    // Killed once lessons are there, and once a checkpoint is; then resumed.
    for (i, mark) in ["before/reversions.parquet", "checkpoints/step-000002"]
        .iter()
        .enumerate()
    {
        let out = format!("killed-{i}");
        let mut child = sandbox
            .command()
            .args(args(&["--out", &out]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the built binary");
        let began = Instant::now();
        let mark = sandbox.path().join(&out).join(mark);
        while !mark.exists() && child.try_wait().expect("a child").is_none() {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "no {}",
                mark.display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().ok();
        child.wait().expect("an ended child");
        sandbox.ok(&args(&["--out", &out, "--resume"]));
        let (one, other) = (files(&whole), files(&sandbox.path().join(&out)));
        let names = |all: &BTreeMap<String, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&one), names(&other));
        for (name, bytes) in &one {
            assert!(other.get(name) == Some(bytes), "{name} differs");
        }
    }
    // A complete run is printed again.
    let again = sandbox.json(&args(&["--out", "whole", "--resume"]));
    assert_eq!(again, findings);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let sandbox = Sandbox::new();
    let shared = args(&["--eval-problems", "embedded:hazardous", "--out", "x"]);
    let said = sandbox.fails(3, &shared);
    assert!(said.contains("held-out problem"), "{said}");
    let zero = args(&[
        "--recovery-weight",
        "0",
        "--margin-weight",
        "0",
        "--out",
        "x",
    ]);
    assert!(sandbox.fails(2, &zero).contains("weight"));
    let greedy = args(&["--temperature", "0", "--price-samples", "2", "--out", "x"]);
    assert!(sandbox.fails(2, &greedy).contains("samples"));
    let mut never = args(&["--out", "never"]);
    let at = never
        .iter()
        .position(|a| *a == "refusal")
        .expect("the behaviour");
    never[at] = "regex:^zzzz$";
    let said = sandbox.fails(3, &never);
    assert!(said.contains("no recovery could be made"), "{said}");
    let plan = sandbox.ok(&args(&["--dry-run", "--out", "y"]));
    assert!(plan.contains("recoveries"), "{plan}");
    assert!(!sandbox.path().join("y").exists());
}
