//! Statements and attestations of runs.

mod inputs;
mod subjects;

use forkscope_audit::attest::{PrivateKey, Statement, dsse, files};
use forkscope_records::RunDir;

pub use inputs::Input;
pub use subjects::{Places, of_model};

use super::models::Named;
use crate::failure::Failure;

/// Roles that a run records models under.
pub const ROLES: [&str; 3] = ["base", "tuned", "model"];

/// Writes the statement of an open run whose files are all there: `attestation.json`
/// with a key, else `statement.json`. The next step is to complete the run.
pub fn write(
    dir: &RunDir,
    base: &Named,
    tuned: &Named,
    key: Option<&PrivateKey>,
) -> Result<(), Failure> {
    let mut subjects = of_model("base", base)?;
    subjects.extend(of_model("tuned", tuned)?);
    for input in Input::all(&dir.json().digests, &dir.json().settings) {
        subjects.push(input.subject(None)?);
    }
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
