//! Every reference answer is equal to itself in other clothes and unequal to a
//! perturbed one. `FORKSCOPE_BENCHMARKS=DIR` adds every problem file
//! `DIR/NAME/*.{jsonl,json,parquet}` to the committed sample, read as
//! `--problems` reads it.

mod common;

use std::path::Path;

use common::{benchmarks, perturbed, sample, variants};
use forkscope_tasks::{Verifier, equivalent};

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
        eprintln!("skipped: set FORKSCOPE_BENCHMARKS=DIR to check the problem files DIR/NAME/*");
        return;
    };
    let mut failures = Vec::new();
    for (name, answers) in benchmarks(Path::new(&dir)) {
        let (seen, checks, wrong) = check(&answers);
        println!(
            "{name}: {} problems, {seen} answers, {checks} checks, {} wrong",
            answers.len(),
            wrong.len()
        );
        failures.extend(wrong);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
