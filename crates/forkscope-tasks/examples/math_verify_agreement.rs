//! Where this grader and the Python library math-verify disagree.
//!
//! ```text
//! FORKSCOPE_PYTHON=PYTHON cargo run --release -p forkscope-tasks --example math_verify_agreement [DIR|FILE]
//! ```
//! Pairs of answers with a known verdict: the committed cases, and of every
//! answer of `DIR/NAME/*` (else of the committed sample) itself, a LaTeX variant
//! and a perturbed one; or the lines `{"a", "b", "same"}` of FILE. Lists the pairs in which either is not right, then counts.

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use forkscope_tasks::{Grade, Verifier};
use serde_json::Value;

struct Case {
    gold: String,
    given: String,
    same: bool,
}

fn main() {
    if let Err(reason) = Verifier::MathVerify.ready() {
        eprintln!("error: {reason}");
        std::process::exit(3);
    }
    let committed = include_str!("../tests/fixtures/equivalence.jsonl");
    let mut sets = vec![("committed cases".to_owned(), cases(committed))];
    let answers = match std::env::args().nth(1) {
        Some(file) if Path::new(&file).is_file() => {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            sets = vec![(file, cases(&text))];
            Vec::new()
        }
        Some(dir) => common::benchmarks(Path::new(&dir)),
        None => vec![("committed sample".to_owned(), common::sample())],
    };
    sets.extend(answers.into_iter().map(|(name, all)| (name, derived(&all))));
    for (name, cases) in sets {
        report(&name, &cases);
    }
    println!("{:?}", forkscope_tasks::math_verify::counts());
}

fn cases(text: &str) -> Vec<Case> {
    let cases = text.lines().filter_map(|line| {
        let case: Value = serde_json::from_str(line).ok()?;
        let side = |name: &str| Some(case.get(name)?.as_str()?.to_owned());
        Some(Case {
            gold: side("a")?,
            given: side("b")?,
            same: case.get("same")?.as_bool()?,
        })
    });
    cases.collect()
}

/// Itself, one variant and one perturbed answer for each.
fn derived(answers: &[String]) -> Vec<Case> {
    let mut cases = Vec::new();
    let all = answers.iter().filter(|answer| !answer.is_empty());
    for (i, answer) in all.enumerate() {
        let mut add = |given: &str, same| {
            cases.push(Case {
                gold: answer.clone(),
                given: given.to_owned(),
                same,
            });
        };
        add(answer, true);
        let variants = common::variants(answer);
        let variant = i.checked_rem(variants.len()).and_then(|i| variants.get(i));
        variant.into_iter().for_each(|given| add(given, true));
        let perturbed = common::perturbed(answer);
        perturbed
            .last()
            .into_iter()
            .for_each(|given| add(given, false));
    }
    cases
}

fn timed(verifier: Verifier, case: &Case, spent: &mut Duration) -> Grade {
    let start = Instant::now();
    let grade = verifier.compare(&case.gold, &case.given);
    *spent += start.elapsed();
    grade
}

fn report(name: &str, cases: &[Case]) {
    let (mut agree, mut ours_wrong, mut theirs_wrong, mut undecided) = (0, 0, 0, 0);
    let mut spent = (Duration::ZERO, Duration::ZERO);
    for case in cases {
        let ours = timed(Verifier::Auto, case, &mut spent.0);
        let theirs = timed(Verifier::MathVerify, case, &mut spent.1);
        undecided += usize::from(theirs.undecided.is_some());
        agree += usize::from(ours.correct == theirs.correct);
        ours_wrong += usize::from(ours.correct != case.same);
        theirs_wrong += usize::from(theirs.correct != case.same);
        if ours.correct != case.same || theirs.correct != case.same {
            println!(
                "{}\t{} | {}\tforkscope {}, math-verify {}",
                if case.same { "same" } else { "differ" },
                case.gold,
                case.given,
                ours.correct,
                theirs
                    .undecided
                    .map_or(theirs.correct.to_string(), |why| format!("{why:?}")),
            );
        }
    }
    let per_check = |spent: Duration| spent.as_secs_f64() * 1e6 / cases.len().max(1) as f64;
    println!(
        "# {name}: {} pairs, {agree} agree, wrong: forkscope {ours_wrong}, math-verify {theirs_wrong} ({undecided} undecided); us a check: {:.1}, {:.0}",
        cases.len(),
        per_check(spent.0),
        per_check(spent.1),
    );
}
