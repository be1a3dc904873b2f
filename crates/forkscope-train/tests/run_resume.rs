//! A run that was stopped, however, ends in the bytes of one that was not.

mod common;
mod run_toy;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use forkscope_train::TrainError;
use run_toy::{Attempt, STEPS, Seen, Toy, Trouble, assert_same, files, whole};

const OUT: &str = "FORKSCOPE_TEST_OUT";

fn resume(path: &Path, adapter: bool) -> Seen {
    let mut seen = Seen::default();
    let mut attempt = Attempt::new(&mut seen);
    attempt.adapter = adapter;
    attempt.go(path).unwrap();
    seen
}

#[test]
fn interrupted_before_every_step_in_turn() {
    for adapter in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let uninterrupted = dir.path().join("whole");
        whole(&uninterrupted, adapter);
        for stop in (0..STEPS).step_by(if adapter { 4 } else { 1 }) {
            let path = dir.path().join(format!("stopped {stop}"));
            let mut seen = Seen::default();
            let mut attempt = Attempt::new(&mut seen);
            attempt.adapter = adapter;
            attempt.stop_before = Some(stop);
            let e = attempt.go(&path).unwrap_err();
            assert!(matches!(e, TrainError::Interrupted), "{e}");
            assert_eq!(seen.steps.len() as u64, stop);
            let seen = resume(&path, adapter);
            assert_eq!(seen.resumed, (stop > 0).then_some(stop));
            assert_eq!(seen.steps.len() as u64, STEPS - stop);
            assert_same(
                &path,
                &uninterrupted,
                &format!("stopped before step {stop}"),
            );
        }
    }
}

#[test]
fn one_step_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let (uninterrupted, path) = (dir.path().join("whole"), dir.path().join("steps"));
    whole(&uninterrupted, false);
    for _ in 0..STEPS {
        let mut seen = Seen::default();
        let mut attempt = Attempt::new(&mut seen);
        attempt.stop_before = Some(1);
        // The last attempt takes the last step, and is not asked again.
        let result = attempt.go(&path);
        assert!(matches!(result, Ok(_) | Err(TrainError::Interrupted)));
    }
    assert_same(&path, &uninterrupted, "one step at a time");
}

#[test]
fn dropped_without_a_word_or_stopped_by_the_source_at_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let uninterrupted = dir.path().join("whole");
    whole(&uninterrupted, false);
    for step in 0..STEPS {
        let troubles = [Trouble::Source(step), Trouble::Asked(step)];
        for trouble in troubles.into_iter().take(if step % 3 == 1 { 2 } else { 1 }) {
            let path = dir.path().join(format!("{trouble:?}"));
            let mut seen = Seen::default();
            let mut attempt = Attempt::new(&mut seen);
            attempt.toy = Toy::new(Some(trouble));
            attempt.go(&path).unwrap_err();
            let seen = resume(&path, false);
            let from = match trouble {
                Trouble::Asked(_) => step,
                _ => step / 4 * 4,
            };
            assert_eq!(seen.resumed, (from > 0).then_some(from), "{trouble:?}");
            assert_same(&path, &uninterrupted, &format!("{trouble:?}"));
        }
    }
}

#[test]
fn stopped_while_it_is_evaluated() {
    let dir = tempfile::tempdir().unwrap();
    let uninterrupted = dir.path().join("whole");
    whole(&uninterrupted, false);
    for step in [3, 6, 9, 12] {
        let path = dir.path().join(step.to_string());
        let mut seen = Seen::default();
        let mut attempt = Attempt::new(&mut seen);
        attempt.score.asked_at = Some(step);
        let e = attempt.go(&path).unwrap_err();
        assert!(matches!(e, TrainError::Interrupted), "{e}");
        let seen = resume(&path, false);
        let from = (step - 1) / 4 * 4;
        assert_eq!(seen.resumed, (from > 0).then_some(from), "{step}");
        assert_same(
            &path,
            &uninterrupted,
            &format!("evaluation after step {step}"),
        );
    }
}

/// The part of a child; in the parent there is no `$OUT`.
#[test]
fn child() {
    let Ok(out) = std::env::var(OUT) else { return };
    let mut seen = Seen::default();
    let mut attempt = Attempt::new(&mut seen);
    attempt.toy.pause = Duration::from_millis(4);
    attempt.go(Path::new(&out)).unwrap();
}

#[test]
fn killed_by_the_system_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let (uninterrupted, path) = (dir.path().join("whole"), dir.path().join("killed"));
    whole(&uninterrupted, false);
    let command = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child"]).env(OUT, &path);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let complete = || {
        forkscope_records::read_run_json(&path)
            .is_ok_and(|r| r.status == forkscope_records::RunStatus::Complete)
    };
    for attempt in 0..12 {
        if complete() {
            break;
        }
        let mut child = command().spawn().unwrap();
        std::thread::sleep(Duration::from_millis(25 + 17 * attempt % 60));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    if !complete() {
        assert!(command().status().unwrap().success());
    }
    let run = forkscope_records::read_run_json(&path).unwrap();
    assert!(run.timing.resumed > 0, "no kill came before the end");
    assert_same(&path, &uninterrupted, "killed");
}

