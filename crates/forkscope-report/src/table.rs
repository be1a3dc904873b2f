//! The findings as an HTML table, one row each, grouped by what they are about.

use forkscope_records::types::{Finding, Findings};

use crate::number;
use crate::text::{html, html_foreign};

/// The section with the full table.
pub fn render(findings: &Findings) -> String {
    if findings.findings.is_empty() {
        return "<section id=\"findings\">\n<h2>Findings</h2>\n<p class=\"prose\">This run has no findings.</p>\n</section>".into();
    }
    let body: String = groups(findings)
        .iter()
        .map(|(title, members)| {
            let rows: String = members.iter().map(|f| row(f)).collect();
            format!(
                "<tbody>\n<tr class=\"group\"><th colspan=\"7\" scope=\"rowgroup\">{}</th></tr>\n{rows}</tbody>\n",
                html_foreign(title)
            )
        })
        .collect();
    format!(
        "<section id=\"findings\">\n<h2>Findings</h2>\n<p class=\"note\">Open a finding for its definition and method. n counts the units in the denominator; invalid units are left out of it.</p>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">finding</th><th scope=\"col\" class=\"num\">value</th><th scope=\"col\">unit</th><th scope=\"col\" class=\"num\">interval</th><th scope=\"col\" class=\"num\">n</th><th scope=\"col\" class=\"num\">problems</th><th scope=\"col\" class=\"num\">invalid</th></tr></thead>\n{body}</table></div>\n</section>"
    )
}

/// Findings under headings, both in the order of first appearance.
pub fn groups(findings: &Findings) -> Vec<(String, Vec<&Finding>)> {
    let mut out: Vec<(String, Vec<&Finding>)> = Vec::new();
    for f in &findings.findings {
        let title = title(&f.id);
        match out.iter_mut().find(|(t, _)| *t == title) {
            Some((_, members)) => members.push(f),
            None => out.push((title, vec![f])),
        }
    }
    out
}

/// The heading under which a finding stands; ids that are not known stand under
/// their first segment.
fn title(id: &str) -> String {
    let first = id.split('.').next().unwrap_or(id);
    match first {
        _ if id.starts_with("share.kl_") => "KL(tuned ‖ base)",
        _ if id.starts_with("share.js_") => "Jensen–Shannon divergence",
        "coverage" if !id.contains(".top_") => "What the audit bounds",
        "plan" => "Audit plan: cost against bound",
        "noise_floor" => "What bf16 does by itself",
        _ if id == "share.changed_beyond_noise" => "What bf16 does by itself",
        "share" | "same_top1" => "Classes of positions",
        "entropy_base" | "entropy_tuned" | "entropy_ratio" => "Entropy",
        "mean_base_rank" | "base_rank" => "Base rank of the token that the tuned policy prefers",
        "kl_tuned_base" => "KL(tuned ‖ base)",
        "kl_base_tuned" => "KL(base ‖ tuned)",
        "js" => "Jensen–Shannon divergence",
        "tv" => "Total variation",
        "delta_logprob" => "Δ ln p of the recorded token",
        "ce_base_tuned" => "Cross-entropy",
        "coverage" | "gini" => "Concentration of the divergence",
        "auroc" | "ap" => "Base entropy as a gate",
        "profile" => "Position: tenths of the completion",
        "early" => "Position: first tokens",
        "promoted" => "Most promoted tokens",
        "demoted" => "Most demoted tokens",
        "answer" => "Answers",
        "rows" | "rollouts" | "other_rollouts" | "invalid" | "null" | "ties" => "What was counted",
        other => return other.replace('_', " "),
    }
    .into()
}

fn row(f: &Finding) -> String {
    let shown = number::finding(f);
    let label = f
        .label
        .as_deref()
        .map(|l| format!(" <span class=\"piece\">{}</span>", html_foreign(l)))
        .unwrap_or_default();
    let interval = if shown.interval.is_some() {
        shown.range()
    } else {
        "–".into()
    };
    let level = f
        .level
        .map(|l| format!("{} interval", number::level(l)))
        .unwrap_or_default();
    format!(
        "<tr><td><details><summary title=\"{definition}\"><code>{id}</code>{label}</summary>{more}</details></td><td class=\"num\">{value}</td><td>{unit}</td><td class=\"num\" title=\"{level}\">{interval}</td><td class=\"num\">{n}</td><td class=\"num\">{clusters}</td><td class=\"num\">{invalid}</td></tr>\n",
        definition = html_prose(&f.definition),
        id = html_foreign(&f.id),
        more = more(f),
        value = html(&shown.bare),
        unit = html_foreign(&f.unit),
        level = html(&level),
        interval = html(&interval),
        n = number::count(f.n),
        clusters = number::count(f.n_clusters),
        invalid = number::count(f.n_invalid),
    )
}

fn more(f: &Finding) -> String {
    let mut out = String::from("<dl class=\"more\">");
    let mut term = |name: &str, text: &str| {
        if !text.is_empty() {
            out += &format!("<dt>{}</dt><dd>{}</dd>", html(name), html_prose(text));
        }
    };
    term("Definition", &f.definition);
    term("Method", &f.method);
    if let Some(level) = f.level {
        term("Level", &number::level(level));
    }
    term("Settings", &thresholds(f));
    out + "</dl>"
}

/// Definitions and methods may be longer than the longest shown token.
fn html_prose(text: &str) -> String {
    text.split_inclusive(' ').map(html_foreign).collect()
}

/// Thresholds as `k = 5, epsilon_nats = 0.1`.
pub fn thresholds(f: &Finding) -> String {
    f.thresholds
        .iter()
        .map(|(name, value)| {
            format!(
                "{name} = {}",
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            )
        })
        .collect::<Vec<_>>()
        .join(", ")
}
