//! Whether two answers are the same.
//!
//! Decided: the same text after [`crate::normal`]; numbers as exact rationals
//! (with currency, percent, degrees and common units); tuples, intervals and
//! sets of decided things. Everything else is [`Equivalence::Unknown`], which
//! counts as not equivalent and says so.

use serde::{Deserialize, Serialize};

use crate::answer::Quantity;
use crate::normal::{MAX_ANSWER, normal};

/// Nesting of brackets that is looked into.
const MAX_DEPTH: usize = 8;
/// Members of a set that are compared with each other.
const MAX_MEMBERS: usize = 32;

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Equivalence {
    /// The same.
    Same,
    /// Both sides are understood, and they differ.
    Different,
    /// At least one side is of a form that is not understood, and the texts
    /// differ: counted as not equivalent.
    Unknown,
}

impl Equivalence {
    /// Whether the answers count as equivalent.
    pub fn is_same(self) -> bool {
        self == Self::Same
    }
}

/// Compares a reference answer with a given one. Symmetric.
pub fn equivalent(gold: &str, given: &str) -> Equivalence {
    if gold.len() > MAX_ANSWER || given.len() > MAX_ANSWER {
        return match gold.trim() == given.trim() {
            true => Equivalence::Same,
            false => Equivalence::Unknown,
        };
    }
    compare(&normal(gold), &normal(given), 0)
}

fn compare(a: &str, b: &str, depth: usize) -> Equivalence {
    if a.is_empty() || b.is_empty() {
        return Equivalence::Different;
    }
    if a == b || same_words(a, b) {
        return Equivalence::Same;
    }
    // "x = 5" answers the question for x as "5" does.
    match (assigned(a), assigned(b)) {
        (Some((_, a)), None) => return compare(a, b, depth),
        (None, Some((_, b))) => return compare(a, b, depth),
        (Some((x, a)), Some((y, b))) if x == y => return compare(a, b, depth),
        _ => {}
    }
    match (Quantity::parse(a), Quantity::parse(b)) {
        (Some(a), Some(b)) if a.same(&b) => return Equivalence::Same,
        (Some(_), Some(_)) => return Equivalence::Different,
        _ => {}
    }
    match (Bracketed::parse(a), Bracketed::parse(b)) {
        (Some(a), Some(b)) if depth < MAX_DEPTH => a.compare(&b, depth),
        _ => Equivalence::Unknown,
    }
}

/// Words are the same in either case; single letters are names and are not.
fn same_words(a: &str, b: &str) -> bool {
    let is_word = |text: &str| text.len() > 1 && text.chars().all(char::is_alphabetic);
    is_word(a) && is_word(b) && a.to_lowercase() == b.to_lowercase()
}

/// `x=5` -> (`x`, `5`).
fn assigned(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let is_name = name.len() == 1 && name.chars().all(|c| c.is_ascii_alphabetic());
    (is_name && !value.is_empty() && !value.contains('=')).then_some((name, value))
}

/// `(1,2)`, `[0,1)`, `\{1,2\}`.
struct Bracketed<'t> {
    open: &'static str,
    close: &'static str,
    parts: Vec<&'t str>,
}

const BRACKETS: [(&str, &str); 5] = [
    ("\\{", "\\}"),
    ("(", ")"),
    ("[", "]"),
    ("(", "]"),
    ("[", ")"),
];

impl<'t> Bracketed<'t> {
    fn parse(text: &'t str) -> Option<Self> {
        BRACKETS.iter().find_map(|&(open, close)| {
            let inner = text.strip_prefix(open)?.strip_suffix(close)?;
            Some(Self {
                open,
                close,
                parts: split(inner)?,
            })
        })
    }

    fn compare(&self, other: &Self, depth: usize) -> Equivalence {
        if (self.open, self.close) != (other.open, other.close)
            || self.parts.len() != other.parts.len()
        {
            return Equivalence::Unknown;
        }
        let parts = || self.parts.iter().zip(&other.parts);
        let found: Vec<Equivalence> = parts().map(|(a, b)| compare(a, b, depth + 1)).collect();
        if found.iter().all(|part| part.is_same()) {
            return Equivalence::Same;
        }
        if self.open == "\\{" && depth == 0 {
            return self.compare_sets(other, depth);
        }
        // The order of a set within a set is not looked into.
        match found.contains(&Equivalence::Different) && self.open != "\\{" {
            true => Equivalence::Different,
            false => Equivalence::Unknown,
        }
    }

