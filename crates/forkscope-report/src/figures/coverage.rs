//! The coverage curve: share of the total KL in the most divergent x % of
//! positions, with its interval, against an even spread.

use forkscope_records::types::{Finding, Findings};

use super::axis::Axis;
use super::svg::{Anchor, Ink, Svg};
use crate::number;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

/// The points of the curve: percent of positions and the finding.
pub fn points(findings: &Findings) -> Vec<(f64, &Finding)> {
    let mut points: Vec<_> = findings
        .findings
        .iter()
        .filter(|f| f.value.is_some_and(f64::is_finite))
        .filter_map(|f| {
            let percent = f.id.strip_prefix("coverage.kl.top_")?.strip_suffix("pct")?;
            let percent: f64 = percent.parse().ok()?;
            (percent > 0.0 && percent <= 100.0).then_some((percent, f))
        })
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// Draws the curve; `None` with fewer than two points.
pub fn draw(findings: &Findings, title: &str, description: &str) -> Option<String> {
    let points = points(findings);
    let (first, _) = *points.first()?;
    if points.len() < 2 {
        return None;
    }
    let x = Axis::ratios((first.min(0.1), 100.0), (LEFT, WIDTH - RIGHT));
    let y = Axis::linear((0.0, 1.0), (HEIGHT - BOTTOM, TOP));
    let mut svg = Svg::new(WIDTH, HEIGHT);
    frame(&mut svg, &x, &y);

    let even: Vec<_> = (0..=60)
        .map(|i| {
            10f64
                .powf(first.min(0.1).log10() + (2.0 - first.min(0.1).log10()) * f64::from(i) / 60.0)
        })
        .map(|percent| (x.at(percent), y.at(percent / 100.0)))
        .collect();
    svg.polyline(&even, Ink::Reference, 1.5);
    svg.text(
        (x.at(26.0), y.at(0.2) + 8.0),
        "if spread evenly",
        Anchor::Start,
        Ink::Soft,
    );

    let end = (x.at(100.0), y.at(1.0));
    let mut band: Vec<_> = points
        .iter()
        .filter_map(|(p, f)| Some((x.at(*p), y.at(f.high?))))
        .collect();
    band.push(end);
    band.extend(
        points
            .iter()
            .rev()
            .filter_map(|(p, f)| Some((x.at(*p), y.at(f.low?)))),
    );
    svg.band(&band, Ink::Accent);
    let mut curve: Vec<_> = points
        .iter()
        .map(|(p, f)| (x.at(*p), y.at(f.value.unwrap_or(0.0))))
        .collect();
    curve.push(end);
    svg.polyline(&curve, Ink::Accent, 2.0);
    for ((percent, f), at) in points.iter().zip(&curve) {
        let shown = number::finding(f);
        svg.dot(
            *at,
            3.5,
            Ink::Accent,
            &format!("top {percent} %: {} [{}]", shown.value, shown.range()),
        );
    }
    Some(svg.finish(title, description))
}

fn frame(svg: &mut Svg, x: &Axis, y: &Axis) {
    for tick in y.ticks() {
        svg.line(
            (LEFT, y.at(tick)),
            (WIDTH - RIGHT, y.at(tick)),
            Ink::Grid,
            1.0,
        );
        svg.text(
            (LEFT - 8.0, y.at(tick) + 4.0),
            &format!("{:.0} %", tick * 100.0),
            Anchor::End,
            Ink::Soft,
        );
    }
    let floor = HEIGHT - BOTTOM;
    for percent in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        svg.line(
            (x.at(percent), floor),
            (x.at(percent), floor + 4.0),
            Ink::Soft,
            1.0,
        );
        svg.text(
            (x.at(percent), floor + 17.0),
            &format!("{percent}"),
            Anchor::Middle,
            Ink::Soft,
        );
    }
    svg.line((LEFT, floor), (WIDTH - RIGHT, floor), Ink::Soft, 1.0);
    svg.text(
        (LEFT, HEIGHT - 6.0),
        "most divergent positions, % (logarithmic)",
        Anchor::Start,
        Ink::Soft,
    );
}
