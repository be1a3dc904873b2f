//! The committed cases: what is the same, and what only looks so.

use forkscope_tasks::{Equivalence, Verifier, equivalent};
use serde_json::Value;

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("the fixture is JSON Lines"))
        .collect()
}

fn field<'v>(case: &'v Value, name: &str) -> &'v str {
    case.get(name).and_then(Value::as_str).expect("a field")
}

#[test]
fn every_case_is_decided_right_from_both_sides() {
    let cases = lines(include_str!("fixtures/equivalence.jsonl"));
    let mut wrong = Vec::new();
    for case in &cases {
        let (a, b) = (field(case, "a"), field(case, "b"));
        let same = case.get("same").and_then(Value::as_bool).expect("same");
        let found = equivalent(a, b);
        assert_eq!(found, equivalent(b, a), "{a} | {b}");
        for side in [a, b] {
            let itself = equivalent(side, side);
            assert!(itself.is_same() || side.trim().is_empty(), "{side}");
        }
        if found.is_same() != same {
            wrong.push(format!("{a} | {b}: {found:?}"));
        }
    }
    assert!(cases.len() > 300, "{} cases", cases.len());
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_cases_of_inspect_pass() {
    let text = include_str!("fixtures/inspect_math_cases.json");
    let cases: Vec<Value> = serde_json::from_str(text).expect("the fixture is JSON");
    let mut wrong = Vec::new();
    for case in &cases {
        let (output, target) = (field(case, "output"), field(case, "target"));
        let grade = Verifier::Auto.grade(output, true, target);
        if grade.correct != (field(case, "expected") == "C") {
            wrong.push(format!("{output} | {target}: {grade:?}"));
        }
    }
    assert_eq!(cases.len(), 33);
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_wrong_answer_is_told_from_one_that_is_not_understood() {
    for (a, b, expected) in [
        ("42", "43", Equivalence::Different),
        ("x+1", "x+2", Equivalence::Different),
        ("\\text{red}", "\\text{blue}", Equivalence::Unknown),
        ("(1,2", "(1,3", Equivalence::Unknown),
        ("", "", Equivalence::Different),
        ("42", "", Equivalence::Different),
    ] {
        assert_eq!(equivalent(a, b), expected, "{a} | {b}");
    }
}
