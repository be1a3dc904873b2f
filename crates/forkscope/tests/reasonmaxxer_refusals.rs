//! What `forkscope train reasonmaxxer` refuses: in one sentence with a remedy,
//! and nothing that was paid for is lost.

mod common;

use std::fs;

use common::Sandbox;
use serde_json::Value;

const BASE: &str = "train reasonmaxxer --model embedded:base --epochs 1 --no-tensorboard --out run";

const ASKED: &str = "-n 4 --temperature 1 --max-tokens 64 --problems";

fn fails(sandbox: &Sandbox, code: i32, flags: &str, words: &[&str]) -> String {
    let all = format!("{BASE} {flags}");
    let args: Vec<&str> = all.split_whitespace().collect();
    let said = sandbox.fails(code, &args);
    for word in words {
        assert!(said.contains(word), "{flags}: {word:?} is not in {said}");
    }
    said
}

/// Problems of the organism, changed line by line.
fn problems(sandbox: &Sandbox, name: &str, n: usize, change: impl Fn(usize, &mut Value)) {
    let all = include_str!("../assets/organism/problems.jsonl");
    let lines: Vec<String> = all
        .lines()
        .take(n)
        .enumerate()
        .map(|(i, line)| {
            let mut problem: Value = serde_json::from_str(line).unwrap();
            change(i, &mut problem);
            problem.to_string()
        })
        .collect();
    sandbox.file(name, lines.join("\n"));
}

/// Scored rollouts of four problems.
fn scored() -> Sandbox {
    let sandbox = Sandbox::new();
    for args in [
        "sample --model embedded:base --problems embedded:problems --limit 4 -n 8 --temperature 1 --max-tokens 96 --out rollouts",
        "score --model embedded:base --rollouts rollouts --out scores",
    ] {
        sandbox.ok(&args.split_whitespace().collect::<Vec<_>>());
    }
    sandbox
}

#[test]
fn problems_that_teach_nothing() {
    let sandbox = Sandbox::new();
    problems(&sandbox, "hard.jsonl", 6, |_, p| {
        p["answer"] = "no such answer".into()
    });
    let flags = format!("{ASKED} hard.jsonl");
    let said = fails(
        &sandbox,
        3,
        &flags,
        &[
            "right and wrong rollouts",
            "about half",
            "easier",
            "--rollouts run/stages/sample",
        ],
    );
    // Nothing is lost: the rollouts are a run of their own, and cost what they cost.
    assert!(!said.contains("stages/score"), "{said}");
    let run = sandbox.path().join("run");
    assert!(run.join("stages/sample/rollouts.parquet").is_file());
    assert!(!run.join("stages/score").exists());
    let costs: Value = serde_json::from_slice(&fs::read(run.join("costs.json")).unwrap()).unwrap();
    assert_eq!(costs["stages"][0]["stage"], "sample");
    let json: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    assert_eq!(json["status"], "incomplete");
    fs::remove_dir_all(&run).unwrap();

    problems(&sandbox, "short.jsonl", 6, |_, _| {});
    let flags = "-n 4 --temperature 1 --max-tokens 3 --problems short.jsonl";
    fails(
        &sandbox,
        3,
        flags,
        &["cut by the token limit", "--max-tokens"],
    );
    fs::remove_dir_all(&run).unwrap();

    problems(&sandbox, "open.jsonl", 6, |i, p| {
        if i == 2 {
            p.as_object_mut().unwrap().remove("answer");
        }
    });
    let flags = format!("{ASKED} open.jsonl");
    fails(
        &sandbox,
        3,
        &flags,
        &["test/benign/2", "no `answer`", "add it"],
    );
    assert!(!run.exists());
}

