//! A behaviour of texts as the judge of answers.

use forkscope_audit::AuditError;
use forkscope_audit::revert::{Answer, Judge};
use forkscope_policy::Ended;
use forkscope_policy::text::TextSide;
use forkscope_records::types::Problem;
use forkscope_tasks::{Behaviour, Verifier};
use rayon::prelude::*;

/// Judges what completions say.
pub struct TextJudge<'a> {
    /// What is looked for.
    pub behaviour: &'a Behaviour,
    /// How answers are graded, where that is looked for.
    pub verifier: Verifier,
    /// One per prompt.
    pub problems: &'a [Problem],
    /// Turns ids into text.
    pub text: Option<&'a TextSide>,
}

impl TextJudge<'_> {
    fn one(&self, answer: &Answer<'_>) -> Result<Option<bool>, AuditError> {
        let text = self.text.map(|t| t.tokenizer.decode(answer.ids, true));
        let text = text.unwrap_or_default();
        let problem = self.problems.get(answer.prompt);
        let gold = problem.and_then(|p| p.answer.as_deref());
        let correct = gold.filter(|_| self.behaviour.needs_grade()).map(|gold| {
            let whole = matches!(answer.ended, Ended::Eos | Ended::Stop);
            self.verifier.grade(&text, whole, gold).correct
        });
        self.behaviour.judge(&text, correct).map_err(|e| {
            let id = problem.map_or("", |p| p.id.as_str());
            AuditError::Judge(format!("an answer to problem `{}`: {e}", id.escape_debug()))
        })
    }
}

impl Judge for TextJudge<'_> {
    fn judge(&self, answers: &[Answer<'_>]) -> Result<Vec<Option<bool>>, AuditError> {
        let verdicts: Vec<Result<Option<bool>, AuditError>> =
            answers.par_iter().map(|a| self.one(a)).collect();
        // The first failure in order, whichever came first in time.
        verdicts.into_iter().collect()
    }
}
