//! `forkscope grade`.

mod common;

use common::Sandbox;
use serde_json::{Value, json};

fn graded(lines: &str) -> Value {
    let sandbox = Sandbox::new();
    sandbox.file("a.jsonl", lines);
    let ended = sandbox.run(&["grade", "a.jsonl"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("one JSON document")
}

#[test]
fn both_kinds_of_lines_are_graded_in_their_order() {
    let lines = concat!(
        r#"{"id": "b", "gold": "\\frac{1}{2}", "pred": "$0.5$"}"#,
        "\n\n",
        r#"{"id": 7, "gold": 42, "pred": "The answer is \\boxed{43}."}"#,
        "\n",
        r#"{"answer": "so\n#### 25", "completion": "It makes 25%.\n#### 25%"}"#,
        "\n",
        r#"{"answer": "4", "completion": "then 4 and", "finish_reason": "length"}"#,
        "\n",
        r#"{"gold": "10\\%", "pred": "10"}"#,
    );
    let expected = json!([
        {"id": "b", "equivalent": true, "extracted_gold": "\\frac{1}{2}", "extracted_pred": "$0.5$"},
        {"id": 7, "equivalent": false, "extracted_gold": "42", "extracted_pred": "43"},
        {"id": 4, "equivalent": true, "extracted_gold": "25", "extracted_pred": "25%"},
        {"id": 5, "equivalent": false, "extracted_gold": "4", "extracted_pred": null},
        {"id": 6, "equivalent": false, "extracted_gold": "10\\%", "extracted_pred": "10"},
    ]);
    assert_eq!(graded(lines), expected);
    assert_eq!(graded(""), json!([]));
}

#[test]
fn broken_lines_are_named() {
    for (line, named) in [
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is not a JSON object"),
        (r#"{"gold": "1"}"#, "line 2 has no `pred`"),
        (r#"{"pred": "1"}"#, "line 2 has no `gold`"),
        (r#"{"answer": "1"}"#, "line 2 has no `completion`"),
        (r#"{"completion": "1"}"#, "line 2 has no `answer`"),
        (r#"{"gold": ["1"], "pred": "1"}"#, "line 2 has a `gold`"),
        (r#"{"gold": "1", "pred": null}"#, "line 2 has a `pred`"),
        (
            r#"{"id": [], "gold": "1", "pred": "1"}"#,
            "line 2 has an `id`",
        ),
    ] {
        let sandbox = Sandbox::new();
        let first = r#"{"gold": "1", "pred": "1"}"#;
        sandbox.file("a.jsonl", format!("{first}\n{line}\n"));
        let ended = sandbox.run(&["grade", "a.jsonl"]);
        assert_eq!(ended.code, Some(3), "{line}");
        assert!(ended.stdout.is_empty(), "{line}");
        assert!(
            ended.stderr.contains("a.jsonl") && ended.stderr.contains(named),
            "{}",
            ended.stderr
        );
    }
    let sandbox = Sandbox::new();
    sandbox.file("bytes.jsonl", b"\xff\xfe{}\n");
    assert_eq!(sandbox.run(&["grade", "bytes.jsonl"]).code, Some(3));
    assert_eq!(sandbox.run(&["grade", "absent.jsonl"]).code, Some(3));
    assert_eq!(sandbox.run(&["grade"]).code, Some(2));
}

#[test]
fn the_example_of_the_help_runs() {
    let sandbox = Sandbox::new();
    let help = sandbox.run(&["grade", "--help"]).stdout;
    let (_, example) = help.split_once("Example:").expect("an example");
    let ended = sandbox.shell(example);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("\"equivalent\": true"),
        "{}",
        ended.stdout
    );
}

const TWO: &str = concat!(
    r#"{"gold": "\\frac{1}{2}", "pred": "0.5"}"#,
    "\n",
    r#"{"answer": "x^2+2x+1", "completion": "so $\\boxed{(x+1)^3}$"}"#,
    "\n",
);

#[test]
fn without_the_library_its_verifier_names_the_remedy() {
    let sandbox = Sandbox::new();
    sandbox.file("a.jsonl", TWO);
    let args = ["grade", "a.jsonl", "--verifier", "math-verify"];
    let ended = sandbox.run(&[&args[..], &["--python", "no-such-python"]].concat());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), ""));
    let said = "no-such-python cannot be started";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}

#[test]
fn the_library_grades_where_it_is_installed() {
    let sandbox = Sandbox::new();
    sandbox.file("a.jsonl", TWO);
    let ended = sandbox.run(&["grade", "a.jsonl", "--verifier", "math-verify"]);
    if ended.code == Some(3) && ended.stderr.contains("is not available") {
        eprintln!("skipped: {}", ended.stderr);
        return;
    }
    let expected = json!([
        {"id": 1, "equivalent": true, "extracted_gold": "\\frac{1}{2}", "extracted_pred": "0.5"},
        {"id": 2, "equivalent": false, "extracted_gold": "x^2+2x+1", "extracted_pred": "(x+1)^3"},
    ]);
    let found: Value = serde_json::from_str(&ended.stdout).expect("one JSON document");
    assert_eq!((ended.code, found), (Some(0), expected));
}

/// A worker that ends at its first check: a shell script in place of Python.
#[cfg(unix)]
#[test]
fn undecided_checks_are_counted_and_named() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    sandbox.file("a.jsonl", TWO);
    let script = "#!/bin/sh\nread a\necho '{\"version\": \"0\"}'\nread b\n";
    sandbox.file("python", script);
    let python = sandbox.path().join("python");
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = sandbox.command();
    command.args(["grade", "a.jsonl", "--verifier", "math-verify", "--python"]);
    let output = command.arg(&python).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    for line in found.as_array().unwrap() {
        let verdict = (&line["equivalent"], &line["undecided"]);
        assert_eq!(verdict, (&json!(false), &json!("failed")));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("2 of 2 checks undecided"), "{stderr}");
}
