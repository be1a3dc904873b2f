//! The sweep as a table: one line per policy.

use std::path::Path;

use forkscope_records::read_findings;
use forkscope_records::types::Findings;

use crate::failure::Outcome;
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::shown;

/// Prints what is on the disk.
pub fn print(run: &Path, as_json: bool) -> Outcome {
    let findings = read_findings(run)?;
    let mut out = Output::open();
    if as_json {
        out.json(&findings)?;
        return out.finish();
    }
    let mut columns = Columns::new([
        ("policy", Align::Left),
        ("parameters", Align::Right),
        ("of model", Align::Right),
        ("accuracy", Align::Left),
        ("recovery", Align::Left),
        ("KL(tuned || it)", Align::Left),
        ("same top-1", Align::Left),
    ]);
    for arm in arms(&findings) {
        let cell = |id: &str| {
            let finding = findings.get(&format!("{id}.{arm}"));
            finding.map(shown).unwrap_or_default()
        };
        columns.row([
            sanitise(&arm.replace('_', " ")).into_owned(),
            cell("parameters"),
            cell("parameter_share"),
            cell("accuracy"),
            cell("recovery"),
            cell("kl_tuned_student"),
            cell("same_top1"),
        ]);
    }
    columns.write(&mut out)?;
    out.line("")?;
    if let Some(gap) = findings.get("accuracy_difference.tuned_base") {
        out.labelled("gap", &format!("tuned - base: {}", shown(gap)))?;
    }
    out.labelled("run", &sanitise(&run.display().to_string()))?;
    out.finish()
}

/// The policies in order.
fn arms(findings: &Findings) -> Vec<String> {
    let ids = findings.findings.iter().map(|f| f.id.as_str());
    ids.filter_map(|id| id.strip_prefix("accuracy."))
        .map(str::to_owned)
        .collect()
}
