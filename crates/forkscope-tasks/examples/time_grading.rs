//! Checks per second on one core.
//!
//! ```text
//! cargo run --release -p forkscope-tasks --example time_grading [DIR]
//! ```
//! On the committed sample of answers, or on the answers of `DIR/*/*.jsonl`:
//! every answer against itself with other layout, and against the next answer.

use std::path::Path;
use std::time::Instant;

use forkscope_tasks::{Verifier, equivalent, stated_answer};

fn main() {
    let answers = match std::env::args().nth(1) {
        Some(dir) => from_directory(Path::new(&dir)),
        None => lines(include_str!("../tests/fixtures/answers.jsonl")),
    };
    let mut pairs = Vec::new();
    for (i, answer) in answers.iter().enumerate() {
        pairs.push((answer.clone(), answer.replace("\\frac", "\\dfrac") + "\\,"));
        pairs.push((answer.clone(), format!("\\left.{answer}\\right. ")));
        if let Some(next) = answers.get(i + 1) {
            pairs.push((answer.clone(), next.clone()));
        }
    }
    let rate = |checks: usize, start: Instant| checks as f64 / start.elapsed().as_secs_f64();
    let mut best = (0.0f64, 0.0f64);
    let mut same = 0;
    for _ in 0..5 {
        let start = Instant::now();
        same = pairs
            .iter()
            .filter(|(a, b)| equivalent(a, b).is_same())
            .count();
        best.0 = best.0.max(rate(pairs.len(), start));
        let boxed: Vec<String> = pairs
            .iter()
            .map(|(_, b)| format!("So \\boxed{{{b}}}."))
            .collect();
        let start = Instant::now();
        let graded = boxed.iter().zip(&pairs);
        let correct = graded.filter(|(text, (a, _))| Verifier::Auto.grade(text, true, a).correct);
        assert!(correct.count() >= same / 2);
        best.1 = best.1.max(rate(pairs.len(), start));
    }
    println!(
        "{} answers, {} pairs, {same} the same: {:.0} comparisons/s, {:.0} grades/s",
        answers.len(),
        pairs.len(),
        best.0,
        best.1
    );
}

fn lines(text: &str) -> Vec<String> {
    let answer = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let stated = match value.get("final_answer").and_then(|v| v.as_array()) {
            Some(items) => {
                let items: Vec<&str> = items.iter().filter_map(|v| v.as_str()).collect();
                items.join(", ")
            }
            None => ["answer", "solution"].iter().find_map(|name| {
                let value = value.get(name)?;
                value
                    .as_str()
                    .map(str::to_owned)
                    .or_else(|| Some(value.to_string()))
            })?,
        };
        Some(stated_answer(&stated).to_owned()).filter(|answer| !answer.is_empty())
    };
    text.lines().filter_map(answer).collect()
}

fn from_directory(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for set in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(set.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            if file.path().extension().is_some_and(|e| e == "jsonl") {
                all.extend(lines(
                    &std::fs::read_to_string(file.path()).unwrap_or_default(),
                ));
            }
        }
    }
    all
}
