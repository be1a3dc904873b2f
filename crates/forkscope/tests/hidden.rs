//! `score --keep-hidden`: the states of a pass, bit for bit, and the same bytes
//! after a kill.

#![cfg(unix)]

mod runs;

use std::fs;
use std::path::Path;

use forkscope_policy::{Policy, PromptGroup};
use forkscope_records::types::Rollout;
use forkscope_records::{HiddenStore, read_rollouts, read_run_json};
use runs::common::Sandbox;
use runs::{assert_same_bytes, to};

const SCORE: &[&str] = &[
    "score",
    "--model",
    "model",
    "--rollouts",
    "rollouts",
    "--record-topk",
    "0",
    "--keep-hidden",
];

/// The base model as a directory, and 240 rollouts of it: two windows.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/organism/base");
    fs::create_dir(sandbox.path().join("model")).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = sandbox.path().join("model").join(entry.file_name());
        fs::copy(entry.path(), to).unwrap();
    }
    let line = "sample --model model --problems embedded:problems --limit 12 -n 20 \
                --max-tokens 30 --out rollouts";
    sandbox.ok(&line.split_whitespace().collect::<Vec<_>>());
    sandbox
}

/// Rows that predict tokens from position `from` on, computed by themselves.
fn computed(policy: &Policy, rollout: &Rollout, from: usize, to: usize) -> Vec<f32> {
    let group = PromptGroup {
        prompt: &rollout.token_ids[..from],
        completions: vec![&rollout.token_ids[from..to]],
    };
    policy.hidden_rows(&[group]).unwrap().values
}

#[test]
fn kept_states_are_those_of_a_pass_bit_for_bit() {
    let sandbox = sandbox();
    let plan = sandbox.json(&to(SCORE, "scores", &["--dry-run"]));
    sandbox.ok(&to(SCORE, "scores", &[]));
    let run = sandbox.path().join("scores");
    let size = fs::metadata(run.join("hidden.f32")).unwrap().len();
    assert_eq!(plan["plan"]["hidden_on_disk"]["value"], size as f64);
    let policy = Policy::open(sandbox.path().join("model").to_str().unwrap()).unwrap();
    let store = HiddenStore::open(&run).unwrap();
    let digest = read_run_json(&run).unwrap().digests["model"].clone();
    assert_eq!(store.model(), digest);
    let rollouts = read_rollouts(&run).unwrap();
    assert_eq!(store.len(), rollouts.len());
    let bits = |rows: &[f32]| rows.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for r in &rollouts {
        let (prompt, completion) = store
            .rollout(&r.problem_id, r.sample, &r.token_ids)
            .unwrap()
            .unwrap();
        assert_eq!(
            bits(prompt),
            bits(&computed(&policy, r, 1, r.prompt_len)),
            "prompt of {}",
            r.problem_id
        );
        assert_eq!(
            bits(completion),
            bits(&computed(&policy, r, r.prompt_len, r.token_ids.len())),
            "rollout {} of {}",
            r.sample,
            r.problem_id
        );
    }
    // Rows and everything else are as without the states.
    let without: Vec<&str> = SCORE[..SCORE.len() - 1].to_vec();
    sandbox.ok(&to(&without, "without", &[]));
    for table in ["tokens.parquet", "rollouts.parquet"] {
        let read = |run: &str| fs::read(sandbox.path().join(run).join(table)).unwrap();
        assert!(read("scores") == read("without"), "{table}");
    }
}

#[test]
fn a_killed_run_keeps_its_states_to_the_same_bytes() {
    let sandbox = sandbox();
    sandbox.ok(&to(SCORE, "whole", &["--threads", "1"]));
    for bytes in [1, 1_000_000, 3_000_000] {
        let out = format!("killed-{bytes}");
        let file = sandbox.path().join(&out).join(".spool/hidden.f32.rows");
        let mut child = sandbox
            .command()
            .args(to(SCORE, &out, &[]))
            .spawn()
            .unwrap();
        while child.try_wait().unwrap().is_none() {
            if fs::metadata(&file).is_ok_and(|m| m.len() >= bytes) {
                child.kill().unwrap();
            }
        }
        sandbox.ok(&to(SCORE, &out, &["--resume"]));
        assert_same_bytes(&sandbox, "whole", &out);
    }
    // The table is whole and the states are not, and the other way round.
    for (name, gone) in [("states", "hidden.json"), ("table", "tokens.parquet")] {
        let out = format!("without-{name}");
        sandbox.ok(&to(SCORE, &out, &[]));
        let run = sandbox.path().join(&out);
        fs::remove_file(run.join(gone)).unwrap();
        let json = fs::read_to_string(run.join("run.json")).unwrap();
        let running = json.replace("\"complete\"", "\"running\"");
        fs::write(run.join("run.json"), running).unwrap();
        sandbox.ok(&to(SCORE, &out, &["--resume"]));
        assert_same_bytes(&sandbox, "whole", &out);
    }
    let said = sandbox.fails(3, &to(&SCORE[..SCORE.len() - 1], "whole", &["--resume"]));
    assert!(said.contains("keep_hidden"), "{said}");
}
