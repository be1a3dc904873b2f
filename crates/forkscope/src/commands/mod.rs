//! One file per subcommand.
//!
//! A new command is a file with `Arguments` (a `clap::Args`, whose
//! `after_help` has one example that runs) and
//! `run(&Arguments, &Settings) -> Outcome`, a variant of [`Command`], and a
//! line in [`run`].

mod entropy;

use clap::Subcommand;

use crate::cli::Settings;
use crate::failure::Outcome;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Entropy per position from probability tables or log-prob responses
    Entropy(entropy::Arguments),
}

/// Runs the command that was asked for.
pub fn run(command: &Command, settings: &Settings) -> Outcome {
    match command {
        Command::Entropy(arguments) => entropy::run(arguments, settings),
    }
}
