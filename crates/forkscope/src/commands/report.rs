//! `forkscope report`: the findings of a run as a table, a page, Markdown and figures.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use clap::Args;
use forkscope_records::{RecordsError, export_csv};
use forkscope_report::{ReportData, documents, write_documents};
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
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
    /// Write every table of the run as CSV beside it (all runs, `sample` and `score` too) instead
    #[arg(long)]
    csv: bool,
    /// One JSON document with the findings and the paths written, instead of the table
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments, _: &Settings) -> Outcome {
    if arguments.csv {
        return export(arguments);
    }
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

/// Every `NAME.parquet` of the run as `NAME.csv`.
fn export(arguments: &Arguments) -> Outcome {
    let mut files = Vec::new();
    for name in [
        "rollouts",
        "rollouts_other",
        "rollouts_greedy",
        "tokens",
        "interventions",
        "awareness",
        "awareness_neurons",
        "awareness_steering",
        "reversions",
        "base_tokens",
        "plan",
        "noise",
        "beyond_noise",
    ] {
        let table = arguments.run.join(format!("{name}.parquet"));
        if table.is_file() {
            let path = arguments.run.join(format!("{name}.csv"));
            let file = File::create(&path).map_err(|source| RecordsError::Write {
                path: path.clone(),
                source,
            })?;
            let rows = export_csv(&table, BufWriter::new(file), &path)?;
            files.push((path.display().to_string(), rows));
        }
    }
    if files.is_empty() {
        return Err(Failure::Input(format!(
            "{} holds no table; give a run directory as sample, score or diff make it",
            arguments.run.display()
        )));
    }
    let mut out = Output::open();
    if arguments.json {
        let files: Vec<_> = files
            .iter()
            .map(|(path, rows)| json!({ "file": path, "rows": rows }))
            .collect();
        out.json(&json!({ "schema": "forkscope/csv/1", "files": files }))?;
    } else {
        for (path, rows) in &files {
            out.labelled("written", &format!("{} ({rows} rows)", sanitise(path)))?;
        }
    }
    out.finish()
}
