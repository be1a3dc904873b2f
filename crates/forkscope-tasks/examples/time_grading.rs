//! Checks per second on one core.
//!
//! ```text
//! cargo run --release -p forkscope-tasks --example time_grading [DIR]
//! ```
//! On the committed sample of answers, or on the answers of `DIR/NAME/*` (JSON Lines, JSON, Parquet):
//! every answer against itself with other layout, and against the next answer.

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::time::Instant;

use forkscope_tasks::{Verifier, equivalent};

fn main() {
    let mut answers = match std::env::args().nth(1) {
        Some(dir) => {
            let sets = common::benchmarks(Path::new(&dir)).into_iter();
            sets.flat_map(|(_, answers)| answers).collect()
        }
        None => common::sample(),
    };
    answers.retain(|answer| !answer.is_empty());
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
