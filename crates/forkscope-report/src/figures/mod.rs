//! Figures as SVG. Each reads alone (own colours, title, description) and
//! inline in the page, whose style sheet recolours it by class. Every number
//! in a figure is the value, low or high of a finding.

mod axis;
mod coverage;
mod forest;
mod profile;
mod svg;

use forkscope_records::types::Findings;

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
    out.extend(coverage(findings));
    out.extend(shares(findings));
    out.extend(profile::figures(findings));
    out.extend(percentiles(findings, "kl_tuned_base", "KL(tuned ‖ base)"));
    out.extend(percentiles(findings, "js", "Jensen–Shannon divergence"));
    out.extend(percentiles(findings, "tv", "total variation"));
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

fn coverage(findings: &Findings) -> Option<Figure> {
    figure(
        "coverage",
        "Where the divergence is",
        "Share of the summed KL(tuned ‖ base) that lies in the most divergent positions. The band is the interval; the dashed line is what an even spread would give.",
        |title, caption| coverage::draw(findings, title, caption),
    )
}

fn shares(findings: &Findings) -> Option<Figure> {
    let rows: Vec<forest::Row<'_>> = findings
        .findings
        .iter()
        .filter_map(|f| {
            let name = f.id.strip_prefix("share.")?;
            Some((name.replace("urial.", "URIAL ").replace('_', " "), f))
        })
        .filter(|(_, f)| f.unit == "share")
        .take(12)
        .collect();
    figure(
        "shares",
        "Class shares",
        "Share of positions by the base's rank of the tuned policy's most probable token, with intervals, on a logarithmic axis. A grey mark at the left end is zero.",
        |title, caption| forest::draw(&rows, "share of positions (logarithmic)", title, caption),
    )
}

fn percentiles(findings: &Findings, metric: &str, name: &str) -> Option<Figure> {
    let prefix = format!("{metric}.");
    let rows: Vec<forest::Row<'_>> = findings
        .findings
        .iter()
        .filter_map(|f| Some((row_name(f.id.strip_prefix(&prefix)?)?, f)))
        .collect();
    let unit = rows.first().map_or("", |(_, f)| f.unit.as_str());
    let axis_title = match unit {
        "nats" | "bits" => format!("{unit} per token (logarithmic)"),
        _ => "per token (logarithmic)".to_owned(),
    };
    figure(
        &format!("percentiles-{metric}"),
        &format!("Distribution of {name}"),
        "Mean and percentiles over positions with their intervals, on a logarithmic axis. A grey mark at the left end is zero.",
        |title, caption| forest::draw(&rows, &axis_title, title, caption),
    )
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
