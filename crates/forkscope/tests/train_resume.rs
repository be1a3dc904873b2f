//! Training runs that are killed or interrupted end in the bytes of a run that
//! was left alone; threads change no byte.

#![cfg(unix)]

mod training;

use std::fs;
use std::process::Command;

use training::{OBJECTIVES, Sandbox, assert_same, line, spawn, status, steps, wait_for, with_data};

/// Kills a run after that many steps are on the disk, and lets it go on.
/// Returns whether it was killed.
fn killed_after(sandbox: &Sandbox, args: &str, out: &str, after: usize) -> bool {
    let run = sandbox.path().join(out);
    let mut child = spawn(sandbox, &line(args, out, &["--resume"]));
    let came = wait_for(&mut child, || steps(&run) >= after);
    if came {
        child.kill().unwrap();
    }
    !child.wait().unwrap().success()
}

#[test]
fn killed_at_any_step_a_run_ends_in_the_same_bytes() {
    let sandbox = with_data();
    for (name, args) in OBJECTIVES {
        sandbox.ok(&line(args, "whole", &["--threads", "1"]));
        let mut kills = 0;
        for after in [0, 1, 3, 4, 5] {
            kills += usize::from(killed_after(&sandbox, args, "killed", after));
        }
        sandbox.ok(&line(args, "killed", &["--resume", "--threads", "2"]));
        assert!(kills >= 2, "{name}: killed {kills} times only");
        assert_same(&sandbox, "whole", "killed");
        for run in ["whole", "killed"] {
            fs::remove_dir_all(sandbox.path().join(run)).unwrap();
        }
    }
}

#[test]
fn a_run_that_evaluates_resumes_too() {
    let sandbox = with_data();
    let args = "train sft --model embedded:base --data rollouts --with-truncated --steps 6 \
                --batch-size 8 --checkpoint-every 2 --learning-rate 1e-3 \
                --eval-problems held-out.jsonl --eval-every 2 --eval-samples 2 --eval-max-tokens 48";
    sandbox.ok(&line(args, "whole", &[]));
    for after in [1, 2, 4] {
        killed_after(&sandbox, args, "killed", after);
    }
    sandbox.ok(&line(args, "killed", &["--resume"]));
    assert_same(&sandbox, "whole", "killed");
    let best = sandbox.path().join("whole/best/adapter_model.safetensors");
    assert!(best.is_file());
}

#[test]
fn a_signal_leaves_a_checkpoint() {
    let sandbox = with_data();
    let args = OBJECTIVES[0]
        .1
        .replace("--checkpoint-every 2", "--checkpoint-every 100");
    sandbox.ok(&line(&args, "whole", &[]));
    let mut code = None;
    for _ in 0..5 {
        let _ = fs::remove_dir_all(sandbox.path().join("stopped"));
        let mut child = spawn(&sandbox, &line(&args, "stopped", &[]));
        let run = sandbox.path().join("stopped");
        wait_for(&mut child, || steps(&run) >= 2);
        let pid = child.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        code = child.wait().unwrap().code();
        if code != Some(0) {
            break;
        }
    }
    assert_eq!(code, Some(5));
    assert_eq!(status(&sandbox, "stopped"), "incomplete");
    let checkpoints = fs::read_dir(sandbox.path().join("stopped/checkpoints")).unwrap();
    assert_eq!(checkpoints.count(), 1, "the signal's own checkpoint");
    sandbox.ok(&line(&args, "stopped", &["--resume"]));
    assert_same(&sandbox, "whole", "stopped");
}

#[test]
fn a_complete_run_is_left_alone_and_printed_again() {
    let sandbox = with_data();
    let args = OBJECTIVES[3].1;
    let first = sandbox.ok(&line(args, "run", &["--json"]));
    let before = training::runs::bytes(&sandbox.path().join("run"));
    let again = sandbox.ok(&line(args, "run", &["--json", "--resume"]));
    assert_eq!(first, again);
    assert!(before == training::runs::bytes(&sandbox.path().join("run")));
    let said = sandbox.fails(3, &line(args, "run", &[]));
    assert!(
        said.contains("not empty") && said.contains("--resume"),
        "{said}"
    );
}

#[test]
fn other_settings_are_refused_by_name() {
    let sandbox = with_data();
    let args = OBJECTIVES[0].1;
    sandbox.ok(&line(args, "run", &[]));
    for (from, to, named) in [
        ("--steps 8", "--steps 9", "settings.training.steps"),
        ("1e-3", "2e-3", "settings.training.optimiser.learning_rate"),
        ("cosine", "linear", "settings.training.schedule"),
        ("--lora-rank 4", "--lora-rank 5", "settings.adapter.r"),
        ("--batch-size 8", "--batch-size 4", "settings.batch_size"),
        ("--keep 2", "--keep 3", "settings.training.keep"),
        (
            "--with-truncated",
            "--with-truncated --all-tokens",
            "settings.prompt_weight",
        ),
        ("--keep 2", "--keep 2 --seed 1", "seeds.seed"),
    ] {
        let other = args.replace(from, to);
        let said = sandbox.fails(3, &line(&other, "run", &["--resume"]));
        assert!(said.contains(named) && said.contains("recorded"), "{said}");
    }
    // Other data under the same name.
    let pairs = OBJECTIVES[3].1;
    sandbox.ok(&line(pairs, "dpo", &[]));
    sandbox.file(
        "pairs.jsonl",
        "{\"prompt\": \"a\", \"chosen\": \"answer 11 .\", \"rejected\": \"answer 12 .\"}\n",
    );
    let said = sandbox.fails(3, &line(pairs, "dpo", &["--resume"]));
    assert!(said.contains("digests.data"), "{said}");
}
