//! `forkscope eval`: every number against a count of the rollouts, resumes,
//! refusals, and the report.

mod runs;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use runs::common::Sandbox;
use runs::{assert_same_bytes, to};
use serde_json::Value;

const EVAL: &[&str] = &[
    "eval",
    "--model",
    "embedded:base",
    "--problems",
    "embedded:problems",
    "--limit",
    "12",
    "-n",
    "6",
    "--k",
    "6,1,3,3",
    "--greedy",
    "--max-tokens",
    "80",
];

fn findings(json: &Value) -> BTreeMap<String, Value> {
    let list = json["findings"].as_array().unwrap().iter();
    list.map(|f| (f["id"].as_str().unwrap().to_owned(), f.clone()))
        .collect()
}

/// Columns of an exported table, by name.
fn rows(sandbox: &Sandbox, csv: &str) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(sandbox.path().join(csv)).unwrap();
    let mut lines = text.lines();
    let heads: Vec<&str> = lines.next().unwrap().split(',').collect();
    // The last columns hold lists; those used here stand before them and hold
    // no comma.
    lines
        .map(|line| {
            let mut cells = Vec::new();
            let (mut quoted, mut cell) = (false, String::new());
            for c in line.chars() {
                match c {
                    '"' => quoted = !quoted,
                    ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                    other => cell.push(other),
                }
            }
            cells.push(cell);
            heads.iter().map(|h| (*h).to_owned()).zip(cells).collect()
        })
        .collect()
}

#[test]
fn the_numbers_are_counts_of_the_rollouts() {
    let sandbox = Sandbox::new();
    let found = findings(&sandbox.json(&to(EVAL, "run", &[])));
    sandbox.ok(&["report", "run", "--csv"]);
    let rows = rows(&sandbox, "run/rollouts.csv");
    assert_eq!(rows.len(), 72);
    let mut correct: BTreeMap<&str, f64> = BTreeMap::new();
    for row in &rows {
        *correct.entry(&row["problem_id"]).or_default() +=
            f64::from(u8::from(row["correct"] == "true"));
    }
    let value = |id: &str| found[id]["value"].as_f64().unwrap();
    let mean = |f: &dyn Fn(f64) -> f64| correct.values().map(|c| f(*c)).sum::<f64>() / 12.0;
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
    near(value("pass_at_1"), mean(&|c| c / 6.0));
    near(value("avg_at_6"), value("pass_at_1"));
    near(value("pass_at_6"), mean(&|c| f64::from(u8::from(c > 0.0))));
    // 1 - C(6-c, 3) / C(6, 3)
    let three = |c: f64| 1.0 - (6.0 - c) * (5.0 - c) * (4.0 - c).max(0.0) / 120.0;
    near(value("pass_at_3"), mean(&|c| three(c.min(6.0)).min(1.0)));
    near(value("maj_at_1"), value("avg_at_1"));
    let truncated = rows.iter().filter(|r| r["validity"] == "truncated").count();
    near(value("rollouts.truncated"), truncated as f64);
    near(value("truncated_share"), truncated as f64 / 72.0);
    assert_eq!(value("rollouts.total"), 72.0);
    assert_eq!(value("greedy_rollouts.total"), 12.0);
    let pass = &found["pass_at_1"];
    assert_eq!(
        (
            pass["n"].as_u64(),
            pass["n_clusters"].as_u64(),
            pass["n_invalid"].as_u64()
        ),
        (Some(72), Some(12), Some(0))
    );
    assert!(
        pass["method"]
            .as_str()
            .unwrap()
            .contains("cluster bootstrap over problems")
    );
    assert_eq!(pass["level"], 0.95);
    assert!(pass["low"].as_f64() < pass["value"].as_f64());
    // By category, whose members add up to all.
    let members: u64 = found
        .iter()
        .filter(|(id, _)| id.starts_with("pass_at_1."))
        .map(|(_, f)| f["n_clusters"].as_u64().unwrap())
        .sum();
    assert_eq!(members, 12);
}

