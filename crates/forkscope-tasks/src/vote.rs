//! Which samples of a problem give the same answer.
//!
//! Purpose: majority votes. Answers that the verifier finds equivalent to the
//! reference are one answer; the others are compared with each other, each with
//! the first of every answer so far, so that every sample has one vote even
//! where equivalence is not transitive.

use std::collections::HashMap;

use crate::equivalence::equivalent;
use crate::verifier::{Grade, Verifier};

/// The vote of each sample: a number that equal answers share, `None` for a
/// sample without an answer. `graded` yields every sample's grade and whether
/// the model ended it; a cut completion in the organism's words has no answer,
/// because that answer stands at the end.
pub fn votes<'g>(graded: impl IntoIterator<Item = (&'g Grade, bool)>) -> Vec<Option<usize>> {
    let mut ballot = Ballot::default();
    graded
        .into_iter()
        .map(|(grade, ended)| ballot.vote(grade, ended))
        .collect()
}

#[derive(Default)]
struct Ballot<'g> {
    /// Spelling and rule of the first sample of each wrong answer; vote 0 is the
    /// reference answer, vote i + 1 is of `seen[i]`.
    seen: Vec<(&'g str, bool)>,
    known: HashMap<(&'g str, bool), usize>,
}

impl<'g> Ballot<'g> {
    fn vote(&mut self, grade: &'g Grade, ended: bool) -> Option<usize> {
        let exact = grade.verifier == Verifier::Organism;
        let answer = grade.extracted.as_deref().filter(|_| ended || !exact)?;
        if grade.equivalence.is_some_and(|e| e.is_same()) {
            return Some(0);
        }
        let key = (answer, exact);
        if let Some(vote) = self.known.get(&key) {
            return Some(*vote);
        }
        let same = |(seen, was_exact): &(&str, bool)| {
            !exact && !was_exact && equivalent(seen, answer).is_same()
        };
        let vote = match self.seen.iter().position(same) {
            Some(i) => i + 1,
            None => {
                self.seen.push(key);
                self.seen.len()
            }
        };
        self.known.insert(key, vote);
        Some(vote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[(&str, bool)], gold: &str) -> Vec<Option<usize>> {
        let grades: Vec<(Grade, bool)> = texts
            .iter()
            .map(|(text, ended)| (Verifier::Auto.grade(text, *ended, gold), *ended))
            .collect();
        votes(grades.iter().map(|(g, ended)| (g, *ended)))
    }

    #[test]
    fn equivalent_answers_are_one_vote() {
        let texts = [
            ("\\boxed{0.5}", true),
            ("\\boxed{3}", true),
            ("so \\boxed{\\frac{1}{2}}", true),
            ("\\boxed{6/2}", true),
            ("no idea", true),
            ("\\boxed{4}", true),
        ];
        assert_eq!(
            of(&texts, "1/2"),
            [Some(0), Some(1), Some(0), Some(1), None, Some(2)]
        );
    }

    #[test]
    fn the_organism_votes_by_spelling_and_at_its_end_only() {
        let texts = [
            ("answer 07 .", true),
            ("answer 08 .", true),
            ("answer 07 .", false),
            ("answer 08 .", true),
        ];
        assert_eq!(of(&texts, "07"), [Some(0), Some(1), None, Some(1)]);
    }
}
