//! The page: one file that fetches nothing.

use crate::data::ReportData;
use crate::error::ReportError;
use crate::summary::{self, Summary};
use crate::text::{html, html_foreign, json_in_script};
use crate::{csp, evaluated, facts, figures, heatmap, number, sections, table};

const PAGE: &str = include_str!("assets/page.html");
const TOKENS: &str = include_str!("assets/tokens.html");
const STYLE: &str = include_str!("assets/report.css");
const SCRIPT: &str = include_str!("assets/page.js");
const TOKEN_SCRIPTS: [&str; 6] = [
    include_str!("assets/data.js"),
    include_str!("assets/metrics.js"),
    include_str!("assets/grid.js"),
    include_str!("assets/tip.js"),
    include_str!("assets/heat.js"),
    include_str!("assets/main.js"),
];

/// Findings shown large above the sentences: id and name.
const HEADLINES: [(&str, &str); 7] = [
    (
        "share.unshifted",
        "positions where both prefer the same token",
    ),
    ("kl_tuned_base.mean", "mean KL(tuned ‖ base) per token"),
    (
        "coverage.kl.top_1pct",
        "of all KL in the top 1 % of positions",
    ),
    ("entropy_ratio", "base entropy, reranked against unshifted"),
    ("pass_at_1", "chance that one sample is right"),
    ("greedy", "problems that greedy decoding gets right"),
    ("tokens_per_answer", "mean length of an answer"),
];

/// What a page carries beyond the findings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HtmlOptions {
    /// Most positions in the token views. Whole rollouts are carried, in the
    /// order of the run, until the next would not fit; the page says how many
    /// it carries of how many. Findings always cover the whole run.
    pub max_rows: usize,
}

impl Default for HtmlOptions {
    fn default() -> Self {
        Self { max_rows: 250_000 }
    }
}

/// Renders the report as one self-contained HTML page.
pub fn render_html(data: &ReportData) -> Result<String, ReportError> {
    render_html_with(data, &HtmlOptions::default())
}

/// Renders the report with limits other than the usual ones.
pub fn render_html_with(data: &ReportData, options: &HtmlOptions) -> Result<String, ReportError> {
    let has_rows = !data.rows.is_empty();
    let (tokens, block) = if has_rows {
        tokens(data, options)?
    } else {
        (no_tokens(), String::new())
    };
    let script = script(has_rows);
    let heading = heading(data);
    let slots = [
        ("policy", html(&csp::policy(STYLE, &script))),
        ("version", html(env!("CARGO_PKG_VERSION"))),
        ("title", html_foreign(&format!("forkscope: {heading}"))),
        ("heading", html_foreign(&heading)),
        ("style", STYLE.to_owned()),
        ("script", script),
        ("summary", summary_html(data)),
        (
            "sections",
            sections::page(&sections::sections(&data.findings)),
        ),
        ("figures", figures_html(data)),
        ("findings", table::render(&data.findings)),
        ("tokens", tokens),
        ("settings", settings_html(data)),
        ("data", block),
    ];
    Ok(fill(PAGE, &slots))
}

/// The script as one function, so that it leaves no names on the page.
fn script(has_rows: bool) -> String {
    let mut script = format!("\"use strict\";\n(() => {{\n{SCRIPT}");
    if has_rows {
        for part in TOKEN_SCRIPTS {
            script.push('\n');
            script.push_str(part);
        }
    }
    script.push_str("})();\n");
    script
}

