//! `forkscope lab verify`: what the organisms do, measured again.

use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_train::lab::measure::{
    self, Check, MeasureSettings, Measured, ORGANISMS, Organism, measure,
};
use forkscope_train::lab::sets::MEASURED;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::page;
use super::shown::{finding_of, should_be};
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::progress::Progress;
use crate::terminal::table::write_findings;
use crate::work::footprint::{Footprint, Plan};
use crate::work::organisms::{self, Organisms};

/// What `forkscope lab verify` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Measures the organisms on held-out problems at T = 1: those inside this program, or \
        with --lab those of a folder that `lab build` made. Every check is a mean over problems with \
        a 95 % cluster bootstrap interval; the value decides whether a threshold is met. Exit code 4 \
        if one is missed.",
    after_help = "Example:\n  forkscope lab verify"
)]
pub struct Arguments {
    /// Folder of stages that `lab build` made, instead of the organisms inside this program
    #[arg(long, value_name = "LAB")]
    lab: Option<PathBuf>,
    /// Problems of each set; multiples of 24 have every format and wording equally often
    #[arg(long, value_name = "N", default_value_t = MEASURED as u32, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    problems: u32,
    /// This organism only, and the base if it is compared with it (may be given several times)
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(ORGANISMS))]
    organism: Vec<String>,
    /// Also where and how far each organism differs from the base, on its own and the base's rollouts
    #[arg(long)]
    footprints: bool,
    /// Write checks, footprints and the stages' records as a page in Markdown
    #[arg(long, value_name = "FILE", conflicts_with = "organism")]
    page: Option<PathBuf>,
    /// One JSON document on stdout instead of the tables
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Serialize)]
pub struct Verified {
    schema: &'static str,
    /// Seed of problems, completions and intervals.
    pub seed: u64,
    /// Problems of each set.
    pub problems: usize,
    /// SHA-256 over the files of each organism.
    models: Map<String, Value>,
    /// The checks.
    pub checks: Vec<Check>,
    /// What they were counted from.
    pub measured: Vec<Measured>,
    /// Where the organisms differ from the base.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub footprints: Vec<Footprint>,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let wanted = a.wanted();
    let records = match &a.page {
        Some(page) => {
            refuse_folder(page)?;
            organisms::records(a.lab.as_deref())?
        }
        None => Vec::new(),
    };
    let organisms = organisms::open(a.lab.as_deref(), &wanted)?;
    let verified = a.measure(&organisms, settings)?;
    if let Some(path) = &a.page {
        let text = page::page(&verified, &records);
        std::fs::write(path, text).map_err(|e| {
            Failure::Input(format!(
                "cannot write {}: {e}; check the path and its permissions",
                path.display()
            ))
        })?;
    }
    let mut out = Output::open();
    match a.json {
        true => out.json(&verified)?,
        false => write(&verified, &mut out)?,
    }
    out.finish()?;
    let missed: Vec<&str> = verified
        .checks
        .iter()
        .filter(|check| check.ok == Some(false))
        .map(|check| check.id.as_str())
        .collect();
    match missed.is_empty() {
        true => Ok(()),
        false => Err(Failure::Gate(format!(
            "{} of {} thresholds are missed: {}",
            missed.len(),
            verified.checks.iter().filter(|c| c.ok.is_some()).count(),
            missed.join(", ")
        ))),
    }
}

/// A page that cannot be written should not cost a measurement.
fn refuse_folder(page: &Path) -> Outcome {
    let parent = page.parent().filter(|p| !p.as_os_str().is_empty());
    if page.is_dir() || parent.is_some_and(|parent| !parent.is_dir()) {
        return Err(Failure::Input(format!(
            "{} is no file that can be written; give --page a file in a folder that is there",
            page.display()
        )));
    }
    Ok(())
}

impl Arguments {
    /// The organisms asked for, in the order in which they are built.
    fn wanted(&self) -> Vec<&'static str> {
        let asked =
            |name: &&str| self.organism.is_empty() || self.organism.iter().any(|o| o == name);
        ORGANISMS.into_iter().filter(asked).collect()
    }

    fn measure(&self, organisms: &Organisms, settings: &Settings) -> Result<Verified, Failure> {
        let how = MeasureSettings {
            problems: self.problems as usize,
            seed: settings.seed,
            ..MeasureSettings::default()
        };
        let mut models = Map::new();
        for (name, named) in organisms.all() {
            models.insert(name.to_owned(), json!(named.digest()?));
        }
        let names: Vec<&str> = organisms.all().map(|(name, _)| name).collect();
        let plan = Plan {
            problems: how.problems,
            seed: how.seed,
        };
        let with_footprints = self.footprints || self.page.is_some();
        let further = match with_footprints {
            true => plan.rollouts(organisms.tuned.len()),
            false => 0,
        };
        let total = measure::completions(&names, &how) + further;
        let progress = Progress::new(total, "completions", settings);
        let tuned: Vec<Organism<'_>> = organisms
            .tuned
            .iter()
            .map(|(name, named)| Organism {
                name,
                policy: &named.policy,
            })
            .collect();
        let base = &organisms.base;
        let (checks, measured) = measure(&base.policy, &tuned, &how, &mut |n| progress.inc(n))?;
        let mut footprints = Vec::new();
        if with_footprints {
            for (name, named) in &organisms.tuned {
                footprints.extend(plan.measure(name, base, named, &progress)?);
            }
        }
        progress.finish();
        Ok(Verified {
            schema: "forkscope/lab-verify/1",
            seed: how.seed,
            problems: how.problems,
            models,
            checks,
            measured,
            footprints,
        })
    }
}

fn write(verified: &Verified, out: &mut Output) -> Outcome {
    let mut columns = Columns::new([
        ("check", Align::Left),
        ("value", Align::Right),
        ("95 % interval", Align::Left),
        ("n", Align::Right),
        ("should be", Align::Left),
        ("", Align::Left),
    ]);
    for check in &verified.checks {
        let shown = forkscope_report::number::finding(&finding_of(check));
        columns.row([
            check.id.clone(),
            shown.value.clone(),
            shown
                .interval
                .map_or_else(String::new, |(low, high)| format!("[{low}, {high}]")),
            check.n.to_string(),
            check.threshold.as_ref().map_or_else(String::new, should_be),
            match check.ok {
                None => String::new(),
                Some(true) => "ok".to_owned(),
                Some(false) => "MISSED".to_owned(),
            },
        ]);
    }
    columns.write(out)?;
    for footprint in &verified.footprints {
        out.line("")?;
        out.labelled(
            &footprint.organism,
            &format!(
                "along {} rollouts, {} positions",
                footprint.along.words(),
                footprint.positions
            ),
        )?;
        let findings = forkscope_records::types::Findings {
            schema: forkscope_records::types::Findings::SCHEMA.to_owned(),
            findings: footprint.findings.clone(),
        };
        write_findings(&findings, out)?;
    }
    Ok(())
}
