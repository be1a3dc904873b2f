//! Checking an attestation, part by part.

mod recheck;
mod report;
mod subjects;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use forkscope_audit::attest::check;
use forkscope_audit::attest::{
    AttestError, Attestation, Fault, Part, Proof, PublicKey, Refusal, Statement, refind,
};
use forkscope_policy::numerics;

pub use forkscope_audit::attest::Draw;
pub use report::Report;

use crate::cli::Settings;
use crate::failure::Failure;

/// No honest attestation is longer: it lists files and chunks of rows, not rows.
const LONGEST: u64 = 1 << 28;

/// What is checked, and against what.
pub struct Job {
    /// The attestation or statement.
    pub attestation: PathBuf,
    /// The run that it is about.
    pub run: PathBuf,
    /// The key that must have signed.
    pub trusted: Option<PublicKey>,
    /// Where the models are, in the order of [`ROLES`](super::attest::ROLES), if not
    /// where the run says.
    pub models: [Option<String>; 3],
    /// Where the data is, if not where the run says.
    pub data: Option<PathBuf>,
    /// The proof of one row, to check instead of the run.
    pub proof: Option<PathBuf>,
    /// The sample to compute again.
    pub recheck: Option<Draw>,
}

/// Checks everything and says what is wrong. An error means that something could not
/// be looked at, not that it is wrong.
pub fn run(job: &Job, settings: &Settings) -> Result<Report, Failure> {
    let mut report = Report::new(&job.attestation, &job.run);
    let Some(attestation) = read(job, &mut report)? else {
        return Ok(report);
    };
    let statement = &attestation.statement;
    report.describe(&attestation);
    signer(job, &attestation, &mut report);
    let before = report.faults.len();
    report.check("statement", check::check_statement(statement), || {
        "canonical bytes, lists in order, roots that fit".to_owned()
    });
    if let Some(path) = &job.proof {
        proof(path, statement, &mut report)?;
        return Ok(report);
    }
    let there = |name: &&str| job.run.join(name).exists();
    if !["run.json", "findings.json", "rollouts.parquet"]
        .iter()
        .any(there)
    {
        return Err(Failure::Input(format!(
            "{} is not a run: it has no run.json; give the run of the attestation with --run",
            job.run.display()
        )));
    }
    let faults = check::check_run(&job.run, &attestation)?;
    let merkle = &statement.predicate.merkle;
    report.check("run", faults, || {
        format!(
            "{} files, {} rows in {} tables, findings as attested",
            statement.predicate.files.len(),
            merkle.leaves,
            merkle.tables.len()
        )
    });
    let whole = report.faults.len() == before;
    subjects::check(job, statement, &mut report)?;
    findings(job, statement, whole, &mut report)?;
    recheck::check(job, statement, whole, settings, &mut report)?;
    Ok(report)
}

/// Reads the attestation; a fault of it ends the check, another version is an error.
fn read(job: &Job, report: &mut Report) -> Result<Option<Attestation>, Failure> {
    let path = &job.attestation;
    let mut bytes = Vec::new();
    let unreadable = |source| AttestError::Read {
        path: path.clone(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    file.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::Input(format!(
            "{} is longer than {LONGEST} bytes; give an attestation.json",
            path.display()
        )));
    }
    match check::read(&bytes) {
        Ok(attestation) => Ok(Some(attestation)),
        Err((_, Refusal::Version(reason))) => Err(AttestError::Version {
            name: path.display().to_string(),
            reason,
        }
        .into()),
        Err((part, Refusal::Fault(said))) => {
            let fault = Fault::new(part, name(path), said);
            let check = match part {
                Part::Envelope => "signature",
                _ => "statement",
            };
            report.check(check, vec![fault], String::new);
            Ok(None)
        }
    }
}

/// A row that somebody shows without the run.
fn proof(path: &Path, statement: &Statement, report: &mut Report) -> Result<(), Failure> {
    const MOST: u64 = 1 << 24;
    let unreadable = |source| AttestError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    let checked = serde_json::from_slice::<Proof>(&bytes)
        .map_err(|e| format!("is no proof of a row ({e})"))
        .and_then(|proof| Ok((proof.check(statement)?, proof)));
    match checked {
        Ok((row, proof)) => {
            report.check("row", vec![], || {
                format!("row {} of {} is attested", proof.row, proof.table)
            });
            report.proved(row);
        }
        Err(said) => {
            let fault = Fault::new(Part::Rows, name(path), said);
            report.check("row", vec![fault], String::new);
        }
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |n| n.to_string_lossy().into(),
    )
}

fn signer(job: &Job, attestation: &Attestation, report: &mut Report) {
    if attestation.signer.is_some() {
        report.check("signature", vec![], || "fits payload and key".to_owned());
    } else {
        report.skip("signature", "the statement is not signed");
    }
    match &job.trusted {
        Some(trusted) => {
            let fault = check::check_signer(attestation, trusted);
            report.check("signer", fault.into_iter().collect(), || {
                "is the given public key".to_owned()
            });
        }
        None => report.skip("signer", "not checked: no --public-key was given"),
    }
}

/// Findings from rows. Rows that were changed are named already.
fn findings(
    job: &Job,
    statement: &Statement,
    whole: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    const CHECK: &str = "findings";
    if !whole {
        report.skip(CHECK, "not computed again: the run is not as attested");
        return Ok(());
    }
    let same_version =
        statement.run_text("versions", "forkscope") == Some(env!("CARGO_PKG_VERSION"));
    let refound = refind(&job.run, &statement.predicate.run, same_version)?;
    match refound.why_none {
        Some(why) if refound.faults.is_empty() => {
            report.skip(CHECK, &format!("not computed again: {why}"))
        }
        _ => {
            let left = match refound.left {
                0 => String::new(),
                n => format!("; {n} others are those of their tools"),
            };
            report.check(CHECK, refound.faults, || {
                format!(
                    "{} computed again from the rows, the same{left}",
                    refound.compared
                )
            });
        }
    }
    Ok(())
}

/// The profile that the run was made under, and whether it is this machine's.
fn same_profile(statement: &Statement) -> (String, bool) {
    let recorded = statement.run_text("versions", "numerics").unwrap_or("none");
    (recorded.to_owned(), recorded == numerics::profile())
}