#[test]
fn a_majority_counts_equal_answers_and_ties_go_to_the_first() {
    // At T = 0 with one sample, everything is the greedy answer.
    let sandbox = Sandbox::new();
    let line = "eval --model embedded:reasoner --problems embedded:problems --limit 6 \
                --temperature 0 --greedy --max-tokens 128 --out run";
    let found = findings(&sandbox.json(&line.split_whitespace().collect::<Vec<_>>()));
    for id in ["pass_at_1", "maj_at_1", "avg_at_1"] {
        assert_eq!(found[id]["value"], found["greedy"]["value"], "{id}");
    }
    assert_eq!(
        found["tokens_per_answer"]["value"],
        found["greedy.tokens_per_answer"]["value"]
    );
}

#[test]
fn killed_and_resumed_it_ends_in_the_same_bytes() {
    let sandbox = Sandbox::new();
    let args: Vec<&str> = EVAL
        .iter()
        .map(|a| match *a {
            "12" => "40",
            "6" => "12",
            "6,1,3,3" => "1,12",
            other => other,
        })
        .collect();
    let first = sandbox.ok(&to(&args, "whole", &["--threads", "1"]));
    for milliseconds in [0, 150, 400, 800, 1200] {
        let mut child = sandbox
            .command()
            .args(to(&args, "killed", &["--resume"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = sandbox.ok(&to(&args, "killed", &["--resume"]));
    assert_same_bytes(&sandbox, "whole", "killed");
    assert_eq!(first.replace("whole", ""), last.replace("killed", ""));
    // Complete: printed again, nothing changed; other settings are named.
    assert_eq!(sandbox.ok(&to(&args, "killed", &["--resume"])), last);
    for (more, named) in [
        (["--replicates", "7"], "settings.replicates"),
        (["--verifier", "boxed"], "settings.verifier"),
        (["--seed", "1"], "seeds.seed"),
        (["--top-p", "0.5"], "settings.top_p"),
    ] {
        let more = [&more[..], &["--resume"]].concat();
        let said = sandbox.fails(3, &to(&args, "killed", &more));
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn what_cannot_be_evaluated_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "unanswered.jsonl",
        "{\"problem\": \"a ann has 72 coins .\"}\n",
    );
    sandbox.file("empty.jsonl", "");
    let with = |more: &[&str]| {
        let line = ["eval", "--model", "embedded:base", "--out", "run"];
        let mut args = line.to_vec();
        args.extend_from_slice(more);
        args.iter()
            .map(|a| (*a).to_owned())
            .collect::<Vec<String>>()
    };
    let refused = |code: i32, more: &[&str], says: &str| {
        let args = with(more);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let said = sandbox.fails(code, &args);
        assert!(said.contains(says), "{more:?}: {said}");
        assert!(!sandbox.path().join("run").exists(), "{more:?} made a run");
    };
    refused(3, &["--problems", "unanswered.jsonl"], "`answer`");
    refused(3, &["--problems", "empty.jsonl"], "empty.jsonl");
    let embedded = ["--problems", "embedded:problems"];
    let and = |more: &[&'static str]| [&embedded[..], more].concat();
    refused(2, &and(&["--k", "2"]), "raise -n");
    refused(2, &and(&["--k", "0", "-n", "4"]), "--k");
    refused(2, &and(&["-n", "4", "--temperature", "0"]), "--greedy");
    refused(2, &and(&["--verifier", "oracle"]), "boxed");
}

#[test]
fn a_dry_run_plans_and_the_report_reads() {
    let sandbox = Sandbox::new();
    let plan = sandbox.json(&to(EVAL, "run", &["--dry-run"]));
    assert_eq!(plan["plan"]["completions"]["value"], 72.0);
    assert_eq!(plan["plan"]["greedy_tokens_at_most"]["value"], 960.0);
    assert!(!sandbox.path().join("run").exists());
    sandbox.ok(&to(EVAL, "run", &[]));
    sandbox.ok(&["report", "run"]);
    let page = fs::read_to_string(sandbox.path().join("run/report.html")).unwrap();
    let text = fs::read_to_string(sandbox.path().join("run/findings.md")).unwrap();
    for document in [&page, &text] {
        assert!(document.contains("72 answers to 12 problems"), "no lead");
        assert!(document.contains("A single sample is right"), "no sentence");
        assert!(
            !document.contains("tuned policy was compared"),
            "a pair's words"
        );
    }
}
