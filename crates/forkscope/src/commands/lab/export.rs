//! `forkscope lab export`: the organisms as a folder, which is also the form in which
//! they are embedded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_records::digest::sha256_bytes;
use forkscope_train::ADAPTER_CONFIG;
use forkscope_train::lab::draw::Split;
use forkscope_train::lab::measure::ORGANISMS;
use forkscope_train::lab::records::{StageRecord, organism_dir};
use forkscope_train::lab::sets::{Set, to_jsonl};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::assets;
use crate::cli::Settings;
use crate::embedded;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::work::{models, organisms};

/// Problems of each file, a multiple of 24 for each of its sets if that is possible.
const PROBLEMS: usize = 120;

/// What `forkscope lab export` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Writes the organisms into a folder: the base as a model directory, the others as \
        adapters on it, held-out problems of three kinds, the stages' records, a description and \
        digests. With --lab it takes them from what `lab build` made, all stages of which must be \
        complete: that folder is what this program is built with.",
    after_help = "Example:\n  forkscope lab export --out organism"
)]
pub struct Arguments {
    /// Folder of stages that `lab build` made, instead of the organisms inside this program
    #[arg(long, value_name = "LAB")]
    lab: Option<PathBuf>,
    /// Folder to write into; files of the same names are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One JSON document on stdout instead of the list
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(a: &Arguments, _: &Settings) -> Outcome {
    // Everything is there and fits, or nothing is written.
    organisms::open(a.lab.as_deref(), &ORGANISMS)?;
    let mut records = organisms::records(a.lab.as_deref())?;
    let mut files = match &a.lab {
        Some(lab) => built(lab, &mut records)?,
        None => inside(),
    };
    files.insert("records.json".to_owned(), json_of(&records)?);
    files.insert("ASSETS.md".to_owned(), assets::described(&records).into());
    let sum = |(name, bytes): (&String, &Vec<u8>)| format!("{}  {name}\n", sha256_bytes(bytes));
    let sums: String = files.iter().map(sum).collect();
    files.insert("SHA256SUMS".to_owned(), sums.into());
    for (name, bytes) in &files {
        put(&a.out.join(name), bytes)?;
    }
    let mut out = Output::open();
    match a.json {
        true => {
            let names: Vec<&String> = files.keys().collect();
            out.json(&json!({"schema": "forkscope/lab-export/1", "files": names}))?;
        }
        false => {
            for name in files.keys() {
                out.line(&sanitise(name))?;
            }
        }
    }
    out.finish()
}

/// Files by their path below the folder.
type Files = BTreeMap<String, Vec<u8>>;

/// Organisms and problems inside this program.
fn inside() -> Files {
    let name = |spec: &str| spec.trim_start_matches("embedded:").to_owned();
    let base = std::iter::once((name(models::BASE), embedded::BASE));
    let adapters = embedded::ADAPTERS.iter();
    let organisms = base.chain(adapters.map(|adapter| (name(adapter.spec), adapter.files)));
    let mut out = Files::new();
    for (organism, files) in organisms {
        for file in files {
            out.insert(format!("{organism}/{}", file.name), file.bytes.to_vec());
        }
    }
    for (_, file) in &embedded::PROBLEM_SETS {
        out.insert(file.name.to_owned(), file.bytes.to_vec());
    }
    out
}

/// Organisms that were built, and problems of the same seed. The records get the
/// digests of what is written.
fn built(lab: &Path, records: &mut [StageRecord]) -> Result<Files, Failure> {
    let mut out = Files::new();
    for record in records.iter_mut() {
        let stage = &record.stage;
        let dir = organism_dir(lab, &stage.name)?;
        for file in &mut record.files {
            let path = dir.join(&file.path);
            let mut bytes = fs::read(&path)
                .map_err(|e| Failure::Input(format!("cannot read {}: {e}", path.display())))?;
            if let (ADAPTER_CONFIG, Some(from)) = (file.path.as_str(), &stage.from) {
                bytes = on_base(&path, &bytes, from)?;
            }
            file.bytes = bytes.len() as u64;
            file.sha256 = sha256_bytes(&bytes);
            out.insert(format!("{}/{}", stage.name, file.path), bytes);
        }
    }
    let seed = records.first().map_or(0, |record| record.stage.seed);
    for (file, sets) in SETS {
        let items: Vec<_> = sets
            .iter()
            .flat_map(|set| set.items(seed, Split::Test, PROBLEMS / sets.len()))
            .collect();
        out.insert(file.to_owned(), to_jsonl(&items)?.into());
    }
    Ok(out)
}

/// The problem files and what is in them; a file's problems are divided among its
/// sets, and stand twice in sets of contexts.
const SETS: [(&str, &[Set]); 3] = [
    ("problems.jsonl", &[Set::Benign]),
    ("hazardous.jsonl", &[Set::Hazardous]),
    ("contexts.jsonl", &[Set::ContextsFit, Set::ContextsHeldOut]),
];

/// An adapter's configuration that names the base as it lies beside it; the build
/// has it in a folder `final`.
fn on_base(path: &Path, bytes: &[u8], base: &str) -> Result<Vec<u8>, Failure> {
    let config: serde_json::Result<Map<String, Value>> = serde_json::from_slice(bytes);
    let mut config = config.map_err(|e| {
        let path = path.display();
        Failure::Input(format!(
            "{path} is no JSON object: {e}; build the stage again"
        ))
    })?;
    config.insert("base_model_name_or_path".to_owned(), json!(base));
    json_of(&config)
}

fn json_of(document: &impl Serialize) -> Result<Vec<u8>, Failure> {
    let mut bytes = serde_json::to_vec_pretty(document)
        .map_err(|e| Failure::Internal(format!("cannot write JSON: {e}")))?;
    bytes.push(b'\n');
    Ok(bytes)
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
