//! Flags that several commands share.

use std::path::PathBuf;

use clap::{Args, Command, FromArgMatches};
use forkscope_policy::text::{PromptStyle, PromptTemplate};
use forkscope_policy::{SampleSettings, Sampling};

use crate::failure::Failure;

/// Where a run goes and how it is kept.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub struct RunOptions {
    /// Directory of the run; it must be absent or empty unless --resume is given
    #[arg(long, value_name = "RUN")]
    pub out: PathBuf,
    /// Continue an incomplete run in the same directory, to the same bytes
    #[arg(long)]
    pub resume: bool,
    /// The first N problems in file order, with all their rollouts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Print the plan with its tokens and memory, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON document on stdout instead of the table
    #[arg(long)]
    pub json: bool,
}

/// How token rows are written.
#[derive(Debug, Clone, Args)]
pub struct TokenOptions {
    /// Rows per row group of tokens.parquet, which is what a killed run loses of it at most
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub row_group_rows: u32,
}

/// How completions are drawn.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingOptions {
    /// Completions per problem
    #[arg(short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub n: u32,
    /// Divides the logits; 0 takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub temperature: f64,
    /// Smallest set of most probable tokens with at least this mass
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f64,
    /// That many most probable tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Tokens of at least this share of the greatest probability
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_p: f64,
    /// Most tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_tokens: u32,
    /// A further string that ends a completion (may be given several times)
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// How a problem becomes a prompt: auto, raw, chat, or a family (see docs/cli.md)
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    pub prompt_style: String,
    /// Your own prompt, with {problem} where the problem goes
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_style")]
    pub prompt_template: Option<PathBuf>,
}

impl SamplingOptions {
    /// Refuses sampling flags where nothing is sampled.
    pub fn refuse(&self, because: &str) -> Result<(), Failure> {
        let given = SamplingOptions::augment_args(Command::new("sampling"))
            .try_get_matches_from(["sampling"])
            .and_then(|m| Self::from_arg_matches(&m));
        match given {
            Ok(none) if none == *self => Ok(()),
            _ => Err(Failure::Usage(format!(
                "sampling flags (-n, --temperature, --prompt-style, ...) say how problems are sampled, but {because}"
            ))),
        }
    }

    /// How tokens are drawn, checked.
    fn sampling(&self) -> Result<Sampling, Failure> {
        let sampling = Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
        };
        sampling.check().map_err(Failure::Usage)?;
        Ok(sampling)
    }

    /// Everything the sampler needs; fails on settings that contradict.
    pub fn settings(&self, seed: u64) -> Result<SampleSettings, Failure> {
        Ok(SampleSettings {
            sampling: self.sampling()?,
            n: self.n,
            max_tokens: self.max_tokens as usize,
            seed,
            skip: 0,
            max_len: usize::MAX,
            interrupted: crate::interrupt::interrupted,
            width: None,
        })
    }

    /// The prompt style asked for.
    pub fn style(&self) -> Result<PromptStyle, Failure> {
        match &self.prompt_template {
            Some(path) => Ok(PromptStyle::Template(PromptTemplate::from_file(path)?)),
            None => self.prompt_style.parse().map_err(Failure::Usage),
        }
    }
}
