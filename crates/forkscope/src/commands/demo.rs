//! `forkscope demo`: the embedded pair, compared end to end.

use std::path::PathBuf;

use clap::{Args, FromArgMatches};

use super::diff;
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};

/// What `forkscope demo` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Samples rollouts of a small model and of its reinforcement-learned version, both \
        inside this program, on held-out problems; compares them at every position; prints the \
        findings and writes a report. It is `diff` with everything filled in.",
    after_help = "Example:\n  forkscope demo --out demo-run"
)]
pub struct Arguments {
    /// Directory of the run; it must be absent or empty unless --resume is given
    #[arg(long, value_name = "RUN", default_value = "forkscope-demo")]
    out: PathBuf,
    /// Continue an incomplete run, or print a complete one again
    #[arg(long)]
    resume: bool,
    /// The first N of the 120 problems
    #[arg(long, value_name = "N", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=120))]
    limit: u32,
    /// Rollouts per problem and policy
    #[arg(short, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    n: u32,
    /// One JSON document on stdout instead of the table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let mut line: Vec<std::ffi::OsString> = [
        "diff",
        "--base",
        "embedded:base",
        "--tuned",
        "embedded:reasoner",
    ]
    .map(Into::into)
    .to_vec();
    line.extend(
        [
            "--problems",
            "embedded:problems",
            "--rollouts-by",
            "tuned",
            "--max-tokens",
            "192",
        ]
        .map(Into::into),
    );
    line.extend([
        "--limit".into(),
        a.limit.to_string().into(),
        "-n".into(),
        a.n.to_string().into(),
    ]);
    line.extend(["--out".into(), a.out.clone().into_os_string()]);
    if a.resume {
        line.push("--resume".into());
    }
    if a.json {
        line.push("--json".into());
    }
    let parsed = diff::Arguments::augment_args(clap::Command::new("diff"))
        .try_get_matches_from(line)
        .and_then(|matches| diff::Arguments::from_arg_matches(&matches))
        .map_err(|e| Failure::Internal(format!("the demo's own command line is wrong: {e}")))?;
    diff::run(&parsed, settings)
}
