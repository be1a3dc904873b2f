//! What is on the disk, so that a complete run and a new one print the same.

use forkscope_records::read_findings;
use forkscope_report::sections::{Section, sections};

use super::Arguments;
use crate::failure::Outcome;
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::write_findings;

/// Prints the questions with their answers, and where the rest is.
pub fn print(a: &Arguments) -> Outcome {
    let findings = read_findings(&a.run.out)?;
    let mut out = Output::open();
    if a.run.json {
        out.json(&findings)?;
        return out.finish();
    }
    let sections = sections(&findings);
    match sections.iter().find(|s| s.id == "overview") {
        Some(overview) => write_section(overview, &mut out)?,
        None => write_findings(&findings, &mut out)?,
    }
    out.line("")?;
    let statement = match a.key {
        Some(_) => "attestation.json",
        None => "statement.json",
    };
    let all = format!("{} in findings.json", findings.findings.len());
    out.labelled("findings", &all)?;
    for (name, file) in [("report", "report.html"), ("statement", statement)] {
        let path = a.run.out.join(file);
        out.labelled(name, &sanitise(&path.display().to_string()))?;
    }
    let path = sanitise(&a.run.out.display().to_string()).into_owned();
    out.labelled("browse it with", &format!("forkscope view {path}"))?;
    out.finish()
}

/// The tables of a section, and what it does not show.
fn write_section(section: &Section, out: &mut Output) -> Outcome {
    for table in &section.tables {
        let align = |numeric| if numeric { Align::Right } else { Align::Left };
        let heads = table.heads.iter().map(|(h, n)| (h.clone(), align(*n)));
        let mut columns = Columns::dynamic(heads.collect());
        for row in &table.rows {
            columns.push(row.iter().map(|c| sanitise(c).into_owned()).collect());
        }
        columns.write(out)?;
    }
    out.line("")?;
    out.line("What this does not show:")?;
    for limit in &section.limits {
        out.line(&format!("  - {limit}"))?;
    }
    Ok(())
}
