//! Several curves with their intervals: a budget curve, survival curves,
//! a score by layer, a bound against its cost.

use forkscope_records::types::Finding;

use super::axis::Axis;
use super::forest::tick_text;
use super::svg::{Anchor, Ink, Svg};
use crate::number;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;
/// Distance of two names of the list.
const LINE: f64 = 17.0;
/// Curves that are named beside the figure.
const MOST_NAMED: usize = 16;

/// One curve: findings at places on the horizontal axis.
#[derive(Debug, Clone)]
pub struct Series<'a> {
    /// Its name beside the figure.
    pub name: String,
    /// (place, value with interval), in ascending order of place.
    pub points: Vec<(f64, &'a Finding)>,
    /// A control or baseline, which is drawn dashed and grey.
    pub reference: bool,
}

/// What the axes say.
#[derive(Debug, Clone, Copy)]
pub struct Axes<'a> {
    /// Of the horizontal axis.
    pub across: &'a str,
    /// Of the vertical axis.
    pub along: &'a str,
    /// Whether the horizontal axis shows ratios; places must be above 0.
    pub ratios: bool,
    /// Ends of the vertical axis; taken from the values where `None`.
    pub range: Option<(f64, f64)>,
}

/// Draws the curves; `None` where none of them has a point.
pub fn draw(
    series: &[Series<'_>],
    axes: Axes<'_>,
    title: &str,
    description: &str,
) -> Option<String> {
    let x = across(series, axes)?;
    let y = along(series, axes)?;
    let mut svg = Svg::new(WIDTH, HEIGHT);
    frame(&mut svg, (&x, &y), axes, unit(series));
    let mut own = 0;
    for one in series.iter().filter(|s| s.reference) {
        curve(&mut svg, one, (&x, &y), None);
    }
    for one in series.iter().filter(|s| !s.reference) {
        own += 1;
        curve(&mut svg, one, (&x, &y), Some(own));
    }
    legend(&mut svg, series);
    Some(svg.finish(title, description))
}

fn places<'a>(series: &'a [Series<'_>], ratios: bool) -> impl Iterator<Item = f64> + 'a {
    let all = series.iter().flat_map(|s| s.points.iter().map(|(x, _)| *x));
    all.filter(move |x| x.is_finite() && (!ratios || *x > 0.0))
}

fn across(series: &[Series<'_>], axes: Axes<'_>) -> Option<Axis> {
    let low = places(series, axes.ratios).reduce(f64::min)?;
    let high = places(series, axes.ratios).reduce(f64::max)?;
    let page = (LEFT + 8.0, WIDTH - RIGHT - 8.0);
    Some(match axes.ratios {
        true => Axis::ratios((low * 0.95, high * 1.05), page),
        false => Axis::linear((low, high), page),
    })
}

fn along(series: &[Series<'_>], axes: Axes<'_>) -> Option<Axis> {
    let page = (HEIGHT - BOTTOM, TOP);
    let values = series.iter().flat_map(|s| &s.points);
    let mut ends = values
        .flat_map(|(_, f)| [f.value, f.low, f.high])
        .flatten()
        .filter(|v| v.is_finite())
        .peekable();
    ends.peek()?;
    let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    let room = (high - low) * 0.06;
    Some(Axis::linear(
        axes.range.unwrap_or((low - room, high + room)),
        page,
    ))
}

fn unit<'a>(series: &'a [Series<'_>]) -> &'a str {
    let first = series.iter().find_map(|s| s.points.first());
    first.map_or("", |(_, f)| f.unit.as_str())
}

fn frame(svg: &mut Svg, (x, y): (&Axis, &Axis), axes: Axes<'_>, unit: &str) {
    let floor = HEIGHT - BOTTOM;
    let ticks = y.ticks();
    let step = match ticks[..] {
        [first, second, ..] => second - first,
        _ => 1.0,
    };
    for tick in ticks {
        let at = y.at(tick);
        svg.line((LEFT, at), (WIDTH - RIGHT, at), Ink::Grid, 1.0);
        let text = number::tick(tick, step, unit);
        svg.text((LEFT - 8.0, at + 4.0), &text, Anchor::End, Ink::Soft);
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        svg.line((at, floor), (at, floor + 4.0), Ink::Soft, 1.0);
        let text = match axes.ratios {
            true => tick_text(tick, ""),
            false => format!("{}", (tick * 1e6).round() / 1e6),
        };
        svg.text((at, floor + 17.0), &text, Anchor::Middle, Ink::Soft);
    }
    svg.line((LEFT, floor), (WIDTH - RIGHT, floor), Ink::Soft, 1.0);
    let scale = if axes.ratios { " (logarithmic)" } else { "" };
    let words = format!("{}{scale}; vertically: {}", axes.across, axes.along);
    svg.text((LEFT, HEIGHT - 6.0), &words, Anchor::Start, Ink::Soft);
}

/// One curve; its number stands at its last point.
fn curve(svg: &mut Svg, series: &Series<'_>, (x, y): (&Axis, &Axis), number: Option<usize>) {
    let ink = match series.reference {
        true => Ink::Reference,
        false => Ink::Accent,
    };
    let at = |place: f64, v: Option<f64>| {
        let v = v.filter(|v| v.is_finite())?;
        x.holds(place).then(|| (x.at(place), y.at(v)))
    };
    let points = || series.points.iter();
    let mut band: Vec<_> = points().filter_map(|(p, f)| at(*p, f.high)).collect();
    band.extend(points().rev().filter_map(|(p, f)| at(*p, f.low)));
    if band.len() > 2 {
        svg.band(&band, ink);
    }
    let line: Vec<_> = points().filter_map(|(p, f)| at(*p, f.value)).collect();
    svg.polyline(&line, ink, 2.0);
    for (place, finding) in points() {
        if let Some(at) = at(*place, finding.value) {
            let shown = number::finding(finding);
            let title = format!("{}: {} [{}]", series.name, shown.value, shown.range());
            svg.dot(at, 3.0, ink, &title);
        }
    }
    if let (Some(last), Some(number)) = (line.last(), number) {
        let at = (last.0 + 6.0, last.1 - 4.0);
        svg.text(at, &number.to_string(), Anchor::Start, Ink::Main);
    }
}

/// Names with the numbers that stand at the curves; controls after them.
fn legend(svg: &mut Svg, series: &[Series<'_>]) {
    let left = WIDTH - RIGHT + 16.0;
    let own = series.iter().filter(|s| !s.reference).enumerate();
    let own = own.map(|(i, s)| (format!("{} {}", i + 1, short(&s.name)), Ink::Main));
    let controls = series.iter().filter(|s| s.reference);
    let controls = controls.map(|s| (format!("- - {}", short(&s.name)), Ink::Soft));
    for (i, (name, ink)) in own.chain(controls).take(MOST_NAMED).enumerate() {
        let at = (left, TOP + 10.0 + LINE * i as f64);
        svg.text(at, &name, Anchor::Start, ink);
    }
}

/// A name that fits beside the figure.
fn short(name: &str) -> String {
    const MOST: usize = 30;
    match name.chars().count() > MOST {
        true => name.chars().take(MOST - 1).chain(['…']).collect(),
        false => name.to_owned(),
    }
}
