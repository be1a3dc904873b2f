//! `forkscope lab`: the model organisms, from nothing.

mod build;

use clap::{Args, Subcommand};

use crate::cli::Settings;
use crate::failure::Outcome;

/// What `forkscope lab` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Makes and measures the model organisms: small policies whose history is known \
        exactly, because every token of it was dealt from a seed. They validate instruments; they \
        are no evidence about other models."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Lab,
}

#[derive(Debug, Subcommand)]
enum Lab {
    /// Trains the organisms from random weights, stage by stage
    Build(build::Arguments),
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    match &a.command {
        Lab::Build(arguments) => build::run(arguments, settings),
    }
}
