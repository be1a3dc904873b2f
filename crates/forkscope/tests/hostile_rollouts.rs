//! Broken rollout and problem files, flags that make no sense, disks that are full.

mod tiny;

use std::fs;

use serde_json::{Value, json};
use tiny::{Bench, SCORE, rollouts};

fn with_model() -> Bench {
    let bench = Bench::new();
    bench.fixture("models/llama-default", "m");
    bench
}

#[test]
fn rollout_files_that_are_none() {
    let bench = with_model();
    for bytes in [
        &b""[..],
        b" \n",
        b"{",
        b"[]",
        b"null",
        b"3",
        b"{}",
        b"{\"rollouts\": []}",
        b"{\"rollouts\": {}}",
        b"{\"rollouts\": [3]}",
        b"\xff\xfe[\x00]\x00",
        b"PAR1",
        b"PAR1PAR1",
        b"PAR1\xff\xff\xff\x7fPAR1",
        b"\x00\x00\x00\x00",
        &[b'['; 100_000],
    ] {
        bench.sandbox.file("rollouts.json", bytes);
        bench.refused(SCORE, &["rollouts.json"]);
    }
    fs::create_dir(bench.path("folder")).unwrap();
    bench.refused(
        &SCORE.replace("rollouts.json", "folder"),
        &["folder/rollouts.parquet"],
    );
    bench.refused(
        &SCORE.replace("rollouts.json", "m/model.safetensors"),
        &["m/model.safetensors"],
    );
}

#[test]
fn rollouts_that_cannot_be() {
    let bench = with_model();
    for (field, value) in [
        ("tokens", json!([])),
        ("tokens", json!([1, -1, 2, 3])),
        ("tokens", json!([1, 1.5, 2, 3])),
        ("tokens", json!([1, "2", 2, 3])),
        ("tokens", json!([1, null, 2, 3])),
        ("tokens", json!([1, 1u64 << 40, 2, 3])),
        ("tokens", json!("1 2 3")),
        ("prompt_length", json!(0)),
        ("prompt_length", json!(7)),
        ("prompt_length", json!(-1)),
        ("prompt_length", json!("3")),
        ("prompt_length", json!(u64::MAX)),
        ("prompt_length", Value::Null),
        ("gen_index", json!(-1)),
        ("gen_index", json!(1u64 << 33)),
        ("problem_id", json!("")),
        ("problem_id", json!([1])),
        ("correct", json!("yes")),
        ("entropies", json!([0.5])),
    ] {
        let mut document = rollouts(&[1, 5, 9, 3, 7, 2], 3);
        document["rollouts"][0][field] = value;
        bench.sandbox.file("rollouts.json", document.to_string());
        let named = if field == "tokens" { "" } else { field };
        bench.refused(SCORE, &["rollouts.json", named]);
    }
    let mut document = rollouts(&[1, 5, 9, 3, 7, 2], 3);
    let first = document["rollouts"][0].clone();
    document["rollouts"].as_array_mut().unwrap().push(first);
    bench.sandbox.file("rollouts.json", document.to_string());
    bench.refused(SCORE, &["rollouts.json", "twice"]);
}

#[test]
fn ids_beyond_the_vocabulary() {
    let bench = with_model();
    for id in [64, u32::MAX] {
        for place in [0, 5] {
            let mut ids = [1, 5, 9, 3, 7, 2];
            ids[place] = id;
            bench
                .sandbox
                .file("rollouts.json", rollouts(&ids, 3).to_string());
            bench.refused(
                SCORE,
                &[
                    "rollouts.json",
                    "\"p\"",
                    &id.to_string(),
                    "vocabulary of 64",
                    ";",
                ],
            );
            bench.refused(
                "diff --base m --tuned m --rollouts rollouts.json --out run",
                &["\"p\"", "vocabulary"],
            );
        }
    }
    // 67 tokens against 64: what is shared is compared, what is not is refused.
    bench.fixture("models/llama-minimal", "wide");
    let pair = "diff --base wide --tuned m --rollouts rollouts.json --out run";
    bench
        .sandbox
        .file("rollouts.json", rollouts(&[1, 65, 9, 3], 2).to_string());
    bench.refused(pair, &["65", "vocabulary of 64"]);
    bench
        .sandbox
        .file("rollouts.json", rollouts(&[1, 63, 9, 3], 2).to_string());
    bench.accepted(pair);
}

