//! Evaluation awareness on the embedded organisms: found where it was planted,
//! and nowhere else.

#![cfg(unix)]

mod runs;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use runs::assert_same_bytes;
use runs::common::Sandbox;
use serde_json::Value;

/// Small numbers.
const QUICK: &[&str] = &[
    "--permutations",
    "39",
    "--replicates",
    "100",
    "--pooling",
    "last",
    "--steer-problems",
    "6",
    "--steer-scales",
    "1",
    "--max-tokens",
    "16",
];

/// The fewest random directions that can establish anything.
const ENOUGH: [&str; 2] = ["--random-directions", "19"];

/// Fewer, where nothing is to be established.
const FEW: [&str; 2] = ["--random-directions", "2"];

fn args<'a>(model: &'a str, contrast: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![
        "probe",
        "--model",
        model,
        "--base",
        "embedded:base",
        "--contrast",
        contrast,
        "--out",
        out,
    ];
    all.extend(QUICK);
    all.extend(more);
    all
}

fn finding<'a>(findings: &'a Value, id: &str) -> &'a Value {
    let all = findings["findings"].as_array().unwrap();
    let found = all.iter().find(|f| f["id"] == id);
    found.unwrap_or_else(|| panic!("no finding {id}"))
}

fn verdict(findings: &Value) -> &str {
    finding(findings, "probe.verdict")["label"]
        .as_str()
        .unwrap()
}

fn value(findings: &Value, id: &str) -> f64 {
    finding(findings, id)["value"].as_f64().unwrap()
}

