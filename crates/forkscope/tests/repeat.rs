//! Asking again for a run that is there: left alone, or refused by name.

mod runs;

use std::fs;
use std::path::{Path, PathBuf};

use runs::{DIFF, FROM_PROBLEMS, SAMPLE, SCORE, assert_same_bytes, to, with_rollouts};

/// Name, length, content and time of change of every file of a run.
fn untouched(run: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(run)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), fs::read(&path).unwrap(), changed)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_complete_run_is_left_alone() {
    let sandbox = with_rollouts();
    for args in [DIFF, SAMPLE, FROM_PROBLEMS, SCORE] {
        let first = sandbox.ok(&to(args, "run", &[]));
        let before = untouched(&sandbox.path().join("run"));
        let again = sandbox.ok(&to(args, "run", &["--resume", "--threads", "1"]));
        assert_eq!(first, again, "a complete run is printed again");
        assert!(
            before == untouched(&sandbox.path().join("run")),
            "{}",
            args.join(" ")
        );
        fs::remove_dir_all(sandbox.path().join("run")).unwrap();
    }
}

#[test]
fn other_settings_are_refused_by_name() {
    let sandbox = with_rollouts();
    sandbox.ok(&to(FROM_PROBLEMS, "run", &[]));
    let before = untouched(&sandbox.path().join("run"));
    let changed = |from: &str, to: &'static str| -> Vec<&str> {
        let mut args = FROM_PROBLEMS.to_vec();
        let at = args.iter().position(|a| *a == from).unwrap();
        args[at + 1] = to;
        args
    };
    let more = |more: &[&'static str]| [FROM_PROBLEMS, more].concat();
    for (args, setting) in [
        (changed("--row-group-rows", "32"), "settings.row_group_rows"),
        (changed("--replicates", "21"), "settings.replicates"),
        (changed("--limit", "5"), "settings.limit"),
        (changed("--max-tokens", "13"), "settings.max_tokens"),
        (changed("-n", "23"), "settings.n"),
        (changed("--tuned", "embedded:base"), "settings.tuned"),
        (more(&["--seed", "43"]), "seeds.seed"),
        (more(&["--temperature", "0.5"]), "settings.temperature"),
        (more(&["--stop", "."]), "settings.stop"),
        (more(&["--rollouts-by", "base"]), "settings.rollouts_by"),
        (more(&["--kl-changed", "0.2"]), "settings.kl_changed"),
        (more(&["--class-topk", "3"]), "settings.class_topk"),
        (more(&["--record-topk", "3"]), "settings.record_topk"),
    ] {
        let line = sandbox.fails(3, &to(&args, "run", &["--resume"]));
        assert!(
            line.contains(setting) && line.contains("recorded") && line.contains("--out"),
            "{setting}: {line}"
        );
    }
    // Another command in the same directory.
    let line = sandbox.fails(3, &to(SCORE, "run", &["--resume"]));
    assert!(
        line.contains("command") && line.contains("\"diff\""),
        "{line}"
    );
    assert!(before == untouched(&sandbox.path().join("run")));
}

#[test]
fn other_data_are_refused_by_name() {
    let sandbox = with_rollouts();
    sandbox.file(
        "problems.jsonl",
        "{\"problem\": \"a ann has 72 coins .\"}\n",
    );
    let args: Vec<&str> = SAMPLE
        .iter()
        .map(|a| {
            if *a == "embedded:problems" {
                "problems.jsonl"
            } else {
                a
            }
        })
        .collect();
    sandbox.ok(&to(&args, "run", &[]));
    sandbox.file(
        "problems.jsonl",
        "{\"problem\": \"a ann has 73 coins .\"}\n",
    );
    let line = sandbox.fails(3, &to(&args, "run", &["--resume"]));
    assert!(line.contains("digests.data"), "{line}");
}

#[test]
fn nothing_is_written_over() {
    let sandbox = with_rollouts();
    sandbox.ok(&to(SCORE, "run", &[]));
    fs::create_dir(sandbox.path().join("notes")).unwrap();
    sandbox.file("notes/mine.txt", "do not lose this");
    sandbox.file("file", "do not lose this either");
    for args in [DIFF, SAMPLE, FROM_PROBLEMS, SCORE] {
        for out in ["run", "notes"] {
            let line = sandbox.fails(3, &to(args, out, &[]));
            assert!(
                line.contains("not empty") && line.contains("--resume") && line.contains(out),
                "{line}"
            );
        }
        let line = sandbox.fails(3, &to(args, "notes", &["--resume"]));
        assert!(
            line.contains("run.json") && line.contains("notes"),
            "{line}"
        );
        let line = sandbox.fails(3, &to(args, "file", &[]));
        assert!(line.contains("file"), "{line}");
    }
    assert_eq!(
        fs::read_dir(sandbox.path().join("notes")).unwrap().count(),
        1
    );
    assert_eq!(
        fs::read(sandbox.path().join("file")).unwrap(),
        b"do not lose this either"
    );
    // An empty directory is as good as none, and --resume may start.
    fs::create_dir(sandbox.path().join("empty")).unwrap();
    sandbox.ok(&to(SCORE, "empty", &[]));
    sandbox.ok(&to(SCORE, "new", &["--resume"]));
    assert_same_bytes(&sandbox, "run", "empty");
    assert_same_bytes(&sandbox, "run", "new");
}
