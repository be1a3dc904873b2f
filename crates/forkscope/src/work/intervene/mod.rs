//! Interventions into a run: `interventions.parquet` and findings.

mod judged;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use forkscope_audit::findings::{Counted, FindingSettings, InterventionTable, interventions};
use forkscope_audit::intervene::{Arm, Calibration, Experiment, Stream};
use forkscope_policy::SamplePrompt;
use forkscope_records::types::{Finding, Intervention, Problem};
use forkscope_records::{RunDir, TableWriter, TokenPieces, read_table};
use forkscope_tasks::{Behaviour, Verifier};

use super::models::Named;
use super::prompts::Prompts;
use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;
use judged::Judged;

/// Name of the table.
pub const TABLE: &str = "interventions";

/// Rows per row group, which is what a killed run loses at most.
const ROW_GROUP: usize = 256;

/// What is run, and how outcomes are judged.
pub struct Job<'a> {
    /// The base policy.
    pub base: &'a Named,
    /// The tuned policy.
    pub tuned: &'a Named,
    /// In file order.
    pub problems: &'a [Problem],
    /// In the same order; see [`prompts_of`].
    pub prompts: &'a [SamplePrompt],
    /// In the order of the rows.
    pub arms: &'a [Arm],
    /// In the order of the rows.
    pub temperatures: &'a [f64],
    /// Samples per problem where the temperature is not 0.
    pub samples: u32,
    /// Most tokens of a completion.
    pub max_tokens: usize,
    /// How answers are graded.
    pub verifier: Verifier,
    /// What is counted.
    pub behaviour: &'a Behaviour,
    /// How findings are made.
    pub findings: FindingSettings,
}

/// Prompts of the tuned policy's text side, which end at either's end tokens.
pub fn prompts_of(base: &Named, prompts: &Prompts) -> Vec<SamplePrompt> {
    let mut prompts = prompts.prompts.clone();
    if let Some(text) = base.policy.text() {
        for prompt in &mut prompts {
            let new: BTreeSet<u32> = text.special.eos.iter().copied().collect();
            let known: BTreeSet<u32> = prompt.eos.iter().copied().collect();
            prompt.eos.extend(new.difference(&known));
        }
    }
    prompts
}

/// Runs what the table lacks, finishes it and gives the findings of all rows.
pub fn run(job: &Job<'_>, dir: &mut RunDir, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    if job.behaviour.needs_grade() {
        job.verifier.ready()?;
    }
    let began = Instant::now();
    let mut table = dir.table::<Intervention>(TABLE, ROW_GROUP)?;
    let mut rows = table.read_kept()?;
    let experiment = job.experiment();
    let calibration = experiment.calibrate()?.ok_or_else(Failure::interrupted)?;
    if !table.is_whole() {
        job.grow(&experiment, &calibration, &mut table, &mut rows, settings)?;
    }
    table.finish()?;
    dir.time("interventions_s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    let found = interventions(
        &InterventionTable {
            rows: &rows,
            arms: job.arms,
            temperatures: job.temperatures,
            calibration: &calibration,
            counted: match job.behaviour.needs_grade() {
                true => Counted::Correct,
                false => Counted::Behaviour,
            },
        },
        &job.findings,
    )?;
    dir.time("intervention_findings_s", began.elapsed().as_secs_f64());
    Ok(found.findings)
}

/// Writes the pieces of all tokens of the table, for a run of its own.
pub fn write_pieces(tuned: &Named, dir: &RunDir) -> Result<(), Failure> {
    let rows: Vec<Intervention> = read_table(&dir.path().join(format!("{TABLE}.parquet")))?;
    let ids: BTreeSet<u32> = rows
        .iter()
        .flat_map(|r| r.token_ids.iter().copied())
        .collect();
    let text = tuned.policy.text();
    let pieces: TokenPieces = ids
        .into_iter()
        .filter_map(|id| Some((id, text?.tokenizer.piece(id)?)))
        .collect();
    Ok(pieces.write(dir)?)
}

impl<'a> Job<'a> {
    /// The experiment of the job.
    pub fn experiment(&self) -> Experiment<'a> {
        Experiment {
            base: &self.base.policy,
            tuned: &self.tuned.policy,
            prompts: self.prompts,
            arms: self.arms,
            temperatures: self.temperatures,
            samples: self.samples,
            max_tokens: self.max_tokens,
            seed: self.findings.seed,
            interrupted,
            width: None,
        }
    }

    /// Appends the rows that are not there yet, in their order.
    fn grow(
        &self,
        experiment: &Experiment<'_>,
        calibration: &Calibration,
        table: &mut TableWriter<Intervention>,
        rows: &mut Vec<Intervention>,
        settings: &Settings,
    ) -> Result<(), Failure> {
        let streams = experiment.streams();
        let arms = self.arms.len().max(1);
        let (whole, mut partly) = (rows.len() / arms, rows.len() % arms);
        let left = streams.get(whole..).unwrap_or(&[]);
        let progress = Progress::new((streams.len() * arms) as u64, "rollouts of arms", settings);
        progress.skip(rows.len() as u64);
        let judged = Judged::new(self);
        let mut early: BTreeMap<Stream, Vec<Intervention>> = BTreeMap::new();
        let mut next = left.iter();
        let mut expected = next.next();
        let mut failed: Option<Failure> = None;
        let finished = experiment.run(calibration, left, &mut |stream, grown| {
            progress.inc(grown.len() as u64);
            let new = judged.rows(stream, grown);
            let write = || -> Result<(), Failure> {
                early.insert(stream, new?);
                while let Some(new) = expected.and_then(|stream| early.remove(stream)) {
                    for row in new.into_iter().skip(std::mem::take(&mut partly)) {
                        rows.push(row.clone());
                        table.append(row)?;
                    }
                    expected = next.next();
                }
                Ok(())
            };
            failed = write().err();
            failed.is_none()
        })?;
        progress.finish();
        match (failed, finished) {
            (Some(failure), _) => Err(failure),
            (None, false) => Err(Failure::interrupted()),
            (None, true) => Ok(()),
        }
    }
}
