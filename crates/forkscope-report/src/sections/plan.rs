//! A plan's cost against its bounds, and what an executed plan bounds
//! (`forkscope plan`).

use forkscope_records::types::{Finding, Findings};

use super::{Section, Table};
use crate::figures::Figure;
use crate::figures::curves::{Axes, Series, draw};
use crate::number;

/// Columns of the table over positions: the part of an id and the head.
const POSITIONS: [(&str, &str); 9] = [
    ("audited", "positions"),
    ("certain", "chosen by the gate"),
    ("tokens", "tokens per policy"),
    ("coverage", "expected coverage of the change"),
    ("bound_if_none", "bound if none is found"),
    ("bound_expected", "bound as expected"),
    ("margin_worst", "worst margin"),
    ("seen_expected", "share seen, at least"),
    ("js_bound_expected", "JS bound"),
];

const PROBLEMS: [(&str, &str); 5] = [
    ("audited", "problems"),
    ("tokens", "tokens per policy"),
    ("bound_if_none", "bound if none is found"),
    ("bound_expected", "bound as expected"),
    ("margin_worst", "worst margin"),
];

/// The section, where something was planned or bounded.
pub fn section(findings: &Findings) -> Option<Section> {
    let tables: Vec<Table> = [bounds(findings), positions(findings), problems(findings)]
        .into_iter()
        .flatten()
        .collect();
    if tables.is_empty() {
        return None;
    }
    let mut paragraphs = Vec::new();
    if let Some(share) = findings.get("plan.population.changed_share") {
        paragraphs.push(format!("{}.", capital(&share.definition)));
        paragraphs.push(format!("{}.", capital(&share.method)));
    }
    if let Some(f) = findings.get("coverage.unaudited.changed_share")
        && let (Some(high), Some(level)) = (f.high, f.level)
    {
        paragraphs.push(format!(
            "At most {} of the positions that nobody looked at are changed, at {} ({} looked at, {} problems).",
            number::value(high, &f.unit),
            number::level(level),
            number::count(f.n),
            number::count(f.n_clusters)
        ));
    }
    if let Some(f) = findings.get("coverage.new_problems.changed_share")
        && let (Some(high), Some(level)) = (f.high, f.level)
    {
        paragraphs.push(format!(
            "For new problems drawn as the {} audited ones were, the mean changed share is at most {}, at {}.",
            number::count(f.n),
            number::value(high, &f.unit),
            number::level(level)
        ));
    }
    Some(Section {
        id: "coverage-bounds",
        title: "What the audit covers".into(),
        paragraphs,
        tables,
        figures: figure(findings).into_iter().collect(),
        limits: limits(),
    })
}

fn limits() -> Vec<String> {
    [
        "A bound is about the listed positions of these rollouts. Other rollouts of the same problems, and positions that these rollouts do not reach, are other populations; only the bound on new problems speaks of those.",
        "Each bound is one-sided and holds at its own level; several read together hold at less.",
        "The sample is random only if nobody who trained the tuned policy knew the plan.",
        "Expected bounds are as good as the calibration; the worst margin holds whatever is found.",
        "Shares of KL carry no bound: one unseen position could hold any amount.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn heads(first: &str, columns: &[(&str, &str)]) -> Vec<(String, bool)> {
    let named = columns.iter().map(|(_, head)| ((*head).to_owned(), true));
    std::iter::once((first.to_owned(), true))
        .chain(named)
        .collect()
}

fn positions(findings: &Findings) -> Option<Table> {
    table(
        findings,
        "positions",
        &POSITIONS,
        "Cost against bound: positions",
        "Coverage is the expected share of the changed positions that are looked at. Bounds are on the changed share of the positions that nobody looks at (JS: on its mean there). Tokens are the prefixes that have to be forwarded, for each policy.",
    )
}

fn problems(findings: &Findings) -> Option<Table> {
    table(
        findings,
        "problems",
        &PROBLEMS,
        "Cost against bound: whole problems",
        "Bounds are on the mean changed share of new problems.",
    )
}

fn table(
    findings: &Findings,
    design: &str,
    columns: &[(&str, &str)],
    title: &str,
    note: &str,
) -> Option<Table> {
    let rows: Vec<Vec<String>> = budgets(findings, design)
        .into_iter()
        .map(|(budget, name)| {
            let cell = |part: &str| {
                let found = findings.get(&format!("plan.{design}.{name}.{part}"));
                found.map_or(String::new(), |f| number::finding(f).bare)
            };
            std::iter::once(number::value(budget, "share"))
                .chain(columns.iter().map(|(part, _)| cell(part)))
                .collect()
        })
        .collect();
    (!rows.is_empty()).then(|| Table {
        title: title.to_owned(),
        heads: heads("budget", columns),
        rows,
        note: note.to_owned(),
    })
}

/// Budgets of a design with their names in ids, ascending.
fn budgets<'a>(findings: &'a Findings, design: &str) -> Vec<(f64, &'a str)> {
    let prefix = format!("plan.{design}.");
    let mut budgets: Vec<(f64, &str)> = findings
        .findings
        .iter()
        .filter_map(|f| {
            let name = f.id.strip_prefix(&prefix)?.strip_suffix(".audited")?;
            Some((f.thresholds.get("budget")?.as_f64()?, name))
        })
        .collect();
    budgets.sort_by(|a, b| a.0.total_cmp(&b.0));
    budgets
}

