//! Before and after hardening (`forkscope harden`).

use forkscope_records::types::{Finding, Findings};

use super::{Section, Table};
use crate::figures::Figure;
use crate::figures::curves::{Axes, Series, draw};
use crate::number;

/// Rows of the table: what follows the side in an id, and its words.
const ROWS: [(&str, &str); 18] = [
    (
        "tokens.restricted_mean",
        "price, forced base tokens, restricted mean",
    ),
    ("tokens.turned_by.0", "lost without forcing"),
    ("tokens.turned_by.1", "lost by 1 forced token"),
    ("tokens.turned_by.2", "lost by 2"),
    ("tokens.turned_by.4", "lost by 4"),
    ("tokens.turned_by.8", "lost by 8"),
    ("tokens.turned_by.16", "lost by 16"),
    (
        "prefill.restricted_mean",
        "price, prefilled base tokens, restricted mean",
    ),
    ("prefill.turned_by.1", "lost by a prefill of at most 1"),
    ("prefill.turned_by.2", "of at most 2"),
    ("prefill.turned_by.4", "of at most 4"),
    ("prefill.turned_by.8", "of at most 8"),
    ("prefill.turned_by.16", "of at most 16"),
    (
        "alpha.restricted_mean",
        "price, weight of the base, restricted mean",
    ),
    ("nats.restricted_mean", "price, nats, restricted mean"),
    ("behaviour.guarded", "behaviour on guarded problems"),
    ("behaviour.benign", "behaviour on benign problems"),
    ("accuracy.benign", "accuracy on benign problems"),
];

/// The section, where something was hardened.
pub fn section(findings: &Findings) -> Option<Section> {
    let sides = |what: &str| {
        let of = |when: &str| findings.get(&format!("harden.{when}.{what}"));
        Some([of("before")?, of("after")?])
    };
    let mean = sides("tokens.restricted_mean")?;
    let mut paragraphs = vec![format!(
        "To undo the behaviour it takes {} forced base tokens in the restricted mean before hardening and {} after.",
        shown(mean[0]),
        shown(mean[1])
    )];
    if let Some(ratio) = findings.get("harden.ratio.tokens.restricted_mean") {
        paragraphs.push(format!(
            "That is {} times the price; where prices are at the cap, the ratio is a lower bound.",
            shown(ratio)
        ));
    }
    if let Some(cost) = findings.get("harden.change.accuracy.benign") {
        paragraphs.push(format!(
            "Accuracy on benign problems changed by {}.",
            shown(cost)
        ));
    }
    let rows = ROWS
        .iter()
        .filter_map(|(what, words)| {
            let [before, after] = sides(what)?;
            let change = findings.get(&format!("harden.change.{what}"));
            Some(vec![
                (*words).to_owned(),
                shown(before),
                shown(after),
                change.map_or(String::new(), shown),
                number::count(after.n),
            ])
        })
        .collect();
    let heads = [
        ("measured on held-out problems", false),
        ("before", true),
        ("after", true),
        ("change", true),
        ("answers", true),
    ];
    Some(Section {
        id: "harden",
        title: "What hardening changed".into(),
        paragraphs,
        tables: vec![Table {
            title: "Before and after hardening, with intervals over problems".into(),
            heads: heads.map(|(head, numeric)| (head.to_owned(), numeric)).to_vec(),
            rows,
            note: "Prices are over answers whose base answer lacks the behaviour; an answer that lacks it by itself has price 0, one that is not turned within the cap counts the cap.".into(),
        }],
        figures: figure(findings).into_iter().collect(),
        limits: limits(),
    })
}

fn limits() -> Vec<String> {
    [
        "Prices are upper bounds: what these procedures found. Hardening was trained against forced base tokens of the same kind; other attacks, such as further fine-tuning or changed prompts, may cost no more than before.",
        "Settings were chosen by somebody; a table on the problems that they were chosen on flatters.",
        "What is kept is measured on the benign problems given. Behaviour on other prompts may have changed.",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn figure(findings: &Findings) -> Option<Figure> {
    let series: Vec<Series<'_>> = ["before", "after"]
        .into_iter()
        .map(|when| Series {
            name: format!("{when} hardening"),
            points: points(findings, when),
            reference: when == "before",
        })
        .filter(|s| s.points.len() > 1)
        .collect();
    let title = "Behaviour undone by forced base tokens, before and after".to_owned();
    let caption = "Share of answers without the behaviour after at most so many forced tokens, with intervals over problems; before hardening grey and dashed.";
    let axes = Axes {
        across: "forced base tokens",
        along: "share of answers turned",
        ratios: false,
        range: Some((0.0, 1.0)),
    };
    Some(Figure {
        name: "harden-tokens".into(),
        svg: draw(&series, axes, &title, caption)?,
        title,
        caption: caption.into(),
    })
}

/// Shares by level, ascending.
fn points<'a>(findings: &'a Findings, when: &str) -> Vec<(f64, &'a Finding)> {
    let prefix = format!("harden.{when}.tokens.turned_by.");
    let all = findings.findings.iter();
    let mut points: Vec<(f64, &Finding)> = all
        .filter_map(|f| Some((f.id.strip_prefix(&prefix)?.parse().ok()?, f)))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

fn shown(finding: &Finding) -> String {
    let shown = number::finding(finding);
    match shown.interval {
        Some((low, high)) => format!("{} [{low}, {high}]", shown.value),
        None => shown.value,
    }
}
