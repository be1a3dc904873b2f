//! What each objective does, through the binary: losses fall, models come out
//! that other commands read, numbers are where they are said to be.

mod training;

use std::fs;

use serde_json::Value;
use training::{OBJECTIVES, line, metrics, with_data, words};

#[test]
fn every_objective_writes_a_run_with_a_model_in_it() {
    let sandbox = with_data();
    for (name, args) in OBJECTIVES {
        let run = name.replace(' ', "");
        let summary = sandbox.json(&line(args, &run, &[]));
        assert_eq!(summary["schema"], "forkscope/train/1", "{name}");
        let lines = metrics(&sandbox, &run);
        assert_eq!(
            lines.len() as u64,
            summary["steps"].as_u64().unwrap(),
            "{name}"
        );
        assert_eq!(summary["last"], lines[lines.len() - 1], "{name}");
        for (i, line) in lines.iter().enumerate() {
            assert_eq!(line["step"], i as u64 + 1, "{name}");
        }
        assert!(sandbox.path().join(&run).join("tensorboard").is_dir());
        let kept = fs::read_dir(sandbox.path().join(&run).join("checkpoints")).unwrap();
        assert!(kept.count() <= 2, "{name}");
        // What was saved can be sampled.
        let model = match sandbox.path().join(&run).join("final/config.json").exists() {
            true => format!("{run}/final"),
            false => continue,
        };
        let sample = format!(
            "sample --model {model} --problems held-out.jsonl --max-tokens 4 --out sampled-{run}"
        );
        sandbox.ok(&words(&sample));
    }
}

#[test]
fn a_trained_adapter_is_an_adapter_of_its_base() {
    let sandbox = with_data();
    sandbox.ok(&line(OBJECTIVES[0].1, "run", &[]));
    let base = format!("{}/assets/organism/base", env!("CARGO_MANIFEST_DIR"));
    let spec = format!("{base}+run/final");
    let diff =
        format!("diff --base {base} --tuned {spec} --rollouts rollouts --replicates 0 --out pair");
    let found = sandbox.json(&words(&diff));
    let kl = found["findings"].as_array().unwrap().iter();
    let kl = kl
        .into_iter()
        .find(|f| f["id"] == "kl_tuned_base.mean")
        .unwrap();
    assert!(kl["value"].as_f64().unwrap() > 0.0);
    // Training goes on from it, with its rank; another rank does not fit.
    let more = format!(
        "train sft --model {base} --adapter run/final --data rollouts --with-truncated \
         --steps 2 --batch-size 8 --learning-rate 1e-3 --lr-scheduler constant"
    );
    sandbox.ok(&line(&more, "more", &[]));
    let first = &metrics(&sandbox, "more")[0];
    let last = metrics(&sandbox, "run").pop().unwrap();
    let (first, last) = (
        first["nll"].as_f64().unwrap(),
        last["nll"].as_f64().unwrap(),
    );
    assert!((first - last).abs() < 0.3, "{first} {last}");
}

#[test]
fn a_model_can_be_saved_in_half_the_size() {
    let sandbox = with_data();
    let args = OBJECTIVES[2].1;
    sandbox.ok(&line(args, "f32", &[]));
    sandbox.ok(&line(args, "bf16", &["--save-dtype", "bf16"]));
    let size = |run: &str| {
        let weights = sandbox.path().join(run).join("final/model.safetensors");
        fs::metadata(weights).unwrap().len() as f64
    };
    let ratio = size("bf16") / size("f32");
    assert!((0.49..0.51).contains(&ratio), "{ratio}");
    assert_eq!(metrics(&sandbox, "f32"), metrics(&sandbox, "bf16"));
    let sample = "sample --model bf16/final --problems held-out.jsonl --max-tokens 2 --out s";
    sandbox.ok(&words(sample));
}

