//! Checking an attestation against what it is about: the envelope, the files of the
//! run, the rows, the findings and the subjects. Everything that is wrong is listed;
//! the check does not stop at the first fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use forkscope_records::digest::sha256_bytes;
use forkscope_records::run::RunJson;
use serde::Serialize;
use serde_json::{Map, Value};

use super::AttestError;
use super::canon::canonical;
use super::dsse;
use super::files::{self, FileEntry, Listed};
use super::keys::PublicKey;
use super::rows::TableEntry;
use super::statement::{Refusal, Statement, Subject, run_entry, table};

/// What a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The envelope, its encoding or its signature.
    Envelope,
    /// The statement in it.
    Statement,
    /// Whose signature it is.
    Signer,
    /// A file of a model or of the data.
    Subject,
    /// A file of the run.
    File,
    /// A setting, version or digest of the run.
    Settings,
    /// Rows of a table.
    Rows,
    /// A finding.
    Findings,
    /// A row computed again from the weights.
    Recheck,
}

impl Part {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Statement => "statement",
            Self::Signer => "signer",
            Self::Subject => "subject",
            Self::File => "file",
            Self::Settings => "settings",
            Self::Rows => "rows",
            Self::Findings => "findings",
            Self::Recheck => "recheck",
        }
    }
}

/// Something that is not as it was attested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What it is about.
    pub part: Part,
    /// The file, table, setting or finding.
    pub name: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Fault {
    /// A fault.
    pub fn new(part: Part, name: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            part,
            name: name.into(),
            problem: problem.into(),
        }
    }
}

/// An attestation that was read.
#[derive(Debug, Clone)]
pub struct Attestation {
    /// What it says.
    pub statement: Statement,
    /// The key that signed it; `None` for a bare statement.
    pub signer: Option<PublicKey>,
    /// The bytes of the statement.
    pub payload: Vec<u8>,
}

/// Reads an envelope, or the bare statement of an unsigned audit. An envelope's
/// signature fits its payload and the key that it names.
pub fn read(bytes: &[u8]) -> Result<Attestation, (Part, Refusal)> {
    // A statement has `_type`, an envelope has not.
    let bare = serde_json::from_slice::<Map<String, Value>>(bytes)
        .is_ok_and(|map| map.contains_key("_type"));
    let (payload, signer) = if bare {
        (bytes.to_vec(), None)
    } else {
        let opened = dsse::open(bytes).map_err(|said| (Part::Envelope, Refusal::Fault(said)))?;
        (opened.payload, Some(opened.key))
    };
    let statement = Statement::parse(&payload).map_err(|refusal| (Part::Statement, refusal))?;
    Ok(Attestation {
        statement,
        signer,
        payload,
    })
}

/// Faults of a statement in itself: lists out of order or with two entries of one
/// name, a tree that contradicts itself.
pub fn check_statement(statement: &Statement) -> Vec<Fault> {
    let predicate = &statement.predicate;
    let mut faults = Vec::new();
    let names = |names: Vec<&str>| names.is_sorted_by(|a, b| a < b);
    for (what, sorted) in [
        (
            "subject",
            names(statement.subject.iter().map(|s| s.name.as_str()).collect()),
        ),
        (
            "files",
            names(predicate.files.iter().map(|f| f.name.as_str()).collect()),
        ),
        (
            "tables",
            names(
                predicate
                    .merkle
                    .tables
                    .iter()
                    .map(|t| t.name.as_str())
                    .collect(),
            ),
        ),
    ] {
        if !sorted {
            let said = "is not a list of distinct names in order";
            faults.push(Fault::new(Part::Statement, what, said));
        }
    }
    if let Some(said) = predicate.merkle.contradiction() {
        faults.push(Fault::new(Part::Rows, "merkle", said));
    }
    let tables = predicate.files.iter().filter(|f| files::is_table(&f.name));
    let rooted = predicate.merkle.tables.iter().map(|t| &t.name);
    if !tables.map(|f| &f.name).eq(rooted) {
        let said = "does not list the tables that are among the files";
        faults.push(Fault::new(Part::Rows, "merkle", said));
    }
    let has_findings = predicate.files.iter().any(|f| f.name == "findings.json");
    if has_findings == predicate.findings.is_null() {
        let said = "does not carry the content of the findings.json among the files";
        faults.push(Fault::new(Part::Statement, "findings", said));
    }
    let run = predicate.files.iter().find(|f| f.name == files::RUN);
    if run != Some(&run_entry(&predicate.run)) {
        let said = "is not listed with the digest of its attested content";
        faults.push(Fault::new(Part::Statement, files::RUN, said));
    }
    faults
}

