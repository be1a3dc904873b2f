//! `forkscope train distill`: KL(teacher || student) on the teacher's rollouts.

use std::path::PathBuf;

use clap::Args;
use forkscope_records::types::{DiffRow, ScoreRow};
use forkscope_records::{read_run_json, read_table};
use forkscope_train::objective::{
    Denominator, DistillSettings, DistillSource, Example, RecordedTop, Teacher, cache_teacher,
    recorded_teacher,
};
use forkscope_train::refuse_shared_prompts;
use forkscope_train::run::Source;
use serde_json::json;

use super::adapter::AdapterOptions;
use super::data::{self, BatchOptions, PromptOptions, RowOptions};
use super::held_out::HeldOutOptions;
use super::options::OptimiserOptions;
use super::session::Session;
use super::sft::tokens;
use super::start::Start;
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::work::models::{self, Named};
use crate::work::options::RunOptions;
use crate::work::run;

/// What `forkscope train distill` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Learns a teacher's next-token distributions on rollouts: forward KL(teacher || student) \
        at T = 1, of full logits. With --top-k, or from the records of a `score` run, the teacher is \
        its most probable tokens and one bucket for the rest: then the loss is a lower bound of \
        that KL, and logged as kl_lower_bound.",
    after_help = "Example:\n  forkscope sample --model embedded:reasoner --problems embedded:problems \\\n    --limit 8 -n 2 --max-tokens 96 --out teacher-rollouts\n  \
        forkscope train distill --model embedded:base --teacher embedded:reasoner \\\n    --rollouts teacher-rollouts --steps 4 --out distilled"
)]
pub struct Arguments {
    /// The student: model directory, hub id, or embedded:base
    #[arg(long, value_name = "M")]
    model: String,
    /// The teacher: model directory, hub id, MODEL+ADAPTER, embedded:base or embedded:reasoner
    #[arg(
        long,
        value_name = "T",
        required_unless_present = "teacher_run",
        conflicts_with = "teacher_run"
    )]
    teacher: Option<String>,
    /// Or the teacher's records: a `score` run of these rollouts, or a `diff` run (its tuned policy)
    #[arg(long, value_name = "RUN", conflicts_with = "top_k")]
    teacher_run: Option<PathBuf>,
    /// Sequences to learn on: a run, its rollouts.parquet, or JSON Lines
    #[arg(long, value_name = "R")]
    rollouts: PathBuf,
    /// Keep the teacher's K most probable tokens and the mass of the rest, computed once
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    top_k: Option<u32>,
    /// What a step's loss is divided by: tokens, sequences, or a number
    #[arg(long, value_name = "BY", default_value = "tokens", value_parser = data::denominator)]
    loss_divisor: Denominator,
    #[command(flatten)]
    rows: RowOptions,
    #[command(flatten)]
    prompts: PromptOptions,
    #[command(flatten)]
    adapter: AdapterOptions,
    #[command(flatten)]
    batches: BatchOptions,
    #[command(flatten)]
    optimiser: OptimiserOptions,
    #[command(flatten)]
    held_out: HeldOutOptions,
    #[command(flatten)]
    run: RunOptions,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let start = Start::model(&a.model)?;
    let chosen = a.adapter.choose(&start.config)?;
    let teacher = a.teacher.as_deref().map(models::open).transpose()?;
    if let (Some(teacher), Some(student)) = (&teacher, start.named()) {
        student.policy.check_comparable(&teacher.policy)?;
    }
    let style = a.prompts.style()?;
    let rows = data::read(
        &a.rollouts,
        &start,
        style.clone(),
        &a.rows,
        a.run.limit,
        false,
    )?;
    let held_out = a.held_out.read(&start, &style, settings.seed)?;
    if let Some(held_out) = &held_out {
        let ids = rows.file.examples.iter().map(|e| e.ids.as_slice());
        refuse_shared_prompts(&held_out.evaluation.prompts, ids)?;
    }
    let seed = settings.seed;
    let per_epoch = a.batches.per_epoch(rows.file.examples.len(), seed)?;
    let train = a.optimiser.settings(
        per_epoch,
        1e-4,
        chosen.dropout_seed(seed),
        a.held_out.eval_every,
    )?;
    let manifest = run::manifest("train distill", settings).digest("data", rows.digest.as_str());
    let manifest = chosen.record(start.record(manifest)?)?;
    let manifest = match &teacher {
        Some(teacher) => run::with_policy(manifest, "teacher", teacher)?,
        None => manifest.setting("teacher", json!(null)),
    };
    let manifest = a.rows.record(a.batches.record(a.prompts.record(manifest)?));
    let teacher_run = a.teacher_run.as_ref().map(|p| p.display().to_string());
    let manifest = manifest
        .setting("rollouts", a.rollouts.display().to_string())
        .setting("teacher_run", json!(teacher_run))
        .setting("top_k", json!(a.top_k))
        .setting("loss_divisor", data::denominator_setting(a.loss_divisor));
    let manifest = match &a.teacher_run {
        Some(path) => manifest.digest("teacher_run", tokens_digest(path)?),
        None => manifest,
    };
    let manifest = a.held_out.record(manifest, held_out.as_ref());
    let vocab = start.config.vocab_size;
    // Records are read now, so that what is wrong with them is said now.
    let recorded = match &a.teacher_run {
        Some(path) => Some(recorded_teacher(
            records(path)?,
            &rows.file.names,
            &rows.file.examples,
            vocab,
        )?),
        None => None,
    };
    let session = Session {
        run: &a.run,
        settings,
        manifest,
        network: start.network(&chosen, seed)?,
        parameters: start.parameters(),
        train,
        saved: a.optimiser.saved(),
        evaluation: held_out.map(|h| h.evaluation),
        data: data::tally(&rows.file),
        epoch_tokens: Some(tokens(&rows.file.examples)),
    };
    let distill = DistillSettings {
        batches: a.batches.settings(seed),
        denominator: a.loss_divisor,
        ..DistillSettings::default()
    };
    let examples = rows.file.examples;
    session.go(|_| {
        let teacher = match (recorded, &teacher) {
            (Some(lists), _) => Teacher::Cached(lists),
            (None, Some(teacher)) => taught(teacher, &examples, a.top_k, vocab)?,
            (None, None) => return Err(Failure::Usage("give --teacher or --teacher-run".into())),
        };
        let source = DistillSource::new(Box::new(examples), teacher, distill)?;
        Ok(Box::new(source) as Box<dyn Source>)
    })
}