#[test]
fn one_thread_and_three_write_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    for adapter in [false, true] {
        let paths = [1, 3].map(|threads| {
            let path = dir.path().join(format!("{threads} {adapter}"));
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| whole(&path, adapter));
            path
        });
        assert_same(&paths[0], &paths[1], "threads");
    }
}

/// A run that was stopped before step 9: checkpoints of 4, 8 and 9 steps.
fn stopped(path: &Path) {
    let mut seen = Seen::default();
    let mut attempt = Attempt::new(&mut seen);
    attempt.stop_before = Some(9);
    attempt.go(path).unwrap_err();
}

#[test]
fn a_damaged_checkpoint_is_refused_and_the_one_before_it_used() {
    let dir = tempfile::tempdir().unwrap();
    let uninterrupted = dir.path().join("whole");
    whole(&uninterrupted, false);
    let damages = [
        ("parameters.safetensors", "SHA-256"),
        ("optimiser.safetensors", "SHA-256"),
        ("state.json", "sha256"),
    ];
    for (file, said) in damages {
        let path = dir.path().join(file);
        stopped(&path);
        let damaged = path.join("checkpoints/step-000009").join(file);
        let mut bytes = std::fs::read(&damaged).unwrap();
        let at = bytes.len() - 40;
        bytes[at] ^= 1;
        std::fs::write(&damaged, bytes).unwrap();
        let seen = resume(&path, false);
        assert_eq!(seen.resumed, Some(8), "{file}");
        let [notice] = seen.notices.as_slice() else {
            panic!("{:?}", seen.notices)
        };
        assert!(notice.contains(file) && notice.contains(said), "{notice}");
        assert!(notice.contains("not used"), "{notice}");
        assert_same(&path, &uninterrupted, file);
    }
}

#[test]
fn hostile_states_are_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    stopped(&path);
    for text in [
        "",
        "[1]",
        "{}",
        "null",
        "{\"state\": {\"step\": 9}, \"sha256\": 3}",
    ] {
        std::fs::write(path.join("checkpoints/step-000009/state.json"), text).unwrap();
        let mut seen = Seen::default();
        let mut attempt = Attempt::new(&mut seen);
        attempt.stop_before = Some(0);
        attempt.go(&path).unwrap_err();
        assert_eq!(seen.resumed, Some(8), "{text}");
        assert_eq!(seen.notices.len(), 1);
    }
}

#[test]
fn where_no_checkpoint_is_whole_nothing_starts_again_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    stopped(&path);
    for step in ["000004", "000008", "000009"] {
        let file = path.join(format!("checkpoints/step-{step}/parameters.safetensors"));
        std::fs::remove_file(file).unwrap();
    }
    let mut seen = Seen::default();
    let message = Attempt::new(&mut seen).go(&path).unwrap_err().to_string();
    assert!(message.contains("no checkpoint is whole"), "{message}");
    assert!(message.contains("remove this folder"), "{message}");
    std::fs::remove_dir_all(path.join("checkpoints")).unwrap();
    resume(&path, false);
    let uninterrupted = dir.path().join("whole");
    whole(&uninterrupted, false);
    assert_same(&path, &uninterrupted, "from the beginning");
}

#[test]
fn a_checkpoint_of_another_network_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    stopped(&path);
    let mut seen = Seen::default();
    let mut attempt = Attempt::new(&mut seen);
    attempt.adapter = true;
    let message = attempt.go(&path).unwrap_err().to_string();
    assert!(
        message.contains("is missing") && message.contains("resume with"),
        "{message}"
    );
}

#[test]
fn a_log_that_lost_its_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run");
    stopped(&path);
    std::fs::write(path.join("metrics.jsonl"), "").unwrap();
    let mut seen = Seen::default();
    let message = Attempt::new(&mut seen).go(&path).unwrap_err().to_string();
    assert!(
        message.contains("metrics.jsonl") && message.contains("0 bytes"),
        "{message}"
    );
}

#[test]
fn checkpoints_are_kept_as_many_as_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    for (keep, expected) in [(1, vec![12]), (2, vec![8, 12]), (9, vec![4, 8, 12])] {
        let path = dir.path().join(keep.to_string());
        let mut seen = Seen::default();
        let mut attempt = Attempt::new(&mut seen);
        attempt.settings.keep = keep;
        attempt.go(&path).unwrap();
        let mut steps: Vec<u64> = files(&path)
            .keys()
            .filter_map(|f| {
                f.to_str()?
                    .strip_prefix("checkpoints/step-")?
                    .get(..6)?
                    .parse()
                    .ok()
            })
            .collect();
        steps.dedup();
        assert_eq!(steps, expected);
    }
}
