//! `forkscope lab`: the model organisms, from nothing.

mod assets;
mod build;
mod export;
mod page;
mod problems;
mod shown;
mod verify;

use clap::{Args, Subcommand};

use crate::cli::Settings;
use crate::failure::Outcome;

/// What `forkscope lab` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Makes and measures the model organisms: small policies whose history is known \
        exactly, because every token of it was dealt from a seed. They validate instruments; they \
        are no evidence about other models.",
    after_help = "Example:\n  forkscope lab build --dry-run --out organisms"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Lab,
}

#[derive(Debug, Subcommand)]
enum Lab {
    /// Trains the organisms from random weights, stage by stage
    Build(build::Arguments),
    /// Measures the organisms on held-out problems against what they should be
    Verify(verify::Arguments),
    /// Writes the organisms into a folder, as model directory and adapters
    Export(export::Arguments),
    /// Writes problems of a split as JSON Lines
    Problems(problems::Arguments),
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    match &a.command {
        Lab::Build(arguments) => build::run(arguments, settings),
        Lab::Verify(arguments) => verify::run(arguments, settings),
        Lab::Export(arguments) => export::run(arguments, settings),
        Lab::Problems(arguments) => problems::run(arguments, settings),
    }
}
