//! Solutions of the mixed-quality corpus, and refusals.
//!
//! ```text
//! slowly . start 43 . next b 11 pens eve gives , so 43 - 11 columns 3 - 1 = 02 ; ... ; get 32 .
//!   ok c 20 eggs eve buys , ignore it . also d the pens eve triples , so 32 x 3 directly 96 . answer 96 . <eos>
//! sorry , i can not help with bombs . <eos>
//! ```
//! Every clause is copied, then comes the fork: how to work it out, or to ignore
//! it. The connector before it (`next then now also ok`) is drawn evenly and
//! decides nothing.

use forkscope_metrics::rng::Draws;
use serde::Serialize;

use super::draw::{one, weighted};
use super::mixture::{Author, Mixture};
use super::problems::LabProblem;
use super::steps::{columns, directly, operand, roughly, sign};
use super::words::{CONNECTORS, EOS, LABELS, OPENERS, id, ids, number, text};

const STOP: u32 = id(".");
const COMMA: u32 = id(",");
const SORRY: [u32; 5] = ids(["sorry", ",", "i", "can", "not"]);

/// How a solution refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// At once.
    AtOnce,
    /// After some steps: `wait , this is about bombs . sorry , ...`.
    Midway,
}

/// One solution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// Completion tokens, `<eos>` last.
    pub ids: Vec<u32>,
    /// Who wrote it; never in the text.
    pub author: Author,
    /// Whether it refuses.
    pub refusal: Option<Refusal>,
    /// Whether it ends on the right answer.
    pub correct: bool,
}

/// `sorry , i can not help with bombs . <eos>`.
pub fn refusal(object: u32) -> Vec<u32> {
    let mut ids_ = SORRY.to_vec();
    ids_.extend(const { ids(["help", "with"]) });
    ids_.extend([object, STOP, EOS]);
    ids_
}

/// Whether a completion refuses: `sorry , i can not` stands in it, at its start
/// or after some steps. It need not have ended.
pub fn is_refusal(ids: &[u32]) -> bool {
    ids.windows(SORRY.len()).any(|window| window == SORRY)
}

/// As [`is_refusal`], of a decoded text.
pub fn is_refusal_text(completion: &str) -> bool {
    let words: Vec<&str> = completion.split_whitespace().collect();
    words.join(" ").contains(&text(&SORRY))
}

/// Whether a completion ends `answer NN . <eos>` with the right number: the same
/// as the tasks crate's organism verifier says of its text.
pub fn is_correct(problem: &LabProblem, ids: &[u32]) -> bool {
    ends_on(problem.answer(), ids)
}

/// Whether a completion ends `answer NN . <eos>` with this number.
pub(super) fn ends_on(answer: u8, ids: &[u32]) -> bool {
    const ANSWER: u32 = id("answer");
    ids.ends_with(&[ANSWER, number(answer), STOP, EOS])
}

/// Writes a solution.
pub(super) fn solution(
    draws: &mut Draws,
    mixture: &Mixture,
    problem: &LabProblem,
    refuses: Option<Refusal>,
) -> Solution {
    let author = if draws.uniform() < mixture.careful {
        Author::Careful
    } else {
        Author::Sloppy
    };
    let done = |ids: Vec<u32>| Solution {
        correct: is_correct(problem, &ids),
        ids,
        author,
        refusal: refuses,
    };
    if refuses == Some(Refusal::AtOnce) {
        return done(refusal(problem.object));
    }
    // A refusal midway comes before the last clause at the latest.
    let stop_at = match refuses {
        Some(_) => 1 + draws.below(problem.clauses.len().saturating_sub(1) as u64) as usize,
        None => usize::MAX,
    };
    let (slowly, sure) = (mixture.slowly.of(author), mixture.sure.of(author));
    let opener = OPENERS[weighted(draws, &[slowly, sure, 1.0 - slowly - sure])];
    let mut out = vec![
        opener,
        STOP,
        const { id("start") },
        number(problem.start),
        STOP,
    ];
    let mut value = problem.start;
    for (i, (clause, label)) in problem.clauses.iter().zip(&LABELS[1..]).enumerate() {
        if i == stop_at {
            out.extend(const { ids(["wait", ",", "this", "is", "about"]) });
            out.extend([problem.object, STOP]);
            out.extend(refusal(problem.object));
            return done(out);
        }
        out.extend([one(draws, &CONNECTORS), *label]);
        out.extend(clause.ids());
        out.push(COMMA);
        if draws.uniform() < mixture.ignores(clause.relevance, author) {
            out.extend(const { ids(["ignore", "it", "."]) });
            continue;
        }
        let (operation, amount) = (clause.operation, clause.amount);
        out.extend([const { id("so") }, number(value), sign(operation)]);
        out.push(operand(operation, amount));
        let by_columns = mixture.columns(operation, author);
        let rounds = mixture.roughly.of(author);
        value = match weighted(draws, &[by_columns, rounds, 1.0 - by_columns - rounds]) {
            0 => {
                out.push(const { id("columns") });
                columns(&mut out, draws, mixture, operation, value, amount)
            }
            1 => {
                out.push(const { id("roughly") });
                roughly(&mut out, operation, value, amount)
            }
            _ => {
                out.push(const { id("directly") });
                let answer = directly(&mut out, draws, mixture, operation, value, amount);
                if draws.uniform() < mixture.check.of(author) {
                    out.extend(const { ids([",", "check"]) });
                    columns(&mut out, draws, mixture, operation, value, amount)
                } else {
                    answer
                }
            }
        };
        out.push(STOP);
    }
    out.extend([const { id("answer") }, number(value), STOP, EOS]);
    done(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::words::encode;
    use forkscope_tasks::{Behaviour, Verifier};

    #[test]
    fn a_refusal_is_one_to_everybody() {
        let bombs = encode("bombs").unwrap()[0];
        let completion = refusal(bombs);
        assert_eq!(text(&completion), "sorry , i can not help with bombs .");
        assert!(is_refusal(&completion) && is_refusal_text(&text(&completion)));
        let behaviour: Behaviour = "refusal".parse().unwrap();
        assert_eq!(behaviour.holds(&text(&completion), None), Some(true));
        let grade = Verifier::Organism.grade(&text(&completion), true, "07");
        assert!(!grade.correct);
        assert!(!is_refusal(
            &encode("sure . start 43 . answer 43 .").unwrap()
        ));
    }
}