/// Fills `{{name}}` slots in one pass: what is filled in is not read again.
fn fill(template: &str, slots: &[(&str, String)]) -> String {
    let size = slots.iter().map(|(_, text)| text.len()).sum::<usize>();
    let mut out = String::with_capacity(template.len() + size);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((name, after)) = after.split_once("}}") else {
            out.push_str("{{");
            rest = after;
            continue;
        };
        if let Some((_, text)) = slots.iter().find(|(slot, _)| *slot == name) {
            out.push_str(text);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `TUNED against BASE`, as far as the run names them.
pub(crate) fn heading(data: &ReportData) -> String {
    if evaluated::is_evaluation(data) {
        return evaluated::heading(data);
    }
    if evaluated::is_ablation(data) {
        return "Ablation".into();
    }
    if evaluated::is_plan(data) && facts::model_name(&data.run, "tuned").is_none() {
        return "Audit plan".into();
    }
    if evaluated::is_probe(data) {
        return evaluated::probe_heading(data);
    }
    match (
        facts::model_name(&data.run, "tuned"),
        facts::model_name(&data.run, "base"),
    ) {
        (Some(tuned), Some(base)) => format!("{tuned} against {base}"),
        _ => "Token audit".into(),
    }
}

fn summary_html(data: &ReportData) -> String {
    let Summary {
        lead,
        provenance,
        sentences,
        caveats,
    } = summary::summarise(data);
    let mut out = format!("<p class=\"lead\">{}</p>\n", html_foreign_long(&lead));
    if !provenance.is_empty() {
        out += &format!(
            "<p class=\"note\">{} · <a href=\"#settings\">all settings</a></p>\n",
            html_foreign_long(&provenance)
        );
    }
    let headlines: String = HEADLINES
        .iter()
        .filter_map(|(id, name)| {
            let f = data.findings.get(id).filter(|f| f.value.is_some())?;
            let shown = number::finding(f);
            let range = match (&shown.interval, f.level) {
                (Some(_), Some(level)) => {
                    format!("{} interval {}", number::level(level), shown.range())
                }
                (Some(_), None) => shown.range(),
                (None, _) => String::new(),
            };
            Some(format!(
                "<div><dt>{}</dt><dd>{}</dd><dd class=\"range\">{}</dd></div>\n",
                html(name),
                html(&shown.value),
                html(&range)
            ))
        })
        .collect();
    if !headlines.is_empty() {
        out += &format!("<dl class=\"headline\">\n{headlines}</dl>\n");
    }
    let paragraphs: String = sentences
        .iter()
        .map(|s| format!("<p>{}</p>\n", html_foreign_long(s)))
        .collect();
    out += &format!("<div class=\"sentences\">\n{paragraphs}</div>\n");
    let items: String = caveats
        .iter()
        .map(|s| format!("<li>{}</li>\n", html_foreign_long(s)))
        .collect();
    out + &format!(
        "<div class=\"caveats\">\n<h3>How to read this</h3>\n<ul>\n{items}</ul>\n</div>\n"
    )
}

/// A sentence of ours that may quote foreign names: inert, and never cut.
fn html_foreign_long(sentence: &str) -> String {
    sentence.split_inclusive(' ').map(html_foreign).collect()
}

fn figures_html(data: &ReportData) -> String {
    let all = figures::figures(&data.findings);
    if all.is_empty() {
        return String::new();
    }
    let items: String = all
        .iter()
        .map(|f| {
            format!(
                "<figure id=\"figure-{}\">\n{}<figcaption><strong>{}</strong>{}</figcaption>\n</figure>\n",
                html_foreign(&f.name), f.svg, html_foreign(&f.title), html_foreign(&f.caption)
            )
        })
        .collect();
    format!(
        "<section id=\"figures\">\n<h2>Figures</h2>\n<div class=\"figures\">\n{items}</div>\n</section>"
    )
}

fn tokens(data: &ReportData, options: &HtmlOptions) -> Result<(String, String), ReportError> {
    let payload = heatmap::pack(data, options.max_rows)?;
    let count = |n: usize| number::count(n as u64);
    let scope = if payload.rows < payload.rows_total {
        format!(
            "The page carries the first {} of {} rollouts in the order of the run ({} of {} positions); the findings above cover all of them.",
            count(payload.rollouts.len()),
            count(payload.rollouts_total),
            count(payload.rows),
            count(payload.rows_total)
        )
    } else {
        format!(
            "All {} positions of {} rollouts are here.",
            count(payload.rows),
            count(payload.rollouts.len())
        )
    };
    let json = serde_json::to_string(&payload).map_err(|source| ReportError::Encode {
        what: "the token rows",
        source,
    })?;
    let block = format!(
        "<script type=\"application/json\" id=\"data\">{}</script>",
        json_in_script(&json)
    );
    Ok((fill(TOKENS, &[("scope", html(&scope))]), block))
}

fn no_tokens() -> String {
    "<section id=\"tokens\">\n<h2>Tokens</h2>\n<p class=\"prose\">This run holds no rows that compare two policies, so there is no heat-map. <code>forkscope diff</code> makes them.</p>\n</section>".into()
}

fn settings_html(data: &ReportData) -> String {
    let (facts, left_out) = facts::list(&data.run);
    let rows: String = facts
        .iter()
        .map(|f| {
            format!(
                "<tr><td>{}</td><td>{}</td></tr>\n",
                html_foreign(&f.path),
                html_foreign(&f.value)
            )
        })
        .collect();
    let rest = if left_out > 0 {
        format!("<p class=\"note\">{left_out} more are in run.json.</p>\n")
    } else {
        String::new()
    };
    format!(
        "<section id=\"settings\">\n<h2>Settings, versions and digests</h2>\n<p class=\"note\">The content of run.json.</p>\n<div class=\"wide\"><table class=\"facts\">\n<tbody>\n{rows}</tbody>\n</table></div>\n{rest}</section>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_filled_once() {
        let slots = [("a", "{{b}}".to_owned()), ("b", "never".to_owned())];
        assert_eq!(fill("x{{a}}y{{c}}z{{", &slots), "x{{b}}yz{{");
    }

    #[test]
    fn scripts_only_write_text() {
        let all = script(true);
        for sink in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "fetch(",
            "XMLHttp",
            "import(",
        ] {
            assert!(!all.contains(sink), "{sink}");
        }
        assert!(!all.contains("</"));
        assert!(!STYLE.contains("</") && !STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
