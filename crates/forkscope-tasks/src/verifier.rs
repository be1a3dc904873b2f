//! Whether a completion gives the right answer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::equivalence::{Equivalence, answers, equivalent, is_understood};
use crate::error::TaskError;
use crate::extract;
use crate::math_verify::{self, Undecided, Verdict};

/// How an answer is found in a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verifier {
    /// The first that finds an answer of: tag, box, `####`, "answer is", and,
    /// where the completion ended by itself, the whole of it if it is an answer
    /// and nothing else, then the last number. A completion in the
    /// organism's words to a problem with a two-digit answer is judged as
    /// [`Verifier::Organism`].
    #[default]
    Auto,
    /// The last `<answer>...</answer>`.
    AnswerTag,
    /// The last `\boxed{}`.
    Boxed,
    /// After the last `####`.
    Hash4,
    /// After the last "answer is".
    FinalAnswer,
    /// The completion itself: one line that is an answer.
    Whole,
    /// The last number. A completion that was cut off has none: its last
    /// number is wherever it happened to be.
    LastNumber,
    /// The embedded pair's task: correct if and only if the completion *ends*
    /// `answer NN .` and then the end token, with the right two digits.
    Organism,
    /// The Python library math-verify finds the answer and compares it, in a
    /// process of its own ([`crate::math_verify`]).
    MathVerify,
}

/// Longest reference in which an answer is looked for, bytes.
const MAX_REFERENCE: usize = 1 << 16;

/// What a verifier says about a completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    /// Whether the completion counts as correct.
    pub correct: bool,
    /// The answer that was found, as the completion spells it.
    pub extracted: Option<String>,
    /// The rule that found it (never `Auto`); the last that was tried if none
    /// did.
    pub verifier: Verifier,
    /// How the answer compares with the reference; `None` without an answer.
    pub equivalence: Option<Equivalence>,
    /// Why there is no verdict, if there is none: only where a library is
    /// asked. Such a completion counts as not correct.
    pub undecided: Option<Undecided>,
}

