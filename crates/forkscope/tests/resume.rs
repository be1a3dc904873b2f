//! Runs that are killed or interrupted end in the bytes of a run that was left
//! alone.

#![cfg(unix)]

mod runs;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use runs::common::Sandbox;
use runs::{DIFF, FROM_PROBLEMS, SAMPLE, SCORE, assert_same_bytes, to, with_rollouts};
use serde_json::Value;

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

#[test]
fn a_signal_leaves_an_incomplete_run_that_goes_on() {
    let sandbox = with_rollouts();
    for (args, signal, table) in [
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
