//! Runs that are killed, interrupted or repeated end in the bytes of a run that
//! was left alone.

#![cfg(unix)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::Sandbox;
use serde_json::Value;

/// A pair comparison on rollouts that lie in `rollouts`: some 48 row groups.
const DIFF: &[&str] = &[
    "diff",
    "--base",
    "embedded:base",
    "--tuned",
    "embedded:reasoner",
    "--rollouts",
    "rollouts",
    "--row-group-rows",
    "8",
    "--replicates",
    "20",
];

/// The same from problems: both policies are sampled first.
const FROM_PROBLEMS: &[&str] = &[
    "diff",
    "--base",
    "embedded:base",
    "--tuned",
    "embedded:reasoner",
    "--problems",
    "embedded:problems",
    "--limit",
    "6",
    "-n",
    "24",
    "--max-tokens",
    "12",
    "--row-group-rows",
    "64",
    "--replicates",
    "20",
];

/// Eighteen groups of 64 rollouts; 384 are sampled at a time.
const SAMPLE: &[&str] = &[
    "sample",
    "--model",
    "embedded:base",
    "--problems",
    "embedded:problems",
    "--limit",
    "24",
    "-n",
    "48",
    "--max-tokens",
    "8",
    "--temperature",
    "0.7",
];

const SCORE: &[&str] = &[
    "score",
    "--model",
    "embedded:reasoner",
    "--rollouts",
    "rollouts",
    "--row-group-rows",
    "16",
];

/// A folder with rollouts to compare on.
fn with_rollouts() -> Sandbox {
    let sandbox = Sandbox::new();
    let line = "sample --model embedded:reasoner --problems embedded:problems --limit 3 -n 2 \
                --max-tokens 64 --out rollouts";
    sandbox.ok(&line.split_whitespace().collect::<Vec<_>>());
    sandbox
}

fn to<'a>(args: &[&'a str], out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [args, &["--out", out], more].concat()
}

/// Every file below a run but what may differ: `timing` in `run.json`.
fn bytes(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![run.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mut content = fs::read(&path).unwrap();
            if path.ends_with("run.json") {
                let mut json: Value = serde_json::from_slice(&content).unwrap();
                json.as_object_mut().unwrap().remove("timing").unwrap();
                content = serde_json::to_vec_pretty(&json).unwrap();
            }
            files.insert(path.strip_prefix(run).unwrap().to_owned(), content);
        }
    }
    files
}

fn assert_same_bytes(sandbox: &Sandbox, left: &str, right: &str) {
    let (left_files, right_files) = (
        bytes(&sandbox.path().join(left)),
        bytes(&sandbox.path().join(right)),
    );
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&left_files),
        names(&right_files),
        "{left} and {right} hold other files"
    );
    for (name, content) in &left_files {
        assert!(
            content == &right_files[name],
            "{} differs between {left} and {right}",
            name.display()
        );
    }
}

