//! What is on the disk, so that a complete run and a new one print the same.

use forkscope_records::read_findings;

use super::Arguments;
use crate::failure::Outcome;
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::write_findings;

/// Prints the findings and where the rest is.
pub fn print(a: &Arguments) -> Outcome {
    let findings = read_findings(&a.run.out)?;
    let mut out = Output::open();
    if a.run.json {
        out.json(&findings)?;
        return out.finish();
    }
    write_findings(&findings, &mut out)?;
    out.line("")?;
    let statement = match a.key {
        Some(_) => "attestation.json",
        None => "statement.json",
    };
    for (name, file) in [
        ("run", ""),
        ("report", "report.html"),
        ("statement", statement),
    ] {
        let path = match file {
            "" => a.run.out.clone(),
            file => a.run.out.join(file),
        };
        out.labelled(name, &sanitise(&path.display().to_string()))?;
    }
    out.finish()
}