    /// Sets do not know order: every member needs one of its own.
    fn compare_sets(&self, other: &Self, depth: usize) -> Equivalence {
        if self.parts.len() > MAX_MEMBERS {
            return Equivalence::Unknown;
        }
        let mut left: Vec<&str> = other.parts.clone();
        let mut unsure = false;
        for member in &self.parts {
            let results: Vec<Equivalence> = left
                .iter()
                .map(|candidate| compare(member, candidate, depth + 1))
                .collect();
            match results.iter().position(|result| result.is_same()) {
                Some(at) => {
                    left.swap_remove(at);
                }
                None if results.contains(&Equivalence::Unknown) => unsure = true,
                None => return Equivalence::Different,
            }
        }
        if unsure {
            Equivalence::Unknown
        } else {
            Equivalence::Same
        }
    }
}

/// Splits at commas that are in no bracket; `None` if brackets do not match.
fn split(text: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0usize, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(text.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (depth == 0).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_the_same() {
        for (a, b) in [
            ("42", " 42. "),
            ("42", "42.0"),
            ("\\frac{1}{2}", "0.5"),
            ("$\\dfrac{1}{2}$", "1/2"),
            ("15,\\!000", "\\$15000"),
            ("1.5 \\times 10^3", "1500"),
            ("33.5\\%", "0.335"),
            ("10\\%", "10"),
            ("10\\text{ cm}", "10"),
            ("74^\\circ", "74°"),
            ("x = 5", "5"),
            ("\\left(3, \\frac{\\pi}{2}\\right)", "(3,\\frac{\\pi}{2})"),
            ("(1, 0.5)", "(1, \\frac{1}{2})"),
            ("$\\{1,2,3\\}$", "$\\{3, 2, 1\\}$"),
            ("[0, 1)", "[0,1.0)"),
            ("\\text{Evelyn}", "evelyn"),
            ("x^2 + 1", "x^2+1"),
        ] {
            assert_eq!(equivalent(a, b), Equivalence::Same, "{a} {b}");
            assert_eq!(equivalent(b, a), Equivalence::Same, "{b} {a}");
        }
    }

    #[test]
    fn what_differs_and_what_is_unknown() {
        use Equivalence::{Different, Unknown};
        for (a, b, expected) in [
            ("42", "43", Different),
            ("1/3", "0.333", Different),
            ("50\\%", "5", Different),
            ("10\\text{ cm}", "10\\text{ km}", Different),
            ("", "", Different),
            ("42", "", Different),
            ("(1,2)", "(2,1)", Different),
            ("\\{1,1,2\\}", "\\{1,2,2\\}", Different),
            ("A", "a", Unknown),
            ("1 2", "12", Unknown),
            ("1 1/2", "11/2", Unknown),
            ("[0,1]", "(0,1)", Unknown),
            ("x=5", "y=5", Unknown),
            ("\\sqrt{4}", "2", Unknown),
            ("x+1", "1+x", Unknown),
            ("2pi", "2", Unknown),
            ("(1,2", "(1,3", Unknown),
        ] {
            assert_eq!(equivalent(a, b), expected, "{a} {b}");
            assert_eq!(equivalent(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn brackets_cannot_run_away() {
        let deep = format!("{}1{}", "(".repeat(2_000), ")".repeat(2_000));
        let other = format!("{}2{}", "(".repeat(2_000), ")".repeat(2_000));
        assert_eq!(equivalent(&deep, &other), Equivalence::Unknown);
        let sets = |x: &str| {
            let inner = vec![format!("\\{{{}\\}}", [x; 10].join(",")); 10].join(",");
            format!("\\{{{inner}\\}}")
        };
        assert_ne!(equivalent(&sets("a+b"), &sets("b+a")), Equivalence::Same);
        let long = "9".repeat(10_000);
        assert_eq!(equivalent(&long, &long), Equivalence::Same);
        assert_eq!(equivalent(&long, "9"), Equivalence::Unknown);
    }

    proptest! {
        #[test]
        fn everything_is_itself(text in "[!-~]{1,30}") {
            let found = equivalent(&text, &text);
            prop_assert!(found.is_same() || normal(&text).is_empty());
        }

        #[test]
        fn comparison_is_symmetric(a in "[-0-9./{}()a-c,\\\\=%$ ]{0,12}", b in "[-0-9./{}()a-c,\\\\=%$ ]{0,12}") {
            prop_assert_eq!(equivalent(&a, &b), equivalent(&b, &a));
        }

        #[test]
        fn integers_are_compared_as_integers(a in -9_999i64..9_999, b in -9_999i64..9_999) {
            prop_assert_eq!(equivalent(&a.to_string(), &b.to_string()).is_same(), a == b);
        }
    }
}
