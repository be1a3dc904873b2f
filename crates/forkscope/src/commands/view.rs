//! `forkscope view`: a run in the browser, for runs too large for one page.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use forkscope_report::Viewer;
use serde_json::json;

use crate::cli::Settings;
use crate::failure::Outcome;
use crate::interrupt;
use crate::terminal::output::Output;

/// What `forkscope view` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Serves a run to a browser on this machine: its findings, its rollouts sorted and \
        filtered by any metric, each token with both models' alternatives, interventions beside \
        the untouched path, price curves of reversions, evaluation awareness by layer. It pages \
        through the tables and never loads them whole. It listens on 127.0.0.1 only, answers to \
        whoever has the address it prints, and only reads. Ctrl-C stops it.",
    after_help = "Example:\n  forkscope diff --base embedded:base --tuned embedded:reasoner \\\n    --problems embedded:problems --limit 2 -n 2 --out pair\n  \
        forkscope view pair --seconds 2"
)]
pub struct Arguments {
    /// Run directory, of any command
    run: PathBuf,
    /// Port of 127.0.0.1 [default: any free one]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Stop after so many seconds instead of at Ctrl-C
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// One JSON document with the address, instead of the address alone
    #[arg(long)]
    json: bool,
}

/// Runs the command. Ctrl-C is how it is meant to end.
pub fn run(arguments: &Arguments, settings: &Settings) -> Outcome {
    let viewer = Viewer::open(&arguments.run, arguments.port.unwrap_or(0))?;
    interrupt::watch()?;
    let mut out = Output::open();
    if arguments.json {
        out.json(&json!({ "schema": "forkscope/view/1", "url": viewer.url() }))?;
    } else {
        out.line(viewer.url())?;
    }
    out.finish()?;
    if !settings.quiet && io::stderr().is_terminal() {
        let _ = writeln!(
            io::stderr(),
            "open this address in a browser on this machine; Ctrl-C stops"
        );
    }
    let begun = Instant::now();
    let patience = arguments.seconds.map(|s| Duration::from_secs(s.into()));
    viewer.serve(|| {
        interrupt::interrupted() || patience.is_some_and(|limit| begun.elapsed() >= limit)
    })?;
    Ok(())
}
