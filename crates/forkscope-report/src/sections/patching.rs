//! Activation patching (`probe --patching`): which layers and heads carry the
//! decisions at which two policies part.

use std::collections::BTreeSet;

use forkscope_records::types::{Finding, Findings};

use super::{Section, Table};
use crate::figures::Figure;
use crate::figures::grid::{Cell, draw};
use crate::number;

const PREFIX: &str = "probe.patching.";
/// Adjusted p-value up to which a cell is marked.
const FOUND: f64 = 0.05;
/// Heads listed in the table.
const LISTED: usize = 8;

/// The section, where something was patched.
pub fn section(findings: &Findings) -> Option<Section> {
    let positions = findings.get("probe.patching.positions")?;
    let mut section = Section {
        id: "patching",
        title: "Which layers and heads carry the decisions".into(),
        paragraphs: vec![format!(
            "{} of {} decision positions were patched: the row that predicts such a position was computed again in one policy (the receiver) with one value of the other (the donor). Recovery is the part of the logit difference between them that comes back; beyond its control, which patches the same row with the change of a random decision of another problem, is what this decision's own value does.",
            number::finding(positions).bare,
            number::count(positions.n)
        )],
        tables: Vec::new(),
        figures: Vec::new(),
        limits: vec![
            "A patched value brings with it all that earlier layers have put there: a layer that recovers the decision holds it, and need not have made it.".into(),
            "Heads are patched one at a time. Heads that back each other up, or act only together, are missed, and what MLPs add is in the residual stream only.".into(),
            "Only the row that predicts the position is patched: what the other policy reads differently from earlier rows stays as the receiver reads it.".into(),
            "Where both policies share final norm and head, the last layer recovers everything by construction.".into(),
        ],
    };
    for direction in ["into_base", "into_tuned"] {
        let cells = cells_of(findings, direction);
        if cells.is_empty() {
            continue;
        }
        section.paragraphs.extend(sentence(findings, direction));
        section.tables.push(layers(findings, direction, &cells));
        section.tables.extend(heads(findings, direction, &cells));
        section.figures.extend(figure(findings, direction, &cells));
    }
    (!section.figures.is_empty() || !section.tables.is_empty() || positions.value == Some(0.0))
        .then_some(section)
}

fn words(direction: &str) -> &'static str {
    match direction {
        "into_base" => "the tuned policy's values in the base",
        _ => "the base's values in the tuned policy",
    }
}

/// `layer_02` and `layer_02.head_03` as they come.
fn cells_of(findings: &Findings, direction: &str) -> Vec<(u32, Option<u32>)> {
    let prefix = format!("{PREFIX}{direction}.layer_");
    let cell = |f: &Finding| {
        let rest = f.id.strip_prefix(&prefix)?.strip_suffix(".excess")?;
        Some(match rest.split_once(".head_") {
            Some((layer, head)) => (layer.parse().ok()?, Some(head.parse().ok()?)),
            None => (rest.parse().ok()?, None),
        })
    };
    findings.findings.iter().filter_map(cell).collect()
}

fn get<'a>(
    findings: &'a Findings,
    direction: &str,
    (layer, head): (u32, Option<u32>),
    end: &str,
) -> Option<&'a Finding> {
    let head = head.map_or_else(String::new, |h| format!(".head_{h:02}"));
    findings.get(&format!("{PREFIX}{direction}.layer_{layer:02}{head}.{end}"))
}

fn sentence(findings: &Findings, direction: &str) -> Option<String> {
    let one = |end: &str| findings.get(&format!("{PREFIX}{direction}.{end}"));
    let half = match one("layer_of_half")?.value {
        Some(layer) => {
            format!("half of the difference is back in the residual stream at layer {layer}")
        }
        None => "no layer brings half of the difference back".into(),
    };
    let found = |kind: &str| {
        let f = one(&format!("{kind}_found"))?;
        Some(format!(
            "{} of {} {kind}",
            number::finding(f).bare,
            number::count(f.n)
        ))
    };
    let rate = one("layers_found")?.thresholds.get("false_discovery_rate");
    let rate = rate.map_or_else(String::new, |r| {
        format!(" at a false-discovery rate of {r}")
    });
    let heads = found("heads").map_or_else(String::new, |h| format!(" and {h}"));
    Some(format!(
        "With {}, {half}; {}{heads} bring back more than their controls{rate}.",
        words(direction),
        found("layers")?,
    ))
}

