//! What `forkscope audit` takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use forkscope_tasks::{Behaviour, JudgeLimits, Verifier};

use crate::failure::Failure;
use crate::work::audit::Parts;
use crate::work::options::{RunOptions, SamplingOptions};

/// What `forkscope audit` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Compares two policies at every position of the tuned policy's rollouts, with the noise \
        that a user's dtype makes by itself; shows by interventions, beside matched controls, which \
        positions carry the difference; prices what it takes to turn the behaviour back; looks for \
        evaluation awareness if a contrast set is given; bounds what new prompts may hold; and writes \
        one findings.json, one report and a statement, signed with --key, that `verify` checks.",
    after_help = "Example:\n  forkscope audit --base embedded:base --tuned embedded:reasoner \\\n    \
        --problems embedded:problems --limit 4 --max-tokens 96 --out audit"
)]
pub struct Arguments {
    /// Base policy b: model directory, hub id, MODEL+ADAPTER, or embedded:base
    #[arg(long, value_name = "B")]
    pub base: String,
    /// Tuned policy p, likewise
    #[arg(long, value_name = "T")]
    pub tuned: String,
    /// Problems on which tuning shows: JSONL, JSON, Parquet, or embedded:problems
    #[arg(long, value_name = "FILE")]
    pub problems: PathBuf,
    /// Problems on which the behaviour must not show, where its price is measured too
    #[arg(long, value_name = "FILE")]
    pub benign: Option<PathBuf>,
    /// Items with context, format and source, to probe for evaluation awareness
    #[arg(long, value_name = "C")]
    pub contrast: Option<PathBuf>,
    /// What counts: correct, refusal, regex:PATTERN, or cmd:PROGRAM ARGUMENT ... (text on stdin, 1 or 0 on stdout)
    #[arg(long, value_name = "RULE", default_value = "correct")]
    pub behaviour: String,
    /// Seconds that a judge command may take for one text
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub judge_timeout: f64,
    /// How answers are graded: as in eval
    #[arg(long, value_name = "RULE", default_value = "auto")]
    pub verifier: Verifier,
    /// Parts to leave out
    #[arg(long, value_enum, value_name = "PART,...", value_delimiter = ',')]
    pub without: Vec<Part>,
    /// Most forced or prefilled tokens of a price
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub cap: u32,
    /// Bootstrap replicates of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub replicates: u32,
    /// Sign the statement: private ed25519 key in PKCS#8 PEM (`attest --new-key` makes one)
    #[arg(long, value_name = "K")]
    pub key: Option<PathBuf>,
    #[command(flatten)]
    pub sampling: SamplingOptions,
    #[command(flatten)]
    pub run: RunOptions,
}

/// A part that may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What bf16 does to the base by itself.
    NoiseFloor,
    /// Arms and their controls.
    Intervene,
    /// Prices.
    Revert,
    /// Evaluation awareness.
    Probe,
}

impl Arguments {
    /// The behaviour with the limits of its judge.
    pub fn behaviour(&self) -> Result<Behaviour, Failure> {
        let behaviour: Behaviour = self
            .behaviour
            .parse()
            .map_err(|e: forkscope_tasks::TaskError| Failure::Usage(format!("--behaviour: {e}")))?;
        let time = Duration::try_from_secs_f64(self.judge_timeout).ok();
        let time = time.filter(|t| !t.is_zero() && t.as_secs() <= 86_400);
        let time = time.ok_or_else(|| {
            Failure::Usage(format!(
                "--judge-timeout is {}, not a number of seconds above 0",
                self.judge_timeout
            ))
        })?;
        Ok(behaviour.with_limits(JudgeLimits {
            time,
            ..JudgeLimits::default()
        }))
    }

    /// The parts that are made.
    pub fn parts(&self) -> Parts {
        let with = |part| !self.without.contains(&part);
        Parts {
            noise_floor: with(Part::NoiseFloor),
            interventions: with(Part::Intervene),
            reversions: with(Part::Revert),
            awareness: self.contrast.is_some() && with(Part::Probe),
        }
    }
}
