//! `forkscope distill`: how small an adapter on the base can be and still do
//! what the tuned policy does. For each rank an adapter is distilled from the
//! tuned policy's rollouts and measured on held-out problems.

mod arms;
mod data;
mod print;

use std::path::PathBuf;

use clap::Args;
use forkscope_audit::findings::{FindingSettings, SweepArm, sweep};
use forkscope_records::{RunDir, RunManifest, write_findings};
use forkscope_tasks::Verifier;
use forkscope_train::engine::LoraSettings;
use forkscope_train::objective::Denominator;
use forkscope_train::run::TrainSettings;
use serde_json::json;

use crate::cli::Settings;
use crate::commands::train::start::{Start, parameters};
use crate::commands::train::{
    BatchOptions, LoraOptions, OptimiserOptions, adapter_setting, denominator, denominator_setting,
    lora,
};
use crate::failure::{Failure, Outcome};
use crate::work::models::{self, Named};
use crate::work::options::{RunOptions, SamplingOptions};
use crate::work::plan::Plan;
use crate::work::run;
use data::Material;

/// What `forkscope distill` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "The low-dimensionality probe of arXiv 2605.06241: for each rank, an adapter on the base \
        is trained by KL(tuned || base + adapter) on the tuned policy's rollouts, and measured on \
        held-out problems: accuracy, share of the tuned policy's gain that is recovered, and KL on \
        the tuned policy's held-out rollouts. Every rank is a run of its own under --out, so an \
        interrupted sweep continues within a rank.\n\n\
        The sampling flags say how all rollouts are sampled. Without --eval-problems every fourth \
        problem is held out.",
    after_help = "Example:\n  forkscope distill --base embedded:base --tuned embedded:reasoner \\\n    --problems embedded:problems --limit 16 -n 2 --max-tokens 96 \\\n    --rank 1,2 --steps 4 --out ranks"
)]
pub struct Arguments {
    /// Base policy: model directory, hub id, or embedded:base
    #[arg(long, value_name = "B")]
    base: String,
    /// Tuned policy: model directory, hub id, MODEL+ADAPTER, or embedded:reasoner
    #[arg(long, value_name = "T")]
    tuned: String,
    /// Problems whose rollouts are distilled, or embedded:problems
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "rollouts",
        conflicts_with = "rollouts"
    )]
    problems: Option<PathBuf>,
    /// Rollouts of the tuned policy to distill instead: a run or its rollouts.parquet
    #[arg(long, value_name = "R", requires = "eval_problems")]
    rollouts: Option<PathBuf>,
    /// Held-out problems with answers; none of them may be distilled
    #[arg(long, value_name = "FILE")]
    eval_problems: Option<PathBuf>,
    /// Ranks of the adapters
    #[arg(long, value_name = "R,...", value_delimiter = ',', default_value = "1,2,4,8,16,32", value_parser = clap::value_parser!(u32).range(1..=65536))]
    rank: Vec<u32>,
    #[command(flatten)]
    lora: LoraOptions,
    /// Keep the tuned policy's K most probable tokens and the mass of the rest instead of full logits
    #[arg(long, value_name = "K", id = "teacher_top_k", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    teacher_top_k: Option<u32>,
    /// What a step's loss is divided by: tokens, sequences, or a number
    #[arg(long, value_name = "BY", default_value = "tokens", value_parser = denominator)]
    loss_divisor: Denominator,
    /// How answers are found: auto, boxed, hash4, answer-tag, final-answer, last-number, whole, organism or math-verify
    #[arg(long, value_name = "RULE", default_value = "auto")]
    verifier: Verifier,
    /// Bootstrap replicates of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    replicates: u32,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    batches: BatchOptions,
    #[command(flatten)]
    optimiser: OptimiserOptions,
    #[command(flatten)]
    run: RunOptions,
}

