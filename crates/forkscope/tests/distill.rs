//! `forkscope distill`: the sweep over ranks, killed and resumed, and what it
//! finds.

mod training;

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use training::{assert_same, line, with_data};

const SWEEP: &str = "distill --base embedded:base --tuned embedded:reasoner \
    --problems embedded:problems --limit 24 -n 2 --max-tokens 128 --rank 4,1 --steps 12 \
    --learning-rate 3e-3 --batch-size 12 --checkpoint-every 4";

fn findings(json: &Value) -> BTreeMap<String, Value> {
    let list = json["findings"].as_array().unwrap().iter();
    list.map(|f| (f["id"].as_str().unwrap().to_owned(), f.clone()))
        .collect()
}

#[test]
fn a_sweep_killed_in_every_rank_ends_in_the_same_bytes() {
    let sandbox = with_data();
    let whole = findings(&sandbox.json(&line(SWEEP, "whole", &["--threads", "1"])));
    for name in [
        "rank-00001/metrics.jsonl",
        "rank-00004/metrics.jsonl",
        "rank-00004/final",
    ] {
        let path = sandbox.path().join("killed").join(name);
        let mut child = training::spawn(&sandbox, &line(SWEEP, "killed", &["--resume"]));
        training::wait_for(&mut child, || path.exists());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let last = findings(&sandbox.json(&line(SWEEP, "killed", &["--resume"])));
    assert_eq!(whole, last);
    assert_same(&sandbox, "whole", "killed");

    let value = |id: &str| whole[id]["value"].as_f64();
    assert!(value("accuracy.tuned") > value("accuracy.base"));
    // Nearer than the base, and nearer with more parameters.
    let kl = |arm: &str| value(&format!("kl_tuned_student.{arm}")).unwrap();
    assert!(kl("rank_4") < kl("base") && kl("rank_1") < kl("base"));
    assert!(value("kl_left.rank_4").unwrap() < 1.0);
    let share = |arm: &str| value(&format!("parameter_share.{arm}")).unwrap();
    assert!((share("rank_4") / share("rank_1") - 4.0).abs() < 1e-9);
    let accuracy = &whole["accuracy.rank_1"];
    assert_eq!(
        (&accuracy["n"], &accuracy["n_clusters"]),
        (&12.into(), &6.into())
    );
    let table = sandbox.ok(&line(SWEEP, "killed", &["--resume"]));
    for word in ["rank 1", "rank 4", "recovery", "KL(tuned || it)"] {
        assert!(table.contains(word), "{table}");
    }
    sandbox.ok(&["report", "whole"]);
    let text = fs::read_to_string(sandbox.path().join("whole/findings.md")).unwrap();
    assert!(
        text.contains("rank 1, 4") && text.contains("held-out problems"),
        "{text}"
    );
    let other = SWEEP.replace("--rank 4,1", "--rank 4");
    let said = sandbox.fails(3, &line(&other, "killed", &["--resume"]));
    assert!(said.contains("settings.adapters"), "{said}");
}

#[test]
fn rollouts_that_are_there_are_distilled() {
    let sandbox = with_data();
    let sweep = "distill --base embedded:base --tuned embedded:reasoner --rollouts rollouts \
        --eval-problems held-out.jsonl --max-tokens 48 --rank 1 --steps 2 --batch-size 8 \
        --teacher-top-k 8";
    let plan = sandbox.json(&line(sweep, "run", &["--dry-run"]));
    assert_eq!(plan["plan"]["held_out_problems"]["value"], 6.0);
    let found = findings(&sandbox.json(&line(sweep, "run", &[])));
    assert_eq!(found["accuracy.base"]["n"], 6);
    assert!(!sandbox.path().join("run/rollouts.parquet").exists());
}

#[test]
fn a_signal_stops_a_sweep_within_a_rank() {
    let sandbox = with_data();
    let args = SWEEP.replace("--steps 12", "--steps 400");
    let mut child = sandbox
        .command()
        .args(line(&args, "run", &[]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let run = sandbox.path().join("run/rank-00001");
    assert!(training::wait_for(&mut child, || training::steps(&run) >= 5));
    let pid = child.id().to_string();
    let _ = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    let mut code = None;
    for _ in 0..400 {
        code = child.try_wait().unwrap().and_then(|s| s.code());
        if code.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(code, Some(5), "one signal is enough");
    for run in ["run", "run/rank-00001"] {
        assert_eq!(training::status(&sandbox, run), "incomplete");
    }
    assert!(fs::read_dir(run.join("checkpoints")).unwrap().count() > 0);
}
