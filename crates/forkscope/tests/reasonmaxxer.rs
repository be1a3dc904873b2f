//! `forkscope train reasonmaxxer`: the pipeline killed in every stage, its parts
//! one by one, what a run keeps and what it cost.

#![cfg(unix)]

mod training;

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use training::{Sandbox, assert_same, line, metrics, spawn, wait_for};

/// Ten problems, two of them held out, twelve rollouts each.
const PIPELINE: &str = "train reasonmaxxer --model embedded:base --problems embedded:problems \
    --limit 10 -n 12 --temperature 1 --top-p 1 --max-tokens 96 --max-problems 4 --tau 0.3 \
    --epochs 1 --grad-accum-steps 6 --lora-rank 4 --lora-alpha 8 --no-tensorboard --keep-hidden";

/// The same training, from rollouts.
const TRAINING: &str = "train reasonmaxxer --model embedded:base --epochs 1 --grad-accum-steps 6 \
    --lora-rank 4 --lora-alpha 8 --no-tensorboard";

fn adapter(sandbox: &Sandbox, run: &str) -> Vec<u8> {
    let path = format!("{run}/final/adapter_model.safetensors");
    fs::read(sandbox.path().join(path)).unwrap()
}

fn document(sandbox: &Sandbox, path: &str) -> Value {
    serde_json::from_slice(&fs::read(sandbox.path().join(path)).unwrap()).unwrap()
}

#[test]
fn killed_in_every_stage_it_ends_in_the_same_bytes() {
    let sandbox = Sandbox::new();
    sandbox.ok(&line(PIPELINE, "whole", &["--threads", "1"]));
    let run = sandbox.path().join("killed");
    let mut kills = 0;
    for file in [
        "run.json",
        "stages/sample/run.json",
        "stages/score/run.json",
        "stages/select/run.json",
        "data.json",
        "metrics.jsonl",
        "best",
        "checkpoints/step-000003",
        "stages/eval_base/run.json",
        "stages/eval/run.json",
    ] {
        let mut child = spawn(&sandbox, &line(PIPELINE, "killed", &["--resume"]));
        if wait_for(&mut child, || run.join(file).exists()) {
            child.kill().unwrap();
            kills += 1;
        }
        child.wait().unwrap();
    }
    assert!(kills >= 6, "killed {kills} times only");
    sandbox.ok(&line(PIPELINE, "killed", &["--resume", "--threads", "2"]));
    assert_eq!(adapter(&sandbox, "whole"), adapter(&sandbox, "killed"));
    assert_same(&sandbox, "whole", "killed");

    // What was done twice is counted twice, what was done once is not lost.
    let costs = |run: &str| document(&sandbox, &format!("{run}/costs.json"));
    let (whole, killed) = (costs("whole"), costs("killed"));
    let attempts = |costs: &Value| costs["attempts"].as_array().unwrap().len();
    assert_eq!(attempts(&whole), 6);
    assert!(attempts(&killed) > 6 + 3, "{killed}");
    assert!(
        killed["total"]["seconds"].as_f64() > Some(0.0)
            && killed["attempts"][0]["whole"] == json!(false)
    );

    // A complete run is left alone and printed again.
    let printed = sandbox.json(&line(PIPELINE, "whole", &["--resume"]));
    assert_eq!(printed["costs"]["total"], whole["total"]);
    assert_same(&sandbox, "whole", "killed");
    let other = PIPELINE.replace("--tau 0.3", "--tau 0.4");
    let said = sandbox.fails(3, &line(&other, "whole", &["--resume"]));
    assert!(said.contains("settings.recipe.gate"), "{said}");
}

