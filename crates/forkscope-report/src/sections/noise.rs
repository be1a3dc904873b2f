//! What bf16 does to the base by itself, and what lies beyond it.

use forkscope_records::types::{Finding, Findings};

use super::{Section, Table};
use crate::number;

/// Rows of the table: what follows the side in an id, and its words.
const ROWS: [(&str, &str); 5] = [
    ("js.mean", "JS, mean over positions"),
    ("js.p50", "JS, median"),
    ("js.p99", "JS, 99th percentile"),
    ("js.max", "JS, greatest"),
    ("argmax_changed", "positions with another argmax"),
];

/// How much lies beyond noise, or that nobody can say.
fn beyond_noise(beyond: &Finding) -> String {
    let number = |key: &str| beyond.thresholds.get(key).and_then(|v| v.as_f64());
    if beyond.value.is_none() {
        return format!(
            "With {} positions nothing can be told from noise: the least p-value that they allow is {}.",
            number::count(beyond.n),
            number("least_p_value").map_or("unknown".to_owned(), |p| format!("{p:.2e}"))
        );
    }
    let rate = match number("false_discovery_rate") {
        Some(rate) => format!(", false-discovery rate {}", number::value(rate, "share")),
        None => String::new(),
    };
    let mut said = format!(
        "At {} of {} positions the tuned policy differs from the base by more than bf16 alone does (Jensen-Shannon divergence against what rounding does to the base within the same tenth of entropy{rate}).",
        shown(beyond),
        number::count(beyond.n),
    );
    if let Some(fewest) = number("fewest_detectable") {
        said += &format!(
            " Fewer than {} changed positions could not have been found.",
            number::count(fewest as u64)
        );
    }
    said
}

/// The section, where the noise floor was measured.
pub fn section(findings: &Findings) -> Option<Section> {
    let beyond = findings.get("share.changed_beyond_noise")?;
    let mut paragraphs = vec![beyond_noise(beyond)];
    if let Some(f) = defined(findings, "noise_floor.argmax_changed_within") {
        paragraphs.push(format!(
            "{} of the positions with another argmax are within that noise.",
            shown(f)
        ));
    }
    if let Some(f) = defined(findings, "noise_floor.changed_with_same_argmax") {
        paragraphs.push(format!(
            "{} of the positions beyond it have the same argmax.",
            shown(f)
        ));
    }
    let cell = |side: &str, what: &str| {
        let found = findings.get(&format!("noise_floor.{side}.{what}"));
        found.map_or(String::new(), shown)
    };
    let rows = ROWS.map(|(what, words)| {
        vec![
            words.to_owned(),
            cell("weights", what),
            cell("activations", what),
        ]
    });
    let heads = [
        ("the base in f32 against itself with", false),
        ("weights in bf16", true),
        ("activations in bf16", true),
    ];
    Some(Section {
        id: "noise-floor",
        title: "What rounding does by itself".into(),
        paragraphs,
        tables: vec![Table {
            title: "The noise floor".into(),
            heads: heads.map(|(head, numeric)| (head.to_owned(), numeric)).to_vec(),
            rows: rows.to_vec(),
            note: "The noise value of a position is the greater JS of the two.".into(),
        }],
        figures: Vec::new(),
        limits: [
            "Beyond noise means: more than this rounding does to the base. It does not say that the difference matters, nor that it was meant.",
            "p-values take the positions of a tenth of entropy as exchangeable; other stacks, other kernels and other dtypes have other noise.",
        ]
        .map(str::to_owned)
        .to_vec(),
    })
}

fn defined<'a>(findings: &'a Findings, id: &str) -> Option<&'a Finding> {
    findings.get(id).filter(|f| f.value.is_some())
}

fn shown(finding: &Finding) -> String {
    let shown = number::finding(finding);
    match shown.interval {
        Some((low, high)) => format!("{} [{low}, {high}]", shown.value),
        None => shown.value,
    }
}
