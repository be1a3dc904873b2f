//! Findings as a table. Every number printed here is read from [`Findings`],
//! in the notation of the report.

use forkscope_records::types::{Finding, Findings};
use forkscope_report::number;

use crate::failure::Outcome;
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;

/// Writes one line per finding: value with unit, interval, denominators.
pub fn write_findings(findings: &Findings, out: &mut Output) -> Outcome {
    let mut columns = Columns::new([
        ("finding", Align::Left),
        ("value", Align::Right),
        ("interval", Align::Left),
        ("n", Align::Right),
        ("clusters", Align::Right),
        ("invalid", Align::Right),
    ]);
    for finding in &findings.findings {
        columns.row(cells(finding));
    }
    columns.write(out)
}

/// Value and interval; what is undefined says so.
pub fn shown(finding: &Finding) -> String {
    let shown = number::finding(finding);
    let text = match shown.interval {
        Some((low, high)) => format!("{} [{low}, {high}]", shown.value),
        None => shown.value,
    };
    sanitise(&text).into_owned()
}

fn cells(finding: &Finding) -> [String; 6] {
    let shown = number::finding(finding);
    let interval = match (shown.interval, finding.level) {
        (None, _) => String::new(),
        (Some((low, high)), None) => format!("[{low}, {high}]"),
        (Some((low, high)), Some(level)) => format!("[{low}, {high}] {}", number::level(level)),
    };
    let id = sanitise(&finding.id);
    let name = match &finding.label {
        Some(label) => format!("{id} \u{201c}{}\u{201d}", sanitise(label)),
        None => id.into_owned(),
    };
    [
        name,
        sanitise(&shown.value).into_owned(),
        sanitise(&interval).into_owned(),
        number::count(finding.n),
        number::count(finding.n_clusters),
        number::count(finding.n_invalid),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_a_line_comes_from_its_finding() {
        let finding: Finding = serde_json::from_value(serde_json::json!({
            "id": "share.reranked\u{1b}[2J", "definition": "", "value": 0.0209, "unit": "share",
            "low": 0.0101, "high": 0.0333, "level": 0.95, "method": "", "n": 53012, "n_clusters": 40,
            "n_invalid": 1, "label": "\u{202e}x"
        }))
        .unwrap();
        assert_eq!(
            cells(&finding),
            [
                "share.reranked\\x1b[2J \u{201c}\\u{202e}x\u{201d}",
                "2.09 %",
                "[1.01, 3.33] 95 %",
                "53,012",
                "40",
                "1"
            ]
        );
    }
}
