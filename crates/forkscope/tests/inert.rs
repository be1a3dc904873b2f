//! Names and texts of problems, tokens and paths that would act on a terminal
//! or a page are only ever shown.

mod common;

use std::fs;
use std::path::Path;

use common::Sandbox;
use forkscope_records::read_rollouts;
use serde_json::{Value, json};

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// The base model as a directory: `model`.
fn with_model(sandbox: &Sandbox) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/organism/base");
    fs::create_dir(sandbox.path().join("model")).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = sandbox.path().join("model").join(entry.file_name());
        fs::copy(entry.path(), to).unwrap();
    }
}

/// Text that would act where it is only to be shown.
const HOSTILE: &str = "\u{1b}[31m\u{1b}]0;owned\u{7}<script>alert(1)</script>\u{202e}\u{2066}\u{200f}\
    </script><img src=x onerror=alert(1)>&quot;\"'\u{9b}31m\r\n";

#[test]
fn hostile_problems_are_inert() {
    let sandbox = Sandbox::new();
    let problems: Vec<String> = (0..3)
        .map(|i| {
            json!({"id": format!("{i}{HOSTILE}"), "problem": format!("a ann has 7{i} coins . {HOSTILE}"),
                "answer": HOSTILE, "category": HOSTILE})
            .to_string()
        })
        .collect();
    sandbox.file("p.jsonl", problems.join("\n"));
    let line = "diff --base embedded:base --tuned embedded:reasoner --problems p.jsonl -n 2 \
                --max-tokens 30 --out run --replicates 10";
    let made = sandbox.ok(&words(line));
    let reported = sandbox.ok(&["report", "run"]);
    let acts = |text: &str, allowed: &[char]| -> Option<char> {
        text.chars().find(|c| {
            let control = c.is_control() && !allowed.contains(c);
            control || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        })
    };
    for text in [&made, &reported] {
        assert_eq!(acts(text, &['\n']), None, "{text:?}");
    }
    for file in ["report.html", "findings.md"] {
        let text = fs::read_to_string(sandbox.path().join("run").join(file)).unwrap();
        assert_eq!(acts(&text, &['\n', '\t']), None, "{file}");
        assert!(!text.contains("<script>alert"), "{file}");
        assert!(!text.contains("<img src=x"), "{file}");
    }
    // The record keeps the name as it was, and nothing is lost.
    let rollouts = read_rollouts(&sandbox.path().join("run")).unwrap();
    assert_eq!(rollouts[0].problem_id, format!("0{HOSTILE}"));
    assert_eq!(rollouts.len(), 6);
    // Errors name the problem, inert too, on one line.
    let broken = json!({"id": HOSTILE, "problem": "a ".repeat(400)});
    sandbox.file("p.jsonl", broken.to_string());
    let line = "sample --model embedded:base --problems p.jsonl --out never";
    let said = sandbox.fails(3, &words(line));
    assert_eq!(acts(&said, &['\n']), None, "{said:?}");
}

/// Names of tokens are hostile too: they come from a model directory.
#[test]
fn hostile_tokens_and_paths_are_inert() {
    let sandbox = Sandbox::new();
    with_model(&sandbox);
    let path = sandbox.path().join("model/tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
    let names: Vec<(String, Value)> = vocabulary
        .iter()
        .map(|(name, id)| {
            let word = name.len() > 1 && !name.starts_with('<');
            let name = if word {
                format!("{name}{HOSTILE}")
            } else {
                name.clone()
            };
            (name, id.clone())
        })
        .collect();
    *vocabulary = names.into_iter().collect();
    fs::write(&path, json.to_string()).unwrap();
    fs::rename(
        sandbox.path().join("model"),
        sandbox.path().join("m\u{1b}[31m<b>\u{202e}"),
    )
    .unwrap();
    let model = "m\u{1b}[31m<b>\u{202e}";
    sandbox.file(
        "r.json",
        json!([{"problem_id": "p", "tokens": [1, 144, 114, 161, 75, 119, 153, 145, 20, 30], "prompt_length": 4,
            "text": HOSTILE, "prompt_text": HOSTILE, "correct": false}])
        .to_string(),
    );
    let out = "run\u{1b}[32m";
    let args = [
        "diff",
        "--base",
        "embedded:base",
        "--tuned",
        model,
        "--rollouts",
        "r.json",
        "--out",
        out,
    ];
    // Another vocabulary: refused, and the words of it are shown inert.
    let said = sandbox.fails(3, &args);
    assert!(
        !said.contains('\u{1b}') && !said.contains('\u{202e}'),
        "{said:?}"
    );
    let args = [
        "diff",
        "--base",
        model,
        "--tuned",
        model,
        "--rollouts",
        "r.json",
        "--out",
        out,
    ];
    let made = sandbox.ok(&args);
    let reported = sandbox.ok(&["report", out]);
    let page = fs::read_to_string(sandbox.path().join(out).join("report.html")).unwrap();
    for text in [&made, &reported, &page] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
        assert!(!text.contains("<script>alert") && !text.contains("<img src=x"));
    }
}