/// Faults of the run directory at `run`: files missing, added or changed, settings,
/// rows and findings that are not the attested ones.
pub fn check_run(run: &Path, attestation: &Attestation) -> Result<Vec<Fault>, AttestError> {
    let predicate = &attestation.statement.predicate;
    let mut faults = Vec::new();
    let mut there: BTreeMap<String, Listed> = files::list(run, false)?
        .into_iter()
        .map(|listed| (listed.name.clone(), listed))
        .collect();
    let mut tables = BTreeMap::new();
    for entry in &predicate.files {
        let Some(listed) = there.remove(&entry.name) else {
            faults.push(Fault::new(Part::File, &entry.name, "is missing"));
            continue;
        };
        if !listed.plain {
            let said = "is no plain file (a link or a device)";
            faults.push(Fault::new(Part::File, &entry.name, said));
        } else if entry.name == files::RUN {
            check_run_json(&listed, &predicate.run, &mut faults)?;
        } else if files::is_table(&entry.name) {
            match table(&listed) {
                Ok((found, rows)) => {
                    compare(entry, &found, &mut faults);
                    tables.insert(entry.name.clone(), rows);
                }
                Err(AttestError::Records(error)) => {
                    compare(entry, &files::digest(&listed)?, &mut faults);
                    let said = format!("cannot be read: {error}");
                    faults.push(Fault::new(Part::Rows, &entry.name, said));
                    // Named once, as unreadable.
                    tables.extend(attested(attestation, &entry.name));
                }
                Err(other) => return Err(other),
            }
        } else {
            compare(entry, &files::digest(&listed)?, &mut faults);
        }
        if entry.name == "findings.json" && listed.plain {
            check_findings(&listed, &predicate.findings, &mut faults)?;
        }
    }
    for name in there.into_keys() {
        let said = "is not among the attested files";
        faults.push(Fault::new(Part::File, name, said));
    }
    check_rows(attestation, &tables, &mut faults);
    check_copy(run, attestation, &mut faults)?;
    Ok(faults)
}

fn attested(attestation: &Attestation, name: &str) -> Option<(String, TableEntry)> {
    let tables = &attestation.statement.predicate.merkle.tables;
    let entry = tables.iter().find(|t| t.name == name)?;
    Some((name.to_owned(), entry.clone()))
}

fn compare(attested: &FileEntry, found: &FileEntry, faults: &mut Vec<Fault>) {
    if attested == found {
        return;
    }
    let said = if attested.bytes != found.bytes {
        format!(
            "has {} bytes where {} were attested",
            found.bytes, attested.bytes
        )
    } else {
        changed(&attested.sha256, &found.sha256)
    };
    faults.push(Fault::new(Part::File, &attested.name, said));
}

/// Says two digests as far as a reader compares them.
pub(super) fn changed(attested: &str, found: &str) -> String {
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    format!(
        "was changed: sha256 {}... where {}... was attested",
        short(found),
        short(attested)
    )
}

/// `run.json` may differ in the values under `timing`, and in nothing else: neither in
/// its content nor in how it is spelled.
fn check_run_json(
    listed: &Listed,
    attested: &Map<String, Value>,
    faults: &mut Vec<Fault>,
) -> Result<(), AttestError> {
    let bytes = fs::read(&listed.path).map_err(AttestError::read(&listed.path))?;
    let json = match RunJson::from_bytes(&bytes, &listed.path) {
        Ok(json) => json,
        Err(error) => {
            let said = format!("cannot be read: {error}");
            faults.push(Fault::new(Part::File, files::RUN, said));
            return Ok(());
        }
    };
    let found = json.stable()?;
    let before = faults.len();
    differences(
        "",
        &Value::Object(attested.clone()),
        &Value::Object(found),
        faults,
    );
    if faults.len() == before && json.to_bytes()? != bytes {
        let said = "is not spelled as it was written";
        faults.push(Fault::new(Part::File, files::RUN, said));
    }
    Ok(())
}

/// Names every value of `run.json` that is not the attested one.
fn differences(at: &str, attested: &Value, found: &Value, faults: &mut Vec<Fault>) {
    if canonical(attested) == canonical(found) {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (attested, found) {
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let inner = match at {
                "" => key.clone(),
                at => format!("{at}.{key}"),
            };
            let (a, b) = (a.get(key), b.get(key));
            differences(
                &inner,
                a.unwrap_or(&Value::Null),
                b.unwrap_or(&Value::Null),
                faults,
            );
        }
        return;
    }
    let show = |value: &Value| canonical(value).chars().take(80).collect::<String>();
    let said = format!("is {} where {} was attested", show(found), show(attested));
    faults.push(Fault::new(Part::Settings, format!("run.json {at}"), said));
}

