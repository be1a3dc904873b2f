//! `forkscope lab problems`: problems of a split as a file.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use forkscope_records::digest::sha256_bytes;
use forkscope_train::lab::draw::Split;
use forkscope_train::lab::sets::{Set, to_jsonl};
use forkscope_train::lab::stages;
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;

/// What `forkscope lab problems` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Writes problems of the organisms' task as JSON Lines. Splits share no problem, \
        whatever the seed, set or number: train is what the organisms learnt from, validation \
        chooses settings, test is what is reported, probe fits probes.",
    after_help = "Example:\n  forkscope lab problems --split validation -n 8 --out validation.jsonl"
)]
pub struct Arguments {
    /// Part of the space of problems
    #[arg(long, value_name = "SPLIT", value_parser = PossibleValuesParser::new(Split::ALL.map(Split::name)))]
    split: String,
    /// Problems; multiples of 24 have every format and wording equally often
    #[arg(short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    n: u32,
    /// Kind of problems
    #[arg(long, value_name = "SET", default_value = Set::Benign.name(), value_parser = PossibleValuesParser::new(Set::ALL.map(Set::name)))]
    set: String,
    /// Seed of the problems; the embedded ones have the default
    #[arg(long, value_name = "S", default_value_t = stages::SEED)]
    lab_seed: u64,
    /// The file; an existing one with other content is not replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// One JSON document on stdout instead of lines
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(a: &Arguments, _: &Settings) -> Outcome {
    let split = Split::ALL.into_iter().find(|s| s.name() == a.split);
    let set = Set::ALL.into_iter().find(|s| s.name() == a.set);
    let (Some(split), Some(set)) = (split, set) else {
        return Err(Failure::Internal("a split or set that is not known".into()));
    };
    let items = set.items(a.lab_seed, split, a.n as usize);
    let text = to_jsonl(&items)?;
    let shown = a.out.display().to_string();
    match std::fs::read(&a.out) {
        Ok(there) if there == text.as_bytes() => {}
        Ok(_) => {
            return Err(Failure::Input(format!(
                "{shown} is there with other content; give --out another name, or remove it"
            )));
        }
        Err(_) => std::fs::write(&a.out, &text).map_err(|e| {
            Failure::Input(format!(
                "cannot write {shown}: {e}; check the path and its permissions"
            ))
        })?,
    }
    let digest = sha256_bytes(text.as_bytes());
    let mut out = Output::open();
    match a.json {
        true => out.json(&json!({
            "schema": "forkscope/lab-problems/1",
            "file": shown,
            "split": split.name(),
            "set": set.name(),
            "problems": items.len(),
            "sha256": digest,
        }))?,
        false => {
            out.labelled("written", &sanitise(&shown))?;
            out.labelled(
                "problems",
                &format!("{} of split {}, {}", items.len(), split.name(), set.name()),
            )?;
            out.labelled("sha256", &digest)?;
        }
    }
    out.finish()
}