#[test]
fn every_stage_is_a_run_that_the_next_command_takes() {
    let sandbox = Sandbox::new();
    let printed = sandbox.json(&line(PIPELINE, "whole", &["--price-per-hour", "3.6"]));
    let whole = adapter(&sandbox, "whole");
    let gated = format!("{TRAINING} --tau 0.3");
    let some = format!("{gated} --max-problems 4");
    for (name, line_) in [("sample", &some), ("score", &some), ("select", &gated)] {
        let given = format!("{line_} --rollouts whole/stages/{name}");
        sandbox.ok(&line(&given, name, &[]));
        assert!(adapter(&sandbox, name) == whole, "from the run of {name}");
    }
    // The data as the published trainer reads them.
    let processed = format!("{TRAINING} --rollouts whole/processed.json");
    sandbox.ok(&line(&processed, "processed", &[]));
    assert!(
        adapter(&sandbox, "processed") == whole,
        "from processed.json"
    );
    // The pool once more, as if it were given by hand.
    let all = format!("{gated} --no-select --rollouts whole/stages/select");
    sandbox.ok(&line(&all, "all", &[]));
    assert!(adapter(&sandbox, "all") == whole, "with --no-select");

    // The problems that were split off are a file that reads back.
    let split = "sample --model embedded:base --problems whole/held_out.jsonl --max-tokens 2";
    sandbox.ok(&line(split, "split", &[]));
    the_run_is_as_documented(&sandbox, &printed);

    // The adapter goes wherever a model goes, on the base's own weights.
    let diff = "diff --base embedded:base --tuned embedded:base+whole/final \
                --rollouts whole/stages/select --limit 2 --out changed";
    sandbox.ok(&training::words(diff));
    let said = sandbox.fails(
        3,
        &training::words("eval --model embedded:base+nowhere --problems embedded:problems --out e"),
    );
    assert!(said.contains("embedded:base+DIR"), "{said}");
}

fn the_run_is_as_documented(sandbox: &Sandbox, printed: &Value) {
    for line in metrics(sandbox, "whole") {
        for name in [
            "global_step",
            "optimizer_step",
            "loss",
            "decision_loss",
            "kl_loss",
            "decision_tokens",
            "delta_logp_pos",
            "delta_logp_neg",
            "lr",
        ] {
            assert!(line.get(name).is_some(), "{name} is not in {line}");
        }
    }
    let run = document(sandbox, "whole/run.json");
    let recipe = &run["settings"]["recipe"];
    assert_eq!(recipe["name"], "reference");
    assert_eq!(recipe["gate"], "entropy:0.3");
    assert_eq!(recipe["sampling"]["samples"], 12);
    assert_eq!(recipe["objective"]["kl_weight"], 0.2);
    assert_eq!(recipe["training"]["warmup_steps"], 50);
    assert_eq!(run["notes"]["training"]["schedule"]["kind"], "linear");

    let stages = printed["costs"]["stages"].as_array().unwrap();
    let names: Vec<&str> = stages
        .iter()
        .map(|s| s["stage"].as_str().unwrap())
        .collect();
    let order = ["sample", "score", "select", "train", "eval_base", "eval"];
    assert_eq!(names, order);
    let total = |field: &str| -> f64 {
        let all = stages.iter().map(|s| s[field].as_f64().unwrap());
        all.sum()
    };
    for field in [
        "prompt_tokens",
        "completion_tokens",
        "trained_tokens",
        "flops",
    ] {
        let sum = printed["costs"]["total"][field].as_f64().unwrap();
        assert!((sum - total(field)).abs() <= 1e-9 * sum, "{field}");
        assert!(sum > 0.0, "{field}");
    }
    // What was sampled is what was scored, and what was trained on is in run.json.
    assert_eq!(
        stages[0]["completion_tokens"],
        stages[1]["completion_tokens"]
    );
    assert_eq!(stages[3]["trained_tokens"], printed["tokens"]);
    let usd = printed["costs"]["total"]["usd"].as_f64().unwrap();
    let seconds = printed["costs"]["total"]["seconds"].as_f64().unwrap();
    assert!((usd - seconds * 0.001).abs() < 1e-12);
    assert!(printed["evaluation"]["tuned"]["value"].is_number());

    let schema = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/schema/train.schema.json"
    );
    let schema: Value = serde_json::from_slice(&fs::read(schema).unwrap()).unwrap();
    let known: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    for name in printed.as_object().unwrap().keys() {
        assert!(known.contains(name), "the schema lacks {name}");
    }
    let table = sandbox.ok(&line(PIPELINE, "whole", &["--resume"]));
    for word in [
        "entropy:0.3",
        "pass@1",
        "eval_base",
        "peak memory",
        "dollars",
        "total",
    ] {
        assert!(table.contains(word), "{table}");
    }
}

