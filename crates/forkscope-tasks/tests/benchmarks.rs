//! Every reference answer is equal to itself in other clothes and unequal to a
//! perturbed one. `FORKSCOPE_BENCHMARKS=DIR` adds every `DIR/*/*.jsonl` to the
//! committed sample.

use std::path::Path;

use forkscope_tasks::{Verifier, equivalent, stated_answer};
use serde_json::Value;

/// The answers of one line: `answer`, `final_answer` (a list) or the box of a
/// `solution`.
fn answer(line: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            Some(items.join(", "))
        }
        _ => None,
    };
    let stated = ["final_answer", "answer", "solution"]
        .iter()
        .find_map(|name| text(value.get(name)?))?;
    Some(stated_answer(&stated).to_owned())
}

fn sample() -> Vec<String> {
    include_str!("fixtures/answers.jsonl")
        .lines()
        .filter_map(answer)
        .collect()
}

fn benchmarks(dir: &Path) -> Vec<(String, Vec<String>)> {
    let mut sets = Vec::new();
    let entries = std::fs::read_dir(dir).expect("FORKSCOPE_BENCHMARKS is a directory");
    for entry in entries.flatten() {
        let Ok(files) = std::fs::read_dir(entry.path()) else {
            continue;
        };
        for file in files.flatten().map(|file| file.path()) {
            if file.extension().is_some_and(|e| e == "jsonl") {
                let text = std::fs::read_to_string(&file).expect("a readable file");
                let answers = text.lines().filter_map(answer).collect();
                sets.push((entry.file_name().to_string_lossy().into_owned(), answers));
            }
        }
    }
    sets.sort();
    sets
}

/// The same answer in other clothes.
fn variants(answer: &str) -> Vec<String> {
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
fn perturbed(answer: &str) -> Vec<String> {
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

/// Checks a set; answers how many answers and checks, and what went wrong.
fn check(answers: &[String]) -> (usize, usize, Vec<String>) {
    let (mut seen, mut checks, mut wrong) = (0, 0, Vec::new());
    for answer in answers.iter().filter(|answer| !answer.trim().is_empty()) {
        seen += 1;
        for variant in variants(answer) {
            checks += 1;
            if !equivalent(answer, &variant).is_same() {
                wrong.push(format!("not equal: {answer} | {variant}"));
            }
        }
        let boxed = format!("Thus \\boxed{{{answer}}}.");
        checks += 1;
        if !Verifier::Auto.grade(&boxed, true, answer).correct {
            wrong.push(format!("not equal in a box: {answer}"));
        }
        for other in perturbed(answer) {
            checks += 1;
            if equivalent(answer, &other).is_same() {
                wrong.push(format!("equal: {answer} | {other}"));
            }
        }
    }
    (seen, checks, wrong)
}

#[test]
fn answers_are_equal_to_themselves_and_not_to_perturbed_ones() {
    let sample = sample();
    assert!(sample.len() > 90, "{} answers", sample.len());
    let (_, _, wrong) = check(&sample);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn benchmark_answers_too_where_there_are_any() {
    let Some(dir) = std::env::var_os("FORKSCOPE_BENCHMARKS") else {
        eprintln!("skipped: set FORKSCOPE_BENCHMARKS=DIR to check DIR/*/*.jsonl");
        return;
    };
    let mut failures = Vec::new();
    for (name, answers) in benchmarks(Path::new(&dir)) {
        let (seen, checks, wrong) = check(&answers);
        println!(
            "{name}: {seen} answers, {checks} checks, {} wrong",
            wrong.len()
        );
        failures.extend(wrong);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
