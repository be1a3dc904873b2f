//! The table before and after.

use forkscope_records::read_findings;
use forkscope_records::types::{Finding, Findings};
use forkscope_train::run::FINAL;

use crate::failure::Outcome;
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::shown;
use crate::work::options::RunOptions;

/// What the lines are called: what follows the side in an id, and its words.
const LINES: [(&str, &str); 17] = [
    ("tokens.restricted_mean", "price, forced tokens"),
    ("tokens.turned_by.0", "  undone by itself"),
    ("tokens.turned_by.1", "  undone by 1"),
    ("tokens.turned_by.2", "  undone by 2"),
    ("tokens.turned_by.4", "  undone by 4"),
    ("tokens.turned_by.8", "  undone by 8"),
    ("tokens.turned_by.16", "  undone by 16"),
    ("prefill.restricted_mean", "price, prefilled tokens"),
    ("prefill.turned_by.1", "  undone by 1"),
    ("prefill.turned_by.4", "  undone by 4"),
    ("prefill.turned_by.16", "  undone by 16"),
    ("alpha.restricted_mean", "price, weight of base"),
    ("nats.restricted_mean", "price, nats"),
    ("behaviour.guarded", "behaviour, guarded"),
    ("behaviour.benign", "behaviour, benign"),
    ("accuracy.benign", "accuracy, benign"),
    ("ratio", "price after / before"),
];

/// What is on the disk, so that a complete run and a new one print the same.
pub fn print(run: &RunOptions) -> Outcome {
    let findings = read_findings(&run.out)?;
    let mut out = Output::open();
    if run.json {
        out.json(&findings)?;
        return out.finish();
    }
    let mut columns = Columns::new([
        ("held-out problems", Align::Left),
        ("before", Align::Left),
        ("after", Align::Left),
        ("change", Align::Left),
    ]);
    for (what, words) in LINES {
        if let Some([before, after, change]) = cells(&findings, what) {
            columns.row([words.to_owned(), before, after, change]);
        }
    }
    columns.write(&mut out)?;
    out.line("")?;
    let path = |name: &str| sanitise(&run.out.join(name).display().to_string()).into_owned();
    out.labelled("adapter", &path(FINAL))?;
    out.labelled("findings", &path("findings.json"))?;
    out.labelled("report", &path("report.html"))?;
    out.finish()
}

fn cells(findings: &Findings, what: &str) -> Option<[String; 3]> {
    let of = |id: String| findings.get(&id);
    let text = |f: Option<&Finding>| f.map_or(String::new(), shown);
    if what == "ratio" {
        let ratio = of("harden.ratio.tokens.restricted_mean".into())?;
        return Some([String::new(), String::new(), shown(ratio)]);
    }
    let before = of(format!("harden.before.{what}"))?;
    let change = of(format!("harden.change.{what}"));
    let after = of(format!("harden.after.{what}"));
    Some([shown(before), text(after), text(change)])
}
