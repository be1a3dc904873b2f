//! What can be asked: the flags that every command shares, and the commands.

use std::path::PathBuf;

use clap::{Args, Parser};
use forkscope_tasks::math_verify;

use crate::commands::Command;
use crate::failure::{Failure, Outcome};

/// Shows where post-training changed a language model's policy, token by token.
#[derive(Debug, Parser)]
#[command(
    name = "forkscope",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Example:\n  echo '{\"first\": [0.5, 0.3, 0.2]}' | forkscope entropy /dev/stdin\n\n\
        Exit codes: 0 done, 1 internal fault, 2 usage, 3 bad input, 4 a gate or check failed, 5 incomplete."
)]
pub struct Cli {
    /// Flags that mean the same everywhere.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that mean the same everywhere.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub struct Settings {
    /// Threads to compute with [default: one per available core]; results do not depend on it
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Seed of everything random
    #[arg(long, global = true, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// No progress on stderr (errors and results are still written)
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// The interpreter that `--verifier math-verify` asks [default: FORKSCOPE_PYTHON, else python3]
    #[arg(long, global = true, value_name = "PATH", hide_short_help = true)]
    pub python: Option<PathBuf>,
}

impl Settings {
    /// Starts the process-wide thread pool with the number asked for, and names
    /// the interpreter.
    pub fn apply(&self) -> Outcome {
        if let Some(python) = &self.python {
            math_verify::configure(python.clone());
        }
        let Some(threads) = self.threads else {
            return Ok(());
        };
        rayon::ThreadPoolBuilder::new()
            .num_threads(usize::from(threads))
            .build_global()
            .map_err(|e| Failure::Internal(format!("cannot start {threads} threads: {e}")))
    }
}
