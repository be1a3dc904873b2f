//! Layers against heads: one cell per finding, the darker the greater.

use forkscope_records::types::Finding;

use super::svg::{Anchor, Ink, Svg};
use crate::number;

const LEFT: f64 = 78.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = 16.0;
const BOTTOM: f64 = 34.0;
const HEIGHT: f64 = 22.0;
/// Width of all cells together, at most.
const WIDE: f64 = 640.0;
/// Gap between the first column and the others.
const GAP: f64 = 12.0;

/// One cell.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a> {
    /// Row, from the bottom.
    pub row: usize,
    /// Column: 0 stands apart.
    pub column: usize,
    /// What it shows.
    pub finding: &'a Finding,
    /// Whether it is marked.
    pub marked: bool,
}

/// Draws cells; rows and columns are named by their numbers. `None` where no
/// cell has a value.
pub fn draw(
    cells: &[Cell<'_>],
    rows: &[String],
    columns: &[String],
    title: &str,
    description: &str,
) -> Option<String> {
    cells.iter().find(|c| c.finding.value.is_some())?;
    let most = cells.iter().filter_map(|c| c.finding.value);
    let most = most.fold(0.0f64, |m, v| m.max(v.abs()));
    let width = (WIDE / columns.len().max(1) as f64).min(56.0);
    let across = |column: usize| LEFT + width * column as f64 + if column > 0 { GAP } else { 0.0 };
    let floor = TOP + HEIGHT * rows.len() as f64;
    let mut svg = Svg::new(across(columns.len()) + RIGHT, floor + BOTTOM);
    let every = columns.len().div_ceil(24).max(1);
    for (i, name) in columns.iter().enumerate() {
        if i == 0 || (i - 1) % every == 0 {
            let x = across(i) + width / 2.0;
            svg.text((x, TOP - 8.0), name, Anchor::Middle, Ink::Soft);
        }
    }
    for (i, name) in rows.iter().enumerate() {
        let y = floor - HEIGHT * (i as f64 + 0.5) + 4.0;
        svg.text((LEFT - 8.0, y), name, Anchor::End, Ink::Soft);
    }
    for cell in cells {
        let at = (
            across(cell.column) + 1.0,
            floor - HEIGHT * (cell.row as f64 + 1.0) + 1.0,
        );
        let size = (width - 2.0, HEIGHT - 2.0);
        let value = cell.finding.value.unwrap_or(0.0);
        let ink = match value < 0.0 {
            true => Ink::Reference,
            false => Ink::Accent,
        };
        let shade = match most > 0.0 {
            true => value.abs() / most,
            false => 0.0,
        };
        let shown = number::finding(cell.finding);
        let range = shown.range();
        let said = match range.is_empty() {
            true => format!("{}: {}", cell.finding.id, shown.value),
            false => format!("{}: {} [{range}]", cell.finding.id, shown.value),
        };
        svg.cell(at, size, ink, shade, &said);
        if cell.marked {
            let dot = (at.0 + size.0 / 2.0, at.1 + size.1 / 2.0);
            svg.dot(dot, 2.5, Ink::Main, &said);
        }
    }
    let legend = format!("darkest: {}", number::value(most, "ratio"));
    svg.text((LEFT, floor + 20.0), &legend, Anchor::Start, Ink::Soft);
    Some(svg.finish(title, description))
}
