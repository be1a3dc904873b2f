//! The prices as a table: one line per method and control.

use forkscope_records::read_findings;
use forkscope_records::types::{Finding, Findings, ReversionDirection};

use crate::failure::{Failure, Outcome};
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::shown;
use crate::work::options::RunOptions;
use crate::work::revert::nothing_priced;

/// Shares that the table shows.
const LEVELS: [&str; 5] = ["1", "2", "4", "8", "16"];

/// What is on the disk, so that a complete run and a new one print the same; the
/// failure of a check where no answer has a price.
pub fn print(run: &RunOptions, behaviour: &str) -> Outcome {
    let findings = read_findings(&run.out)?;
    let mut out = Output::open();
    if run.json {
        out.json(&findings)?;
    } else {
        for direction in ReversionDirection::ALL {
            table(direction.as_str(), &findings, &mut out)?;
        }
        let path = |name: &str| sanitise(&run.out.join(name).display().to_string()).into_owned();
        out.labelled("findings", &path("findings.json"))?;
        out.labelled("report", &path("report.html"))?;
    }
    out.finish()?;
    match nothing_priced(&findings, behaviour) {
        Some(said) => Err(Failure::Gate(said)),
        None => Ok(()),
    }
}

fn table(direction: &str, findings: &Findings, out: &mut Output) -> Outcome {
    let of = |what: &str| findings.get(&format!("revert.{direction}.{what}"));
    let Some(eligible) = of("answers.eligible") else {
        return Ok(());
    };
    let count = |f: &Finding| f.value.unwrap_or(0.0);
    let others: Vec<String> = ["nothing_to_turn", "base_agrees", "undecided"]
        .into_iter()
        .filter_map(|what| {
            let n = of(&format!("answers.{what}")).map_or(0.0, count);
            (n > 0.0).then(|| format!("{n} {}", what.replace('_', " ")))
        })
        .collect();
    let rest = match others.is_empty() {
        true => String::new(),
        false => format!(" ({})", others.join(", ")),
    };
    out.line(&format!(
        "{direction}: {} of {} answers have a price{rest}",
        count(eligible),
        eligible.n
    ))?;
    let mut columns = Columns::new([
        ("price", Align::Left),
        ("restricted mean", Align::Left),
        ("median", Align::Right),
        ("by 1", Align::Right),
        ("by 2", Align::Right),
        ("by 4", Align::Right),
        ("by 8", Align::Right),
        ("by 16", Align::Right),
    ]);
    let prefix = format!("revert.{direction}.");
    let names = findings.findings.iter().filter_map(|f| {
        let name = f.id.strip_prefix(&prefix)?;
        name.strip_suffix(".median")
    });
    for name in names {
        let cell = |what: &str| of(&format!("{name}.{what}")).map_or(String::new(), shown);
        let [a, b, c, d, e] = LEVELS.map(|level| {
            let by = of(&format!("{name}.turned_by.{level}"));
            by.map_or(String::new(), value)
        });
        let mean = match of(&format!("{name}.restricted_mean")) {
            Some(mean) => shown(mean),
            None => String::new(),
        };
        columns.row([
            sanitise(name).into_owned(),
            mean,
            cell("median"),
            a,
            b,
            c,
            d,
            e,
        ]);
    }
    columns.write(out)?;
    out.line("")
}

/// The value without its interval.
fn value(finding: &Finding) -> String {
    let shown = forkscope_report::number::finding(finding);
    sanitise(&shown.value).into_owned()
}
