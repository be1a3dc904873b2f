//! Answers made to hang or crash a grader: 50 milliseconds each at most, which
//! is generous in a test build on a busy machine.

use std::time::{Duration, Instant};

use forkscope_tasks::{Verifier, equivalent, stated_answer};

const LIMIT: Duration = Duration::from_millis(50);

fn hostile() -> Vec<(&'static str, String)> {
    let nest =
        |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    let sets = |x: &str, n: usize| format!("\\{{{}\\}}", vec![x; n].join(","));
    vec![
        ("parentheses", nest("(", ")", 2_000)),
        ("braces", nest("{", "}", 2_000)),
        ("fractions", nest("\\frac{1}{", "}", 400)),
        ("roots", nest("\\sqrt{", "}", 500)),
        ("sets of sets", nest("\\{1,", "\\}", 500)),
        ("powers", "2^".repeat(1_500) + "2"),
        ("braced powers", nest("2^{", "}", 60)),
        ("minus signs", "-".repeat(4_000) + "1"),
        ("factorials", "9".to_owned() + &"!".repeat(3_000)),
        ("nested factorials", "((((99)!)!)!)!".to_owned()),
        ("a huge exponent", "10^{10^{10^{10}}}".to_owned()),
        ("a huge float", "1e999999999999999999999".to_owned()),
        ("a large factorial", "65000!/64999!".to_owned()),
        ("large factorials", "(60000! + 59999!)/(50000!)".to_owned()),
        ("a binomial", "\\binom{65000}{32000}".to_owned()),
        ("large powers", "+3^{40000}".repeat(400)),
        ("digits", "7".repeat(4_000)),
        ("a product of numbers", "99999999999999*".repeat(250) + "2"),
        ("a sum of fractions", "+\\frac{1}{99999999977}".repeat(150)),
        ("a sum of terms", "+x".repeat(2_000)),
        ("variables", "\\sin(x)+y^2\\cos z-".repeat(200) + "w"),
        ("many names", (0..900).map(|i| format!("+x_{i}")).collect()),
        ("a set of formulas", sets("\\sin(x+y)", 60)),
        ("a set of large powers", sets("3^{30000}", 60)),
        ("signs", "\\pm 1".repeat(500)),
        ("both signs", "\\pm 1 \\mp x".repeat(200)),
        ("commas", ",".repeat(4_000)),
        ("a chain", "x=".repeat(2_000) + "1"),
        ("bars", "|".repeat(4_000)),
        ("calls", "\\sin".repeat(1_000) + "x"),
        ("matrices", "\\begin{pmatrix}".repeat(200)),
        (
            "a wide matrix",
            format!("\\begin{{pmatrix}}{}\\end{{pmatrix}}", "1&".repeat(1_500)),
        ),
        ("texts", "\\text{".repeat(700)),
        ("dollars", "$".repeat(4_000)),
        ("backslashes", "\\".repeat(4_000)),
        ("a megabyte of boxes", "\\boxed{".repeat(150_000)),
        ("a megabyte of digits", "7".repeat(1_000_000)),
        (
            "a megabyte of marks",
            "the answer is ####<answer>".repeat(40_000),
        ),
        ("a megabyte of braces", "{".repeat(1_000_000)),
        ("a megabyte of words", "word ".repeat(200_000)),
    ]
}

/// The best of three: a busy machine is not what is measured.
fn shortest(mut work: impl FnMut()) -> Duration {
    let times = (0..3).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

#[test]
fn nothing_hangs() {
    let mut slow = Vec::new();
    let cases = hostile();
    for (name, text) in &cases {
        let other = format!("{text}+1");
        let compared = shortest(|| {
            equivalent(text, &other);
        });
        let graded = shortest(|| {
            Verifier::Auto.grade(text, true, "42");
        });
        let stated = shortest(|| {
            stated_answer(text);
        });
        if compared.max(graded).max(stated) > LIMIT {
            slow.push(format!("{name}: {compared:?} {graded:?} {stated:?}"));
        }
        let empty = !text.contains(char::is_alphanumeric);
        assert!(empty || equivalent(text, text).is_same(), "{name}");
    }
    assert!(slow.is_empty(), "{}", slow.join("\n"));
}

#[test]
fn nothing_overflows_a_small_stack() {
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let worker = thread.spawn(|| {
        for (_, text) in hostile() {
            equivalent(&text, "1");
            Verifier::Auto.grade(&text, true, "1");
        }
    });
    assert!(worker.is_ok_and(|worker| worker.join().is_ok()));
}
