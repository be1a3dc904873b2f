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