/// What was bounded.
fn bounds(findings: &Findings) -> Option<Table> {
    const GROUPS: [&str; 6] = [
        "certain",
        "unaudited",
        "all",
        "seen",
        "listed_problems",
        "new_problems",
    ];
    let ours = |f: &&Finding| {
        let mut parts = f.id.split('.');
        parts.next() == Some("coverage") && parts.next().is_some_and(|p| GROUPS.contains(&p))
    };
    let end =
        |f: &Finding, end: Option<f64>| end.map_or(String::new(), |x| number::value(x, &f.unit));
    let rows: Vec<Vec<String>> = findings
        .findings
        .iter()
        .filter(ours)
        .map(|f| {
            vec![
                f.id.clone(),
                number::finding(f).value,
                end(f, f.low),
                end(f, f.high),
                number::count(f.n),
                f.method.clone(),
            ]
        })
        .collect();
    let heads = [
        ("about", false),
        ("estimate", true),
        ("at least", true),
        ("at most", true),
        ("units audited", true),
        ("bound", false),
    ];
    (!rows.is_empty()).then(|| Table {
        title: "What the audit bounds".into(),
        heads: heads
            .map(|(head, numeric)| (head.to_owned(), numeric))
            .to_vec(),
        rows,
        note: String::new(),
    })
}

/// Bounds against tokens.
fn figure(findings: &Findings) -> Option<Figure> {
    let curve = |design: &str, part: &str, name: &str, reference: bool| {
        let mut points: Vec<(f64, &Finding)> = budgets(findings, design)
            .into_iter()
            .filter_map(|(_, budget)| {
                let of = |part: &str| findings.get(&format!("plan.{design}.{budget}.{part}"));
                let tokens = of("tokens")?.value.filter(|t| *t > 0.0)?;
                let bound = of(part)?;
                Some((tokens, bound)).filter(|_| bound.value.is_some())
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series {
            name: name.to_owned(),
            points,
            reference,
        }
    };
    let series: Vec<Series<'_>> = [
        curve(
            "positions",
            "bound_expected",
            "positions, as expected",
            false,
        ),
        curve(
            "positions",
            "bound_if_none",
            "positions, if none is found",
            false,
        ),
        curve("positions", "margin_worst", "positions, worst margin", true),
        curve(
            "problems",
            "bound_expected",
            "new problems, as expected",
            false,
        ),
        curve(
            "problems",
            "bound_if_none",
            "new problems, if none is found",
            false,
        ),
    ]
    .into_iter()
    .filter(|s| s.points.len() > 1)
    .collect();
    let title = "Bound against cost".to_owned();
    let caption = "Upper bound on the changed share (of the positions that nobody looks at; of new problems) that each budget buys, against the tokens that it forwards through each policy. Logarithmic horizontal axis.";
    let axes = Axes {
        across: "tokens forwarded per policy",
        along: "changed share, at most",
        ratios: true,
        range: None,
    };
    Some(Figure {
        name: "bound-against-cost".into(),
        svg: draw(&series, axes, &title, caption)?,
        title,
        caption: caption.into(),
    })
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
