//! `forkscope entropy`: entropy per position from what others recorded.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Settings;
use crate::failure::Outcome;
use crate::terminal::output::Output;

/// What `forkscope entropy` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  echo '{\"first\": [0.5, 0.3, 0.2]}' | forkscope entropy /dev/stdin"
)]
pub struct Arguments {
    /// Probability tables or log-prob responses
    file: PathBuf,
}

/// Runs the command.
pub fn run(_: &Arguments, _: &Settings) -> Outcome {
    Output::open().finish()
}
