//! From problems to a report, through the built binary: what one command writes
//! the next one reads, and the numbers agree bit for bit.

mod common;

use std::fs;
use std::path::Path;

use common::Sandbox;
use forkscope_records::types::{DiffRow, Rollout, ScoreRow, ShiftClass};
use forkscope_records::{read_rollouts, read_table};
use serde_json::{Value, json};

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn scores(run: &Path) -> Vec<ScoreRow> {
    read_table(&run.join("tokens.parquet")).expect("a table of scores")
}

fn differences(run: &Path) -> Vec<DiffRow> {
    read_table(&run.join("tokens.parquet")).expect("a table of differences")
}

/// The log-probs that `sample` recorded, in the order of rows.
fn recorded(rollouts: &[Rollout]) -> Vec<u32> {
    rollouts
        .iter()
        .flat_map(|r| r.logprobs.as_ref().expect("recorded log-probs"))
        .map(|x| x.to_bits())
        .collect()
}

#[test]
fn log_probs_of_sampling_scoring_and_comparing_are_the_same_bits() {
    let sandbox = Sandbox::new();
    // Whatever bends the sampling, the record is of the raw logits at T = 1.
    for (model, flags) in [
        ("embedded:base", "--temperature 1"),
        (
            "embedded:reasoner",
            "--temperature 0.6 --top-p 0.95 --top-k 20",
        ),
        ("embedded:base", "--temperature 0 --threads 1"),
        ("embedded:base", "--temperature 1.7 --min-p 0.02 --stop so"),
    ] {
        sandbox.ok(&words(&format!(
            "sample --model {model} --problems embedded:problems --limit 6 -n 5 --max-tokens 80 \
             {flags} --out made"
        )));
        sandbox.ok(&words(&format!(
            "score --model {model} --rollouts made --out scored"
        )));
        sandbox.ok(&words(
            "diff --base embedded:base --tuned embedded:reasoner --rollouts made --out pair \
             --replicates 10",
        ));
        let path = |name: &str| sandbox.path().join(name);
        let rollouts = read_rollouts(&path("made")).unwrap();
        assert_eq!(rollouts.len(), 30);
        let recorded = recorded(&rollouts);
        assert!(recorded.len() > 60);
        let scored: Vec<u32> = scores(&path("scored"))
            .iter()
            .map(|r| r.logprob.to_bits())
            .collect();
        assert!(
            recorded == scored,
            "{model} {flags}: sample and score differ"
        );
        let pair = differences(&path("pair"));
        let compared: Vec<u32> = pair
            .iter()
            .map(|r| {
                if model == "embedded:base" {
                    r.logprob_base
                } else {
                    r.logprob_tuned
                }
            })
            .map(f32::to_bits)
            .collect();
        assert!(
            recorded == compared,
            "{model} {flags}: sample and diff differ"
        );
        // The same positions under the same names.
        for (score, diff) in scores(&path("scored")).iter().zip(&pair) {
            assert_eq!(
                (&score.problem_id, score.sample, score.t, score.token_id),
                (&diff.problem_id, diff.sample, diff.t, diff.token_id)
            );
            if model == "embedded:base" {
                assert_eq!(
                    score.entropy_nats.to_bits(),
                    diff.entropy_base_nats.to_bits()
                );
                assert_eq!(
                    (score.rank, score.argmax_id),
                    (diff.rank_base, diff.argmax_base_id)
                );
            }
        }
        for name in ["made", "scored", "pair"] {
            fs::remove_dir_all(path(name)).unwrap();
        }
    }
}

/// The base model as a directory: `model`.
fn with_model(sandbox: &Sandbox) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/organism/base");
    fs::create_dir(sandbox.path().join("model")).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = sandbox.path().join("model").join(entry.file_name());
        fs::copy(entry.path(), to).unwrap();
    }
}

#[test]
fn a_model_does_not_differ_from_itself() {
    let sandbox = Sandbox::new();
    with_model(&sandbox);
    for (base, tuned) in [
        ("embedded:base", "embedded:base"),
        ("embedded:reasoner", "embedded:reasoner"),
        ("embedded:base", "model"),
        ("model", "model"),
    ] {
        sandbox.ok(&words(&format!(
            "diff --base {base} --tuned {tuned} --problems embedded:problems --limit 3 -n 2 \
             --max-tokens 60 --out run"
        )));
        let rows = differences(&sandbox.path().join("run"));
        assert!(rows.len() > 100);
        for row in &rows {
            assert_eq!(row.kl_tuned_base_nats, Some(0.0));
            assert_eq!(row.kl_base_tuned_nats, Some(0.0));
            assert_eq!(
                (row.js_nats, row.tv, row.delta_logprob),
                (0.0, 0.0, Some(0.0))
            );
            assert_eq!(row.class, ShiftClass::Unshifted);
            assert_eq!(row.base_rank_of_tuned_argmax, 1);
            assert_eq!(row.rank_base, row.rank_tuned);
            assert_eq!(row.topk_base, row.topk_tuned);
        }
        let findings = findings(&sandbox, "run");
        assert_eq!(value(&findings, "share.unshifted"), json!(1.0));
        assert_eq!(value(&findings, "share.shifted"), json!(0.0));
        assert_eq!(value(&findings, "kl_tuned_base.max"), json!(0.0));
        assert_eq!(value(&findings, "entropy_ratio"), Value::Null);
        fs::remove_dir_all(sandbox.path().join("run")).unwrap();
    }
}

