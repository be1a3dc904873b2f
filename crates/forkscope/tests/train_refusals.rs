//! What training does not take, and what it says then.

mod training;

use std::fs;

use serde_json::Value;
use training::{OBJECTIVES, Sandbox, line, metrics, status, with_data};

/// Expects a refusal before a run was started.
fn refused(sandbox: &Sandbox, code: i32, args: &str, says: &[&str]) {
    let said = sandbox.fails(code, &line(args, "run", &[]));
    for word in says {
        assert!(said.contains(word), "{args}: no `{word}` in {said}");
    }
    assert!(!sandbox.path().join("run").exists(), "{args} made a run");
}

#[test]
fn broken_rows_are_named_or_counted() {
    let sandbox = with_data();
    sandbox.file(
        "broken.jsonl",
        "{\"prompt\": \"a ann has 72 coins .\", \"completion\": \"answer 72 .\"}\n{\"prompt\": 3}\nnonsense\n",
    );
    let sft = "train sft --model embedded:base --data broken.jsonl --steps 1";
    refused(&sandbox, 3, sft, &["broken.jsonl", "line 2"]);
    let args = line(sft, "skipped", &["--skip-broken", "--json"]);
    let ended = sandbox.run(&args);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("warning") && ended.stderr.contains("broken"));
    let summary: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&summary["data"]["examples"], &summary["data"]["broken"]),
        (&1.into(), &2.into())
    );

    sandbox.file(
        "pairs-broken.jsonl",
        "{\"prompt\": \"a\", \"chosen\": \"answer 11 .\"}\n",
    );
    let dpo = "train dpo --model embedded:base --pairs pairs-broken.jsonl --steps 1";
    refused(
        &sandbox,
        3,
        dpo,
        &["pairs-broken.jsonl", "line 1", "rejected"],
    );
    sandbox.file("empty.jsonl", "");
    let sft = "train sft --model embedded:base --data empty.jsonl --steps 1";
    refused(&sandbox, 3, sft, &["empty.jsonl", "prompt"]);
    refused(
        &sandbox,
        3,
        "train sft --model embedded:base --data nowhere.jsonl",
        &["nowhere.jsonl"],
    );
    sandbox.file(
        "unanswered.jsonl",
        "{\"problem\": \"a ann has 72 coins .\"}\n",
    );
    let grpo = "train grpo --model embedded:base --problems unanswered.jsonl --prompts-per-step 1";
    refused(&sandbox, 3, grpo, &["answer"]);
}

