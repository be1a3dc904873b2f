//! `forkscope entropy` on files and flags as they should not be: the exit code,
//! and a line that names file, place and remedy.

mod common;

use common::{Sandbox, fixture};

#[test]
fn bad_input_is_exit_3_with_file_place_and_remedy() {
    let sandbox = Sandbox::new();
    for (file, content, said) in [
        (
            "sum.json",
            r#"{"a": [0.5, 0.5], "b": [0.5, 0.4]}"#,
            ["row \"b\"", "sum to 0.9", "whole distribution"],
        ),
        (
            "neg.json",
            r#"{"b": [1.2, -0.2]}"#,
            ["row \"b\"", "probability 1 is 1.2", "outside of [0, 1]"],
        ),
        (
            "neg.csv",
            "x,0.5,0.5\ny,-0.5,1.5\n",
            ["line 2 (row \"y\")", "probability 1 is -0.5", "[0, 1]"],
        ),
        (
            "nan.jsonl",
            "[0.5, 0.5]\n[NaN, 1]\n",
            ["line 2", "probability 1 is NaN", "log-probs"],
        ),
        (
            "inf.csv",
            "x,inf,0.5\n",
            ["row \"x\"", "probability 1 is inf", "[0, 1]"],
        ),
        (
            "logits.json",
            r#"{"b": [3.1, 2.2]}"#,
            ["row \"b\"", "probability 1 is 3.1", "softmax"],
        ),
        (
            "row.json",
            r#"{"b": []}"#,
            ["row \"b\"", "no probabilities", "leave the row out"],
        ),
        (
            "twice.json",
            r#"{"b": [1], "b": [1]}"#,
            ["row \"b\"", "rows 1 and 2", "name of its own"],
        ),
        (
            "cut.json",
            r#"{"b": [0.5, 0.5"#,
            ["not JSON", "line 1", "whole"],
        ),
        (
            "line.jsonl",
            "[1]\n{\"b\": [\n[1]\n",
            ["line 2", "not JSON", "repair or remove"],
        ),
        (
            "empty.json",
            "",
            ["is empty", "probability table", "log-prob response"],
        ),
        (
            "none.json",
            "{}",
            ["no rows", "at least one", "distribution"],
        ),
        (
            "type.json",
            r#"{"b": "0.5"}"#,
            ["row \"b\"", "found a string", "list of probabilities"],
        ),
        (
            "refused.json",
            r#"{"error": {"message": "no such model"}}"#,
            ["error", "no such model", "repeat"],
        ),
        (
            "off.json",
            r#"{"choices": [{"logprobs": null}]}"#,
            ["no log-probs", "ask the server", "top_logprobs"],
        ),
        (
            "null.json",
            r#"{"prompt_logprobs": [null, null]}"#,
            [
                "none of 2 positions",
                "no_logprobs 2",
                "check how they were recorded",
            ],
        ),
        (
            "string.json",
            r#"{"prompt_logprobs": [null, {"4": {"logprob": "low"}}]}"#,
            [
                "prompt_logprobs[1].4.logprob",
                "expected a number, found a string",
                "as the server sent it",
            ],
        ),
        (
            "short.json",
            r#"{"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [-1, -1]}}]}"#,
            [
                "choices[0].logprobs.tokens",
                "has 1 entries and token_logprobs has 2",
                "cut or altered",
            ],
        ),
    ] {
        sandbox.file(file, content);
        let line = sandbox.fails(3, &["entropy", file]);
        assert!(
            line.contains(file) && said.iter().all(|said| line.contains(said)),
            "{file}: {line}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_and_nesting_without_end() {
    let sandbox = Sandbox::new();
    sandbox.file("latin.csv", b"caf\xe9,0.5,0.5\n");
    assert!(
        sandbox
            .fails(3, &["entropy", "latin.csv"])
            .contains("byte 3 is not UTF-8")
    );
    sandbox.file("deep.json", "[".repeat(1 << 20));
    assert!(
        sandbox
            .fails(3, &["entropy", "deep.json"])
            .contains("deep.json: not JSON")
    );
    sandbox.file("big.json", r#"{"b": [1e999]}"#);
    assert!(
        sandbox
            .fails(3, &["entropy", "big.json"])
            .contains("big.json: not JSON")
    );
}

#[test]
fn paths_that_cannot_be_read() {
    let sandbox = Sandbox::new();
    let line = sandbox.fails(3, &["entropy", "missing.json"]);
    assert!(
        line.contains("cannot read missing.json: no such file"),
        "{line}"
    );
    let line = sandbox.fails(3, &["entropy", "."]);
    assert!(line.contains("cannot read .: it is a directory"), "{line}");
}

#[test]
fn a_vocabulary_smaller_than_the_list_is_refused() {
    let sandbox = Sandbox::new();
    let line = sandbox.fails(3, &["entropy", &fixture("ten.json"), "--vocab-size", "4"]);
    assert!(
        line.contains("row \"pos2\" lists 5 tokens, more than --vocab-size 4"),
        "{line}"
    );
    let response = r#"{"prompt_logprobs": [{"1": {"logprob": -1.5, "rank": 1}, "2": {"logprob": -1.75, "rank": 2}}]}"#;
    sandbox.file("r.json", response);
    let line = sandbox.fails(3, &["entropy", "r.json", "--vocab-size", "1"]);
    assert!(
        line.contains("prompt_logprobs[0] lists 2 tokens, more than --vocab-size 1"),
        "{line}"
    );
}

#[test]
fn usage_errors_are_exit_2() {
    let sandbox = Sandbox::new();
    let ten = fixture("ten.json");
    for (args, said) in [
        (vec!["entropy"], "<FILE>"),
        (
            vec!["entropy", &ten, "--tau", "1", "--quantile", "0.5"],
            "cannot be used with",
        ),
        (vec!["entropy", &ten, "--tau", "nan"], "at least 0"),
        (vec!["entropy", &ten, "--tau", "-1"], "'-1'"),
        (vec!["entropy", &ten, "--quantile", "1.5"], "from 0 to 1"),
        (vec!["entropy", &ten, "--unit", "hartleys"], "nats, bits"),
        (vec!["entropy", &ten, "--top", "0"], "--top"),
        (vec!["entropy", &ten, "--vocab-size", "0"], "--vocab-size"),
        (vec!["entropy", &ten, "--threads", "0"], "--threads"),
        (vec!["entropy", &ten, "--nonsense"], "--nonsense"),
        (vec!["nonsense"], "nonsense"),
        (vec![], "Usage"),
    ] {
        let line = sandbox.fails(2, &args);
        assert!(line.contains(said), "{args:?}: {line}");
    }
}

#[test]
fn names_and_tokens_are_inert() {
    let sandbox = Sandbox::new();
    let escape = "\\u001b[2J\\u001b]0;owned\\u0007\\u202e\\u200b\\u009b31m";
    sandbox.file("t.json", format!("{{\"a{escape}\\nforks 9 of 9\": [1.0]}}"));
    sandbox.file("bad.json", format!("{{\"a{escape}\\nerror: b\": [0.1]}}"));
    let content = format!(r#"[{{"token": "x{escape}\n", "logprob": -0.25, "top_logprobs": []}}]"#);
    sandbox.file(
        "r.json",
        format!(r#"{{"choices": [{{"logprobs": {{"content": {content}}}}}]}}"#),
    );
    let error = sandbox.fails(3, &["entropy", "bad.json"]);
    for text in [
        sandbox.ok(&["entropy", "t.json"]),
        sandbox.ok(&["entropy", "r.json"]),
        error,
    ] {
        let acts = |c: char| c.is_control() && c != '\n' || "\u{202e}\u{200b}".contains(c);
        assert!(!text.chars().any(acts), "{text:?}");
    }
    let table = sandbox.ok(&["entropy", "t.json"]);
    assert!(
        table.contains("a\\x1b[2J\\x1b]0;owned\\x07\\u{202e}\\u{200b}\\x9b31m\\nforks 9 of 9"),
        "{table}"
    );
}

#[test]
fn file_names_are_inert_too() {
    let sandbox = Sandbox::new();
    let line = sandbox.fails(3, &["entropy", "x\x1b[31m\nerror: y.json"]);
    assert!(line.contains("x\\x1b[31m\\nerror: y.json"), "{line}");
}