impl Verifier {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Auto,
        Self::AnswerTag,
        Self::Boxed,
        Self::Hash4,
        Self::FinalAnswer,
        Self::Whole,
        Self::LastNumber,
        Self::Organism,
        Self::MathVerify,
    ];

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::AnswerTag => "answer-tag",
            Self::Boxed => "boxed",
            Self::Hash4 => "hash4",
            Self::FinalAnswer => "final-answer",
            Self::Whole => "whole",
            Self::LastNumber => "last-number",
            Self::Organism => "organism",
            Self::MathVerify => "math-verify",
        }
    }

    /// What a run records: the name, with the version of the library that it
    /// asks, once that has been loaded ([`Verifier::ready`]).
    pub fn described(self) -> String {
        match self {
            Self::MathVerify => match math_verify::version() {
                Some(version) => format!("{} {version}", self.name()),
                None => self.name().to_owned(),
            },
            _ => self.name().to_owned(),
        }
    }

    /// Makes sure that this verifier can be asked, before anything is sampled.
    ///
    /// # Errors
    /// The library that it needs is not installed.
    pub fn ready(self) -> Result<(), TaskError> {
        match self {
            Self::MathVerify => math_verify::ready().map(drop),
            _ => Ok(()),
        }
    }

    /// Compares two answers, without looking for them in a text: strictly by
    /// [`equivalent`], or as the library does.
    pub fn compare(self, gold: &str, given: &str) -> Grade {
        if self == Self::MathVerify {
            let (gold, boxed) = (extract::stated_answer(gold), format!("\\boxed{{{given}}}"));
            return Grade {
                extracted: Some(given.to_owned()),
                ..by_library(gold, &boxed, true)
            };
        }
        let found = equivalent(gold, given);
        Grade {
            correct: found.is_same(),
            extracted: Some(given.to_owned()),
            verifier: self,
            equivalence: Some(found),
            undecided: None,
        }
    }

    /// Judges a completion. `text` is without special tokens; `ended` says that
    /// the model ended it (by an end token or a stop string), so that it was not
    /// cut off; `gold` is the reference answer.
    pub fn grade(self, text: &str, ended: bool, gold: &str) -> Grade {
        let gold = match gold.len() > MAX_REFERENCE {
            true => gold,
            false => extract::stated_answer(gold),
        };
        if self == Self::MathVerify {
            return by_library(gold, text, ended);
        }
        let verifier = self.applied(text, ended, gold);
        let extracted = verifier.extract(text, ended);
        let equivalence = extracted.map(|answer| match verifier {
            // The organism's answers are tokens: "07" is not "7".
            Self::Organism if answer == gold.trim() => Equivalence::Same,
            Self::Organism => Equivalence::Different,
            _ => answers(gold, answer),
        });
        let same = equivalence.is_some_and(Equivalence::is_same);
        Grade {
            correct: same && (ended || verifier != Self::Organism),
            extracted: extracted.map(str::to_owned),
            verifier,
            equivalence,
            undecided: None,
        }
    }

    /// The rule that `Auto` stands for here.
    fn applied(self, text: &str, ended: bool, gold: &str) -> Self {
        if self != Self::Auto {
            return self;
        }
        let two_digits = gold.len() == 2 && gold.bytes().all(|byte| byte.is_ascii_digit());
        if two_digits && extract::is_organism(text) {
            return Self::Organism;
        }
        let marks = [Self::AnswerTag, Self::Boxed, Self::Hash4, Self::FinalAnswer];
        let found = marks
            .into_iter()
            .find(|rule| rule.extract(text, ended).is_some());
        let bare = || {
            Self::Whole.extract(text, ended).is_some_and(|line| {
                let formula = !extract::has_words(line) && is_understood(line);
                formula || answers(gold, line).is_same()
            })
        };
        found.unwrap_or_else(|| {
            if bare() {
                Self::Whole
            } else {
                Self::LastNumber
            }
        })
    }

    fn extract(self, text: &str, ended: bool) -> Option<&str> {
        match self {
            Self::Auto | Self::MathVerify => None,
            Self::AnswerTag => extract::tagged(text).map(extract::unboxed),
            Self::Boxed => extract::boxed(text),
            Self::Hash4 => extract::hash4(text).map(extract::unboxed),
            Self::FinalAnswer => extract::final_answer(text).map(extract::unboxed),
            Self::Whole => extract::whole(text).filter(|_| ended),
            Self::LastNumber => extract::last_number(text).filter(|_| ended),
            Self::Organism => extract::organism(text),
        }
    }
}