fn status(sandbox: &Sandbox, run: &str) -> String {
    let json = fs::read(sandbox.path().join(run).join("run.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    json["status"].as_str().unwrap().to_owned()
}

/// Bytes in the spools of a run.
fn spooled(run: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(run.join(".spool")) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .filter(|e| e.path().extension().is_some_and(|x| x == "rows"))
        .filter_map(|e| e.metadata().ok())
        .map(|m| m.len())
        .sum()
}

/// Waits until `moment` has come while the process lives; `false` if it ended first.
fn wait_for(child: &mut Child, moment: impl Fn() -> bool) -> bool {
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

fn spawn(sandbox: &Sandbox, args: &[&str]) -> Child {
    let mut command = sandbox.command();
    command
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Runs a command and kills it at `moment`; `false` if it had ended before.
fn killed(sandbox: &Sandbox, args: &[&str], moment: impl Fn() -> bool) -> bool {
    let mut child = spawn(sandbox, args);
    let came = wait_for(&mut child, moment);
    if came {
        child.kill().unwrap();
    }
    !child.wait().unwrap().success()
}

#[test]
fn a_diff_killed_at_ten_moments_ends_in_the_same_bytes() {
    let sandbox = with_rollouts();
    sandbox.ok(&to(DIFF, "whole", &["--threads", "1"]));
    let rows = fs::metadata(sandbox.path().join("whole/tokens.parquet"))
        .unwrap()
        .len();
    for moment in 0..10u64 {
        let out = format!("killed-{moment}");
        let spool = sandbox.path().join(&out).join(".spool/tokens.rows");
        // Spooled row groups carry footers of their own, so that this share of
        // the finished file is on the disk before all of it is.
        let at = rows * moment / 10;
        let on_disk = || fs::metadata(&spool).is_ok_and(|m| m.len() > at);
        let mut attempts = 0;
        while !killed(&sandbox, &to(DIFF, &out, &[]), on_disk) {
            attempts += 1;
            assert!(
                attempts < 5,
                "the run is always complete before it is killed"
            );
            fs::remove_dir_all(sandbox.path().join(&out)).unwrap();
        }
        assert_eq!(status(&sandbox, &out), "running");
        assert!(on_disk(), "no rows on the disk at moment {moment}");
        let threads = ["1", "2"][moment as usize % 2];
        sandbox.ok(&to(DIFF, &out, &["--resume", "--threads", threads]));
        assert_same_bytes(&sandbox, "whole", &out);
    }
}

/// Kills one run again and again, each time after it has put something on the
/// disk, and lets the last attempt end. Returns how often it was killed.
fn killed_again_and_again(sandbox: &Sandbox, args: &[&str], out: &str, most: usize) -> usize {
    let run = sandbox.path().join(out);
    let mut kills = 0;
    while kills < most {
        let before = spooled(&run);
        if !killed(sandbox, &to(args, out, &["--resume"]), || {
            spooled(&run) > before
        }) {
            break;
        }
        kills += 1;
    }
    sandbox.ok(&to(args, out, &["--resume"]));
    kills
}

#[test]
fn a_run_killed_again_and_again_ends_in_the_same_bytes() {
    let sandbox = with_rollouts();
    for (args, most, at_least) in [(SAMPLE, 10, 3), (FROM_PROBLEMS, 10, 5), (SCORE, 10, 5)] {
        sandbox.ok(&to(args, "whole", &[]));
        let kills = killed_again_and_again(&sandbox, args, "killed", most);
        assert!(
            kills >= at_least,
            "{}: killed {kills} times only",
            args.join(" ")
        );
        assert_same_bytes(&sandbox, "whole", "killed");
        for run in ["whole", "killed"] {
            fs::remove_dir_all(sandbox.path().join(run)).unwrap();
        }
    }
}

#[test]
fn a_kill_between_two_files_is_no_loss() {
    let sandbox = with_rollouts();
    sandbox.ok(&to(DIFF, "whole", &[]));
    // Any moment at which a file has its name and the next one has not.
    for name in [
        "rollouts.parquet",
        "tokens.parquet",
        "findings.json",
        "report.html",
    ] {
        let out = format!("killed-after-{name}");
        let file = sandbox.path().join(&out).join(name);
        killed(&sandbox, &to(DIFF, &out, &[]), || file.exists());
        sandbox.ok(&to(DIFF, &out, &["--resume"]));
        assert_same_bytes(&sandbox, "whole", &out);
    }
    // Killed at once, before there is anything.
    killed(&sandbox, &to(DIFF, "at-once", &[]), || true);
    sandbox.ok(&to(DIFF, "at-once", &["--resume"]));
    assert_same_bytes(&sandbox, "whole", "at-once");
}

#[test]
fn threads_change_no_byte() {
    let sandbox = with_rollouts();
    for args in [DIFF, SAMPLE, FROM_PROBLEMS, SCORE] {
        sandbox.ok(&to(args, "one", &["--threads", "1"]));
        sandbox.ok(&to(args, "two", &["--threads", "2"]));
        assert_same_bytes(&sandbox, "one", "two");
        for run in ["one", "two"] {
            fs::remove_dir_all(sandbox.path().join(run)).unwrap();
        }
    }
}

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

#[test]
fn a_signal_leaves_an_incomplete_run_that_goes_on() {
    let sandbox = with_rollouts();
    for (args, signal, table) in [
        (DIFF, "INT", "tokens"),
        (DIFF, "TERM", "tokens"),
        (SCORE, "INT", "tokens"),
        (SAMPLE, "INT", "rollouts"),
    ] {
        sandbox.ok(&to(args, "whole", &[]));
        let spool = sandbox
            .path()
            .join("stopped/.spool")
            .join(format!("{table}.rows"));
        let mut code = None;
        for _ in 0..5 {
            let _ = fs::remove_dir_all(sandbox.path().join("stopped"));
            let mut child = spawn(&sandbox, &to(args, "stopped", &[]));
            wait_for(&mut child, || {
                fs::metadata(&spool).is_ok_and(|m| m.len() > 0)
            });
            let pid = child.id().to_string();
            let _ = Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status();
            code = child.wait().unwrap().code();
            if code != Some(0) {
                break;
            }
        }
        assert_eq!(code, Some(5), "{} {signal}", args.join(" "));
        assert_eq!(status(&sandbox, "stopped"), "incomplete");
        sandbox.ok(&to(args, "stopped", &["--resume"]));
        assert_same_bytes(&sandbox, "whole", "stopped");
        for run in ["whole", "stopped"] {
            fs::remove_dir_all(sandbox.path().join(run)).unwrap();
        }
    }
}

#[test]
fn two_processes_do_not_write_one_run() {
    let sandbox = with_rollouts();
    sandbox.ok(&to(DIFF, "whole", &[]));
    let run = sandbox.path().join("run");
    let mut first = spawn(&sandbox, &to(DIFF, "run", &[]));
    let spooling = wait_for(&mut first, || spooled(&run) > 0);
    if spooling {
        let second = sandbox.run(&to(DIFF, "run", &["--resume"]));
        match second.code {
            Some(3) => assert!(second.stderr.contains("another process"), "{second:?}"),
            // The first was done before the second looked.
            code => assert_eq!(code, Some(0), "{second:?}"),
        }
    }
    assert!(first.wait().unwrap().success());
    assert_same_bytes(&sandbox, "whole", "run");
}
