//! `forkscope lab export`: organisms of a build as the folder that is embedded.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_records::digest::digest_files;
use forkscope_train::lab::draw::Split;
use forkscope_train::lab::measure::ORGANISMS;
use forkscope_train::lab::records::{StageRecord, organism_dir};
use forkscope_train::lab::sets::{Set, to_jsonl};
use serde_json::json;

use super::assets;
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::work::organisms;

/// Problems of each file, a multiple of 24 for each of its sets if that is possible.
const PROBLEMS: usize = 120;
/// Sums of all other files.
const SUMS: &str = "SHA256SUMS";

/// What `forkscope lab export` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Lays the organisms that `lab build` made out as the folder that this program is \
        built with: the base, the adapters, held-out problems of three kinds, the stages' records, \
        a description and digests. All stages must be complete.",
    after_help = "Example:\n  forkscope lab export --lab no-such-lab --out organism || test $? -eq 3"
)]
pub struct Arguments {
    /// Folder of stages that `lab build` made
    #[arg(long, value_name = "LAB")]
    lab: PathBuf,
    /// Folder to write into; files of the same names are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One JSON document on stdout instead of the list
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(a: &Arguments, _: &Settings) -> Outcome {
    // Everything is there, or nothing is written.
    let records = organisms::records(Some(&a.lab))?;
    organisms::open(Some(&a.lab), &ORGANISMS)?;
    for record in &records {
        let name = &record.stage.name;
        let from = organism_dir(&a.lab, name)?;
        for file in &record.files {
            copy(&from.join(&file.path), &a.out.join(name).join(&file.path))?;
        }
    }
    let seed = records.first().map_or(0, |record| record.stage.seed);
    for (file, sets) in SETS {
        let items: Vec<_> = sets
            .iter()
            .flat_map(|set| set.items(seed, Split::Test, PROBLEMS / sets.len()))
            .collect();
        put(&a.out.join(file), to_jsonl(&items)?.as_bytes())?;
    }
    put(&a.out.join("records.json"), &json_of(&records)?)?;
    put(
        &a.out.join("ASSETS.md"),
        assets::described(&records).as_bytes(),
    )?;
    let files = sums(&a.out)?;
    let mut out = Output::open();
    match a.json {
        true => out.json(&json!({"schema": "forkscope/lab-export/1", "files": files}))?,
        false => {
            for file in &files {
                out.line(&sanitise(file))?;
            }
        }
    }
    out.finish()
}

/// The problem files and what is in them; a file's problems are divided among its
/// sets, and stand twice in sets of contexts.
const SETS: [(&str, &[Set]); 3] = [
    ("problems.jsonl", &[Set::Benign]),
    ("hazardous.jsonl", &[Set::Hazardous]),
    ("contexts.jsonl", &[Set::ContextsFit, Set::ContextsHeldOut]),
];

fn json_of(records: &[StageRecord]) -> Result<Vec<u8>, Failure> {
    let mut bytes = serde_json::to_vec_pretty(records)
        .map_err(|e| Failure::Internal(format!("cannot write the records: {e}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn copy(from: &Path, to: &Path) -> Outcome {
    let bytes = fs::read(from)
        .map_err(|e| Failure::Input(format!("cannot read {}: {e}", from.display())))?;
    put(to, &bytes)
}

fn put(path: &Path, bytes: &[u8]) -> Outcome {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(path, bytes)).map_err(|e| {
        Failure::Input(format!(
            "cannot write {}: {e}; check the path and its permissions",
            path.display()
        ))
    })
}

/// Writes the digests of all files, and returns their names.
fn sums(out: &Path) -> Result<Vec<String>, Failure> {
    let mut files = digest_files(out)?;
    files.retain(|file| file.path != SUMS);
    let lines = files.iter().map(|f| format!("{}  {}\n", f.sha256, f.path));
    put(&out.join(SUMS), lines.collect::<String>().as_bytes())?;
    Ok(files.into_iter().map(|file| file.path).collect())
}