fn check_findings(
    listed: &Listed,
    attested: &Value,
    faults: &mut Vec<Fault>,
) -> Result<(), AttestError> {
    let bytes = fs::read(&listed.path).map_err(AttestError::read(&listed.path))?;
    let mut fault = |name: &str, said: String| {
        faults.push(Fault::new(Part::Findings, name, said));
    };
    let found: Value = match serde_json::from_slice(&bytes) {
        Ok(found) => found,
        Err(error) => {
            fault("findings.json", format!("is no JSON document ({error})"));
            return Ok(());
        }
    };
    if canonical(&found) == canonical(attested) {
        return Ok(());
    }
    let by_id = |value: &Value| -> BTreeMap<String, Value> {
        let list = value.get("findings").and_then(Value::as_array);
        let id = |f: &Value| f.get("id").and_then(Value::as_str).map(str::to_owned);
        let list = list.into_iter().flatten();
        list.filter_map(|f| Some((id(f)?, f.clone()))).collect()
    };
    let (attested, found) = (by_id(attested), by_id(&found));
    let ids: BTreeSet<&String> = attested.keys().chain(found.keys()).collect();
    let mut named = false;
    for id in ids {
        let said = match (attested.get(id), found.get(id)) {
            (Some(a), Some(b)) if canonical(a) == canonical(b) => continue,
            (Some(a), Some(b)) => {
                let value = |f: &Value| canonical(f.get("value").unwrap_or(&Value::Null));
                format!(
                    "is not the attested finding (value {} where {} was attested)",
                    value(b),
                    value(a)
                )
            }
            (Some(_), None) => "is missing".to_owned(),
            (None, _) => "is not among the attested findings".to_owned(),
        };
        named = true;
        fault(id, said);
    }
    if !named {
        fault("findings.json", "is not the attested document".into());
    }
    Ok(())
}

fn check_rows(
    attestation: &Attestation,
    found: &BTreeMap<String, TableEntry>,
    faults: &mut Vec<Fault>,
) {
    let tables = &attestation.statement.predicate.merkle.tables;
    for table in tables {
        // A missing file is named among the files.
        let difference = found.get(&table.name).and_then(|f| table.difference(f));
        if let Some(said) = difference {
            faults.push(Fault::new(Part::Rows, &table.name, said));
        }
    }
    for name in found
        .keys()
        .filter(|name| !tables.iter().any(|t| &t.name == *name))
    {
        let said = "is a table whose rows were not attested";
        faults.push(Fault::new(Part::Rows, name, said));
    }
}

/// A `statement.json` beside the attestation says what the attestation says.
fn check_copy(
    run: &Path,
    attestation: &Attestation,
    faults: &mut Vec<Fault>,
) -> Result<(), AttestError> {
    let path = run.join(files::STATEMENT);
    match fs::read(&path) {
        Ok(bytes) if bytes == attestation.payload => {}
        Ok(_) => {
            let said = "is not the attested statement";
            faults.push(Fault::new(Part::Statement, files::STATEMENT, said));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(AttestError::read(&path)(e)),
    }
    Ok(())
}

/// What was found of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its SHA-256.
    Digest(String),
    /// Its place is known, and it is not there.
    Missing,
    /// Nobody said where to look.
    Unknown,
}

/// What came of the subjects.
#[derive(Debug, Clone, Default)]
pub struct Subjects {
    /// Subjects that were looked at.
    pub checked: u64,
    /// Names of those whose place nobody knows.
    pub unknown: Vec<String>,
    /// What is wrong with them.
    pub faults: Vec<Fault>,
}

/// Compares the subjects with what `look` finds.
pub fn check_subjects(
    statement: &Statement,
    look: &mut dyn FnMut(&Subject) -> Result<Found, AttestError>,
) -> Result<Subjects, AttestError> {
    let mut subjects = Subjects::default();
    for subject in &statement.subject {
        let said = match look(subject)? {
            Found::Unknown => {
                subjects.unknown.push(subject.name.clone());
                continue;
            }
            Found::Digest(found) if found == subject.digest.sha256 => None,
            Found::Digest(found) => Some(changed(&subject.digest.sha256, &found)),
            Found::Missing => Some("is missing".to_owned()),
        };
        subjects.checked += 1;
        if let Some(said) = said {
            subjects
                .faults
                .push(Fault::new(Part::Subject, &subject.name, said));
        }
    }
    Ok(subjects)
}

/// Whether the attestation is of the key that somebody trusts.
pub fn check_signer(attestation: &Attestation, trusted: &PublicKey) -> Option<Fault> {
    let said = match &attestation.signer {
        Some(key) if key == trusted => return None,
        Some(key) => format!(
            "is the key {}, not the given one, {}",
            key.id(),
            trusted.id()
        ),
        None => "is missing: the statement is not signed".to_owned(),
    };
    Some(Fault::new(Part::Signer, "signature", said))
}

/// SHA-256 of bytes somebody holds, for callers that look subjects up.
pub fn digest_of(bytes: &[u8]) -> Found {
    Found::Digest(sha256_bytes(bytes))
}