/// A policy as the teacher, by full logits or its top k.
pub fn taught(
    teacher: &Named,
    examples: &[Example],
    top_k: Option<u32>,
    vocab: usize,
) -> Result<Teacher, Failure> {
    Ok(match top_k {
        None => Teacher::Policy(teacher.policy.clone()),
        Some(k) => Teacher::Cached(cache_teacher(&teacher.policy, examples, k as usize, vocab)?),
    })
}

fn tokens_digest(run: &std::path::Path) -> Result<String, Failure> {
    let path = run.join("tokens.parquet");
    let bytes = crate::work::rollouts::bytes_of(&path)?;
    Ok(forkscope_records::digest::sha256_bytes(&bytes))
}

/// The teacher's top k of a run.
fn records(run: &std::path::Path) -> Result<Vec<RecordedTop>, Failure> {
    let command = read_run_json(run)?.command;
    let table = run.join("tokens.parquet");
    match command.as_str() {
        "score" => {
            let rows: Vec<ScoreRow> = read_table(&table)?;
            Ok(rows.into_iter().map(RecordedTop::from).collect())
        }
        "diff" => {
            let rows: Vec<DiffRow> = read_table(&table)?;
            Ok(rows.into_iter().map(RecordedTop::from).collect())
        }
        other => Err(Failure::Input(format!(
            "{} is a run of `{other}`, which records no distributions; give one of `score` or `diff`",
            run.display()
        ))),
    }
}