fn shown(f: Option<&Finding>) -> String {
    let Some(f) = f else {
        return String::new();
    };
    let s = number::finding(f);
    match (f.value, s.interval) {
        (None, _) => "—".into(),
        (_, Some((low, high))) => format!("{} [{low}, {high}]", s.value),
        (_, None) => s.value,
    }
}

fn q(f: Option<&Finding>) -> String {
    match f.and_then(|f| f.value) {
        Some(q) if q < 0.0001 => "< 0.0001".into(),
        Some(q) => format!("{q:.4}"),
        None => String::new(),
    }
}

fn layers(findings: &Findings, direction: &str, cells: &[(u32, Option<u32>)]) -> Table {
    let heads = [
        ("layer", true),
        ("recovery", true),
        ("random value", true),
        ("beyond it", true),
        ("q", true),
        ("flipped", true),
        ("moved, nats", true),
        ("moved at random positions", true),
    ];
    let row = |cell: &(u32, Option<u32>)| {
        let one = |end: &str| get(findings, direction, *cell, end);
        vec![
            cell.0.to_string(),
            shown(one("recovery")),
            shown(one("control")),
            shown(one("excess")),
            q(one("q_value")),
            shown(one("flipped")),
            shown(one("moved")),
            shown(one("moved_random_position")),
        ]
    };
    Table {
        title: format!("Residual stream: {}", words(direction)),
        heads: heads.iter().map(|(h, n)| ((*h).to_owned(), *n)).collect(),
        rows: cells.iter().filter(|c| c.1.is_none()).map(row).collect(),
        note: "Layer l is the residual stream after l blocks. Flipped: share of decisions at which the receiver then prefers the donor's choice. Moved: mean JS between the receiver patched and untouched.".into(),
    }
}

fn heads(findings: &Findings, direction: &str, cells: &[(u32, Option<u32>)]) -> Option<Table> {
    let mut ranked: Vec<(f64, (u32, Option<u32>))> = cells
        .iter()
        .filter(|c| c.1.is_some())
        .filter_map(|c| Some((get(findings, direction, *c, "excess")?.value?, *c)))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    if ranked.is_empty() {
        return None;
    }
    let heads = [
        ("block", true),
        ("head", true),
        ("recovery", true),
        ("beyond random value", true),
        ("q", true),
    ];
    let row = |(_, cell): &(f64, (u32, Option<u32>))| {
        let one = |end: &str| get(findings, direction, *cell, end);
        vec![
            cell.0.to_string(),
            cell.1.map_or_else(String::new, |h| h.to_string()),
            shown(one("recovery")),
            shown(one("excess")),
            q(one("q_value")),
        ]
    };
    Some(Table {
        title: format!("Heads: {}", words(direction)),
        heads: heads.iter().map(|(h, n)| ((*h).to_owned(), *n)).collect(),
        rows: ranked.iter().take(LISTED).map(row).collect(),
        note: "The heads that do most beyond their controls, chosen on the same positions, which the intervals do not account for. Blocks count from 1, heads from 0.".into(),
    })
}

fn figure(findings: &Findings, direction: &str, cells: &[(u32, Option<u32>)]) -> Option<Figure> {
    let layers: BTreeSet<u32> = cells.iter().map(|c| c.0).collect();
    let heads = cells.iter().filter_map(|c| c.1).max().map_or(0, |h| h + 1);
    let rows: Vec<String> = layers.iter().map(|l| format!("layer {l}")).collect();
    let columns: Vec<String> = std::iter::once("residual".to_owned())
        .chain((0..heads).map(|h| h.to_string()))
        .collect();
    let drawn: Vec<Cell<'_>> = cells
        .iter()
        .filter_map(|cell| {
            let finding = get(findings, direction, *cell, "excess")?;
            let q = get(findings, direction, *cell, "q_value").and_then(|f| f.value);
            let above = finding.value.is_some_and(|v| v > 0.0);
            Some(Cell {
                row: layers.iter().position(|l| *l == cell.0)?,
                column: cell.1.map_or(0, |h| h as usize + 1),
                finding,
                marked: above && q.is_some_and(|q| q <= FOUND),
            })
        })
        .collect();
    let title = format!("Recovery beyond the random value: {}", words(direction));
    let caption = "The residual stream by layer, and each head (columns) of each block (rows). Darker is more; grey is less than the control. A dot: adjusted p at most 0.05, and more than the control.";
    let svg = draw(&drawn, &rows, &columns, &title, caption)?;
    Some(Figure {
        name: format!("patching-{}", direction.replace('_', "-")),
        title,
        caption: caption.into(),
        svg,
    })
}
