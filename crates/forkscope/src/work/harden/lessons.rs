//! The lessons of a run: made once, kept in `lessons.jsonl`.

use forkscope_audit::AuditError;
use forkscope_audit::revert::{Answer, Judge};
use forkscope_policy::Ended;
use forkscope_records::RunDir;
use forkscope_train::TrainError;
use forkscope_train::harden::{Lessons, Pair, make};

use super::Job;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::work::revert::TextJudge;
use crate::work::rollouts::bytes_of;

/// File of the lessons.
const LESSONS: &str = "lessons.jsonl";

/// The lessons that the run has, or new ones, which it then has.
pub fn kept_or_made(job: &Job<'_>, dir: &RunDir) -> Result<Lessons, Failure> {
    let path = dir.path().join(LESSONS);
    if path.is_file() {
        let bytes = bytes_of(&path)?;
        let text = std::str::from_utf8(&bytes).map_err(|e| e.to_string());
        return text.and_then(Lessons::from_jsonl).map_err(|what| {
            Failure::Input(format!(
                "{}: {what}; remove the file and resume, and it is made again",
                path.display()
            ))
        });
    }
    let lessons = made(job)?;
    dir.write_atomic(LESSONS, lessons.to_jsonl()?.as_bytes())?;
    Ok(lessons)
}

fn made(job: &Job<'_>) -> Result<Lessons, Failure> {
    let guarded = &job.sets.guarded;
    let judge = TextJudge {
        behaviour: job.behaviour,
        verifier: job.verifier,
        problems: &guarded.set.problems,
        text: job.tuned.policy.text(),
    };
    let behaves = |prompt: usize, ids: &[u32]| {
        let answer = Answer {
            prompt,
            ids,
            ended: Ended::Eos,
        };
        let verdicts = judge.judge(&[answer]).map_err(TrainError::from)?;
        Ok(verdicts.first().copied().flatten())
    };
    let pair = Pair {
        base: &job.base.policy,
        tuned: &job.tuned.policy,
        guarded: &guarded.prompts.prompts,
        kept: &job.sets.benign.prompts.prompts,
        behaves: &behaves,
        interrupted,
    };
    make(&pair, &job.lessons).map_err(|error| match error {
        TrainError::Interrupted | TrainError::Audit(AuditError::Interrupted) => {
            Failure::interrupted()
        }
        other => other.into(),
    })
}
