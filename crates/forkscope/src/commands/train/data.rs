//! Rows to learn from, and how they become batches.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_policy::text::{PromptStyle, PromptTemplate};
use forkscope_records::RunManifest;
use forkscope_records::digest::sha256_bytes;
use forkscope_train::objective::pairs::BrokenRows;
use forkscope_train::objective::{
    BatchSettings, Batches, Denominator, ExampleFile, Order, ReadSettings, TooLong, example_path,
    read_examples_bytes,
};
use serde_json::{Value, json};

use super::options::usage;
use super::start::Start;
use crate::failure::Failure;
use crate::terminal::sanitise::sanitise;
use crate::work::rollouts::bytes_of;

/// How examples become batches.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Batches")]
pub struct BatchOptions {
    /// Examples per optimiser step
    #[arg(long, alias = "per-device-train-batch-size", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch_size: u32,
    /// shuffled, in-order, or length-grouped:W (like lengths together, within windows of W batches)
    #[arg(long, value_name = "ORDER", default_value = "shuffled", value_parser = order)]
    order: Order,
    /// Leave out an epoch's last batch where it is smaller
    #[arg(long, alias = "dataloader-drop-last")]
    drop_last: bool,
    /// Rows of a micro-batch: less memory, same loss, other rounding
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    shard_rows: u32,
}

fn order(word: &str) -> Result<Order, String> {
    match (word, word.split_once(':')) {
        ("shuffled", _) => Ok(Order::Shuffled),
        ("in-order", _) => Ok(Order::InOrder),
        (_, Some(("length-grouped", window))) => match window.parse() {
            Ok(window) if window > 0 => Ok(Order::LengthGrouped { window }),
            _ => Err("the window is a number of batches, at least 1".into()),
        },
        _ => Err("give shuffled, in-order or length-grouped:W".into()),
    }
}

impl BatchOptions {
    /// The library's settings.
    pub fn settings(&self, seed: u64) -> BatchSettings {
        BatchSettings {
            batch: self.batch_size as usize,
            order: self.order,
            keep_last: !self.drop_last,
            seed,
            shard_rows: self.shard_rows as usize,
        }
    }

    /// Steps of an epoch over `n` examples.
    pub fn per_epoch(&self, n: usize, seed: u64) -> Result<u64, Failure> {
        let batches = Batches::new(Some(n as u64), self.settings(seed)).map_err(usage)?;
        Ok(batches.steps_per_epoch().unwrap_or(0))
    }

    /// Adds the batches to a manifest.
    pub fn record(&self, manifest: RunManifest) -> RunManifest {
        let order = match self.order {
            Order::Shuffled => "shuffled".to_owned(),
            Order::InOrder => "in-order".to_owned(),
            Order::LengthGrouped { window } => format!("length-grouped:{window}"),
        };
        manifest
            .setting("batch_size", self.batch_size)
            .setting("order", order)
            .setting("drop_last", self.drop_last)
            .setting("shard_rows", self.shard_rows)
    }
}

/// How a prompt is written.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Prompts")]
pub struct PromptOptions {
    /// How a text becomes a prompt: auto, raw, chat, or a family (see docs/cli.md)
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    pub prompt_style: String,
    /// Your own prompt, with {problem} where the problem goes
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_style")]
    pub prompt_template: Option<PathBuf>,
}

impl PromptOptions {
    /// The style asked for.
    pub fn style(&self) -> Result<PromptStyle, Failure> {
        match &self.prompt_template {
            Some(path) => Ok(PromptStyle::Template(PromptTemplate::from_file(path)?)),
            None => self.prompt_style.parse().map_err(Failure::Usage),
        }
    }

    /// Adds the style to a manifest.
    pub fn record(&self, manifest: RunManifest) -> Result<RunManifest, Failure> {
        let manifest = manifest.setting("prompt_style", self.prompt_style.as_str());
        Ok(match &self.prompt_template {
            Some(path) => manifest.digest("template", sha256_bytes(&bytes_of(path)?)),
            None => manifest,
        })
    }
}

