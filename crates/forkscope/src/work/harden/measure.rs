//! One side of the table: prices and answers on held-out problems, as a run.

use forkscope_audit::hardened::{Answered, Measured};
use forkscope_audit::revert::{Answer, Judge};
use forkscope_policy::Ended;
use forkscope_records::types::{Findings, FinishReason, Reversion, Rollout};
use forkscope_records::{RunDir, read_table, write_findings};

use super::{Asked, Job};
use crate::cli::Settings;
use crate::failure::Failure;
use crate::terminal::progress::Progress;
use crate::work::models::Named;
use crate::work::options::RunOptions;
use crate::work::revert::{self, InduceBy, TextJudge};
use crate::work::{rollouts, run};

/// Folder of the run of the tuned policy as it was.
pub const BEFORE: &str = "before";
/// Folder of the run of the hardened policy.
pub const AFTER: &str = "after";

/// Table of the answers to guarded problems.
const GUARDED: &str = "rollouts_guarded";
/// Table of the answers to benign problems.
const BENIGN: &str = "rollouts_benign";

/// Measures a policy, as far as its run is not there.
pub fn side(
    job: &Job<'_>,
    when: &str,
    named: &Named,
    parent: &RunDir,
    settings: &Settings,
) -> Result<Measured, Failure> {
    let options = RunOptions {
        out: parent.path().join(when),
        resume: true,
        limit: None,
        dry_run: false,
        json: false,
    };
    // On what, and how, is in the manifest of the run that this one is in.
    let mut manifest = run::manifest("harden measure", settings).setting("side", when);
    manifest = run::with_policy(manifest, "base", job.base)?;
    manifest = run::with_policy(manifest, "tuned", named)?;
    for (name, digest) in &parent.json().digests {
        if name.starts_with("data") {
            manifest = manifest.digest(name, digest.as_str().unwrap_or_default());
        }
    }
    if let Some(mut dir) = run::open(&options, manifest)? {
        let found = Findings {
            schema: Findings::SCHEMA.to_owned(),
            findings: revert::run(&priced(job, named), &mut dir, settings)?,
        };
        sampled(job, GUARDED, named, &job.sets.eval_guarded, &dir, settings)?;
        sampled(job, BENIGN, named, &job.sets.eval_benign, &dir, settings)?;
        write_findings(&dir, &found)?;
        revert::write_pieces(named, &dir)?;
        dir.complete()?;
    }
    let table = |name: &str| options.out.join(format!("{name}.parquet"));
    let answers = |name: &str, asked: &Asked| {
        let rollouts: Vec<Rollout> = read_table(&table(name))?;
        answered(job, named, asked, &rollouts)
    };
    let reversions: Vec<Reversion> = read_table(&table(revert::TABLE))?;
    Ok(Measured {
        reversions,
        guarded: answers(GUARDED, &job.sets.eval_guarded)?,
        benign: answers(BENIGN, &job.sets.eval_benign)?,
    })
}

fn priced<'j>(job: &'j Job<'_>, named: &'j Named) -> revert::Job<'j> {
    let asked = &job.sets.eval_guarded;
    revert::Job {
        base: job.base,
        tuned: named,
        undo: Some(revert::Asked {
            set: &asked.set,
            prompts: &asked.prompts,
        }),
        induce: None,
        induce_by: InduceBy::Base,
        spelled: job.spelled,
        behaviour: job.behaviour,
        verifier: job.verifier,
        search: None,
        prices: job.prices.clone(),
        findings: job.findings,
    }
}

fn sampled(
    job: &Job<'_>,
    table: &str,
    named: &Named,
    asked: &Asked,
    dir: &RunDir,
    settings: &Settings,
) -> Result<(), Failure> {
    let total = asked.set.problems.len() as u64 * u64::from(job.sampler.n);
    let progress = Progress::new(total, "answers sampled", settings);
    let sampling = rollouts::Job {
        named,
        prompts: &asked.prompts.prompts,
        problems: &asked.set.problems,
        settings: job.sampler.clone(),
        verifier: job.verifier,
    };
    let table = dir.table::<Rollout>(table, rollouts::ROW_GROUP)?;
    rollouts::sample(&sampling, table, &progress)?;
    progress.finish();
    Ok(())
}

/// What is known of each answer; they are in order of (problem, sample).
fn answered(
    job: &Job<'_>,
    named: &Named,
    asked: &Asked,
    rollouts: &[Rollout],
) -> Result<Vec<Answered>, Failure> {
    let judge = TextJudge {
        behaviour: job.behaviour,
        verifier: job.verifier,
        problems: &asked.set.problems,
        text: named.policy.text(),
    };
    let n = job.sampler.n.max(1) as usize;
    let answers: Vec<Answer<'_>> = rollouts
        .iter()
        .enumerate()
        .map(|(i, r)| Answer {
            prompt: i / n,
            ids: r.completion(),
            ended: match r.finish_reason {
                FinishReason::Eos => Ended::Eos,
                FinishReason::Stop => Ended::Stop,
                FinishReason::Context => Ended::Context,
                _ => Ended::Length,
            },
        })
        .collect();
    let verdicts = judge.judge(&answers)?;
    let one = |(r, behaves): (&Rollout, Option<bool>)| Answered {
        problem_id: r.problem_id.clone(),
        behaves,
        correct: r.correct,
    };
    Ok(rollouts.iter().zip(verdicts).map(one).collect())
}
