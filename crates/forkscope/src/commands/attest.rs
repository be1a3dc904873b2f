//! `forkscope attest`: a statement about a run, signed.

use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_audit::attest::{PrivateKey, Proof, Statement, Subject, keys};
use forkscope_records::RecordsError;
use forkscope_records::run::{RunJson, RunStatus, read_run_json};
use serde_json::{Value, json};

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::work::attest::{self, Input, ROLES, of_model};
use crate::work::models;

/// What `forkscope attest` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Writes what a third party can check about a complete run: an in-toto statement with the \
        digests of the model files and of every file of the run, the settings, the findings and a \
        Merkle root over all rows. With --key it is signed (ed25519, DSSE) into attestation.json; \
        without, it goes into statement.json.\n\n\
        The models and the data are digested again and must be those of the run.",
    after_help = "Example:\n  forkscope diff --base embedded:base --tuned embedded:reasoner \\\n    --problems embedded:problems --limit 2 -n 2 --out pair\n  \
        forkscope attest --new-key signer.pem\n  forkscope attest pair --key signer.pem\n  \
        forkscope verify pair/attestation.json --public-key signer.pem.pub"
)]
pub struct Arguments {
    /// Run directory; it must be complete
    #[arg(value_name = "RUN", required_unless_present = "new_key")]
    run: Option<PathBuf>,
    /// Private key: ed25519 in PKCS#8 PEM
    #[arg(long, value_name = "FILE", conflicts_with = "new_key")]
    key: Option<PathBuf>,
    /// Make a new key pair, FILE (private, for its owner only) and FILE.pub, and stop
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    new_key: Option<PathBuf>,
    /// Print the proof that a row is in an attested table, e.g. tokens.parquet:17, and stop
    #[arg(long, value_name = "TABLE:ROW", conflicts_with_all = ["key", "new_key"], value_parser = row)]
    prove: Option<(String, u64)>,
    /// Where the base model is, if not where the run says
    #[arg(long, value_name = "B")]
    base: Option<String>,
    /// Where the tuned model is, if not where the run says
    #[arg(long, value_name = "T")]
    tuned: Option<String>,
    /// Where the model of a run with one model is, if not where the run says
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Where the problems or rollouts are, if not where the run says
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// One JSON document on stdout instead of lines
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(a: &Arguments, _: &Settings) -> Outcome {
    match (&a.new_key, &a.run) {
        (Some(file), _) => new_key(a, file),
        (None, Some(run)) if a.prove.is_some() => prove(a, run),
        (None, Some(run)) => attest_run(a, run),
        (None, None) => Err(Failure::Usage("give a run, or --new-key FILE".into())),
    }
}

/// A table and a row of it, counted from 0.
fn row(text: &str) -> Result<(String, u64), String> {
    text.rsplit_once(':')
        .and_then(|(table, row)| Some((table.to_owned(), row.parse().ok()?)))
        .filter(|(table, _)| table.ends_with(".parquet") && !table.contains(".."))
        .ok_or_else(|| "is no table and row, e.g. tokens.parquet:17".to_owned())
}

fn prove(a: &Arguments, run: &Path) -> Outcome {
    let Some((table, row)) = &a.prove else {
        return Ok(());
    };
    let proof = Proof::of(run, table, *row)?;
    let mut out = Output::open();
    out.json(&proof)?;
    out.finish()
}

fn new_key(a: &Arguments, file: &Path) -> Outcome {
    let mut public = file.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    if public.exists() {
        return Err(Failure::Input(format!(
            "{} exists; a key is never overwritten, give another file",
            public.display()
        )));
    }
    let key = PrivateKey::generate()?;
    key.write_new(file)?;
    key.public().write_new(&public)?;
    let id = key.public().id();
    let (file, public) = (file.display().to_string(), public.display().to_string());
    let mut out = Output::open();
    if a.json {
        out.json(&json!({ "private_key": file, "public_key": public, "keyid": id }))?;
    } else {
        out.labelled("private key", &sanitise(&file))?;
        out.labelled("public key", &sanitise(&public))?;
        out.labelled("key id", &id)?;
    }
    out.finish()
}

fn attest_run(a: &Arguments, run: &Path) -> Outcome {
    let key = a.key.as_deref().map(PrivateKey::read).transpose()?;
    if let Some(path) = a
        .key
        .as_deref()
        .filter(|path| keys::readable_by_others(path))
    {
        eprintln!(
            "warning: {} can be read by others; `chmod 600` it",
            sanitise(&path.display().to_string())
        );
    }
    let json = read_run_json(run)?;
    if json.status != RunStatus::Complete {
        return Err(Failure::Input(format!(
            "{} is not complete; finish it with --resume, then attest it",
            run.display()
        )));
    }
    if run.join(".spool").exists() {
        return Err(Failure::Input(format!(
            "{} has a folder .spool of a command that was killed; repeat that command with --resume, then attest",
            run.display()
        )));
    }
    let subjects = subjects(a, &json)?;
    if subjects.is_empty() {
        return Err(Failure::Input(format!(
            "{} records neither models nor data, so there is nothing to attest; give a run of diff, score, sample, eval or audit",
            run.display()
        )));
    }
    let statement = Statement::of_run(run, &json, subjects, false)?;
    let (name, bytes) = attest::document(&statement, key.as_ref())?;
    let path = run.join(name);
    write_whole(run, &path, &bytes)?;
    let shown = path.display().to_string();
    let merkle = &statement.predicate.merkle;
    let keyid = key.as_ref().map(|key| key.public().id());
    let mut out = Output::open();
    if a.json {
        out.json(&json!({
            "schema": "forkscope/attested/1",
            "attestation": shown,
            "keyid": keyid,
            "subjects": statement.subject.len(),
            "files": statement.predicate.files.len(),
            "rows": merkle.leaves,
            "root": merkle.root,
        }))?;
    } else {
        out.labelled("written", &sanitise(&shown))?;
        out.labelled("signed by", keyid.as_deref().unwrap_or("nobody"))?;
        let counts = format!(
            "{} subjects, {} files of the run, {} rows",
            statement.subject.len(),
            statement.predicate.files.len(),
            merkle.leaves
        );
        out.labelled("attested", &counts)?;
        out.labelled("root", &merkle.root)?;
    }
    out.finish()
}

/// The files of the models and the data, which must be those of the run.
fn subjects(a: &Arguments, json: &RunJson) -> Result<Vec<Subject>, Failure> {
    let mut subjects = Vec::new();
    for (role, given) in ROLES.into_iter().zip([&a.base, &a.tuned, &a.model]) {
        let text = |map: &serde_json::Map<String, Value>| {
            map.get(role).and_then(Value::as_str).map(str::to_owned)
        };
        let Some(recorded) = text(&json.digests) else {
            match given {
                Some(_) => {
                    let said = format!("the run has no {role} model, so --{role} says nothing");
                    return Err(Failure::Usage(said));
                }
                None => continue,
            }
        };
        let Some(spec) = given.clone().or_else(|| text(&json.settings)) else {
            return Err(Failure::Usage(format!(
                "the run does not say where its {role} model is; give --{role}"
            )));
        };
        let named = models::open(&spec)?;
        if named.digest()? != recorded {
            return Err(Failure::Input(format!(
                "{spec} is not the {role} model of the run: its files have another digest; put them back, or give --{role} where they are"
            )));
        }
        subjects.extend(of_model(role, &named)?);
    }
    for input in Input::all(&json.digests, &json.settings) {
        let given = a.data.as_deref().filter(|_| input.role == "data");
        subjects.push(input.subject(given)?);
    }
    Ok(subjects)
}

/// Writes a file whole or not at all; an attestation of before is replaced.
fn write_whole(run: &Path, path: &Path, bytes: &[u8]) -> Outcome {
    let temporary = run.join(".attestation.tmp");
    let written = std::fs::write(&temporary, bytes)
        .and_then(|()| std::fs::File::open(&temporary)?.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path));
    Ok(written.map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        RecordsError::Write {
            path: path.to_owned(),
            source,
        }
    })?)
}
