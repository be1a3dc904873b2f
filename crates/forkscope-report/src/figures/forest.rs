//! Rows of values with their intervals on one logarithmic axis: class shares
//! and percentiles, where a bar chart would show only its largest bar.

use forkscope_records::types::Finding;

use super::axis::Axis;
use super::svg::{Anchor, Ink, Svg};
use crate::number;

const WIDTH: f64 = 580.0;
const LEFT: f64 = 116.0;
const RIGHT: f64 = 236.0;
const ROW: f64 = 24.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 40.0;

/// One row: its name and its finding.
pub type Row<'a> = (String, &'a Finding);

/// Draws the rows; `axis_title` names quantity and unit. `None` when nothing
/// is defined.
pub fn draw(rows: &[Row<'_>], axis_title: &str, title: &str, description: &str) -> Option<String> {
    let positive = || {
        rows.iter()
            .flat_map(|(_, f)| [f.value, f.low, f.high])
            .flatten()
            .filter(|v| *v > 0.0 && v.is_finite())
    };
    rows.iter().find(|(_, f)| f.value.is_some())?;
    let low = positive().fold(f64::INFINITY, f64::min);
    let high = positive().fold(0.0, f64::max);
    let axis = Axis::decades((low, high), (LEFT + 10.0, WIDTH - RIGHT));

    let height = TOP + ROW * rows.len() as f64 + BOTTOM;
    let floor = height - BOTTOM;
    let mut svg = Svg::new(WIDTH, height);
    grid(&mut svg, &axis, rows, floor);
    svg.text(
        (LEFT + 10.0, height - 6.0),
        axis_title,
        Anchor::Start,
        Ink::Soft,
    );
    for (i, (name, f)) in rows.iter().enumerate() {
        let y = TOP + ROW * (i as f64 + 0.5);
        row(&mut svg, &axis, y, name, f);
    }
    Some(svg.finish(title, description))
}

fn grid(svg: &mut Svg, axis: &Axis, rows: &[Row<'_>], floor: f64) {
    let unit = rows.first().map_or("", |(_, f)| f.unit.as_str());
    let ticks = axis.ticks();
    let every = ticks.len().div_ceil(5).max(1);
    for (i, tick) in ticks.iter().enumerate() {
        let x = axis.at(*tick);
        svg.line((x, TOP), (x, floor), Ink::Grid, 1.0);
        if i % every == 0 {
            svg.text(
                (x, floor + 15.0),
                &tick_text(*tick, unit),
                Anchor::Middle,
                Ink::Soft,
            );
        }
    }
}

/// A decade as text: 0.001, 10⁻⁶, or in percent for shares.
pub fn tick_text(tick: f64, unit: &str) -> String {
    let (v, suffix) = if number::is_share(unit) {
        (tick * 100.0, " %")
    } else {
        (tick, "")
    };
    let exponent = v.log10().round() as i32;
    if (-4..=5).contains(&exponent) {
        let decimals = usize::try_from(-exponent).unwrap_or(0);
        format!("{v:.decimals$}{suffix}")
    } else {
        let text = number::value(v, "");
        format!("{}{suffix}", text.replace("1.00×", ""))
    }
}

fn row(svg: &mut Svg, axis: &Axis, y: f64, name: &str, f: &Finding) {
    svg.text((LEFT - 4.0, y + 4.0), name, Anchor::End, Ink::Main);
    let shown = number::finding(f);
    let range = shown.range();
    if let (Some(low), Some(high)) = (f.low, f.high) {
        svg.line((axis.at(low), y), (axis.at(high), y), Ink::Accent, 2.0);
    }
    if let Some(v) = f.value {
        let title = format!("{}: {} [{range}]", f.id, shown.value);
        // A value the axis cannot hold (zero) is an open mark at its end.
        let ink = if axis.holds(v) {
            Ink::Accent
        } else {
            Ink::Reference
        };
        svg.dot((axis.at(v), y), 4.0, ink, &title);
    }
    let label = if range.is_empty() {
        shown.bare
    } else {
        format!("{} [{range}]", shown.bare)
    };
    svg.text(
        (WIDTH - RIGHT + 12.0, y + 4.0),
        &label,
        Anchor::Start,
        Ink::Main,
    );
}