#[test]
fn losses_fall() {
    let sandbox = with_data();
    let memorise = "train sft --model embedded:base --data rollouts --with-truncated --steps 30 \
                    --batch-size 24 --learning-rate 5e-3 --all-tokens";
    sandbox.ok(&line(memorise, "sft", &[]));
    let lines = metrics(&sandbox, "sft");
    let loss = |line: &Value| line["loss"].as_f64().unwrap();
    assert!(loss(&lines[29]) < 0.9 * loss(&lines[0]), "{}", lines[29]);
    let prefer = "train dpo --model embedded:base --pairs pairs.jsonl --steps 12 --batch-size 12 \
                  --learning-rate 2e-3";
    sandbox.ok(&line(prefer, "dpo", &[]));
    let lines = metrics(&sandbox, "dpo");
    assert!((loss(&lines[0]) - std::f64::consts::LN_2).abs() < 1e-6);
    assert!(loss(&lines[11]) < 0.5, "{}", lines[11]);
    assert_eq!(lines[11]["rewards/accuracies"], 1.0);
}

#[test]
fn equal_rewards_are_skipped_and_counted() {
    let sandbox = with_data();
    // Nobody answers within four tokens: every reward is 0.
    let args = "train grpo --model embedded:base --problems embedded:problems --limit 4 \
                --prompts-per-step 2 --num-generations 4 --max-completion-length 4 --steps 2";
    let summary = sandbox.json(&line(args, "run", &[]));
    assert_eq!(summary["skipped_steps"], 2);
    for line in metrics(&sandbox, "run") {
        assert_eq!(line["skipped_groups"], 2.0);
        assert_eq!(line["frac_reward_zero_std"], 1.0);
        assert_eq!(line["loss"], Value::Null);
    }
    // Nothing was learned: the adapter still changes nothing.
    let base = format!("{}/assets/organism/base", env!("CARGO_MANIFEST_DIR"));
    let diff =
        format!("diff --base {base} --tuned {base}+run/final --rollouts rollouts --out pair");
    let found = sandbox.json(&words(&diff));
    let kl = found["findings"].as_array().unwrap().iter();
    let kl = kl
        .into_iter()
        .find(|f| f["id"] == "kl_tuned_base.max")
        .unwrap();
    assert_eq!(kl["value"], 0.0);
}

#[test]
fn a_list_of_top_tokens_bounds_the_kl_from_below() {
    let sandbox = with_data();
    let args = "train distill --model embedded:base --teacher embedded:reasoner --rollouts rollouts \
                --with-truncated --steps 1 --batch-size 24 --order in-order";
    sandbox.ok(&line(args, "full", &[]));
    sandbox.ok(&line(args, "listed", &["--top-k", "4"]));
    let score = "score --model embedded:reasoner --rollouts rollouts --record-topk 4 --out scored";
    sandbox.ok(&words(score));
    let recorded = args.replace("--teacher embedded:reasoner", "--teacher-run scored");
    sandbox.ok(&line(&recorded, "recorded", &[]));
    let first = |run: &str, name: &str| metrics(&sandbox, run)[0][name].as_f64().unwrap();
    let (full, listed) = (first("full", "kl"), first("listed", "kl_lower_bound"));
    assert!(0.0 < listed && listed <= full + 1e-9, "{listed} {full}");
    let recorded = first("recorded", "kl_lower_bound");
    assert!((recorded - listed).abs() < 1e-5, "{recorded} {listed}");
}

#[test]
fn a_plan_starts_nothing() {
    let sandbox = with_data();
    for (name, args) in OBJECTIVES {
        let plan = sandbox.json(&line(args, "run", &["--dry-run"]));
        assert!(
            plan["plan"]["steps"]["value"].as_f64().unwrap() >= 6.0,
            "{name}"
        );
        assert!(
            plan["plan"]["trained_parameters"]["value"]
                .as_f64()
                .unwrap()
                > 0.0
        );
        assert!(!sandbox.path().join("run").exists(), "{name}");
    }
}

#[test]
fn the_example_of_every_objective_runs_as_it_stands() {
    for objective in ["pretrain", "sft", "dpo", "grpo", "reasonmaxxer", "distill"] {
        let sandbox = training::Sandbox::new();
        let help = sandbox.ok(&["train", objective, "--help"]);
        let (_, example) = help.split_once("Example:\n").expect("an example");
        assert!(example.lines().all(|l| l.len() < 79), "{example}");
        let ended = sandbox.shell(&format!("set -e\n{example}"));
        assert_eq!(ended.code, Some(0), "{example}: {ended:?}");
        assert!(ended.stdout.contains("final"), "{example}");
    }
}
