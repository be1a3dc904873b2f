//! Whether two answers are the same.
//!
//! ```text
//! equal texts (after layout) -> same
//! both understood            -> by form: numbers exactly, expressions at random
//!                               points, tuples in order, sets in any order, ...
//! else                       -> unknown, which counts as not equivalent
//! ```
//! `docs/grading.md` lists what is the same as what. Nothing is evaluated but
//! numbers, and every comparison is bounded in length, depth and work.

use serde::{Deserialize, Serialize};

use crate::answer::compare::Comparison;
use crate::answer::read::read;
use crate::math::fuel::Fuel;
use crate::math::lex::{Commas, lex};
use crate::math::parse::Names;
use crate::math::points::Points;

/// Longest answer that is parsed, bytes. Of longer ones only the white space is
/// normalised: they are equal to themselves.
pub(crate) const MAX_ANSWER: usize = 4_096;

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

/// Compares two answers. Symmetric, and reflexive but for empty answers.
pub fn equivalent(gold: &str, given: &str) -> Equivalence {
    decide(gold, given, false)
}

/// Compares a reference answer with a given one where a percent sign that one
/// side lacks may be understood: a reference `25` to "what percentage" is
/// answered by `25%` as well as by `25`.
pub(crate) fn answers(gold: &str, given: &str) -> Equivalence {
    decide(gold, given, true)
}

/// Whether a text is an answer of a known form, all of it.
pub(crate) fn is_understood(text: &str) -> bool {
    if text.len() > MAX_ANSWER {
        return false;
    }
    read(&lex(text, Commas::Group), &mut Names::default()).is_understood()
}

fn decide(gold: &str, given: &str, lenient: bool) -> Equivalence {
    if gold.len() > MAX_ANSWER || given.len() > MAX_ANSWER {
        let same = gold.split_whitespace().eq(given.split_whitespace());
        return match same {
            true => Equivalence::Same,
            false => Equivalence::Unknown,
        };
    }
    // One order for both, so that the comparison is symmetric by construction.
    let (a, b) = if gold <= given {
        (gold, given)
    } else {
        (given, gold)
    };
    let found = compare(a, b, Commas::Group, lenient);
    let ambiguous = |text: &str| text.contains(',');
    // "100,200" is a number to some and two to others.
    match found != Equivalence::Same && ambiguous(a) && ambiguous(b) {
        true if compare(a, b, Commas::Separate, lenient).is_same() => Equivalence::Same,
        _ => found,
    }
}

fn compare(a: &str, b: &str, commas: Commas, lenient: bool) -> Equivalence {
    let mut names = Names::default();
    let a = read(&lex(a, commas), &mut names);
    let b = read(&lex(b, commas), &mut names);
    if a.text.is_empty() || b.text.is_empty() {
        return Equivalence::Different;
    }
    let fuel = Fuel::new();
    let comparison = Comparison {
        points: &Points::keyed(&a.text, &b.text),
        fuel: &fuel,
        lenient,
    };
    let found = comparison.compare(&a, &b);
    match fuel.is_empty() && a.text != b.text {
        true => Equivalence::Unknown,
        false => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_percent_sign_is_understood_only_where_asked() {
        for (a, b) in [("25", "25\\%"), ("25%", "25"), ("0.25", "25\\%")] {
            assert!(answers(a, b).is_same(), "{a} {b}");
        }
        assert_eq!(equivalent("25", "25\\%"), Equivalence::Different);
        assert_eq!(answers("25", "0.25\\%"), Equivalence::Different);
        assert_eq!(answers("25", "0.25"), Equivalence::Different);
    }

    #[test]
    fn long_answers_are_equal_to_themselves_only() {
        let long = "9 ".repeat(5_000);
        assert_eq!(
            equivalent(&long, &long.replace(' ', "\n ")),
            Equivalence::Same
        );
        assert_eq!(equivalent(&long, "9"), Equivalence::Unknown);
    }

    /// Pieces of answers, joined at random.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = "(\\\\frac|\\\\sqrt|\\\\pm|\\\\text\\{ cm\\}|\\\\left|\\{|\\}|\\(|\\)|\\[|\\]|,|=|<|\\^|_|[0-9]{1,3}|[a-cxi]|pi|sin|\\+|-|/|\\*|!|%|\\\\%|\\$| |\\.|:|\\||\\\\\\\\|&|\\\\begin\\{pmatrix\\}|\\\\end\\{pmatrix\\}|\\\\\\{|\\\\\\}|\\\\cup|or)";
        proptest::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn everything_is_itself(text in pieces(), wild in "\\PC{0,40}") {
            for text in [text, wild] {
                let found = equivalent(&text, &text);
                let empty = equivalent(&text, "") == Equivalence::Different
                    && found == Equivalence::Different;
                prop_assert!(found.is_same() || empty, "{} {:?}", text, found);
            }
        }

        #[test]
        fn comparison_is_symmetric(a in pieces(), b in pieces(), wild in "\\PC{0,20}") {
            prop_assert_eq!(equivalent(&a, &b), equivalent(&b, &a));
            prop_assert_eq!(equivalent(&a, &wild), equivalent(&wild, &a));
        }

        #[test]
        fn integers_are_compared_as_integers(a in -9_999i64..9_999, b in -9_999i64..9_999) {
            prop_assert_eq!(equivalent(&a.to_string(), &b.to_string()).is_same(), a == b);
        }

        #[test]
        fn fractions_are_compared_as_fractions(a in -99i64..99, b in 1i64..99, c in -99i64..99, d in 1i64..99) {
            let same = a * d == c * b;
            let found = equivalent(&format!("\\frac{{{a}}}{{{b}}}"), &format!("{c}/{d}"));
            prop_assert_eq!(found.is_same(), same);
        }

        #[test]
        fn polynomials_are_compared_as_polynomials(a in -9i64..9, b in -9i64..9, c in -9i64..9, d in -9i64..9) {
            let product = format!("(x+{a})(x+{b})");
            let expanded = format!("x^2 + {}x + {}", c + d, c * d);
            let same = (a + b, a * b) == (c + d, c * d);
            prop_assert_eq!(equivalent(&product, &expanded).is_same(), same);
        }

        #[test]
        fn tuples_keep_their_order_and_sets_do_not(a in -9i64..9, b in -9i64..9) {
            let tuple = equivalent(&format!("({a},{b})"), &format!("({b},{a})"));
            prop_assert_eq!(tuple.is_same(), a == b);
            let set = equivalent(&format!("\\{{{a},{b}\\}}"), &format!("\\{{{b},{a}\\}}"));
            prop_assert!(set.is_same());
        }
    }
}