#[test]
fn gates_that_choose_nothing_or_everything() {
    let sandbox = scored();
    let given = "--rollouts scores";
    fails(
        &sandbox,
        3,
        &format!("{given} --tau 50"),
        &["chooses none", "quantiles", "lower"],
    );
    fails(
        &sandbox,
        3,
        &format!("{given} --tau 0"),
        &["every one", "quantiles", "higher"],
    );
    fails(
        &sandbox,
        2,
        &format!("{given} --gate-share 2"),
        &["--gate-share 2"],
    );
    let bogus = format!("{given} --gate bogus");
    fails(
        &sandbox,
        2,
        &bogus,
        &["there is no such gate", "entropy:TAU"],
    );
    let two = format!("{given} --gate entropy:1 --tau 1");
    fails(&sandbox, 2, &two, &["--gate", "--tau"]);
    let left = format!("{given} --gate-share 0.1 --calibrate-on left-out");
    fails(&sandbox, 3, &left, &["outside the pool", "--max-problems"]);
    assert!(
        !sandbox.path().join("run").exists(),
        "a refusal left a run behind"
    );

    // Found out after sampling, it loses nothing.
    problems(&sandbox, "some.jsonl", 4, |_, _| {});
    let asked = "-n 8 --temperature 1 --max-tokens 96 --holdout 0 --tau 50 --problems some.jsonl";
    fails(
        &sandbox,
        3,
        asked,
        &["chooses none", "--rollouts run/stages/score"],
    );
    let kept = "train reasonmaxxer --model embedded:base --rollouts run/stages/score --tau 0.3 \
                --max-optimizer-steps 1 --out another";
    sandbox.ok(&kept.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn data_that_are_taken_as_recorded() {
    let sandbox = scored();
    let first = "train reasonmaxxer --model embedded:base --rollouts scores --tau 0.3 \
                 --max-optimizer-steps 1 --out first";
    sandbox.ok(&first.split_whitespace().collect::<Vec<_>>());
    let given = "--rollouts first/processed.json";
    for flag in [
        "--tau 1.4",
        "--tau-neg 1",
        "--gate all",
        "--gate-share 0.1",
        "--no-select",
        "--control shuffle-global",
    ] {
        let name = flag.split(' ').next().unwrap();
        let flags = format!("{given} {flag}");
        fails(
            &sandbox,
            2,
            &flags,
            &[name, "as recorded", "leave the flag out"],
        );
    }
    assert!(!sandbox.path().join("run").exists());
    let ungraded = r#"{"rollouts": [{"problem_id": "q", "gen_index": 0, "tokens": [1, 2, 3], "prompt_length": 1, "entropies": [0.5, 2.0]}]}"#;
    sandbox.file("ungraded.json", ungraded);
    fails(&sandbox, 3, "--rollouts ungraded.json", &["answer"]);
    assert!(!sandbox.path().join("run").exists());
}

#[test]
fn flags_that_contradict_what_is_given() {
    let sandbox = scored();
    let given = "--rollouts scores";
    for (code, flags, words) in [
        (2, "", &["--rollouts"][..]),
        (
            2,
            "--rollouts scores --problems embedded:problems",
            &["cannot be used"],
        ),
        (
            2,
            "--rollouts scores --temperature 1",
            &["--temperature", "how problems are sampled"],
        ),
        (
            2,
            "--rollouts scores --holdout 3",
            &["--holdout 3", "--eval-problems"],
        ),
        (
            2,
            "--rollouts scores --accum-window-pos 3 --accum-window-neg 3",
            &["windows of 8"],
        ),
        (2, "--rollouts scores --learning-rate=-1", &["rate"]),
        (2, "--rollouts scores --lora-rank 0", &["rank"]),
        (
            2,
            "--rollouts scores --gate changed",
            &["--gate changed", "second policy"],
        ),
        (
            2,
            "--rollouts scores --gate-share 5percent",
            &["0.05 or 5%"],
        ),
        (
            2,
            "--rollouts scores --order shuffle --grad-accum-steps 2 --accum-window-pos 1 --accum-window-neg 1",
            &["balanced windows"],
        ),
        (
            2,
            "--rollouts scores --decision-mean window --neg-prob-floor 0.1",
            &["neg_prob_floor"],
        ),
        (
            2,
            "--rollouts scores --price-per-hour=-1",
            &["--price-per-hour"],
        ),
        (
            2,
            "--rollouts scores --gate signal-top-k:2 --probe-budget 8",
            &["--problems"],
        ),
        (
            2,
            "--problems embedded:problems --probe-budget 8",
            &["no gate looks at"],
        ),
        (
            2,
            "--problems embedded:problems --temperature 0",
            &["equal rollouts"],
        ),
        (
            2,
            "--problems embedded:problems --limit 6 --holdout 6",
            &["leaves none"],
        ),
        (
            3,
            "--problems embedded:problems --limit 6 --eval-problems embedded:problems",
            &["training problem", "take the problem out"],
        ),
        (
            3,
            "--rollouts scores --eval-problems embedded:problems",
            &["begins with the prompt"],
        ),
        (3, "--rollouts nowhere", &["nowhere"]),
    ] {
        fails(&sandbox, code, flags, words);
    }
    let reasoner = "score --model embedded:reasoner --rollouts rollouts --out others";
    sandbox.ok(&reasoner.split_whitespace().collect::<Vec<_>>());
    fails(
        &sandbox,
        3,
        "--rollouts others",
        &["of another model", "score the rollouts"],
    );
    assert!(!sandbox.path().join("run").exists());

    // A folder that is not empty is left as it is.
    fs::create_dir(sandbox.path().join("run")).unwrap();
    fs::write(sandbox.path().join("run/mine.txt"), "mine").unwrap();
    let tau = format!("{given} --tau 0.3");
    fails(&sandbox, 3, &tau, &["not empty", "--resume"]);
    assert_eq!(
        fs::read(sandbox.path().join("run/mine.txt")).unwrap(),
        b"mine"
    );
}