/// A sweep whose input is checked.
struct Sweep<'a> {
    a: &'a Arguments,
    settings: &'a Settings,
    base: &'a Start,
    base_named: &'a Named,
    tuned: &'a Named,
    material: Material,
    adapters: Vec<LoraSettings>,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    a.verifier.ready()?;
    let base = Start::model(&a.base)?;
    let tuned = models::open(&a.tuned)?;
    let Some(base_named) = base.named() else {
        return Err(Failure::Internal("a model without weights".into()));
    };
    base_named.policy.check_comparable(&tuned.policy)?;
    let mut ranks = a.rank.clone();
    ranks.sort_unstable();
    ranks.dedup();
    let adapters = ranks
        .iter()
        .map(|r| lora(*r as usize, &a.lora))
        .collect::<Result<Vec<_>, Failure>>()?;
    let material = Material::read(a, base_named, &tuned, settings)?;
    let sweep = Sweep {
        a,
        settings,
        base: &base,
        base_named,
        tuned: &tuned,
        material,
        adapters,
    };
    // What is wrong with the settings is said before anything is sampled.
    sweep.train(sweep.material.most_examples())?;
    if a.run.dry_run {
        return sweep.plan()?.print(a.run.json);
    }
    if let Some(dir) = run::open(&a.run, sweep.manifest()?)? {
        sweep.go(dir)?;
    }
    print::print(&a.run.out, a.run.json)
}

impl Sweep<'_> {
    fn go(&self, mut dir: RunDir) -> Outcome {
        let rollouts = self.rollouts(&mut dir)?;
        let mut arms = vec![
            SweepArm {
                name: "base".into(),
                answers: self.answers(&rollouts.base),
                divergence: Some(self.kept_divergence(
                    &dir,
                    "divergence_base.json",
                    &self.base_named.policy,
                    &rollouts,
                )?),
                parameters: None,
            },
            SweepArm {
                name: "tuned".into(),
                answers: self.answers(&rollouts.tuned),
                divergence: None,
                parameters: None,
            },
        ];
        for adapter in &self.adapters {
            arms.push(self.rank(&dir, adapter, &rollouts)?);
        }
        let settings = FindingSettings {
            seed: self.settings.seed,
            replicates: self.a.replicates,
            ..FindingSettings::default()
        };
        let found = sweep(self.material.held_out.len(), &arms, &settings)?;
        write_findings(&dir, &found)?;
        dir.note("examples", rollouts.examples.len());
        dir.complete()?;
        Ok(())
    }

    /// The loop's settings over so many examples.
    fn train(&self, examples: usize) -> Result<TrainSettings, Failure> {
        let seed = self.settings.seed;
        let per_epoch = self.a.batches.per_epoch(examples, seed)?;
        let dropout = self.adapters.iter().any(|l| l.dropout > 0.0);
        let dropout = dropout.then_some(seed);
        self.a.optimiser.settings(per_epoch, 1e-4, dropout, 0)
    }

    fn manifest(&self) -> Result<RunManifest, Failure> {
        let (a, m) = (self.a, &self.material);
        let manifest = run::manifest("distill", self.settings);
        let manifest = run::with_policy(manifest, "base", self.base_named)?;
        let manifest = run::with_policy(manifest, "tuned", self.tuned)?;
        let manifest = m.record(manifest, a);
        let manifest = a.batches.record(manifest);
        let optimiser = serde_json::to_value(&a.optimiser)
            .map_err(|e| Failure::Internal(format!("cannot record the settings: {e}")))?;
        let adapters: Vec<_> = self.adapters.iter().map(adapter_setting).collect();
        Ok(manifest
            .setting("limit", json!(a.run.limit))
            .setting("adapters", adapters)
            .setting("teacher_top_k", json!(a.teacher_top_k))
            .setting("loss_divisor", denominator_setting(a.loss_divisor))
            .setting("verifier", a.verifier.name())
            .setting("replicates", a.replicates)
            .setting("training", optimiser))
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let n = f64::from(self.a.sampling.n);
        let examples = self.material.most_examples();
        let held_out = self.material.held_out.len() as f64;
        let ranks = self.adapters.len() as f64;
        let model = parameters(&self.base.config);
        Ok(Plan::of(vec![
            ("ranks", ranks, "adapters"),
            (
                "examples_at_most",
                examples as f64,
                "rollouts to learn from",
            ),
            ("held_out_problems", held_out, "problems"),
            (
                "held_out_rollouts",
                held_out * n * (ranks + 2.0),
                "rollouts, of base, tuned policy and every rank",
            ),
            (
                "steps_at_most",
                self.train(examples)?.steps as f64,
                "optimiser steps per rank",
            ),
            ("model_parameters", model as f64, "values"),
        ]))
    }
}
