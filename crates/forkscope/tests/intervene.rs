//! `forkscope intervene` as a user runs it.

#[path = "runs/mod.rs"]
mod runs;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use forkscope_records::read_table;
use forkscope_records::types::{Direction, Intervention, Rollout};
use runs::common::Sandbox;
use runs::{assert_same_bytes, to};
use serde_json::Value;

const PAIR: &[&str] = &[
    "intervene",
    "--base",
    "embedded:base",
    "--tuned",
    "embedded:reasoner",
    "--problems",
    "embedded:problems",
    "--replicates",
    "50",
];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [PAIR, more].concat()
}

fn rows(sandbox: &Sandbox, run: &str) -> Vec<Intervention> {
    read_table(&sandbox.path().join(run).join("interventions.parquet")).unwrap()
}

/// Completions by arm, direction and temperature, in order of problem and sample.
type Texts = BTreeMap<(String, Direction, String), Vec<Vec<u32>>>;

fn texts(rows: &[Intervention]) -> Texts {
    let mut out = Texts::new();
    for row in rows {
        let key = (row.arm.clone(), row.direction, row.temperature.to_string());
        out.entry(key).or_default().push(row.token_ids.clone());
    }
    out
}

/// What `forkscope sample` makes of one policy at T = 0.
fn greedy(sandbox: &Sandbox, model: &str, out: &str) -> Vec<Vec<u32>> {
    sandbox.ok(&[
        "sample",
        "--model",
        model,
        "--problems",
        "embedded:problems",
        "--limit",
        "8",
        "--temperature",
        "0",
        "--out",
        out,
    ]);
    let path = sandbox.path().join(out).join("rollouts.parquet");
    let rollouts: Vec<Rollout> = read_table(&path).unwrap();
    rollouts.into_iter().map(|r| r.token_ids).collect()
}

#[test]
fn all_disagreements_replaced_are_the_other_policys_own_text() {
    let sandbox = Sandbox::new();
    let more = &[
        "--limit",
        "8",
        "--direction",
        "forward,reverse",
        "--gate",
        "changed",
        "--gate",
        "all",
        "--gate",
        "js/2%",
        "-n",
        "2",
    ];
    let document = sandbox.json(&to(&with(more), "run", &[]));
    let base = greedy(&sandbox, "embedded:base", "b");
    let tuned = greedy(&sandbox, "embedded:reasoner", "t");
    let rows = rows(&sandbox, "run");
    let texts = texts(&rows);
    let of = |arm: &str, direction, t: &str| &texts[&(arm.to_owned(), direction, t.to_owned())];
    assert_ne!(base, tuned);
    for (direction, own, other) in [
        (Direction::Forward, &base, &tuned),
        (Direction::Reverse, &tuned, &base),
    ] {
        assert_eq!(of("none", direction, "0"), own);
        for arm in ["other", "all", "changed"] {
            assert_eq!(of(arm, direction, "0"), other, "{arm}");
        }
        // By the coupling, at T = 1 too; argmaxes say less there.
        assert_eq!(of("all", direction, "1"), of("other", direction, "1"));
        assert_ne!(of("none", direction, "1"), of("other", direction, "1"));
    }
    // One policy's text is the same whichever way it was asked for.
    assert_eq!(
        of("none", Direction::Forward, "1"),
        of("other", Direction::Reverse, "1")
    );
    let findings = document["findings"].as_array().unwrap();
    let get = |id: &str| findings.iter().find(|f| f["id"] == id).unwrap();
    for id in ["forward.t0.changed", "forward.t0.all", "reverse.t1.all"] {
        let rate = get(&format!("intervene.rate.{id}"));
        assert_eq!(rate["thresholds"]["identity"], Value::Bool(true), "{id}");
        let same = get(&format!("intervene.same_as_other.{id}"));
        assert_eq!(same["value"], 1.0, "{id}");
    }
    let t1 = get("intervene.rate.forward.t1.changed");
    assert_eq!(t1["thresholds"].get("identity"), None);
}