#[test]
fn held_out_problems_are_held_out() {
    let sandbox = with_data();
    let sft = "train sft --model embedded:base --data rollouts --with-truncated \
               --eval-problems embedded:problems";
    refused(&sandbox, 3, sft, &["held-out problem", "not trained on"]);
    let grpo = "train grpo --model embedded:base --problems embedded:problems --eval-problems held-out.jsonl";
    refused(&sandbox, 3, grpo, &["has the id of training problem"]);
    sandbox.file(
        "same-text.jsonl",
        "{\"id\": \"mine\", \"problem\": \"a ann has 10  coins .\", \"answer\": \"10\"}\n",
    );
    let dpo = "train dpo --model embedded:base --pairs pairs.jsonl --eval-problems same-text.jsonl";
    let ended = sandbox.run(&line(dpo, "run", &["--dry-run"]));
    // Two blanks make other tokens or the same; a shared prompt is refused.
    assert!(matches!(ended.code, Some(0 | 3)), "{ended:?}");
    let text = "{\"id\": \"mine\", \"problem\": \"a ann has 10 coins .\", \"answer\": \"10\"}\n";
    sandbox.file("same-text.jsonl", text);
    refused(&sandbox, 3, dpo, &["`mine`"]);
    let none = "train sft --model embedded:base --data rollouts --with-truncated --eval-every 2";
    refused(&sandbox, 2, none, &["--eval-problems"]);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run_with_its_batch() {
    let sandbox = with_data();
    let args = "train sft --model embedded:base --data rollouts --with-truncated --steps 6 \
                --learning-rate 1e30 --max-grad-norm 0 --lr-scheduler constant --checkpoint-every 1";
    let said = sandbox.fails(3, &line(args, "run", &[]));
    assert!(
        said.contains("not finite") && said.contains("failed-batch.json"),
        "{said}"
    );
    assert_eq!(status(&sandbox, "run"), "incomplete");
    let batch = fs::read(sandbox.path().join("run/failed-batch.json")).unwrap();
    let batch: Value = serde_json::from_slice(&batch).unwrap();
    assert!(!batch["batch"]["token_ids"].as_array().unwrap().is_empty());
    assert_eq!(batch["step"], metrics(&sandbox, "run").len() as u64 + 1);
    // The same again: the run stops where it stopped.
    let again = sandbox.fails(3, &line(args, "run", &["--resume"]));
    assert_eq!(said, again);
}

#[test]
fn adapters_that_do_not_fit_are_refused() {
    let sandbox = with_data();
    let base = format!("{}/assets/organism/base", env!("CARGO_MANIFEST_DIR"));
    let fixtures = format!(
        "{}/../forkscope-policy/tests/fixtures/adapters/qv",
        env!("CARGO_MANIFEST_DIR")
    );
    let sft = |more: &str| format!("train sft --model {base} --data rollouts {more}");
    refused(
        &sandbox,
        3,
        &sft(&format!("--adapter {fixtures}")),
        &["adapter_model.safetensors"],
    );
    refused(
        &sandbox,
        3,
        &sft("--adapter nowhere"),
        &["nowhere", "adapter_config.json"],
    );
    refused(
        &sandbox,
        3,
        "train sft --model embedded:reasoner --data rollouts",
        &["--adapter"],
    );
    refused(
        &sandbox,
        2,
        &sft("--adapter x --lora-rank 3"),
        &["--adapter"],
    );
    refused(&sandbox, 2, &sft("--full --lora-rank 3"), &["--full"]);
    refused(
        &sandbox,
        2,
        &sft("--target-modules q_proj,lm_head"),
        &["q_proj, k_proj"],
    );
    refused(&sandbox, 2, &sft("--lora-rank 0"), &["rank"]);
    refused(&sandbox, 2, &sft("--lora-dropout 1"), &["dropout"]);
}

#[test]
fn settings_out_of_range_are_usage_errors() {
    let sandbox = with_data();
    let sft = |more: &str| {
        format!("train sft --model embedded:base --data rollouts --with-truncated {more}")
    };
    for (more, says) in [
        ("--steps 0", "--steps"),
        ("--steps 2 --epochs 1", "--epochs"),
        ("--epochs 0", "--epochs"),
        ("--epochs nan", "--epochs"),
        ("--learning-rate nan", "learning rate"),
        ("--adam-beta2 1", "beta2"),
        ("--max-grad-norm nan", "norm"),
        ("--lr-scheduler cosinus", "cosine"),
        ("--steps 2 --warmup-steps 2", "warm-up"),
        ("--keep 0", "--keep"),
        ("--order sorted", "shuffled"),
        ("--loss-divisor 0", "above 0"),
        ("--prompt-weight 0.5 --all-tokens", "--all-tokens"),
        ("--verifier oracle", "boxed"),
    ] {
        refused(&sandbox, 2, &sft(more), &[says]);
    }
    let grpo = "train grpo --model embedded:base --problems embedded:problems --limit 8";
    for (more, says) in [
        ("--epsilon 2", "epsilon"),
        ("--beta=-1", "beta"),
        ("--num-generations 1", "--num-generations"),
        ("--prompts-per-step 9", "9 problems"),
        ("--top-entropy-quantile 0", "quantile"),
        ("--divergence-weight 3", "divergence"),
        ("--full --beta 0.1", "adapter"),
        ("--temperature=-1", "temperature"),
    ] {
        refused(&sandbox, 2, &format!("{grpo} {more}"), &[says]);
    }
    refused(
        &sandbox,
        2,
        "train dpo --model embedded:base --pairs pairs.jsonl --beta 0",
        &["beta"],
    );
    let distill = "train distill --model embedded:base --rollouts rollouts --with-truncated";
    refused(&sandbox, 2, distill, &["--teacher"]);
    let scored = format!("{distill} --teacher-run rollouts");
    refused(&sandbox, 3, &scored, &["tokens.parquet"]);
    refused(
        &sandbox,
        3,
        "train pretrain --config nowhere --data rollouts",
        &["nowhere"],
    );
}

#[test]
fn a_full_disk_at_a_checkpoint_leaves_the_old_one() {
    // The disk is full: files may not grow beyond what a step has.
    let sandbox = with_data();
    let args = OBJECTIVES[0].1;
    sandbox.ok(&line(args, "whole", &[]));
    let mut child = training::spawn(&sandbox, &line(args, "run", &[]));
    let run = sandbox.path().join("run");
    training::wait_for(&mut child, || training::steps(&run) >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    let checkpoints = || {
        let mut names: Vec<String> = fs::read_dir(run.join("checkpoints"))
            .map(|d| {
                d.map(|e| e.unwrap().file_name().into_string().unwrap())
                    .collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    };
    let before = checkpoints();
    assert!(!before.is_empty());
    let limited = format!("ulimit -f 64; forkscope {args} --out run --resume");
    let ended = sandbox.shell(&format!("trap '' XFSZ; {limited}"));
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stderr.contains("cannot write"), "{}", ended.stderr);
    assert_eq!(checkpoints(), before, "an old checkpoint is gone");
    sandbox.ok(&line(args, "run", &["--resume"]));
    training::assert_same(&sandbox, "whole", "run");
}

#[test]
fn sweeps_refuse_before_they_start() {
    let sandbox = with_data();
    let sweep = "distill --base embedded:base --tuned embedded:reasoner";
    refused(&sandbox, 2, sweep, &["--problems"]);
    refused(
        &sandbox,
        2,
        &format!("{sweep} --rollouts rollouts"),
        &["--eval-problems"],
    );
    refused(
        &sandbox,
        3,
        &format!("{sweep} --problems embedded:problems --limit 4"),
        &["at least 8"],
    );
    refused(
        &sandbox,
        3,
        &format!("{sweep} --problems embedded:problems --eval-problems held-out.jsonl"),
        &["held-out problem"],
    );
    let shared = format!("{sweep} --rollouts rollouts --eval-problems embedded:problems");
    refused(&sandbox, 3, &shared, &["held-out problem"]);
}
