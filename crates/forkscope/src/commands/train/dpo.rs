//! `forkscope train dpo`: direct preference optimisation.

use std::path::PathBuf;

use clap::Args;
use forkscope_records::digest::sha256_bytes;
use forkscope_train::objective::dpo::{DpoSettings, DpoSource};
use forkscope_train::objective::pairs::{Pair, PairFile, read_pairs_bytes};
use forkscope_train::refuse_shared_prompts;
use serde_json::json;

use super::adapter::AdapterOptions;
use super::data::{BatchOptions, PromptOptions};
use super::held_out::HeldOutOptions;
use super::options::{OptimiserOptions, usage};
use super::session::Session;
use super::start::Start;
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::sanitise::sanitise;
use crate::work::options::RunOptions;
use crate::work::rollouts::bytes_of;
use crate::work::run;

/// What `forkscope train dpo` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Direct preference optimisation (arXiv 2305.18290), sigmoid loss. The reference is the \
        model without the adapter; with --full it is the model before the first step. Pairs are \
        JSON Lines with `prompt`, `chosen` and `rejected` as strings or messages, or as token ids.",
    after_help = "Example:\n  printf '{\"prompt\": \"%s\", \"chosen\": \"%s\", \"rejected\": \"%s\"}' \\\n    'a ann has 72 coins .' 'answer 72 .' 'answer 27 .' > pairs.jsonl\n  \
        forkscope train dpo --model embedded:base --pairs pairs.jsonl \\\n    --steps 2 --out dpo-of-base"
)]
pub struct Arguments {
    /// Model directory, hub id, or embedded:base
    #[arg(long, value_name = "M")]
    model: String,
    /// Preference pairs as JSON Lines
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// How strongly the policy is held at the reference
    #[arg(long, value_name = "B", default_value_t = 0.1)]
    beta: f64,
    /// Share of labels taken to be the wrong way round
    #[arg(long, value_name = "E", default_value_t = 0.0)]
    label_smoothing: f64,
    /// Weight of the chosen completion's mean negative log-likelihood (arXiv 2404.19733)
    #[arg(long, alias = "rpo-alpha", value_name = "W", default_value_t = 0.0)]
    nll_weight: f64,
    /// Leave out rows that cannot be used, and count them, instead of stopping
    #[arg(long)]
    skip_broken: bool,
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
    let objective = DpoSettings {
        beta: a.beta,
        label_smoothing: a.label_smoothing,
        nll_weight: a.nll_weight,
    };
    objective.check().map_err(usage)?;
    let start = Start::model(&a.model)?;
    let chosen = a.adapter.choose(&start.config)?;
    let style = a.prompts.style()?;
    let (file, digest) = read(a, &start)?;
    let held_out = a.held_out.read(&start, &style, settings.seed)?;
    if let Some(held_out) = &held_out {
        let prompts = file.pairs.iter().map(|p| p.prompt.as_slice());
        refuse_shared_prompts(&held_out.evaluation.prompts, prompts)?;
    }
    let seed = settings.seed;
    let per_epoch = a.batches.per_epoch(file.pairs.len(), seed)?;
    let train = a.optimiser.settings(
        per_epoch,
        1e-4,
        chosen.dropout_seed(seed),
        a.held_out.eval_every,
    )?;
    let manifest = run::manifest("train dpo", settings).digest("data", digest);
    let manifest = chosen.record(start.record(manifest)?)?;
    let manifest = a.batches.record(a.prompts.record(manifest)?);
    let manifest = manifest
        .setting("pairs", a.pairs.display().to_string())
        .setting("skip_broken", a.skip_broken)
        .setting("beta", a.beta)
        .setting("label_smoothing", a.label_smoothing)
        .setting("nll_weight", a.nll_weight);
    let manifest = a.held_out.record(manifest, held_out.as_ref());
    let data = json!({
        "pairs": file.pairs.len(),
        "broken": file.broken,
        "identical": file.identical,
    });
    let tokens: usize = file.pairs.iter().map(length).sum();
    let source = DpoSource::new(file.pairs, objective, a.batches.settings(seed))?;
    let session = Session {
        run: &a.run,
        settings,
        manifest,
        network: start.network(&chosen, seed)?,
        parameters: start.parameters(),
        train,
        saved: a.optimiser.saved(),
        evaluation: held_out.map(|h| h.evaluation),
        data,
        epoch_tokens: Some(tokens as u64),
    };
    session.go(|_| Ok(Box::new(source)))
}

fn length(pair: &Pair) -> usize {
    2 * pair.prompt.len() + pair.chosen.len() + pair.rejected.len()
}

/// The pairs, checked against the model, with the digest of their file.
fn read(a: &Arguments, start: &Start) -> Result<(PairFile, String), Failure> {
    let broken = match a.skip_broken {
        true => forkscope_train::objective::pairs::BrokenRows::Skip,
        false => forkscope_train::objective::pairs::BrokenRows::Refuse,
    };
    let bytes = bytes_of(&a.pairs)?;
    let digest = sha256_bytes(&bytes);
    let mut file = read_pairs_bytes(
        &bytes,
        &a.pairs,
        start.text(),
        start.config.vocab_size,
        &a.prompts.style()?,
        broken,
    )?;
    file.pairs
        .truncate(a.run.limit.map_or(usize::MAX, |n| n as usize));
    let (vocab, context) = (start.config.vocab_size, start.config.rope.context_len());
    for pair in &file.pairs {
        pair.check(vocab, context)?;
    }
    if let Some((line, reason)) = &file.first_broken {
        let said = format!(
            "{}: {} broken rows were left out; the first is line {line}: {reason}",
            a.pairs.display(),
            file.broken
        );
        eprintln!("warning: {}", sanitise(&said));
    }
    Ok((file, digest))
}
