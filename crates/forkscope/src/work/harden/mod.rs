//! Hardening into a run: lessons, training, and both sides measured.
//!
//! `before/` and `after/` are runs of their own in the run's folder, with
//! `reversions.parquet` and rollouts; the adapter lies in `final/`.

mod lessons;
mod measure;

use std::time::Instant;

use forkscope_audit::findings::FindingSettings;
use forkscope_audit::hardened;
use forkscope_audit::revert::RevertSettings;
use forkscope_policy::{ModelFiles, SampleSettings};
use forkscope_records::RunDir;
use forkscope_records::types::Finding;
use forkscope_tasks::{Behaviour, Verifier};
use forkscope_train::engine::{Network, SavedDtype, Trainable};
use forkscope_train::harden::{HardenSettings, HardenSource};
use forkscope_train::run::{FINAL, TrainSettings};
use forkscope_train::start_from_adapter;
use serde_json::json;

use super::models::Named;
use super::prompts::{ProblemSet, Prompts};
use super::training::Training;
use crate::cli::Settings;
use crate::failure::Failure;
use crate::terminal::training::TrainingBar;

use measure::{AFTER, BEFORE};

/// Problems with their prompts.
pub struct Asked {
    /// In file order.
    pub set: ProblemSet,
    /// In the same order.
    pub prompts: Prompts,
}

/// All problems of a run: none is of two sets.
pub struct Sets {
    /// Problems on which the behaviour is guarded, to learn from.
    pub guarded: Asked,
    /// Problems whose answers are to stay, to learn from.
    pub benign: Asked,
    /// Held-out problems on which prices are measured.
    pub eval_guarded: Asked,
    /// Held-out problems on which the cost is measured.
    pub eval_benign: Asked,
}

/// What is hardened, on what, and how it is measured.
pub struct Job<'a> {
    /// The base policy.
    pub base: &'a Named,
    /// The tuned policy.
    pub tuned: &'a Named,
    /// Problems.
    pub sets: &'a Sets,
    /// The behaviour as the user wrote it.
    pub spelled: &'a str,
    /// The behaviour.
    pub behaviour: &'a Behaviour,
    /// How answers are graded.
    pub verifier: Verifier,
    /// Lessons and loss.
    pub lessons: HardenSettings,
    /// The loop.
    pub training: TrainSettings,
    /// What is trained.
    pub trainable: Trainable,
    /// The adapter that training starts from; else a new one on the tuned model.
    pub start: Option<ModelFiles>,
    /// Number format of `final/`.
    pub saved: SavedDtype,
    /// Parameters of the model, an adapter's left out.
    pub parameters: u64,
    /// How prices are found.
    pub prices: RevertSettings,
    /// How answers are sampled that shares are counted of.
    pub sampler: SampleSettings,
    /// How findings are made.
    pub findings: FindingSettings,
}

/// Measures, trains and measures again, as far as the run lacks it.
pub fn run(job: &Job<'_>, dir: &mut RunDir, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    job.verifier.ready()?;
    let before = measure::side(job, BEFORE, job.tuned, dir, settings)?;
    let began = Instant::now();
    let lessons = lessons::kept_or_made(job, dir)?;
    dir.time("lessons_s", began.elapsed().as_secs_f64());
    let counted = json!({
        "recoveries": lessons.recoveries.len(),
        "anchors": lessons.anchors.len(),
        "made": lessons.made,
    });
    let mut network = Network::open(job.tuned.policy.files(), &job.trainable, settings.seed)?;
    if let Some(start) = &job.start {
        start_from_adapter(&mut network, start)?;
    }
    network.save_as(job.saved);
    let mut source = HardenSource::new(lessons, job.tuned.policy.clone(), job.lessons.clone())?;
    let mut bar = TrainingBar::new(job.training.steps, "harden", settings);
    let training = Training {
        network: &mut network,
        source: &mut source,
        settings: job.training.clone(),
        evaluation: None,
        parameters: job.parameters,
        data: counted,
    };
    training.run(dir, &mut bar)?;
    bar.finish();
    let adapter = ModelFiles::dir_at(dir.path().join(FINAL));
    let hardened = Named::new("hardened", job.tuned.policy.with_adapter(adapter)?);
    let after = measure::side(job, AFTER, &hardened, dir, settings)?;
    Ok(hardened::findings(
        &before,
        &after,
        job.spelled,
        &job.findings,
    )?)
}