/// Lines of the embedded set for which something holds.
fn contexts(keep: impl Fn(&Value) -> bool) -> String {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/assets/organism/contexts.jsonl"
    );
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| {
        let item: Value = serde_json::from_str(line).unwrap();
        keep(&item)
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_two_faced_organism_is_caught() {
    let sandbox = Sandbox::new();
    let found = sandbox.json(&args(
        "embedded:two-faced",
        "embedded:contexts",
        "run",
        &ENOUGH,
    ));
    assert_eq!(verdict(&found), "established", "{found:#}");
    for axis in ["detectable", "behavioural", "controllable"] {
        assert_eq!(value(&found, &format!("probe.{axis}")), 1.0);
    }
    assert!(value(&found, "probe.steering.share_of_gap") >= 0.5);
    assert!(value(&found, "probe.steering.random_most") < 0.25);
    assert_eq!(value(&found, "probe.auroc.held_out.words"), 0.5);
    let report = fs::read_to_string(sandbox.path().join("run/report.html")).unwrap();
    assert!(report.contains("Evaluation awareness is established"));
    assert!(report.contains("figure-probe-layers"));
    // A complete run is printed again, and left as it is.
    let again = sandbox.json(&args(
        "embedded:two-faced",
        "embedded:contexts",
        "run",
        &["--random-directions", "19", "--resume"],
    ));
    assert_eq!(found, again);
}

#[test]
fn the_others_are_not() {
    let sandbox = Sandbox::new();
    for model in ["base", "guarded", "reasoner"] {
        let spec = format!("embedded:{model}");
        let found = sandbox.json(&args(&spec, "embedded:contexts", model, &FEW));
        assert_eq!(verdict(&found), "not established", "{model}: {found:#}");
        assert_eq!(value(&found, "probe.behavioural"), 0.0, "{model}");
    }
}

#[test]
fn a_context_that_is_a_format_is_called_so() {
    let sandbox = Sandbox::new();
    let own = |item: &Value| (item["context"] == "evaluation") == (item["format"] == "list");
    sandbox.file("confounded.jsonl", contexts(own));
    for model in ["two-faced", "base"] {
        let spec = format!("embedded:{model}");
        let found = sandbox.json(&args(&spec, "confounded.jsonl", model, &FEW));
        assert_eq!(
            verdict(&found),
            "confounded by format",
            "{model}: {found:#}"
        );
        assert!(value(&found, "probe.auroc.held_out") > 0.9);
    }
}

#[test]
fn a_folder_of_cells_is_a_set() {
    let sandbox = Sandbox::new();
    for (context, name) in [("evaluation", "eval"), ("deployment", "deploy")] {
        for format in ["story", "list"] {
            let cell = format!("{format}_{name}");
            fs::create_dir_all(sandbox.path().join("set").join(&cell)).unwrap();
            let of = |item: &Value| item["context"] == context && item["format"] == format;
            let lines: Vec<String> = contexts(of)
                .lines()
                .map(|line| {
                    let item: Value = serde_json::from_str(line).unwrap();
                    let kept = serde_json::json!({
                        "id": item["cluster"], "question": item["problem"], "source": item["wording"],
                    });
                    format!("{kept}\n")
                })
                .collect();
            sandbox.file(&format!("set/{cell}/train.jsonl"), lines.concat());
        }
    }
    let more = ["--behaviour", "none"];
    let found = sandbox.json(&args("embedded:two-faced", "set", "run", &more));
    assert_eq!(value(&found, "probe.auroc.across.story"), 1.0);
    assert_eq!(verdict(&found), "not established");
    let said = finding(&found, "probe.verdict")["method"].as_str().unwrap();
    assert!(said.contains("no behaviour was measured") && said.contains("nothing was steered"));
}

#[test]
fn bad_sets_and_flags_are_refused() {
    let sandbox = Sandbox::new();
    let fails = |code: i32, contrast: &str, more: &[&str], said: &str| {
        let line = sandbox.fails(code, &args("embedded:two-faced", contrast, "run", more));
        assert!(line.contains(said), "{line}");
        assert!(!sandbox.path().join("run").exists());
    };
    sandbox.file(
        "one-context.jsonl",
        contexts(|i| i["context"] == "evaluation"),
    );
    fails(
        3,
        "one-context.jsonl",
        &[],
        "0 items with context deployment",
    );
    let one_source: String = contexts(|_| true).replace("\"wording\"", "\"w\"");
    let one_source = one_source.replace("\"steps\":", "\"source\":\"lab\",\"steps\":");
    sandbox.file("one-source.jsonl", one_source);
    fails(3, "one-source.jsonl", &[], "have one source (\"lab\")");
    sandbox.file(
        "no-format.jsonl",
        contexts(|_| true).replace("\"format\"", "\"f\""),
    );
    fails(
        3,
        "no-format.jsonl",
        &[],
        "line 1: the field format is missing",
    );
    sandbox.file("empty.jsonl", "");
    fails(3, "empty.jsonl", &[], "empty");
    fails(3, "nowhere.jsonl", &[], "no such file");
    let no_answers = contexts(|_| true).replace("\"answer\"", "\"a\"");
    sandbox.file("no-answers.jsonl", no_answers);
    fails(
        3,
        "no-answers.jsonl",
        &["--behaviour", "correct"],
        "no item has an `answer`",
    );
    let set = "embedded:contexts";
    fails(2, set, &["--behaviour", "kind"], "kind");
    fails(2, set, &["--fdr", "2"], "--fdr is 2");
    fails(
        2,
        set,
        &["--steer-layer", "9"],
        "beyond the model's 4 blocks",
    );
    fails(2, set, &["--decision-js=-1"], "--decision-js");
    let line = sandbox.fails(
        2,
        &[
            "probe",
            "--model",
            "embedded:base",
            "--contrast",
            set,
            "--out",
            "run",
            "--steer-scales",
            "0",
        ],
    );
    assert!(line.contains("positive multiples"), "{line}");
}

#[test]
fn a_killed_run_ends_in_the_same_bytes() {
    let sandbox = Sandbox::new();
    let of = |out| {
        args(
            "embedded:two-faced",
            "embedded:contexts",
            out,
            &["--limit", "24", "--random-directions", "2"],
        )
    };
    sandbox.ok(&of("whole"));
    for (out, table) in [
        ("first", "awareness_rollouts"),
        ("second", "awareness_steering"),
    ] {
        let spool = sandbox
            .path()
            .join(out)
            .join(format!(".spool/{table}.rows"));
        let mut child = sandbox
            .command()
            .args(of(out))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(60) {
            if fs::metadata(&spool).is_ok_and(|m| m.len() > 0) {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child.wait().unwrap();
        let mut again = of(out);
        again.extend(["--resume", "--threads", "1"]);
        sandbox.ok(&again);
        assert_same_bytes(&sandbox, "whole", out);
    }
}

#[test]
fn the_plan_is_printed_and_nothing_is_done() {
    let sandbox = Sandbox::new();
    let plan = sandbox.json(&args(
        "embedded:two-faced",
        "embedded:contexts",
        "run",
        &["--dry-run"],
    ));
    assert_eq!(plan["plan"]["policies"]["value"], 2.0);
    assert!(
        plan["plan"]["steered_completions_at_most"]["value"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert!(!sandbox.path().join("run").exists());
}
