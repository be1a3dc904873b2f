//! All parts of an audit in one run: rollouts of both policies and their rows,
//! the noise floor, interventions, prices, awareness, bounds for new prompts;
//! then findings, report and statement.
//!
//! Every part writes its tables into the same run and is continued where it
//! stopped; findings are made from the tables each time.

mod parts;

use std::time::Instant;

use forkscope_audit::DiffSettings;
use forkscope_audit::attest::PrivateKey;
use forkscope_audit::findings::{FindingSettings, Side};
use forkscope_audit::intervene::{Arm, BUDGETS};
use forkscope_policy::SampleSettings;
use forkscope_records::types::{Direction, Finding, Rollout};
use forkscope_records::{RunDir, TokenPieces};
use forkscope_tasks::{Behaviour, Verifier};

use super::compare::{Compared, Comparison};
use super::models::Named;
use super::probe::contrast::ContrastSet;
use super::prompts::{ProblemSet, Prompts};
use super::{attest, rollouts};
use crate::cli::Settings;
use crate::failure::Failure;
use crate::terminal::progress::Progress;

/// Problems with their prompts.
pub struct Set {
    /// In file order.
    pub problems: ProblemSet,
    /// In the same order.
    pub prompts: Prompts,
}

/// A contrast set with its prompts.
pub struct Probed {
    /// The items.
    pub set: ContrastSet,
    /// In the same order.
    pub prompts: Prompts,
}

/// Which parts are made; the comparison always is.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// What bf16 does to the base by itself.
    pub noise_floor: bool,
    /// Arms and their controls.
    pub interventions: bool,
    /// Prices.
    pub reversions: bool,
    /// Evaluation awareness.
    pub awareness: bool,
}

impl Parts {
    /// The names of what is made.
    pub fn names(self) -> Vec<&'static str> {
        [
            ("diff", true),
            ("noise-floor", self.noise_floor),
            ("intervene", self.interventions),
            ("revert", self.reversions),
            ("probe", self.awareness),
            ("coverage", true),
        ]
        .into_iter()
        .filter_map(|(name, made)| made.then_some(name))
        .collect()
    }
}

/// What is audited.
pub struct Job<'a> {
    /// The base policy.
    pub base: &'a Named,
    /// The tuned policy.
    pub tuned: &'a Named,
    /// Problems on which tuning shows.
    pub asked: &'a Set,
    /// Problems on which the behaviour must not show.
    pub benign: Option<&'a Set>,
    /// What awareness is probed with.
    pub probed: Option<&'a Probed>,
    /// The behaviour as the user wrote it.
    pub spelled: &'a str,
    /// The behaviour.
    pub behaviour: &'a Behaviour,
    /// How answers are graded.
    pub verifier: Verifier,
    /// How rollouts are sampled.
    pub sampler: SampleSettings,
    /// What is made.
    pub parts: Parts,
    /// Most forced tokens of a price.
    pub token_cap: usize,
    /// Bootstrap replicates.
    pub replicates: u32,
    /// Signs the statement.
    pub key: Option<&'a PrivateKey>,
}

/// The arms of an audit: both directions, every default arm.
pub fn arms() -> Result<Vec<Arm>, Failure> {
    let mut all = Vec::new();
    for direction in [Direction::Forward, Direction::Reverse] {
        all.extend(forkscope_audit::intervene::arms(direction, &[], &BUDGETS)?);
    }
    Ok(all)
}

/// The temperatures of interventions: greedy, and the rollouts' own.
pub fn temperatures(sampling: f64) -> Vec<f64> {
    match sampling > 0.0 {
        true => vec![0.0, sampling],
        false => vec![0.0],
    }
}

