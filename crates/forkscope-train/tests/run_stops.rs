//! What stops a run, and what it leaves.

mod common;
mod run_toy;

use std::path::Path;
use std::process::Command;

use forkscope_records::{RunStatus, read_run_json};
use forkscope_train::TrainError;
use forkscope_train::run::{TrainSettings, Trainer};
use run_toy::{
    Attempt, STEPS, Seen, Toy, Trouble, assert_same, files, network, open, settings, whole,
};
use serde_json::Value;

const OUT: &str = "FORKSCOPE_TEST_OUT";

fn failed_batch(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path.join("failed-batch.json")).unwrap()).unwrap()
}

#[test]
fn a_loss_or_gradient_that_is_not_finite_keeps_the_batch_and_leaves_the_parameters() {
    let dir = tempfile::tempdir().unwrap();
    for (trouble, said) in [
        (Trouble::Loss(5), "the loss is NaN"),
        (Trouble::Gradient(5), "is not finite"),
    ] {
        let path = dir.path().join(format!("{trouble:?}"));
        // A run of the same steps, stopped before the one that fails.
        let stopped = dir.path().join(format!("before {trouble:?}"));
        let mut seen = Seen::default();
        let mut attempt = Attempt::new(&mut seen);
        attempt.stop_before = Some(5);
        attempt.go(&stopped).unwrap_err();

        let run = open(&path);
        let mut network = network(false);
        let mut toy = Toy::new(Some(trouble));
        let mut every_step = settings();
        every_step.checkpoint_every = 1;
        let e = Trainer::new(&mut network, &mut toy, &run, every_step)
            .run()
            .unwrap_err();
        assert!(matches!(e, TrainError::NonFinite(_)), "{e}");
        let message = e.to_string();
        assert!(
            message.contains("step 6") && message.contains(said),
            "{message}"
        );
        assert!(message.contains("failed-batch.json"), "{message}");

        let batch = failed_batch(&path);
        assert_eq!(batch["step"], 6);
        assert_eq!(batch["batch"]["counter"], toy.counter);
        assert!(batch["reason"].as_str().unwrap().contains(said), "{batch}");
        if trouble == Trouble::Loss(5) {
            assert_eq!(batch["sums"]["loss"], Value::Null);
        }
        assert!(batch["log"]["reward"].is_f64());

        let name = Path::new("checkpoints/step-000005/parameters.safetensors");
        let (ours, theirs) = (files(&path), files(&stopped));
        assert!(ours[name] == theirs[name]);
        let tensors = safetensors::SafeTensors::deserialize(&ours[name]).unwrap();
        for parameter in network.parameters() {
            let bytes = parameter.values.iter().flat_map(|x| x.to_le_bytes());
            let recorded = tensors.tensor(&parameter.name).unwrap();
            assert!(
                bytes.eq(recorded.data().iter().copied()),
                "{}",
                parameter.name
            );
        }
        let lines = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 5);
    }
}

#[test]
fn a_run_that_gets_past_a_failed_batch_leaves_no_trace_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (path, uninterrupted) = (dir.path().join("mended"), dir.path().join("whole"));
    let mut seen = Seen::default();
    let mut attempt = Attempt::new(&mut seen);
    attempt.toy = Toy::new(Some(Trouble::Loss(6)));
    attempt.go(&path).unwrap_err();
    whole(&path, false);
    whole(&uninterrupted, false);
    assert_same(&path, &uninterrupted, "mended");
}

/// The part of a child; in the parent there is no `$OUT`.
#[test]
fn child() {
    let Ok(out) = std::env::var(OUT) else { return };
    let mut seen = Seen::default();
    let mut attempt = Attempt::new(&mut seen);
    attempt.settings.keep = 1;
    match attempt.go(Path::new(&out)) {
        Ok(_) => println!("DONE"),
        Err(e) => println!("REFUSED {e}"),
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_at_a_checkpoint_leaves_the_old_one_and_the_run_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let (path, uninterrupted) = (dir.path().join("full"), dir.path().join("whole"));
    let mut seen = Seen::default();
    let mut attempt = Attempt::new(&mut seen);
    attempt.settings.keep = 1;
    attempt.stop_before = Some(5);
    attempt.go(&path).unwrap_err();
    let old = files(&path);
    let checkpoint = |f: &Path| f.starts_with("checkpoints");
    // Files may have 100 KiB: less than the moments, more than the rest. The
    // signal is ignored, so that the write fails instead.
    let moments = &old[Path::new("checkpoints/step-000005/optimiser.safetensors")];
    let blocks = moments.len() / 1024 * 3 / 4;
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let output = Command::new("bash")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(OUT, &path)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let refused = stdout.lines().find_map(|l| l.split_once("REFUSED "));
    let Some((_, message)) = refused else {
        panic!("the checkpoint was written: {stdout}")
    };
    assert!(message.contains("step-000008"), "{message}");
    assert!(message.contains("optimiser.safetensors"), "{message}");
    assert!(message.contains("free space"), "{message}");
    let now = files(&path);
    for (name, bytes) in old.iter().filter(|(f, _)| checkpoint(f)) {
        assert!(now[name] == *bytes, "{} changed", name.display());
    }
    assert!(
        now.keys()
            .all(|f| !f.starts_with("checkpoints/step-000008"))
    );
    assert!(
        now.keys()
            .all(|f| !f.starts_with(".spool") || f.ends_with("lock"))
    );

    for (path, resumed) in [(&path, Some(5)), (&uninterrupted, None)] {
        let mut seen = Seen::default();
        let mut attempt = Attempt::new(&mut seen);
        attempt.settings.keep = 1;
        attempt.go(path).unwrap();
        assert_eq!(seen.resumed, resumed);
    }
    assert_same(&path, &uninterrupted, "after the disk was full");
}

#[test]
fn a_run_says_what_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    let trained = Attempt::new(&mut seen).go(&dir.path().join("run")).unwrap();
    assert_eq!(trained.steps, STEPS);
    assert_eq!(trained.skipped, 2);
    let best = trained.best.unwrap();
    assert_eq!((best.step, best.score), (9, 1.0), "of equals, the earliest");
    assert_eq!(seen.steps.len() as u64, STEPS);
    let tokens: u64 = seen.steps.iter().map(|s| s.tokens).sum();
    assert_eq!(tokens, trained.tokens);
    let skipped = &seen.steps[3];
    assert_eq!((skipped.loss, skipped.grad_norm), (None, None));
    assert_eq!(
        seen.steps[0].learning_rate, 0.0,
        "the first step of a warm-up"
    );
    assert!(seen.steps[11].loss.unwrap() < seen.steps[0].loss.unwrap() + 1.0);
    let run = read_run_json(&dir.path().join("run")).unwrap();
    assert_eq!(run.status, RunStatus::Complete);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let default = TrainSettings::default;
    for (settings, said) in [
        (
            TrainSettings {
                steps: 0,
                ..default()
            },
            "steps is 0",
        ),
        (
            TrainSettings {
                warmup_steps: 100,
                ..default()
            },
            "at most 99",
        ),
        (
            TrainSettings {
                max_grad_norm: Some(0.0),
                ..default()
            },
            "above 0",
        ),
        (
            TrainSettings {
                max_grad_norm: Some(f64::NAN),
                ..default()
            },
            "above 0",
        ),
        (
            TrainSettings {
                keep: 0,
                ..default()
            },
            "keep at least one",
        ),
    ] {
        let message = settings.check().unwrap_err().to_string();
        assert!(message.contains(said), "{message}");
    }
}