fn findings(sandbox: &Sandbox, run: &str) -> Value {
    let json = fs::read(sandbox.path().join(run).join("findings.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn value(findings: &Value, id: &str) -> Value {
    let list = findings["findings"].as_array().unwrap();
    let found = list.iter().find(|f| f["id"] == id);
    found.unwrap_or_else(|| panic!("no finding {id}"))["value"].clone()
}

const PAIR: &str = "diff --base embedded:base --tuned embedded:reasoner \
    --problems embedded:problems --limit 3 -n 3 --max-tokens 80 --out pair";

#[test]
fn findings_are_what_the_rows_say_and_what_the_screen_shows() {
    let sandbox = Sandbox::new();
    let table = sandbox.ok(&words(PAIR));
    let rows = differences(&sandbox.path().join("pair"));
    let found = findings(&sandbox, "pair");
    let n = rows.len() as f64;
    let share = |class| rows.iter().filter(|r| r.class == class).count() as f64 / n;
    for (id, expected) in [
        ("share.unshifted", share(ShiftClass::Unshifted)),
        ("share.reranked", share(ShiftClass::Reranked)),
        ("share.shifted", share(ShiftClass::Shifted)),
        (
            "kl_tuned_base.mean",
            rows.iter()
                .filter_map(|r| r.kl_tuned_base_nats)
                .sum::<f64>()
                / n,
        ),
        (
            "entropy_base.mean",
            rows.iter().map(|r| r.entropy_base_nats).sum::<f64>() / n,
        ),
    ] {
        let said = value(&found, id).as_f64().unwrap();
        assert!(
            (said - expected).abs() <= 1e-12,
            "{id}: {said}, not {expected}"
        );
    }
    assert!(table.contains("share.reranked") && table.contains("pair/report.html"));

    // One number changed by hand shows wherever numbers are shown.
    let mut changed = found.clone();
    let list = changed["findings"].as_array_mut().unwrap();
    let reranked = list
        .iter_mut()
        .find(|f| f["id"] == "share.reranked")
        .unwrap();
    (reranked["value"], reranked["low"], reranked["high"]) =
        (json!(0.8765), json!(0.8712), json!(0.8899));
    sandbox.file("pair/findings.json", changed.to_string());
    let page = || fs::read_to_string(sandbox.path().join("pair/report.html")).unwrap();
    let before = page();
    let table = sandbox.ok(&["report", "pair"]);
    let line = table
        .lines()
        .find(|l| l.starts_with("share.reranked"))
        .unwrap();
    let shown = ["87.6", "87.7"].into_iter().find(|s| line.contains(s));
    let shown = shown.unwrap_or_else(|| panic!("{line}"));
    assert!(line.contains("87.1") && line.contains("89.0"), "{line}");
    let times = |page: &str| page.matches(shown).count();
    assert!(
        times(&page()) > times(&before),
        "the page does not show {shown}"
    );
    let again = sandbox.json(&["report", "pair"]);
    assert_eq!(value(&again, "share.reranked"), json!(0.8765));
    // And a comparison that is asked for again shows it, for it computes nothing.
    let resumed = sandbox.ok(&words(&format!("{PAIR} --resume")));
    assert!(resumed.contains(line), "{resumed}");
}

#[test]
fn every_json_document_is_one() {
    let sandbox = Sandbox::new();
    let pair = sandbox.json(&words(PAIR));
    assert_eq!(pair, findings(&sandbox, "pair"));
    let sample = "sample --model embedded:base --problems embedded:problems --limit 2 -n 3 \
                  --max-tokens 20 --out made";
    let plan = sandbox.json(&words(&format!("{sample} --dry-run")));
    assert!(plan.is_object(), "{plan}");
    assert!(
        !sandbox.path().join("made").exists(),
        "a plan is only a plan"
    );
    let made = sandbox.json(&words(sample));
    assert_eq!(
        (&made["rollouts"], &made["schema"]),
        (&json!(6), &json!("forkscope/sample/1"))
    );
    let score = "score --model embedded:reasoner --rollouts made --out scored";
    assert!(
        sandbox
            .json(&words(&format!("{score} --dry-run")))
            .is_object()
    );
    let scored = sandbox.json(&words(score));
    assert_eq!(scored["positions"], made["completion_tokens"]);
    let rows = scores(&sandbox.path().join("scored"));
    let mean = rows.iter().map(|r| r.entropy_nats).sum::<f64>() / rows.len() as f64;
    assert!((scored["mean_entropy_nats"].as_f64().unwrap() - mean).abs() < 1e-12);
    for line in [
        "diff --base embedded:base --tuned embedded:reasoner --rollouts made --out x --dry-run",
        "diff --base embedded:base --tuned embedded:reasoner --problems embedded:problems --out x \
         --dry-run",
    ] {
        assert!(sandbox.json(&words(line)).is_object());
        assert!(!sandbox.ok(&words(line)).is_empty());
        assert!(!sandbox.path().join("x").exists());
    }
    // Every finding has what the format promises.
    for finding in pair["findings"].as_array().unwrap() {
        for field in ["id", "definition", "value", "unit", "method", "n"] {
            assert!(finding.get(field).is_some(), "{finding} lacks {field}");
        }
        let (low, value, high) = (&finding["low"], &finding["value"], &finding["high"]);
        if let (Some(low), Some(value), Some(high)) = (low.as_f64(), value.as_f64(), high.as_f64())
        {
            assert!(low <= high && value.is_finite(), "{finding}");
        }
    }
}

#[test]
fn a_limit_takes_the_first_problems_with_all_their_rollouts() {
    let sandbox = Sandbox::new();
    let sample = "sample --model embedded:base --problems embedded:problems -n 2 --max-tokens 10";
    sandbox.ok(&words(&format!("{sample} --limit 4 --out four")));
    sandbox.ok(&words(&format!("{sample} --limit 2 --out two")));
    let read = |run: &str| read_rollouts(&sandbox.path().join(run)).unwrap();
    let (four, two) = (read("four"), read("two"));
    assert_eq!((four.len(), two.len()), (8, 4));
    // A problem's completions do not depend on which others are there.
    assert_eq!(four[..4], two[..]);
    sandbox.ok(&words(
        "score --model embedded:base --rollouts four --limit 2 --out limited",
    ));
    sandbox.ok(&words(
        "score --model embedded:base --rollouts two --out all",
    ));
    let rows = |run: &str| scores(&sandbox.path().join(run));
    assert_eq!(rows("limited"), rows("all"));
    let ids: Vec<String> = read("limited").into_iter().map(|r| r.problem_id).collect();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/organism/problems.jsonl");
    let shipped = forkscope_records::read_problems(&shipped).unwrap();
    let [first, second] = [0, 1].map(|i: usize| shipped[i].id.as_str());
    assert_eq!(ids, [first, first, second, second]);
    // Another seed, other completions; the same seed, the same.
    sandbox.ok(&words(&format!("{sample} --limit 2 --seed 42 --out same")));
    sandbox.ok(&words(&format!("{sample} --limit 2 --seed 7 --out other")));
    assert_eq!(read("same"), two);
    assert_ne!(read("other"), two);
}

#[test]
fn files_are_read_once_and_so_may_be_pipes() {
    let sandbox = Sandbox::new();
    let problems = "{\"problem\": \"a ann has 7 coins .\"}\n";
    sandbox.file("p.jsonl", problems);
    let ended = sandbox.shell(
        "set -e; cat p.jsonl | forkscope sample --model embedded:base --problems /dev/stdin \
         --max-tokens 8 --out made
         cat made/rollouts.parquet | forkscope score --model embedded:base --rollouts /dev/stdin \
         --out piped
         forkscope score --model embedded:base --rollouts made --out named",
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let digest = |run: &str| {
        let json = fs::read(sandbox.path().join(run).join("run.json")).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        json["digests"]["data"].clone()
    };
    assert_eq!(digest("piped"), digest("named"));
    assert_eq!(
        digest("made"),
        json!(forkscope_records::digest::sha256_bytes(problems.as_bytes()))
    );
    let rows = |run: &str| scores(&sandbox.path().join(run));
    assert_eq!(rows("piped"), rows("named"));
}

#[test]
fn a_table_is_exported_as_csv() {
    let sandbox = Sandbox::new();
    sandbox.ok(&words(PAIR));
    sandbox.ok(&["report", "pair", "--csv"]);
    let text = fs::read_to_string(sandbox.path().join("pair/tokens.csv")).unwrap();
    let rows = differences(&sandbox.path().join("pair"));
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(
        header[..5],
        ["problem_id", "sample", "t", "token_id", "validity"]
    );
    let column = header.iter().position(|c| *c == "js_nats").unwrap();
    let mut count = 0;
    for (line, row) in lines.zip(&rows) {
        // No field before this one needs quotes.
        let cell = line.split(',').nth(column).unwrap();
        assert_eq!(cell.parse::<f64>().unwrap(), row.js_nats, "{line}");
        count += 1;
    }
    assert_eq!(count, rows.len());
}

#[test]
fn the_demo_runs_from_any_folder() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path().join("else where")).unwrap();
    let run = |args: &[&str]| {
        let mut command = sandbox.command();
        command
            .current_dir(sandbox.path().join("else where"))
            .args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = run(&["demo", "--limit", "4", "-n", "2"]);
    assert!(table.contains("share.reranked") && table.contains("forkscope-demo/report.html"));
    assert!(
        sandbox
            .path()
            .join("else where/forkscope-demo/report.html")
            .is_file()
    );
    assert_eq!(run(&["demo", "--limit", "4", "-n", "2", "--resume"]), table);
    let json = run(&["demo", "--limit", "4", "-n", "2", "--resume", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(value(&json, "share.reranked").is_number());
}