/// What the library says of a completion.
fn by_library(gold: &str, text: &str, ended: bool) -> Grade {
    let grade = Grade {
        correct: false,
        extracted: None,
        verifier: Verifier::MathVerify,
        equivalence: None,
        undecided: None,
    };
    match math_verify::check(gold, text, ended) {
        Verdict::Decided { equal, read, found } => Grade {
            correct: equal,
            equivalence: found.is_some().then_some(match (equal, read) {
                (true, _) => Equivalence::Same,
                (false, true) => Equivalence::Different,
                (false, false) => Equivalence::Unknown,
            }),
            extracted: found,
            ..grade
        },
        Verdict::Undecided(why) => Grade {
            equivalence: Some(Equivalence::Unknown),
            undecided: Some(why),
            ..grade
        },
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Verifier {
    type Err = TaskError;

    fn from_str(name: &str) -> Result<Self, TaskError> {
        Self::ALL
            .into_iter()
            .find(|verifier| verifier.name() == name)
            .ok_or_else(|| {
                let known: Vec<&str> = Self::ALL.iter().map(|verifier| verifier.name()).collect();
                TaskError::UnknownVerifier {
                    name: name.to_owned(),
                    known: known.join(", "),
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(text: &str, ended: bool, gold: &str) -> (bool, Option<String>, Verifier) {
        let grade = Verifier::Auto.grade(text, ended, gold);
        (grade.correct, grade.extracted, grade.verifier)
    }

    #[test]
    fn the_first_rule_that_finds_an_answer_is_applied() {
        let found = |text: &str, gold: &str| auto(text, true, gold);
        let some = |answer: &str| Some(answer.to_owned());
        assert_eq!(
            found("The answer is 3. \\boxed{4}\n#### 5", "4"),
            (true, some("4"), Verifier::Boxed)
        );
        assert_eq!(
            found("The answer is 3.\n#### 5", "5"),
            (true, some("5"), Verifier::Hash4)
        );
        assert_eq!(
            found("The answer is 3, not 4.", "3"),
            (false, some("3, not 4"), Verifier::FinalAnswer)
        );
        assert_eq!(
            found("It is 1,000 in all.", "1000"),
            (true, some("1,000"), Verifier::LastNumber)
        );
        assert_eq!(
            found("Who knows?", "3"),
            (false, None, Verifier::LastNumber)
        );
    }

    #[test]
    fn a_box_within_an_answer_is_opened() {
        let grade = |verifier: Verifier, text| verifier.grade(text, true, "1/2").correct;
        assert!(grade(
            Verifier::FinalAnswer,
            "The final answer is $\\boxed{0.5}$."
        ));
        assert!(grade(Verifier::Hash4, "#### \\boxed{0.5}"));
    }

    #[test]
    fn a_bare_answer_is_read_whole_and_a_sentence_is_not() {
        let found = |text: &str, gold: &str| auto(text, true, gold);
        assert_eq!(found("-1 + sqrt(3)", "\\sqrt{3}-1").2, Verifier::Whole);
        assert!(found("odd $n$", "odd n").0);
        assert!(found("x < 2", "2 > x").0);
        assert!(found("42", "42").0);
        assert_eq!(found("I add 3 and 4", "4").2, Verifier::LastNumber);
        assert_eq!(auto("x < 2", false, "2 > x").2, Verifier::LastNumber);
        assert!(found("I had \\boxed{3}. <answer>4</answer>", "4").0);
    }

    #[test]
    fn the_reference_may_be_a_solution_and_percent_is_understood() {
        assert!(auto("#### 25%", true, "so\n#### 25").0);
        assert!(auto("\\boxed{5}", true, "It is $\\boxed{5}$.").0);
    }

    #[test]
    fn a_cut_off_completion_has_no_last_number() {
        assert_eq!(
            auto("first I add 3 and 4", false, "4"),
            (false, None, Verifier::LastNumber)
        );
        assert!(auto("\\boxed{4} and on", false, "4").0);
    }

    #[test]
    fn the_organism_must_end_on_its_answer() {
        let text = "slowly b 43 + 11 columns 54 . so answer 54 .";
        let organism = |text: &str, ended, gold: &str| {
            let grade = Verifier::Organism.grade(text, ended, gold);
            let auto = Verifier::Auto.grade(text, ended, gold);
            assert_eq!(grade, auto, "{text}");
            grade.correct
        };
        assert!(organism(text, true, "54"));
        assert!(!organism(text, false, "54"));
        assert!(!organism(text, true, "45"));
        assert!(!organism("answer 54 . wait", true, "54"));
        assert!(!organism("so it is 54", true, "54"));
        assert!(organism("answer 07 .", true, "07"));
        assert!(!Verifier::Organism.grade("answer 07 .", true, "7").correct);
        // A sentence is not the organism's, even about two digits.
        assert!(auto("The answer is 54.", true, "54").0);
    }

    #[test]
    fn verifiers_have_names() {
        for verifier in Verifier::ALL {
            assert_eq!(verifier.name().parse(), Ok(verifier));
            assert_eq!(verifier.to_string(), verifier.name());
        }
        let error = "gold".parse::<Verifier>().unwrap_err().to_string();
        assert!(error.contains("auto, answer-tag, boxed, hash4"), "{error}");
    }
}
