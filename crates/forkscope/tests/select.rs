//! `forkscope select`: the pool in a run, from every form of rollouts, and what
//! is refused.

mod runs;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use forkscope_records::types::{Rollout, ScoreRow};
use forkscope_records::{read_reference, read_table};
use runs::common::Sandbox;
use runs::{assert_same_bytes, to};
use serde_json::{Value, json};

const PUBLISHED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../forkscope-train/tests/fixtures/pool/rollouts.json"
);

/// Twelve problems with six rollouts each, scored.
fn scored() -> Sandbox {
    let sandbox = Sandbox::new();
    let sample = "sample --model embedded:base --problems embedded:problems --limit 12 -n 6 \
                  --max-tokens 96 --out rollouts";
    sandbox.ok(&sample.split_whitespace().collect::<Vec<_>>());
    let score = "score --model embedded:base --rollouts rollouts --out scores";
    sandbox.ok(&score.split_whitespace().collect::<Vec<_>>());
    sandbox
}

const SELECT: &[&str] = &["select", "--rollouts", "scores", "--max-problems", "5"];

fn rows<R: forkscope_records::Record>(sandbox: &Sandbox, file: &str) -> Vec<R> {
    read_table(&sandbox.path().join(file)).unwrap()
}

fn document(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every object has the fields of its schema, all of them and no others.
fn fields(schema: &Value, value: &Value) {
    if let Some(items) = schema.get("items") {
        let list = value.as_array().unwrap();
        assert!(!list.is_empty());
        list.iter().for_each(|v| fields(items, v));
    }
    let Some(known) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    let object = value.as_object().unwrap();
    assert!(object.keys().eq(known.keys()), "{object:?}");
    assert_eq!(schema["required"].as_array().unwrap().len(), known.len());
    for (name, inner) in known {
        fields(inner, &object[name]);
    }
}

#[test]
fn a_scored_run_becomes_a_pool_with_its_rows() {
    let sandbox = scored();
    let said = sandbox.json(&to(SELECT, "pool", &["--write-reference"]));
    let pool = document(&sandbox.path().join("pool/pool.json"));
    assert_eq!(pool["counts"], said["counts"]);
    let schema = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/schema/pool.schema.json"
    );
    fields(&document(Path::new(schema)), &pool);
    let all: Vec<Rollout> = rows(&sandbox, "rollouts/rollouts.parquet");
    let kept: Vec<Rollout> = rows(&sandbox, "pool/rollouts.parquet");
    assert_eq!(said["counts"]["rollouts"], all.len());
    assert_eq!(said["counts"]["rollouts_kept"], kept.len());

    // The problems are the five closest to one half.
    let mut right: HashMap<&str, (f64, f64)> = HashMap::new();
    for r in &all {
        let entry = right.entry(&r.problem_id).or_default();
        entry.0 += f64::from(u8::from(r.correct == Some(true)));
        entry.1 += 1.0;
    }
    let distance = |id: &str| (right[id].0 / right[id].1 - 0.5).abs();
    let chosen: Vec<&str> = pool["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["problem_id"].as_str().unwrap())
        .collect();
    assert_eq!(chosen.len(), 5);
    let farthest = chosen.iter().map(|id| distance(id)).fold(0.0, f64::max);
    for id in right.keys().filter(|id| !chosen.contains(id)) {
        assert!(distance(id) >= farthest, "{id}");
    }
    // Of their 30 rollouts the 24 shortest, shortest first.
    assert_eq!(kept.len(), 24);
    let lengths: Vec<usize> = kept.iter().map(|r| r.completion().len()).collect();
    assert!(lengths.is_sorted());
    let mut expected: Vec<usize> = all
        .iter()
        .filter(|r| chosen.contains(&r.problem_id.as_str()))
        .map(|r| r.completion().len())
        .collect();
    expected.sort_unstable();
    assert_eq!(lengths, expected[..24]);

    // Their rows are those of the scored run, in the order of the rollouts.
    let source: Vec<ScoreRow> = rows(&sandbox, "scores/tokens.parquet");
    let of = |r: &Rollout| {
        let (id, sample) = (r.problem_id.clone(), r.sample);
        source
            .iter()
            .filter(move |row| row.problem_id == id && row.sample == sample)
            .cloned()
    };
    let expected: Vec<ScoreRow> = kept.iter().flat_map(of).collect();
    assert_eq!(rows::<ScoreRow>(&sandbox, "pool/tokens.parquet"), expected);

    let reference = read_reference(&sandbox.path().join("pool/reference.json")).unwrap();
    assert_eq!(reference.len(), 24);
    let entropies = reference
        .iter()
        .flat_map(|r| r.entropies_nats.clone().unwrap());
    assert!(entropies.eq(expected.iter().map(|row| row.entropy_nats)));
    let run = document(&sandbox.path().join("pool/run.json"));
    let scores = document(&sandbox.path().join("scores/run.json"));
    assert_eq!(run["digests"]["scored_by"], scores["digests"]["model"]);

    // The same again, resumed where it is complete, and from half of it.
    sandbox.ok(&to(SELECT, "again", &["--write-reference"]));
    assert_same_bytes(&sandbox, "pool", "again");
    sandbox.ok(&to(SELECT, "again", &["--write-reference", "--resume"]));
    assert_same_bytes(&sandbox, "pool", "again");
    let path = sandbox.path().join("again");
    let mut json = document(&path.join("run.json"));
    json["status"] = json!("incomplete");
    fs::write(path.join("run.json"), json.to_string()).unwrap();
    for file in ["pool.json", "tokens.parquet"] {
        fs::remove_file(path.join(file)).unwrap();
    }
    sandbox.ok(&to(SELECT, "again", &["--write-reference", "--resume"]));
    assert_same_bytes(&sandbox, "pool", "again");
    let other = sandbox.fails(3, &to(SELECT, "again", &["--trim", "0.5", "--resume"]));
    assert!(other.contains("trim_fraction"), "{other}");

    // A pool is scored and compared like any run, but not chosen from again.
    let twice = sandbox.fails(3, &["select", "--rollouts", "pool", "--out", "third"]);
    assert!(twice.contains("pool already"), "{twice}");
    let plan = sandbox.json(&to(SELECT, "third", &["--dry-run"]));
    assert_eq!(plan["plan"]["rollouts_kept"]["value"], 24.0);
    assert!(!sandbox.path().join("third").exists());
}

/// The order of the published program, from its own form of rollouts, and from
/// a run without scores.
#[test]
fn the_order_is_the_published_one() {
    let sandbox = Sandbox::new();
    let select = ["select", "--rollouts", PUBLISHED, "--max-problems", "24"];
    sandbox.ok(&to(&select, "pool", &[]));
    let expected = Path::new(PUBLISHED).with_file_name("expected.json");
    let expected = &document(&expected)["recipe"];
    let kept: Vec<Rollout> = rows(&sandbox, "pool/rollouts.parquet");
    let kept: Vec<Value> = kept
        .iter()
        .map(|r| json!([r.problem_id, r.sample]))
        .collect();
    assert_eq!(Value::Array(kept), expected["kept"]);
    // Entropies that came without rows are kept as they came.
    let reference = read_reference(&sandbox.path().join("pool/reference.json")).unwrap();
    assert!(reference.iter().all(|r| r.entropies_nats.is_some()));
    assert!(!sandbox.path().join("pool/tokens.parquet").exists());

    let plain = ["select", "--rollouts", "pool/rollouts.parquet"];
    sandbox.ok(&to(&plain, "plain", &["--trim", "1"]));
    assert!(!sandbox.path().join("plain/reference.json").exists());
    let limited = sandbox.json(&to(&select, "few", &["--limit", "7", "--dry-run"]));
    assert_eq!(limited["plan"]["problems_given"]["value"], 7.0);
}

fn rollout(id: &str, sample: u32, correct: Value, more: Value) -> Value {
    let mut row = json!({"problem_id": id, "gen_index": sample, "tokens": [1, 2, 3],
        "prompt_length": 1, "correct": correct});
    for (key, value) in more.as_object().into_iter().flatten() {
        row[key] = value.clone();
    }
    row
}

#[test]
fn what_has_no_pool_is_refused_with_a_remedy() {
    let sandbox = Sandbox::new();
    let said = |rollouts: Vec<Value>, more: &[&str]| {
        sandbox.file("r.json", json!({"rollouts": rollouts}).to_string());
        let line = ["select", "--rollouts", "r.json", "--out", "pool"];
        let said = sandbox.fails(3, &[&line, more].concat());
        assert!(!sandbox.path().join("pool").exists());
        assert!(said.contains("r.json"), "{said}");
        said
    };
    let graded = |outcomes: &[bool], more: &Value| {
        let each = outcomes.iter().zip(0..);
        each.map(|(right, i)| rollout("p", i, json!(right), more.clone()))
            .collect::<Vec<_>>()
    };
    let none = json!({});
    let easy = said(graded(&[true, true], &none), &[]);
    assert!(
        easy.contains("1 all right") && easy.contains("harder ones"),
        "{easy}"
    );
    let hard = said(graded(&[false, false], &none), &[]);
    assert!(
        hard.contains("1 all wrong") && hard.contains("easier ones"),
        "{hard}"
    );
    let cut = said(graded(&[true, false], &json!({"truncated": true})), &[]);
    assert!(cut.contains("--max-tokens"), "{cut}");
    let mut keyless = graded(&[true, false], &none);
    keyless.push(rollout("q", 0, Value::Null, none.clone()));
    let missing = said(keyless.clone(), &[]);
    assert!(
        missing.contains("\"q\"") && missing.contains("answer key"),
        "{missing}"
    );
    let band = said(graded(&[true, false], &none), &["--max-pass", "0.4"]);
    assert!(band.contains("--min-pass"), "{band}");
    let processed = json!({"decision_positions": [1], "advantage": 1.0});
    let chosen = said(graded(&[true, false], &processed), &[]);
    assert!(chosen.contains("chosen already"), "{chosen}");
    let mut mixed = graded(&[true], &processed);
    mixed.push(rollout("p", 9, json!(false), none.clone()));
    assert!(said(mixed, &[]).contains("one kind"));
    let mut half = graded(&[true], &json!({"entropies": [0.1, 0.2]}));
    half.push(rollout("p", 9, json!(false), none.clone()));
    assert!(said(half, &[]).contains("score all of them"));
    let length = said(
        graded(&[true, false], &json!({"num_completion_tokens": 7})),
        &[],
    );
    assert!(
        length.contains("rollouts[0].num_completion_tokens: is 7"),
        "{length}"
    );

    sandbox.file("r.json", json!({"rollouts": keyless}).to_string());
    let line = ["select", "--rollouts", "r.json", "--trim", "1"];
    let skipped = sandbox.json(&to(&line, "pool", &["--skip-ungraded"]));
    assert_eq!(skipped["counts"]["problems_ungraded"], 1);
    for more in [
        ["--trim", "0"],
        ["--min-pass", "0.9"],
        ["--max-problems", "0"],
    ] {
        let extra = ["--max-pass", "0.5", "--out", "other"];
        let line = ["select", "--rollouts", "r.json"];
        sandbox.fails(2, &[&line[..], &more[..], &extra[..]].concat());
    }
}

#[test]
fn a_run_that_is_not_whole_or_not_its_own_is_refused() {
    let sandbox = scored();
    let path = sandbox.path().join("scores/run.json");
    let whole = fs::read(&path).unwrap();
    let mut json: Value = serde_json::from_slice(&whole).unwrap();
    json["status"] = json!("incomplete");
    fs::write(&path, json.to_string()).unwrap();
    let half = sandbox.fails(3, &to(SELECT, "pool", &[]));
    assert!(
        half.contains("not complete") && half.contains("--resume"),
        "{half}"
    );
    fs::write(&path, whole).unwrap();
    // Rows of other rollouts.
    let other = "sample --model embedded:base --problems embedded:problems --limit 12 -n 6 \
                 --max-tokens 96 --seed 7 --out other";
    sandbox.ok(&other.split_whitespace().collect::<Vec<_>>());
    fs::copy(
        sandbox.path().join("other/rollouts.parquet"),
        sandbox.path().join("scores/rollouts.parquet"),
    )
    .unwrap();
    let strange = sandbox.fails(3, &to(SELECT, "pool", &[]));
    assert!(strange.contains("score the rollouts again"), "{strange}");
}
