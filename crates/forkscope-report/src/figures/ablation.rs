//! Accuracy of the arms of an ablation against the share of completion tokens
//! that their objective pushed.

use forkscope_records::types::{Finding, Findings};

use super::axis::Axis;
use super::forest::tick_text;
use super::svg::{Anchor, Ink, Svg};
use crate::number;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 270.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

/// Distance of two names of the list.
const LINE: f64 = 17.0;

/// Arms that are named beside the figure; the rest are dots.
const MOST_NAMED: usize = 18;

/// An arm that was trained.
struct Point<'a> {
    name: &'a str,
    touched: f64,
    accuracy: &'a Finding,
    value: f64,
}

/// Draws the arms; `None` where none of them touched a token.
pub fn draw(findings: &Findings, title: &str, description: &str) -> Option<String> {
    let points = points(findings);
    let least = points
        .iter()
        .map(|p| p.touched)
        .fold(f64::INFINITY, f64::min);
    if points.is_empty() {
        return None;
    }
    let base = base(findings);
    let values = points
        .iter()
        .map(|p| p.accuracy)
        .chain(base.map(|(_, f)| f))
        .flat_map(|f| [f.value, f.low, f.high])
        .flatten()
        .filter(|v| v.is_finite());
    let (low, high) = values.fold((1.0f64, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
    let room = ((high - low) * 0.08).max(0.01);
    let x = Axis::ratios((least.min(0.1) * 0.8, 1.1), (LEFT, WIDTH - RIGHT));
    let y = Axis::linear(
        ((low - room).max(0.0), (high + room).min(1.0)),
        (HEIGHT - BOTTOM, TOP),
    );
    let mut svg = Svg::new(WIDTH, HEIGHT);
    frame(&mut svg, &x, &y);
    if let Some((name, finding)) = base {
        level(&mut svg, &y, name, finding);
    }
    for (i, point) in points.iter().enumerate() {
        mark(&mut svg, (&x, &y), i, point);
    }
    legend(&mut svg, &points);
    Some(svg.finish(title, description))
}

fn points(findings: &Findings) -> Vec<Point<'_>> {
    let all = findings.findings.iter();
    all.filter_map(|touched| {
        let name = touched.id.strip_prefix("touched_share.")?;
        let accuracy = findings.get(&format!("pass_at_1.{name}"))?;
        Some(Point {
            name,
            touched: touched.value.filter(|v| *v > 0.0 && *v <= 1.0)?,
            accuracy,
            value: accuracy.value.filter(|v| v.is_finite())?,
        })
    })
    .collect()
}

/// The arm that sampled nothing to learn from.
fn base(findings: &Findings) -> Option<(&str, &Finding)> {
    let all = findings.findings.iter();
    all.filter(|f| f.value == Some(0.0)).find_map(|f| {
        let name = f.id.strip_prefix("rollouts.")?;
        let accuracy = findings.get(&format!("pass_at_1.{name}"))?;
        accuracy.value.map(|_| (name, accuracy))
    })
}

fn frame(svg: &mut Svg, x: &Axis, y: &Axis) {
    let floor = HEIGHT - BOTTOM;
    for tick in y.ticks() {
        let at = y.at(tick);
        svg.line((LEFT, at), (WIDTH - RIGHT, at), Ink::Grid, 1.0);
        let text = format!("{:.0} %", tick * 100.0);
        svg.text((LEFT - 8.0, at + 4.0), &text, Anchor::End, Ink::Soft);
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        svg.line((at, floor), (at, floor + 4.0), Ink::Soft, 1.0);
        let text = tick_text(tick, "share");
        svg.text((at, floor + 17.0), &text, Anchor::Middle, Ink::Soft);
    }
    svg.line((LEFT, floor), (WIDTH - RIGHT, floor), Ink::Soft, 1.0);
    svg.text(
        (LEFT, HEIGHT - 6.0),
        "completion tokens pushed by the objective (logarithmic); vertically: pass@1 on held-out problems",
        Anchor::Start,
        Ink::Soft,
    );
}

/// The base as a line with its band.
fn level(svg: &mut Svg, y: &Axis, name: &str, f: &Finding) {
    let (from, to) = (LEFT, WIDTH - RIGHT);
    if let (Some(low), Some(high)) = (f.low, f.high) {
        let (low, high) = (y.at(low), y.at(high));
        svg.band(
            &[(from, high), (to, high), (to, low), (from, low)],
            Ink::Reference,
        );
    }
    if let Some(value) = f.value {
        svg.polyline(
            &[(from, y.at(value)), (to, y.at(value))],
            Ink::Reference,
            1.5,
        );
        svg.text(
            (from + 6.0, y.at(value) - 5.0),
            name,
            Anchor::Start,
            Ink::Soft,
        );
    }
}

fn mark(svg: &mut Svg, (x, y): (&Axis, &Axis), i: usize, point: &Point<'_>) {
    let (cx, cy) = (x.at(point.touched), y.at(point.value));
    if let (Some(low), Some(high)) = (point.accuracy.low, point.accuracy.high) {
        svg.line((cx, y.at(low)), (cx, y.at(high)), Ink::Accent, 1.5);
    }
    let shown = number::finding(point.accuracy);
    let title = format!("{}: {} [{}]", point.name, shown.value, shown.range());
    svg.dot((cx, cy), 4.0, Ink::Accent, &title);
    if i < MOST_NAMED {
        let label = (i + 1).to_string();
        svg.text((cx + 6.0, cy - 4.0), &label, Anchor::Start, Ink::Main);
    }
}

/// Numbers, names and values, in the order of the table.
fn legend(svg: &mut Svg, points: &[Point<'_>]) {
    let left = WIDTH - RIGHT + 16.0;
    for (i, point) in points.iter().take(MOST_NAMED).enumerate() {
        let at = TOP + 10.0 + LINE * i as f64;
        let shown = number::finding(point.accuracy);
        let text = format!("{} {} {}", i + 1, short(point.name), shown.value);
        svg.text((left, at), &text, Anchor::Start, Ink::Main);
    }
    if points.len() > MOST_NAMED {
        let more = format!("and {} more", points.len() - MOST_NAMED);
        let at = TOP + 10.0 + LINE * MOST_NAMED as f64;
        svg.text((left, at), &more, Anchor::Start, Ink::Soft);
    }
}

/// A name that fits beside the figure.
fn short(name: &str) -> String {
    const MOST: usize = 26;
    match name.chars().count() > MOST {
        true => name.chars().take(MOST - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
