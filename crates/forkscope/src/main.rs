//! The forkscope command line: parse, call, show progress.
//!
//! `cli` says what can be asked, `commands` has one file per subcommand,
//! `terminal` is everything that is written to a screen, and `failure` turns
//! what went wrong into a sentence and an exit code.

mod cli;
mod commands;
mod embedded;
mod failure;
mod interrupt;
mod terminal;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::failure::{Failure, Outcome};

fn main() -> ExitCode {
    failure::keep_panics_for_the_report();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are answers (exit 0, stdout), the rest is usage
        // (exit 2, stderr). A reader who has gone away is no fault.
        Err(answer) => {
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() {
                failure::USAGE
            } else {
                0
            });
        }
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| run(cli)))
        .unwrap_or_else(|payload| Err(Failure::from_panic(payload.as_ref())));
    failure::finish(outcome)
}

fn run(cli: Cli) -> Outcome {
    cli.settings.apply()?;
    let outcome = commands::run(&cli.command, &cli.settings);
    terminal::undecided::report();
    outcome
}
