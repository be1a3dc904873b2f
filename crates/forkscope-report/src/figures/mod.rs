//! Figures as SVG. Each reads alone (own colours, title, description) and
//! inline in the page, whose style sheet recolours it by class. Every number
//! in a figure is the value, low or high of a finding.

mod ablation;
mod axis;
mod coverage;
pub mod curves;
mod forest;
pub(crate) mod grid;
pub(crate) mod lines;
mod profile;
mod svg;

use forkscope_records::types::{Finding, Findings};

use crate::text;

/// Most characters of a token in a figure.
const TOKEN_CHARS: usize = 14;

/// One figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// File stem, e.g. `coverage`.
    pub name: String,
    /// Heading.
    pub title: String,
    /// What it shows, in a sentence or two.
    pub caption: String,
    /// The SVG document.
    pub svg: String,
}

/// The figures that these findings support; figures without findings are
/// absent.
pub fn figures(findings: &Findings) -> Vec<Figure> {
    let mut out = Vec::new();
    out.extend(ablation(findings));
    out.extend(coverage(findings));
    out.extend(shares(findings));
    out.extend(profile::figures(findings));
    out.extend(early(findings));
    out.extend(percentiles(findings, "kl_tuned_base", "KL(tuned ‖ base)"));
    out.extend(percentiles(findings, "js", "Jensen–Shannon divergence"));
    out.extend(percentiles(findings, "tv", "total variation"));
    out.extend(tokens(
        findings,
        "promoted",
        "tuned policy prefers more often than the base",
    ));
    out.extend(tokens(
        findings,
        "demoted",
        "base prefers more often than the tuned policy",
    ));
    out
}

fn figure(
    name: &str,
    title: &str,
    caption: &str,
    draw: impl FnOnce(&str, &str) -> Option<String>,
) -> Option<Figure> {
    draw(title, caption).map(|svg| Figure {
        name: name.into(),
        title: title.into(),
        caption: caption.into(),
        svg,
    })
}

fn ablation(findings: &Findings) -> Option<Figure> {
    figure(
        "ablation",
        "Accuracy against tokens touched",
        "Mean pass@1 of each arm over problems and seeds, with its interval over problems, against the share of completion tokens at which its objective pushed the policy. The dashed line and its band are the base.",
        |title, caption| ablation::draw(findings, title, caption),
    )
}

fn coverage(findings: &Findings) -> Option<Figure> {
    figure(
        "coverage",
        "Where the divergence is",
        "Share of the summed KL(tuned ‖ base) that lies in the most divergent positions. The band is the interval; the dashed line is what an even spread would give.",
        |title, caption| coverage::draw(findings, title, caption),
    )
}

fn shares(findings: &Findings) -> Option<Figure> {
    let rows = rows(findings, "share.", |name, _| {
        Some(match name.split_once("_above_") {
            Some((metric, cut_off)) => format!("{} > {cut_off}", metric.to_uppercase()),
            None => name.replace("urial.", "URIAL ").replace('_', " "),
        })
    });
    figure(
        "shares",
        "Classes of positions",
        "Share of positions by the base's rank of the token that the tuned policy prefers, and by divergence in nats. Logarithmic axis; a grey mark at its left end is zero.",
        |title, caption| forest::draw(&rows, "share of positions", title, caption),
    )
}

fn early(findings: &Findings) -> Option<Figure> {
    let mut rows = rows(findings, "early.kl.", |name, _| {
        name.strip_prefix("first_").map(|n| format!("first {n}"))
    });
    let rest = findings.findings.iter().rev().find_map(|f| {
        Some((
            format!("after {}", f.id.strip_prefix("early.kl.after_")?),
            f,
        ))
    });
    rows.extend(rest);
    figure(
        "early",
        "First tokens against the rest",
        "Mean KL(tuned ‖ base) over the first tokens of the completions and over what follows them. Logarithmic axis.",
        |title, caption| forest::draw(&rows, "nats per token", title, caption),
    )
}

fn percentiles(findings: &Findings, metric: &str, name: &str) -> Option<Figure> {
    let rows = rows(findings, &format!("{metric}."), |name, _| row_name(name));
    let unit = rows.first().map_or("", |(_, f)| f.unit.as_str());
    let axis_title = match unit {
        "nats" | "bits" => format!("{unit} per token"),
        _ => "per token".to_owned(),
    };
    figure(
        &format!("percentiles-{metric}"),
        &format!("Distribution of {name}"),
        "Mean and percentiles over positions. Logarithmic axis; a grey mark at its left end is zero.",
        |title, caption| forest::draw(&rows, &axis_title, title, caption),
    )
}

fn tokens(findings: &Findings, family: &str, what: &str) -> Option<Figure> {
    let rows = rows(findings, &format!("{family}."), |_, f| {
        let text = text::visible(f.label.as_deref()?).replace(' ', "␣");
        let cut: String = text.chars().take(TOKEN_CHARS).collect();
        Some(if cut.len() < text.len() {
            cut + "…"
        } else {
            cut
        })
    });
    let rows = rows.get(..rows.len().min(12)).unwrap_or(&rows);
    figure(
        family,
        &format!("Most {family} tokens"),
        &format!(
            "Tokens that the {what}: net share of the positions where they disagree. Logarithmic axis. The tokens were chosen on the same data, which the intervals do not account for."
        ),
        |title, caption| forest::draw(rows, "net share of changed positions", title, caption),
    )
}

/// Findings below a prefix that have a row name.
fn rows<'a>(
    findings: &'a Findings,
    prefix: &str,
    name: impl Fn(&str, &Finding) -> Option<String>,
) -> Vec<forest::Row<'a>> {
    let all = findings.findings.iter();
    all.filter_map(|f| Some((name(f.id.strip_prefix(prefix)?, f)?, f)))
        .collect()
}

/// `mean`, `max` and `p50`, `p99`, `p99_9` as row names; other statistics are
/// not percentiles.
fn row_name(statistic: &str) -> Option<String> {
    match statistic {
        "mean" | "max" | "median" => Some(statistic.into()),
        _ => {
            let percent = statistic.strip_prefix('p')?.replace('_', ".");
            percent.parse::<f64>().ok()?;
            Some(format!("{percent} %"))
        }
    }
}