#[test]
fn a_plan_is_printed_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    let plan = sandbox.json(&line(PIPELINE, "run", &["--dry-run"]));
    let value = |name: &str| plan["plan"][name]["value"].as_f64().unwrap();
    assert_eq!(value("problems"), 8.0);
    assert_eq!(value("rollouts"), 96.0);
    assert_eq!(value("held_out_problems"), 2.0);
    // Of four problems' 48 rollouts 80 % stay, in windows of 6.
    assert_eq!(value("pool_rollouts_at_most"), 38.0);
    assert_eq!(value("optimiser_steps_at_most"), 7.0);
    assert_eq!(value("training_state"), 16.0 * value("trained_parameters"));
    for name in ["weights", "activations_at_most", "kept_base_states_at_most"] {
        assert!(value(name) > 0.0, "{name}");
    }
    assert!(!sandbox.path().join("run").exists());
    let stable = sandbox.json(&line(PIPELINE, "run", &["--dry-run", "--recipe", "stable"]));
    assert!(stable["plan"]["trained_parameters"] == plan["plan"]["trained_parameters"]);
}

#[test]
fn gates_controls_and_recipes_change_what_is_learned() {
    let sandbox = Sandbox::new();
    let sample = "sample --model embedded:base --problems embedded:problems --limit 6 -n 8 \
                  --temperature 1 --max-tokens 96 --out rollouts";
    sandbox.ok(&training::words(sample));
    let score = "score --model embedded:base --rollouts rollouts --out scores";
    sandbox.ok(&training::words(score));
    let mut seen = BTreeSet::new();
    for (i, flags) in [
        "--tau 0.3",
        "--tau-pos 0.3 --tau-neg 0.6",
        "--gate matched-random@entropy:0.3",
        "--gate top-k:4 --objective delta-hinge --pos-margin 0.1",
        "--gate-share 0.1",
        "--gate-share 0.1 --max-problems 1 --calibrate-on left-out",
        "--gate signal-quantile:0.05",
        "--tau 0.3 --control shuffle-within",
        "--tau 0.3 --control positives-only --objective correct_sft",
        "--tau 0.3 --variant fullseq",
        "--tau 0.3 --objective clipped_ratio --anchor bucketed --order key",
        "--tau 0.3 --anchor-share 0.5 --decision-mean completion --order shuffle",
        "--tau 0.3 --recipe stable",
        "--tau 0.3 --accum-window-pos 3 --accum-window-neg 3 --adaptive-betaneg",
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("run-{i}");
        let base = TRAINING.replace("--lora-rank 4 --lora-alpha 8", "--warmup-steps 0");
        let run = format!("{base} --max-optimizer-steps 2 --rollouts scores {flags}");
        sandbox.ok(&line(&run, &out, &[]));
        assert!(
            seen.insert(adapter(&sandbox, &out)),
            "{flags} changed nothing"
        );
    }
    // An adapter that is there is gone on with.
    let warm = format!(
        "{TRAINING} --max-optimizer-steps 2 --rollouts scores --tau 0.3 --init-adapter run-0/final"
    )
    .replace("--lora-rank 4 --lora-alpha 8", "");
    sandbox.ok(&line(&warm, "warm", &[]));
    let run = document(&sandbox, "warm/run.json");
    assert_eq!(run["settings"]["recipe"]["adapter"]["rank"], 32);
    assert!(run["digests"]["adapter"].is_string());
    let first = &metrics(&sandbox, "warm")[0];
    assert!(first["kl_loss"].as_f64() > Some(1e-9), "{first}");
}
