//! Answers of problem files, the same in other clothes, and perturbed.
#![allow(dead_code, reason = "every test and example uses a part")]

use std::path::{Path, PathBuf};

use forkscope_records::read_problems;
use forkscope_tasks::stated_answer;

/// The answers of the committed sample, as they state them.
pub fn sample() -> Vec<String> {
    let lines = include_str!("../fixtures/answers.jsonl").lines();
    let answer = |line| {
        let value: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let answer = value.get("answer").and_then(serde_json::Value::as_str);
        stated_answer(answer.expect("an answer")).to_owned()
    };
    lines.map(answer).collect()
}

/// Every problem file `DIR/NAME/*`, by name: its answers.
pub fn benchmarks(dir: &Path) -> Vec<(String, Vec<String>)> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let files = list(dir).into_iter().flat_map(|set| list(&set));
    let known = |path: &PathBuf| {
        let end = path.extension().and_then(|e| e.to_str());
        end.is_some_and(|e| ["jsonl", "json", "parquet"].contains(&e))
    };
    let mut sets: Vec<(String, Vec<String>)> = files
        .filter(known)
        .map(|path| {
            let name = path.parent().and_then(Path::file_name).unwrap_or_default();
            (name.to_string_lossy().into_owned(), answers(&path))
        })
        .collect();
    assert!(
        !sets.is_empty(),
        "{} has no NAME/FILE of problems",
        dir.display()
    );
    sets.sort();
    sets
}

/// The answers that forkscope's own reader finds; an empty text for a problem
/// without one.
fn answers(path: &Path) -> Vec<String> {
    let problems = read_problems(path).unwrap_or_else(|error| panic!("{error}"));
    let stated = |answer: Option<String>| stated_answer(&answer.unwrap_or_default()).to_owned();
    problems.into_iter().map(|p| stated(p.answer)).collect()
}

/// The same answer in other clothes.
pub fn variants(answer: &str) -> Vec<String> {
    // "\\$5" is money, "$5$" is mathematics.
    let bare = answer.trim().trim_end_matches('.');
    let bare = match bare.contains("\\$") {
        true => bare.to_owned(),
        false => bare.replace('$', ""),
    };
    let mut all = vec![
        answer.to_owned(),
        format!("  {answer} "),
        format!("{bare}."),
        format!("\\left.{bare}\\right."),
        format!("\\displaystyle {bare}\\,"),
        bare.replace("\\frac", "\\dfrac"),
        bare.replace("\\dfrac", "\\frac")
            .replace("\\frac", "\\tfrac"),
    ];
    if !["{,}", ",\\!", "\\{", "\\ ", "\\text {"]
        .iter()
        .any(|m| bare.contains(m))
    {
        all.push(bare.replace('{', "{ ").replace('}', " }"));
        all.push(bare.replace(' ', "\\ "));
    }
    // Spaces may stand around signs, but not within numbers and names.
    let mut spaced = String::new();
    for c in bare.chars() {
        match c {
            '+' | '=' | '(' => spaced.extend([' ', c, ' ']),
            _ => spaced.push(c),
        }
    }
    all.push(spaced);
    if !answer.contains('$') {
        all.push(format!("${answer}$"));
        all.push(format!("\\({answer}\\)"));
        all.push(format!("\\[ {answer} \\]"));
    }
    if !bare.contains("\\left") {
        all.push(bare.replace('(', "\\left(").replace(')', "\\right)"));
    }
    all
}

/// Answers that look like it and are wrong.
pub fn perturbed(answer: &str) -> Vec<String> {
    let mut all = Vec::new();
    let digits: Vec<usize> = answer
        .char_indices()
        .filter(|(_, c)| c.is_ascii_digit())
        .map(|(at, _)| at)
        .collect();
    // One is one in every base.
    let numeral = answer.starts_with("1_");
    let last = digits.last().filter(|_| !numeral);
    for at in [digits.first(), last].into_iter().flatten() {
        let digit = answer[*at..].chars().next().and_then(|c| c.to_digit(10));
        let next = (digit.unwrap_or(0) + 1) % 10;
        all.push(format!("{}{next}{}", &answer[..*at], &answer[at + 1..]));
    }
    match digits.is_empty() {
        true if answer.chars().count() == 1 => all.push("Q".to_owned()),
        true => all.push(format!("\\text{{not }}{answer}")),
        false => {}
    }
    all
}