#[test]
fn rollouts_of_which_none_yields_a_row_are_refused_with_their_counts() {
    let bench = with_model();
    bench
        .sandbox
        .file("rollouts.json", rollouts(&[1, 5, 9], 3).to_string());
    const DIFF: &str = "diff --base m --tuned m --rollouts rollouts.json --out run";
    for command in [SCORE, DIFF] {
        bench.refused(command, &["rollouts.json", "1 without a completion"]);
    }
    bench
        .sandbox
        .file("rollouts.json", rollouts(&[1; 129], 3).to_string());
    for command in [SCORE, DIFF] {
        bench.refused(command, &["rollouts.json", "1 longer than the context"]);
    }
}

#[test]
fn a_damaged_table_is_refused_or_read_but_never_a_fault() {
    let bench = Bench::new();
    bench.organism("m");
    bench.sandbox.ok(
        &"sample --model m --problems problems.jsonl -n 4 --max-tokens 8 --out made"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    let score = SCORE.replace("rollouts.json", "rollouts.parquet");
    let whole = fs::read(bench.path("made/rollouts.parquet")).unwrap();
    for length in [0, 4, 11, whole.len() / 2, whole.len() - 1] {
        bench.sandbox.file("rollouts.parquet", &whole[..length]);
        bench.refused(&score, &["rollouts.parquet"]);
    }
    for step in 0..32 {
        let mut damaged = whole.clone();
        let at = step * whole.len() / 32 + 3 * step % 7;
        damaged[at] ^= 0xa5;
        bench.sandbox.file("rollouts.parquet", &damaged);
        let ended = bench.sandbox.run(&score.split(' ').collect::<Vec<_>>());
        assert!(matches!(ended.code, Some(0 | 3)), "byte {at}: {ended:?}");
        let _ = fs::remove_dir_all(bench.path("run"));
    }
    // Another table under that name.
    bench.sandbox.file("rollouts.parquet", &whole);
    let args = score.replace("--out run", "--out scored");
    bench.sandbox.ok(&args.split(' ').collect::<Vec<_>>());
    fs::copy(
        bench.path("scored/tokens.parquet"),
        bench.path("rollouts.parquet"),
    )
    .unwrap();
    bench.refused(&score, &["rollouts.parquet", "column"]);
}

#[test]
fn problem_files_that_are_broken() {
    let bench = Bench::new();
    let sample = "sample --model embedded:base --problems problems.jsonl --max-tokens 2 --out run";
    let good = "{\"problem\": \"a ann has 7 coins .\"}";
    for (text, says) in [
        (String::new(), "problems"),
        ("\n\n".into(), "problems"),
        (format!("{good}\n{{\"problem\": \n{good}\n"), "line 2"),
        (format!("{good}\n\n3\n"), "line 3"),
        (format!("{good}\n{{\"answer\": \"7\"}}\n"), "line 2"),
        (format!("{good}\n{{\"problem\": 7}}\n"), "line 2"),
        (
            format!("{good}\n{{\"problem\": \"x\", \"id\": [1]}}\n"),
            "line 2",
        ),
        (
            "{\"problem\": \"x\", \"id\": \"1\"}\n{\"problem\": \"y\", \"id\": \"1\"}\n".into(),
            "unique",
        ),
        (format!("{good}\n{}\n", "[".repeat(100_000)), "line 2"),
        (format!("{good}\n\u{0}\n"), "line 2"),
        ("{\"messages\": []}\n".into(), "messages"),
        (
            "{\"messages\": [{\"role\": 3, \"content\": \"x\"}]}\n".into(),
            "messages",
        ),
    ] {
        bench.sandbox.file("problems.jsonl", &text);
        bench.refused(sample, &["problems.jsonl", says]);
        bench.refused(
            "diff --base embedded:base --tuned embedded:reasoner --problems problems.jsonl --out run",
            &["problems.jsonl", says],
        );
    }
    let long = json!({"id": "far too long", "problem": "a ".repeat(400)});
    bench.sandbox.file("problems.jsonl", long.to_string());
    bench.refused(sample, &["far too long", "320", "shorten"]);
}

#[test]
fn flags_that_make_no_sense_are_usage_errors() {
    let bench = Bench::new();
    let sample = "sample --model embedded:base --problems embedded:problems --out run";
    let diff = "diff --base embedded:base --tuned embedded:reasoner --out run";
    let score = "score --model embedded:base --rollouts rollouts.json --out run";
    for (line, more) in [
        (sample, "--temperature -1"),
        (sample, "--temperature nan"),
        (sample, "--temperature inf"),
        (sample, "--top-p 0"),
        (sample, "--top-p 1.5"),
        (sample, "--min-p -0.1"),
        (sample, "--min-p 2"),
        (sample, "-n 0"),
        (sample, "--max-tokens 0"),
        (sample, "--limit 0"),
        (sample, "--threads 0"),
        (sample, "--stop="),
        (sample, "--prompt-style nonsense"),
        (sample, "--row-group-rows 0"),
        (sample, "--unknown"),
        (diff, ""),
        (
            diff,
            "--rollouts rollouts.json --problems embedded:problems",
        ),
        (diff, "--problems embedded:problems --rollouts-by nobody"),
        (diff, "--problems embedded:problems --class-topk 0"),
        (diff, "--rollouts rollouts.json --kl-changed nan"),
        (diff, "--rollouts rollouts.json --kl-changed -1"),
        (score, "--record-topk 5000"),
    ] {
        let args: Vec<&str> = line.split(' ').chain(more.split_whitespace()).collect();
        let ended = bench.sandbox.run(&args);
        assert_eq!(ended.code, Some(2), "{more}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains("--help"),
            "{more}: {}",
            ended.stderr
        );
        assert!(!bench.path("run").exists(), "{more}");
    }
}

/// A pair comparison that writes some hundred kilobytes.
const DIFF: &str = "diff --base embedded:base --tuned embedded:reasoner \
    --problems embedded:problems --limit 4 -n 4 --max-tokens 96 --row-group-rows 256 --out run";

#[test]
#[cfg(unix)]
fn a_full_disk_leaves_a_run_that_can_be_resumed() {
    let bench = Bench::new();
    bench.sandbox.ok(&DIFF
        .replace("--out run", "--out whole")
        .split_whitespace()
        .collect::<Vec<_>>());
    // Blocks of 512 bytes: nothing at all, the first file, a spool, the report.
    for blocks in [0, 1, 6, 40, 200, 700] {
        let _ = fs::remove_dir_all(bench.path("run"));
        let line = format!("trap '' XFSZ; ulimit -f {blocks}; exec forkscope {DIFF}");
        let ended = bench.sandbox.shell(&line);
        if ended.stderr.contains("ulimit") || ended.stderr.contains("trap") {
            eprintln!("skipped: this shell cannot limit the size of files");
            return;
        }
        assert_eq!(ended.code, Some(3), "{blocks}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: cannot write run")
                && ended.stderr.contains("--resume"),
            "{blocks}: {}",
            ended.stderr
        );
        if let Ok(json) = fs::read(bench.path("run/run.json")) {
            let json: Value = serde_json::from_slice(&json).unwrap();
            assert_ne!(json["status"], "complete", "{blocks}");
        }
        let resumed = format!("{DIFF} --resume");
        bench
            .sandbox
            .ok(&resumed.split_whitespace().collect::<Vec<_>>());
        for file in [
            "tokens.parquet",
            "rollouts.parquet",
            "findings.json",
            "report.html",
        ] {
            assert!(
                fs::read(bench.path("run").join(file)).unwrap()
                    == fs::read(bench.path("whole").join(file)).unwrap(),
                "{file} after {blocks} blocks"
            );
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_result_that_cannot_be_written_is_said() {
    let bench = Bench::new();
    for command in [
        "sample --model embedded:base --problems embedded:problems --limit 1 --out run",
        "score --model embedded:base --rollouts rollouts.json --out run",
        "diff --base embedded:base --tuned embedded:base --rollouts rollouts.json --out run",
    ] {
        let ended = bench
            .sandbox
            .shell(&format!("forkscope {command} > /dev/full"));
        assert_eq!(ended.code, Some(3), "{command}: {ended:?}");
        assert!(ended.stderr.contains("stdout"), "{command}: {ended:?}");
        let _ = fs::remove_dir_all(bench.path("run"));
    }
    // Where nothing may be made.
    let line = "score --model embedded:base --rollouts rollouts.json --out /proc/nowhere/run";
    let said = bench.sandbox.fails(3, &line.split(' ').collect::<Vec<_>>());
    assert!(said.contains("/proc/nowhere/run"), "{said}");
}