/// Which rows are used.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub struct RowOptions {
    /// Leave out rows that cannot be used, and count them, instead of stopping
    #[arg(long)]
    pub skip_broken: bool,
    /// Most tokens of an example [default: the model's context]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub max_length: Option<u32>,
    /// Cut longer examples instead of leaving them out
    #[arg(long)]
    pub truncate: bool,
    /// Of rollouts: only those graded correct
    #[arg(long)]
    pub only_correct: bool,
    /// Of rollouts: also those that the token limit cut
    #[arg(long)]
    pub with_truncated: bool,
}

impl RowOptions {
    /// What happens to broken rows.
    pub fn broken(&self) -> BrokenRows {
        match self.skip_broken {
            true => BrokenRows::Skip,
            false => BrokenRows::Refuse,
        }
    }

    /// Adds the choice of rows to a manifest.
    pub fn record(&self, manifest: RunManifest) -> RunManifest {
        manifest
            .setting("skip_broken", self.skip_broken)
            .setting("max_length", json!(self.max_length))
            .setting("truncate", self.truncate)
            .setting("only_correct", self.only_correct)
            .setting("with_truncated", self.with_truncated)
    }
}

/// Rows that were read.
pub struct Rows {
    /// Examples, and what became of the others.
    pub file: ExampleFile,
    /// SHA-256 of the file.
    pub digest: String,
}

/// Reads examples; `whole` keeps documents of any length, to be cut later.
pub fn read(
    path: &Path,
    start: &Start,
    style: PromptStyle,
    rows: &RowOptions,
    limit: Option<u64>,
    whole: bool,
) -> Result<Rows, Failure> {
    let context = start.config.rope.context_len();
    let most = rows
        .max_length
        .map_or(context, |n| (n as usize).min(context));
    let settings = ReadSettings {
        style,
        max_len: (!whole).then_some(most),
        too_long: match rows.truncate {
            true => TooLong::Truncate,
            false => TooLong::Drop,
        },
        broken: rows.broken(),
        only_correct: rows.only_correct,
        with_truncated: rows.with_truncated,
    };
    let path = example_path(path);
    let bytes = bytes_of(&path)?;
    let digest = sha256_bytes(&bytes);
    let vocab = start.config.vocab_size;
    let mut file = read_examples_bytes(bytes.to_vec(), &path, start.text(), vocab, &settings)?;
    let kept = limit.map_or(file.names.len(), |n| rows_of(&file.names, n));
    file.examples.truncate(kept);
    file.names.truncate(kept);
    if let Some((row, reason)) = &file.first_broken {
        let said = format!(
            "{}: {}; the first is row {row}: {reason}",
            path.display(),
            file.tally()
        );
        eprintln!("warning: {}", sanitise(&said));
    }
    Ok(Rows { file, digest })
}

/// How many examples belong to the first `limit` problems.
fn rows_of(names: &[(String, u32)], limit: u64) -> usize {
    let mut seen = HashSet::new();
    for (at, (problem, _)) in names.iter().enumerate() {
        seen.insert(problem.as_str());
        if seen.len() as u64 > limit {
            return at;
        }
    }
    names.len()
}

/// What became of the rows, for `run.json`.
pub fn tally(file: &ExampleFile) -> Value {
    json!({
        "rows": file.rows,
        "examples": file.examples.len(),
        "broken": file.broken,
        "too_long": file.dropped,
        "truncated": file.truncated,
        "not_correct": file.incorrect,
        "invalid": file.invalid,
    })
}

/// `tokens`, `sequences`, or a number.
pub fn denominator(word: &str) -> Result<Denominator, String> {
    let by = match word {
        "tokens" => Denominator::Tokens,
        "sequences" => Denominator::Sequences,
        number => Denominator::Constant(
            number
                .parse()
                .map_err(|_| "give tokens, sequences or a number above 0".to_owned())?,
        ),
    };
    by.check().map_err(|e| e.to_string())?;
    Ok(by)
}

/// A denominator as a setting.
pub fn denominator_setting(by: Denominator) -> Value {
    match by {
        Denominator::Tokens => json!("tokens"),
        Denominator::Sequences => json!("sequences"),
        Denominator::Constant(c) => json!(c),
    }
}
