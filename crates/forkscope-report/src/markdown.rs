//! The report as Markdown: summary, caveats, findings, settings.

use std::fmt::Write as _;

use crate::data::ReportData;
use crate::error::ReportError;
use crate::text::{markdown_code, markdown_prose};
use crate::{facts, html, number, sections, summary, table};

/// Renders `findings.md`. Text from files cannot open markup in it: labels
/// and settings stand in code spans, prose is escaped.
pub fn render_markdown(data: &ReportData) -> Result<String, ReportError> {
    let mut out = String::new();
    let summary = summary::summarise(data);
    let _ = writeln!(
        out,
        "# {}\n\n{}\n",
        markdown_prose(&html::heading(data)),
        markdown_prose(&summary.lead)
    );
    if !summary.provenance.is_empty() {
        let _ = writeln!(out, "{}\n", markdown_prose(&summary.provenance));
    }
    for sentence in &summary.sentences {
        let _ = writeln!(out, "{}\n", markdown_prose(sentence));
    }
    out += "## How to read this\n\n";
    for caveat in &summary.caveats {
        let _ = writeln!(out, "- {}", markdown_prose(caveat));
    }
    out += &sections::markdown(&sections::sections(&data.findings));
    findings(&mut out, data);
    settings(&mut out, data);
    Ok(out)
}

fn findings(out: &mut String, data: &ReportData) {
    if data.findings.findings.is_empty() {
        *out += "\nThis run has no findings.\n";
        return;
    }
    *out += "\n## Findings\n\n| finding | value | unit | interval | level | n | problems | invalid |\n|---|--:|---|--:|--:|--:|--:|--:|\n";
    for f in &data.findings.findings {
        let shown = number::finding(f);
        let label = f
            .label
            .as_deref()
            .map(|l| format!(" {}", markdown_code(l)))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "| {}{label} | {} | {} | {} | {} | {} | {} | {} |",
            markdown_code(&f.id),
            shown.bare,
            markdown_prose(&f.unit),
            shown.range(),
            f.level.map(number::level).unwrap_or_default(),
            number::count(f.n),
            number::count(f.n_clusters),
            number::count(f.n_invalid),
        );
    }
    *out += "\n## Definitions\n\n";
    for f in &data.findings.findings {
        let _ = write!(
            out,
            "- {}: {}",
            markdown_code(&f.id),
            markdown_prose(&f.definition)
        );
        if !f.method.is_empty() {
            let _ = write!(
                out,
                " Method: {}.",
                markdown_prose(f.method.trim_end_matches('.'))
            );
        }
        let settings = table::thresholds(f);
        if !settings.is_empty() {
            let _ = write!(out, " Settings: {}.", markdown_code(&settings));
        }
        out.push('\n');
    }
}

fn settings(out: &mut String, data: &ReportData) {
    let (facts, left_out) = facts::list(&data.run);
    *out += "\n## Settings, versions and digests\n\n| setting | value |\n|---|---|\n";
    for fact in &facts {
        let _ = writeln!(
            out,
            "| {} | {} |",
            markdown_code(&fact.path),
            markdown_code(&fact.value)
        );
    }
    if left_out > 0 {
        let _ = writeln!(out, "\n{left_out} more are in run.json.");
    }
}
