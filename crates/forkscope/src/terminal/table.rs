//! Findings as a table. Every number printed here is read from [`Findings`].
#![allow(dead_code, reason = "for the commands that end in findings")]

use forkscope_records::types::{Finding, Findings};

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
        columns.row([
            name(finding),
            quantity(finding.value, &finding.unit),
            interval(finding),
            finding.n.to_string(),
            finding.n_clusters.to_string(),
            finding.n_invalid.to_string(),
        ]);
    }
    columns.write(out)
}

/// The id, and what it is about where it is about one token or category.
fn name(finding: &Finding) -> String {
    let id = sanitise(&finding.id);
    match &finding.label {
        Some(label) => format!("{id} \u{201c}{}\u{201d}", sanitise(label)),
        None => id.into_owned(),
    }
}

/// `[low, high] 95 %`, or empty where there is none.
fn interval(finding: &Finding) -> String {
    if finding.low.is_none() && finding.high.is_none() {
        return String::new();
    }
    let [low, high] = [finding.low, finding.high].map(|end| quantity(end, &finding.unit));
    let level = finding
        .level
        .map(|level| format!(" {} %", significant(level * 100.0, 3)))
        .unwrap_or_default();
    format!("[{low}, {high}]{level}")
}

/// A number with its unit: shares as `2.09 %`, ratios as `7.58x`, ranks and
/// dimensionless scores bare.
pub fn quantity(value: Option<f64>, unit: &str) -> String {
    let Some(value) = value else {
        return "undefined".to_owned();
    };
    match unit {
        "share" => percent(value),
        "ratio" => format!("{}x", significant(value, 3)),
        "" | "rank" | "auroc" | "ap" | "gini" | "score" => significant(value, 4),
        unit => format!("{} {}", significant(value, 4), sanitise(unit)),
    }
}

/// A share as a percentage with two decimals, with more where they would all
/// be zero: a share that is not zero is never printed as zero.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent != 0.0 && percent.abs() < 0.01 {
        return format!("{} %", significant(percent, 2));
    }
    format!("{percent:.2} %")
}

/// `digits` significant digits; whole numbers whole; far from one in scientific notation.
fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return format!("{value:.0}");
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..15.0).contains(&magnitude) {
        return format!("{value:.*e}", digits.saturating_sub(1));
    }
    // -5 <= magnitude < 15 here, so the casts are exact.
    let decimals = (digits as i64 - 1 - magnitude as i64).max(0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_their_unit() {
        for (value, unit, shown) in [
            (0.0209, "share", "2.09 %"),
            (0.3, "share", "30.00 %"),
            (0.0, "share", "0.00 %"),
            (0.000_012, "share", "0.0012 %"),
            (7.583, "ratio", "7.58x"),
            (2.3, "rank", "2.300"),
            (0.123_456, "nats", "0.1235 nats"),
            (51_234.0, "tokens", "51234 tokens"),
            (51_234.56, "tokens", "51235 tokens"),
            (1.5e-9, "nats", "1.500e-9 nats"),
            (f64::INFINITY, "nats", "inf nats"),
        ] {
            assert_eq!(quantity(Some(value), unit), shown);
        }
        assert_eq!(quantity(None, "nats"), "undefined");
    }

    #[test]
    fn every_number_of_a_line_comes_from_its_finding() {
        let finding: Finding = serde_json::from_value(serde_json::json!({
            "id": "share.reranked\u{1b}[2J", "definition": "", "value": 0.0209, "unit": "share", "low": 0.01,
            "high": 0.0333, "level": 0.95, "method": "", "n": 4, "n_clusters": 2, "n_invalid": 1,
            "label": "\u{202e}x"
        }))
        .unwrap();
        assert_eq!(
            name(&finding),
            "share.reranked\\x1b[2J \u{201c}\\u{202e}x\u{201d}"
        );
        assert_eq!(interval(&finding), "[1.00 %, 3.33 %] 95 %");
    }
}
