//! `forkscope train sft`: cross-entropy on given completions.

use std::path::PathBuf;

use clap::Args;
use forkscope_train::objective::{Denominator, Example, SftSettings, SftSource};
use forkscope_train::refuse_shared_prompts;

use super::adapter::AdapterOptions;
use super::data::{self, BatchOptions, PromptOptions, RowOptions};
use super::held_out::HeldOutOptions;
use super::options::OptimiserOptions;
use super::session::Session;
use super::start::Start;
use crate::cli::Settings;
use crate::failure::Outcome;
use crate::work::options::RunOptions;
use crate::work::run;

/// What `forkscope train sft` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Supervised fine-tuning: L = -sum w ln p(x_t) / D over the tokens of completions. Data \
        are JSON Lines with `prompt` and `completion`, `messages`, `text`, or token ids \
        (`prompt_ids`, `completion_ids`), or rollouts: a run or its rollouts.parquet.",
    after_help = "Example:\n  forkscope sample --model embedded:reasoner --problems embedded:problems \\\n    --limit 8 -n 4 --max-tokens 96 --out to-learn\n  \
        forkscope train sft --model embedded:base --data to-learn \\\n    --only-correct --steps 4 --out sft-of-base"
)]
pub struct Arguments {
    /// Model directory, hub id, or embedded:base
    #[arg(long, value_name = "M")]
    model: String,
    /// JSON Lines, or rollouts: a run or its rollouts.parquet
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Learn the prompts' tokens too, with weight 1
    #[arg(long, conflicts_with_all = ["prompt_weight", "completion_only"])]
    all_tokens: bool,
    /// Learn completions only, which is the default
    #[arg(long, alias = "completion-only-loss")]
    completion_only: bool,
    /// Weight of the prompts' tokens
    #[arg(long, value_name = "W", conflicts_with = "completion_only")]
    prompt_weight: Option<f64>,
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
    let style = a.prompts.style()?;
    let rows = data::read(&a.data, &start, style.clone(), &a.rows, a.run.limit, false)?;
    let held_out = a.held_out.read(&start, &style, settings.seed)?;
    if let Some(held_out) = &held_out {
        let prompts = rows.file.examples.iter().map(asked);
        refuse_shared_prompts(&held_out.evaluation.prompts, prompts)?;
    }
    let seed = settings.seed;
    let prompt_weight = match a.all_tokens {
        true => 1.0,
        false => a.prompt_weight.unwrap_or(0.0),
    };
    let per_epoch = a.batches.per_epoch(rows.file.examples.len(), seed)?;
    let train = a.optimiser.settings(
        per_epoch,
        1e-4,
        chosen.dropout_seed(seed),
        a.held_out.eval_every,
    )?;
    let manifest = run::manifest("train sft", settings).digest("data", rows.digest.as_str());
    let manifest = chosen.record(start.record(manifest)?)?;
    let manifest = a.rows.record(a.batches.record(a.prompts.record(manifest)?));
    let manifest = manifest
        .setting("data", a.data.display().to_string())
        .setting("prompt_weight", prompt_weight)
        .setting("loss_divisor", data::denominator_setting(a.loss_divisor));
    let manifest = a.held_out.record(manifest, held_out.as_ref());
    let source = SftSource::new(
        Box::new(rows.file.examples.clone()),
        SftSettings {
            batches: a.batches.settings(seed),
            prompt_weight,
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

/// The prompt of an example; all of it where it has none.
fn asked(example: &Example) -> &[u32] {
    match example.prompt_len {
        0 => &example.ids,
        n => example.ids.get(..n).unwrap_or(&[]),
    }
}

/// Ids of all examples.
pub fn tokens(examples: &[Example]) -> u64 {
    examples.iter().map(|e| e.ids.len() as u64).sum()
}