/// Makes what the run lacks and completes it.
pub fn run(job: &Job<'_>, mut dir: RunDir, settings: &Settings) -> Result<(), Failure> {
    let (tuned, base) = job.sample(&mut dir, settings)?;
    let mut compared = job.compare(&mut dir, (&tuned, &base), settings)?;
    let found = &mut compared.findings.findings;
    if job.parts.noise_floor {
        let compared = (tuned.as_slice(), compared.rows.as_slice());
        found.extend(parts::noise_floor(job, &mut dir, compared, settings)?);
    }
    found.extend(parts::coverage(&tuned, &compared.rows)?);
    if job.parts.interventions {
        found.extend(parts::interventions(job, &mut dir, settings)?);
    }
    if job.parts.reversions {
        found.extend(parts::reversions(job, &mut dir, settings)?);
    }
    if job.parts.awareness {
        found.extend(parts::awareness(job, &mut dir, settings)?);
    }
    parts::pieces(job, &dir, &mut compared.pieces)?;
    job.close(dir, compared, &tuned)
}

impl Job<'_> {
    /// How findings are made.
    fn findings(&self) -> FindingSettings {
        FindingSettings {
            seed: self.sampler.seed,
            replicates: self.replicates,
            ..FindingSettings::default()
        }
    }

    /// Rollouts of the tuned policy and of the base, on the same prompts.
    fn sample(
        &self,
        dir: &mut RunDir,
        settings: &Settings,
    ) -> Result<(Vec<Rollout>, Vec<Rollout>), Failure> {
        let mut sampler = self.sampler.clone();
        let longest = |named: &Named| named.policy.context_len();
        sampler.max_len = longest(self.base).min(longest(self.tuned));
        let mut one = |named: &Named, table: &str| {
            let prompts = self.asked.prompts.ended_by(self.tuned, named);
            let total = prompts.len() as u64 * u64::from(sampler.n);
            let progress = Progress::new(total, &format!("rollouts of {}", named.spec), settings);
            let began = Instant::now();
            let job = rollouts::Job {
                named,
                prompts: &prompts,
                problems: &self.asked.problems.problems,
                settings: sampler.clone(),
                verifier: self.verifier,
            };
            let table_of = dir.table(table, rollouts::ROW_GROUP)?;
            let made = rollouts::sample(&job, table_of, &progress)?;
            progress.finish();
            dir.time(&format!("sample_{table}_s"), began.elapsed().as_secs_f64());
            Ok::<_, Failure>(made)
        };
        let mut tuned = one(self.tuned, "rollouts")?;
        let base = one(self.base, "rollouts_other")?;
        let policies = [&self.base.policy, &self.tuned.policy];
        rollouts::check(dir.path(), &mut tuned, &policies)?;
        Ok((tuned, base))
    }

    fn compare(
        &self,
        dir: &mut RunDir,
        (tuned, base): (&[Rollout], &[Rollout]),
        settings: &Settings,
    ) -> Result<Compared, Failure> {
        Comparison {
            base: self.base,
            tuned: self.tuned,
            rollouts: tuned,
            by: Some(Side::Tuned),
            other: Some(base),
            diff: DiffSettings::default(),
            findings: self.findings(),
            row_group_rows: 4096,
        }
        .make(dir, settings)
    }

    /// Findings, pieces, report, statement; the run is complete then.
    fn close(
        &self,
        mut dir: RunDir,
        compared: Compared,
        rollouts: &[Rollout],
    ) -> Result<(), Failure> {
        compared.report(&mut dir, rollouts)?;
        attest::write(&dir, self.base, self.tuned, self.key)?;
        dir.complete()?;
        Ok(())
    }
}

/// Adds the pieces of further tokens.
fn add_pieces(pieces: &mut TokenPieces, named: &Named, ids: impl Iterator<Item = u32>) {
    let Some(text) = named.policy.text() else {
        return;
    };
    for id in ids {
        if let Some(piece) = text.tokenizer.piece(id) {
            pieces.pieces.entry(id).or_insert(piece);
        }
    }
}

/// Findings of a part, timed.
fn timed(
    dir: &mut RunDir,
    part: &str,
    make: impl FnOnce(&mut RunDir) -> Result<Vec<Finding>, Failure>,
) -> Result<Vec<Finding>, Failure> {
    let began = Instant::now();
    let found = make(dir)?;
    dir.time(part, began.elapsed().as_secs_f64());
    Ok(found)
}
