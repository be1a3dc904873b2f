//! `forkscope report`: the findings of a run as a table, a page, Markdown and figures.

use std::path::PathBuf;

use clap::Args;
use forkscope_report::{ReportData, documents, write_documents};
use serde_json::json;

use crate::cli::Settings;
use crate::failure::Outcome;
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::write_findings;

/// What `forkscope report` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Renders a run: report.html (one page that fetches nothing), findings.md and \
        figures/*.svg into the run, and the findings as a table on stdout. Every number is read \
        from findings.json.",
    after_help = "Example:\n  forkscope diff --base embedded:base --tuned embedded:reasoner \\\n    --problems embedded:problems --limit 2 -n 2 --out pair\n  \
        forkscope report pair"
)]
pub struct Arguments {
    /// Run directory, as `diff` and `demo` make it
    run: PathBuf,
    /// One JSON document with the findings and the paths written, instead of the table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, _: &Settings) -> Outcome {
    let data = ReportData::load(&arguments.run)?;
    let written = write_documents(&arguments.run, &documents(&data)?)?;
    let paths: Vec<String> = written
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let mut out = Output::open();
    if arguments.json {
        let findings = &data.findings.findings;
        out.json(&json!({ "schema": data.findings.schema, "findings": findings, "files": paths }))?;
    } else {
        write_findings(&data.findings, &mut out)?;
        out.line("")?;
        for path in paths {
            out.labelled("written", &sanitise(&path))?;
        }
    }
    out.finish()
}