#[test]
fn rows_say_what_was_forced() {
    let sandbox = Sandbox::new();
    let more = &[
        "--limit",
        "6",
        "--gate",
        "js:0.05",
        "--gate",
        "random@js:0.05",
        "--gate",
        "random-token@js:0.05",
        "--gate",
        "first:3",
        "--max-tokens",
        "40",
        "--threads",
        "1",
    ];
    sandbox.ok(&to(&with(more), "one", &[]));
    let all = rows(&sandbox, "one");
    let arms = [
        "none",
        "other",
        "js:0.05",
        "random@js:0.05",
        "random-token@js:0.05",
        "first:3",
    ];
    assert_eq!(all.len(), 6 * 2 * arms.len());
    for stream in all.chunks(arms.len()) {
        let names: Vec<&str> = stream.iter().map(|r| r.arm.as_str()).collect();
        assert_eq!(names, arms);
        let by = |arm: &str| stream.iter().find(|r| r.arm == arm).unwrap();
        let (none, guided) = (by("none"), by("js:0.05"));
        assert!(none.touched.is_empty() && by("other").touched.is_empty());
        assert!(by("random@js:0.05").touched.len() <= guided.touched.len());
        let first: Vec<u32> = (0..3).map(|o| none.prompt_len as u32 + o).collect();
        assert_eq!(by("first:3").touched, first);
        // Until the first change every arm is the untouched text.
        for row in stream {
            let until = row
                .changed
                .first()
                .map_or(row.token_ids.len(), |t| *t as usize);
            let until = if row.arm == "other" { 0 } else { until };
            assert_eq!(
                row.token_ids[..until],
                none.token_ids[..until],
                "{}",
                row.arm
            );
        }
        let token = by("random-token@js:0.05");
        assert_eq!(token.touched, token.changed);
        assert!(token.changed.len() <= guided.changed.len());
    }
    // Neither threads nor anything else that is free decides a byte.
    let two: Vec<&str> = more
        .iter()
        .map(|a| if *a == "1" { "2" } else { a })
        .collect();
    sandbox.ok(&to(&with(&two), "two", &[]));
    assert_same_bytes(&sandbox, "one", "two");
}

#[test]
fn a_killed_run_ends_in_the_same_bytes() {
    let sandbox = Sandbox::new();
    let args = with(&[
        "--limit",
        "24",
        "--gate",
        "js/5%",
        "--gate",
        "matched-random@js/5%",
        "--temperature",
        "1",
        "-n",
        "8",
        "--max-tokens",
        "32",
    ]);
    sandbox.ok(&to(&args, "whole", &[]));
    let spool = sandbox.path().join("cut/.spool/interventions.rows");
    let mut child = sandbox
        .command()
        .args(to(&args, "cut", &[]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        let some = fs::metadata(&spool).is_ok_and(|m| m.len() > 0);
        if some || child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // It may have ended before; then there is nothing to continue.
    let _ = child.kill();
    child.wait().unwrap();
    sandbox.ok(&to(&args, "cut", &["--resume"]));
    assert_same_bytes(&sandbox, "whole", "cut");
    let other = with(&["--limit", "24", "--gate", "js/4%", "--temperature", "1"]);
    let said = sandbox.fails(3, &to(&other, "cut", &["--resume"]));
    assert!(said.contains("forward"), "{said}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let sandbox = Sandbox::new();
    for (more, code, expected) in [
        (&["--gate", "jss:1"][..], 2, "jss:1"),
        (&["--gate", "changed/5%"], 2, "before the /"),
        (&["--gate", "nothing@js:0.1"], 2, "random-changed"),
        (&["--budget", "120%"], 2, "120%"),
        (&["--temperature", "1e9"], 2, "--temperature 1000000000"),
        (&["--temperature", "0", "-n", "4"], 2, "above 0"),
        (&["--behaviour", "regex:("], 2, "--behaviour"),
        (&["--limit", "1", "--gate", "js/5%"], 3, "at least two"),
    ] {
        let said = sandbox.fails(code, &to(&with(more), "no", &[]));
        assert!(said.contains(expected), "{more:?}: {said}");
        assert!(!sandbox.path().join("no").exists(), "{more:?}");
    }
    sandbox.file(
        "open.jsonl",
        "{\"problem\": \"one\"}\n{\"problem\": \"two\"}\n",
    );
    let args: Vec<&str> = with(&["--gate", "js:0.1"])
        .into_iter()
        .map(|a| {
            if a == "embedded:problems" {
                "open.jsonl"
            } else {
                a
            }
        })
        .collect();
    let said = sandbox.fails(3, &to(&args, "no", &[]));
    assert!(
        said.contains("none of the 2 problems has an `answer`"),
        "{said}"
    );
}

#[test]
fn a_behaviour_that_never_occurs_is_said_to() {
    let sandbox = Sandbox::new();
    let more = &[
        "--limit",
        "4",
        "--gate",
        "js:0.1",
        "--behaviour",
        "regex:zebra crossing",
        "--temperature",
        "0",
    ];
    let printed = sandbox.ok(&to(&with(more), "run", &[]));
    assert!(
        printed.contains("never occurs under either policy"),
        "{printed}"
    );
    let again = sandbox.ok(&to(&with(more), "run", &["--resume"]));
    assert_eq!(printed, again);
    let page = fs::read_to_string(sandbox.path().join("run/report.html")).unwrap();
    assert!(page.contains("Which positions carry the difference"));
}

#[test]
fn one_problem_is_enough_for_thresholds_and_a_plan_writes_nothing() {
    let sandbox = Sandbox::new();
    let more = &[
        "--limit",
        "1",
        "--gate",
        "entropy:0.5",
        "--temperature",
        "0",
    ];
    sandbox.ok(&to(&with(more), "run", &[]));
    let plan = sandbox.json(&to(&with(&["--limit", "4"]), "plan", &["--dry-run"]));
    assert!(plan["plan"]["rollouts"]["value"].as_f64().unwrap() > 100.0);
    assert!(!sandbox.path().join("plan").exists());
}
