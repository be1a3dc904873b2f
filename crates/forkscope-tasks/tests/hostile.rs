//! Answers made to hang or crash a grader: 50 milliseconds each at most, which
//! is generous in a test build on a busy machine. `-- --nocapture` prints the
//! slowest.

use std::time::{Duration, Instant};

use forkscope_tasks::{Equivalence, Verifier, equivalent, stated_answer};

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

/// Every piece of the language, as often as an answer or a megabyte holds it:
/// on end, around a digit, and with signs between.
fn repeated() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (open, close) in PIECES {
        for size in [4_000, 1_000_000] {
            let n = size / (open.len() + close.len() + 1).max(1);
            let name = |how: &str| format!("{open:?} {how}, {size} bytes");
            all.push((name("on end"), open.repeat(n)));
            all.push((
                name("around"),
                format!("{}7{}", open.repeat(n), close.repeat(n)),
            ));
            all.push((name("with signs"), format!("{open}2{close}+").repeat(n / 2)));
            all.push((
                name("with commas"),
                format!("{open}x{close},").repeat(n / 2),
            ));
        }
    }
    all
}

const PIECES: [(&str, &str); 44] = [
    ("(", ")"),
    ("[", "]"),
    ("{", "}"),
    ("\\{", "\\}"),
    ("|", "|"),
    ("\\left(", "\\right)"),
    ("\\left\\lfloor ", "\\right\\rfloor "),
    ("\\langle ", "\\rangle "),
    ("\\frac{1}{", "}"),
    ("\\frac{", "}{2}"),
    ("\\sqrt{", "}"),
    ("\\sqrt[3]{", "}"),
    ("\\binom{9}{", "}"),
    ("\\text{", "}"),
    ("\\mathrm{~", "}"),
    ("\\boxed{", "}"),
    ("\\begin{pmatrix}", "\\end{pmatrix}"),
    ("\\begin{cases}", "\\end{cases}"),
    ("<answer>", "</answer>"),
    ("2^{", "}"),
    ("x_{", "}"),
    ("\\sin(", ")"),
    ("\\log_{2}", ""),
    ("\\overline{", "}"),
    ("-", ""),
    ("!", "!"),
    ("9^9^", ""),
    ("1e9999", ""),
    ("\\pm ", ""),
    ("\\cup ", ""),
    ("(0,1)\\cup", ""),
    ("0<", ""),
    ("x=", ""),
    ("1:", ""),
    ("1/", ""),
    (" or ", ""),
    ("\\ ", ""),
    ("\\infty ", ""),
    ("answer is ", ""),
    ("####", ""),
    ("**", "**"),
    ("\u{2212}", ""),
    ("\u{1F600}", "\u{0301}"),
    ("$", "$"),
];

/// The best of three: a busy machine is not what is measured.
fn shortest(mut work: impl FnMut()) -> Duration {
    let times = (0..3).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap_or_default()
}

/// How long the slowest of comparing, grading and reading takes.
fn slowest(text: &str) -> Duration {
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
    compared.max(graded).max(stated)
}

#[test]
fn nothing_hangs() {
    let named = hostile()
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text));
    let mut times = Vec::new();
    for (name, text) in named.chain(repeated()) {
        times.push((slowest(&text), name.clone()));
        // What has nothing in it is not even itself.
        let empty = equivalent(&text, "") == Equivalence::Different;
        assert!(empty || equivalent(&text, &text).is_same(), "{name}");
    }
    times.sort();
    for (time, name) in times.iter().rev().take(8) {
        println!("{time:?}\t{name}");
    }
    println!("{} inputs", times.len());
    let slow: Vec<_> = times.iter().filter(|(time, _)| *time > LIMIT).collect();
    assert!(slow.is_empty(), "{slow:?}");
}

#[test]
fn nothing_overflows_a_small_stack() {
    let thread = std::thread::Builder::new().stack_size(1 << 20);
    let worker = thread.spawn(|| {
        let named = hostile().into_iter().map(|(_, text)| text);
        for text in named.chain(repeated().into_iter().map(|(_, text)| text)) {
            equivalent(&text, "1");
            Verifier::Auto.grade(&text, true, "1");
        }
    });
    assert!(worker.is_ok_and(|worker| worker.join().is_ok()));
}
