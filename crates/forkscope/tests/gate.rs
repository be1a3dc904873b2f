//! The gate of a pipeline: exit codes, JUnit, JSON.

use std::fs;

#[path = "common/mod.rs"]
mod common;

use common::Sandbox;

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

fn pair() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(&words(
        "diff --base embedded:base --tuned embedded:reasoner --problems embedded:problems \
         --limit 2 -n 2 --max-tokens 24 --replicates 20 --out pair",
    ));
    sandbox
}

#[test]
fn rules_pass_and_fail_a_run() {
    let sandbox = pair();
    let passed = sandbox.ok(&["gate", "pair", "--fail-if", "share.unshifted < 1%"]);
    assert!(passed.contains("which passes"), "{passed}");
    let ended = sandbox.run(&[
        "gate",
        "pair",
        "--fail-if",
        "share.unshifted > 1%",
        "--fail-if",
        "share.reranked > 100%",
        "--junit",
        "gate.xml",
        "--json",
    ]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stderr.contains("1 of 2 rules"), "{ended:?}");
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one document");
    assert_eq!(json["failed"], true);
    assert_eq!(json["rules"][0]["id"], "share.unshifted");
    let xml = fs::read_to_string(sandbox.path().join("gate.xml")).expect("JUnit");
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
    assert!(xml.contains("name=\"share.unshifted &gt; 1%\""), "{xml}");
}

#[test]
fn what_is_not_known_fails_closed() {
    let sandbox = pair();
    let path = sandbox.path().join("pair/findings.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("findings")).expect("JSON");
    json["findings"][0]["value"] = serde_json::Value::Null;
    let id = json["findings"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    fs::write(&path, json.to_string()).expect("a file");
    let ended = sandbox.run(&["gate", "pair", "--fail-if", &format!("{id} > 1e300")]);
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert!(ended.stdout.contains("is not known"), "{ended:?}");
}

#[test]
fn a_pair_is_compared_on_the_spot() {
    let sandbox = pair();
    let line = [
        "gate",
        "--base",
        "embedded:base",
        "--tuned",
        "embedded:reasoner",
        "--rollouts",
        "pair",
        "--replicates",
        "20",
        "--fail-if",
    ];
    let here = sandbox.json(&[&line[..], &["share.unshifted < 1%"]].concat());
    let there = sandbox.json(&["gate", "pair", "--fail-if", "share.unshifted < 1%"]);
    assert_eq!(here["rules"], there["rules"]);
    assert_eq!(
        sandbox
            .run(&[&line[..], &["share.unshifted > 1%"]].concat())
            .code,
        Some(4)
    );
    // A kept comparison is a run; without --out nothing is left here.
    sandbox.ok(&[&line[..], &["share.unshifted < 1%", "--out", "kept"]].concat());
    sandbox.ok(&["gate", "kept", "--fail-if", "share.unshifted < 1%"]);
    let left = fs::read_dir(sandbox.path()).expect("the folder").count();
    assert_eq!(left, 2);
}

#[test]
fn rules_that_make_no_sense_are_usage_errors() {
    let sandbox = pair();
    for (rule, says) in [
        ("share.unshift > 1%", "near ones are share."),
        ("share.unshifted", "no comparison"),
        ("share.unshifted > many", "no number"),
        ("js.mean > 1%", "compares shares"),
    ] {
        let said = sandbox.fails(2, &["gate", "pair", "--fail-if", rule]);
        assert!(said.contains(says), "{rule}: {said}");
    }
    sandbox.fails(2, &["gate", "pair"]);
    sandbox.fails(2, &["gate", "--fail-if", "share.shifted > 1"]);
    sandbox.fails(
        2,
        &[
            "gate",
            "pair",
            "--base",
            "embedded:base",
            "--fail-if",
            "share.shifted > 1",
        ],
    );
    let said = sandbox.fails(3, &["gate", "nowhere", "--fail-if", "share.shifted > 1"]);
    assert!(said.contains("findings.json"), "{said}");
}
