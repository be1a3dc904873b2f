//! `forkscope train pretrain`: all weights, from random ones, on a corpus.

use std::path::PathBuf;

use clap::Args;
use forkscope_train::engine::Trainable;
use forkscope_train::objective::{Denominator, SftSettings, SftSource};
use forkscope_train::{cut_documents, refuse_shared_prompts};

use super::adapter::Chosen;
use super::data::{self, BatchOptions, PromptOptions, RowOptions};
use super::held_out::HeldOutOptions;
use super::options::OptimiserOptions;
use super::session::Session;
use super::sft::tokens;
use super::start::Start;
use crate::cli::Settings;
use crate::failure::Outcome;
use crate::work::options::RunOptions;
use crate::work::run;

/// What `forkscope train pretrain` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Language modelling from random weights: matrices normal with deviation 0.02, norms 1, \
        biases 0. Documents longer than --max-length are cut into pieces; every token but a \
        document's first is predicted once. Documents share no attention.",
    after_help = "Example:\n  forkscope sample --model embedded:base --problems embedded:problems \\\n    --limit 8 -n 4 --max-tokens 96 --out corpus\n  \
        forkscope train pretrain --config embedded:base --data corpus \\\n    --steps 2 --batch-size 8 --out from-nothing"
)]
pub struct Arguments {
    /// Folder with config.json and tokenizer.json, weights not needed, or embedded:base
    #[arg(long, value_name = "DIR")]
    config: String,
    /// Documents: JSON Lines with `text` or token ids, or rollouts
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Weight of prompt tokens, where rows have prompts
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    prompt_weight: f64,
    /// What a step's loss is divided by: tokens, sequences, or a number
    #[arg(long, value_name = "BY", default_value = "tokens", value_parser = data::denominator)]
    loss_divisor: Denominator,
    #[command(flatten)]
    rows: RowOptions,
    #[command(flatten)]
    prompts: PromptOptions,
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
    let start = Start::config(&a.config)?;
    let chosen = Chosen {
        trainable: Trainable::Full,
        start: None,
    };
    let style = a.prompts.style()?;
    // Whole documents are cut, not left out.
    let cut = !a.rows.truncate;
    let mut rows = data::read(&a.data, &start, style.clone(), &a.rows, a.run.limit, cut)?;
    let context = start.config.rope.context_len();
    if cut {
        let most = a.rows.max_length.map_or(context, |n| n as usize);
        rows.file.examples = cut_documents(rows.file.examples, most.min(context));
    }
    let held_out = a.held_out.read(&start, &style, settings.seed)?;
    if let Some(held_out) = &held_out {
        let documents = rows.file.examples.iter().map(|e| e.ids.as_slice());
        refuse_shared_prompts(&held_out.evaluation.prompts, documents)?;
    }
    let seed = settings.seed;
    let per_epoch = a.batches.per_epoch(rows.file.examples.len(), seed)?;
    let train = a
        .optimiser
        .settings(per_epoch, 1e-3, None, a.held_out.eval_every)?;
    let manifest = run::manifest("train pretrain", settings).digest("data", rows.digest.as_str());
    let manifest = start.record(manifest)?;
    let manifest = a.rows.record(a.batches.record(a.prompts.record(manifest)?));
    let manifest = manifest
        .setting("data", a.data.display().to_string())
        .setting("prompt_weight", a.prompt_weight)
        .setting("loss_divisor", data::denominator_setting(a.loss_divisor));
    let manifest = a.held_out.record(manifest, held_out.as_ref());
    let source = SftSource::new(
        Box::new(rows.file.examples.clone()),
        SftSettings {
            batches: a.batches.settings(seed),
            prompt_weight: a.prompt_weight,
            denominator: a.loss_divisor,
        },
    )?;
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
    session.go(|_| Ok(Box::new(source)))
}
