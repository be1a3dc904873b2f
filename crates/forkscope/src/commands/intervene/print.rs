//! What is on the disk, so that a complete run and a new one print the same.

use forkscope_records::read_findings;
use forkscope_report::sections::sections;

use crate::failure::Outcome;
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::work::options::RunOptions;

/// The tables of the report, or all findings as JSON.
pub fn print(run: &RunOptions) -> Outcome {
    let findings = read_findings(&run.out)?;
    let mut out = Output::open();
    if run.json {
        out.json(&findings)?;
        return out.finish();
    }
    let sections = sections(&findings);
    for section in sections.iter().filter(|s| s.id == "interventions") {
        for table in &section.tables {
            out.line(&sanitise(&table.title))?;
            let heads = table.heads.iter().map(|(head, number)| {
                let align = if *number { Align::Right } else { Align::Left };
                (head.clone(), align)
            });
            let mut columns = Columns::dynamic(heads.collect());
            for row in &table.rows {
                columns.push(row.iter().map(|c| sanitise(c).into_owned()).collect());
            }
            columns.write(&mut out)?;
            if !table.note.is_empty() {
                out.line(&sanitise(&table.note))?;
            }
            out.line("")?;
        }
        for paragraph in section.paragraphs.iter().chain(&section.limits) {
            out.line(&sanitise(paragraph))?;
        }
    }
    out.line("")?;
    out.labelled("run", &sanitise(&run.out.display().to_string()))?;
    let report = run.out.join("report.html");
    out.labelled("report", &sanitise(&report.display().to_string()))?;
    out.finish()
}
