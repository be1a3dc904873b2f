//! Statements and attestations of runs.

mod subjects;

use std::path::Path;

use forkscope_audit::attest::{PrivateKey, Statement, Subject, dsse, files};
use forkscope_records::RunDir;
use forkscope_records::run::RunJson;
use serde_json::Value;

pub use subjects::{Places, of_model};

use super::models::Named;
use super::{prompts, rollouts};
use crate::failure::Failure;

/// Roles that a run records models under.
pub const ROLES: [&str; 3] = ["base", "tuned", "model"];

/// Writes the statement of an open run whose files are all there: `attestation.json`
/// with a key, else `statement.json`. The next step is to complete the run.
#[allow(dead_code, reason = "for runs that are attested before they close")]
pub fn write(
    dir: &RunDir,
    base: &Named,
    tuned: &Named,
    key: Option<&PrivateKey>,
) -> Result<(), Failure> {
    let mut subjects = of_model("base", base)?;
    subjects.extend(of_model("tuned", tuned)?);
    subjects.extend(data(dir.json(), None)?);
    let statement = Statement::of_run(dir.path(), dir.json(), subjects, true)?;
    let (name, bytes) = document(&statement, key)?;
    Ok(dir.write_atomic(name, &bytes)?)
}

/// The name and the bytes of the document that carries a statement.
pub fn document(
    statement: &Statement,
    key: Option<&PrivateKey>,
) -> Result<(&'static str, Vec<u8>), Failure> {
    let payload = statement.to_bytes()?;
    Ok(match key {
        Some(key) => (files::ATTESTATION, dsse::seal(&payload, key)),
        None => (files::STATEMENT, payload),
    })
}

/// What a run was made of beside models: its problems or rollouts, under the digest
/// that it recorded. `given` says where they are now.
pub fn data(json: &RunJson, given: Option<&Path>) -> Result<Option<Subject>, Failure> {
    let Some(recorded) = json.digests.get("data").and_then(Value::as_str) else {
        return Ok(None);
    };
    let place = DataPlace::of(&json.settings);
    if let Some(found) = digest(place.as_ref(), given)?
        && found != recorded
    {
        let place = place.map_or("the data".into(), |p| p.path);
        return Err(Failure::Input(format!(
            "{place} was changed since the run was made of it; put the file back, or make the run again"
        )));
    }
    let name = place.map_or("data".into(), |p| p.subject());
    Ok(Some(Subject::new(name, recorded)))
}

/// The SHA-256 of the data now; `None` if it is nowhere.
pub fn digest(place: Option<&DataPlace>, given: Option<&Path>) -> Result<Option<String>, Failure> {
    let rollouts = place.is_some_and(|p| p.rollouts);
    let path = match (given, place) {
        (Some(given), _) => given,
        (None, Some(place)) => Path::new(&place.path),
        (None, None) => return Ok(None),
    };
    let bytes = match rollouts {
        true => rollouts::bytes_of(&rollouts::file(path)),
        false => prompts::bytes_of(path).map(|(bytes, _)| bytes),
    };
    match bytes {
        Ok(bytes) => Ok(Some(forkscope_records::digest::sha256_bytes(&bytes))),
        // A path of another machine, or one relative to another folder.
        Err(_) if given.is_none() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Where a run says that its data was.
pub struct DataPlace {
    /// As the user gave it.
    pub path: String,
    /// Rollouts, not problems.
    pub rollouts: bool,
}

impl DataPlace {
    /// From the settings of a run.
    pub fn of(settings: &serde_json::Map<String, Value>) -> Option<Self> {
        let text = |name: &str| settings.get(name)?.as_str().map(str::to_owned);
        let (path, rollouts) = match text("problems") {
            Some(path) => (path, false),
            None => (text("rollouts").or_else(|| text("contrast"))?, true),
        };
        Some(Self { path, rollouts })
    }

    /// The name of the subject: without folders, which are the machine's.
    pub fn subject(&self) -> String {
        let name = Path::new(&self.path).file_name();
        let name = name.map_or(self.path.as_str().into(), |n| n.to_string_lossy());
        format!("data/{name}")
    }
}
