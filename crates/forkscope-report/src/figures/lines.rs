//! Several lines over one axis, with bands or as steps, each in a colour of its
//! own with its name above: what the viewer draws from rows. (The figures of
//! the report are made of findings.)

use super::axis::Axis;
use super::svg::{Anchor, Ink, Svg};
use crate::number;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 20.0;
const BOTTOM: f64 = 44.0;
const LINE: f64 = 18.0;

/// One curve.
#[derive(Debug, Clone)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
    /// Low and high at those of the points that have an interval.
    pub band: Vec<(f64, f64, f64)>,
    /// A reference that the others are compared with.
    pub reference: bool,
}

/// What is drawn.
#[derive(Debug, Clone)]
pub struct Lines {
    /// The curves; at most six have a colour of their own.
    pub series: Vec<Series>,
    /// What lies along the horizontal axis.
    pub across: String,
    /// Unit of the vertical axis: `share` is written in percent.
    pub unit: &'static str,
    /// Range of the vertical axis.
    pub range: (f64, f64),
    /// Steps instead of slopes.
    pub steps: bool,
}

/// The figure; `None` without a point.
pub fn draw(lines: &Lines, title: &str, caption: &str) -> Option<String> {
    let all = || lines.series.iter().flat_map(|s| &s.points);
    let xs = all().map(|p| p.0).filter(|x| x.is_finite());
    let (low, high) = xs.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| {
        (l.min(x), h.max(x))
    });
    if low > high {
        return None;
    }
    let (names, top) = legend(&lines.series);
    let height = HEIGHT + top;
    let floor = height - BOTTOM;
    let x = Axis::linear((low, high), (LEFT + 8.0, WIDTH - RIGHT - 8.0));
    let y = Axis::linear(lines.range, (floor, top + 12.0));
    let mut svg = Svg::new(WIDTH, height);
    for (ink, name, at) in names {
        svg.line((at.0, at.1 - 4.0), (at.0 + 18.0, at.1 - 4.0), ink, 2.5);
        svg.text((at.0 + 24.0, at.1), &name, Anchor::Start, Ink::Soft);
    }
    axes(&mut svg, lines, &x, &y, floor);
    for (i, series) in lines.series.iter().enumerate() {
        curve(&mut svg, series, ink(i, series), lines.steps, &x, &y);
    }
    Some(svg.finish(title, caption))
}

fn ink(i: usize, series: &Series) -> Ink {
    match series.reference {
        true => Ink::Reference,
        false => Ink::Series((i % 6) as u8),
    }
}

type Name = (Ink, String, (f64, f64));

/// Names of the series in rows, and the height that they take.
fn legend(series: &[Series]) -> (Vec<Name>, f64) {
    let (mut at, mut row, mut out) = (LEFT, 1.0, Vec::new());
    for (i, s) in series.iter().enumerate() {
        let name: String = s.name.chars().take(40).collect();
        let width = 40.0 + 6.6 * name.chars().count() as f64;
        if at > LEFT && at + width > WIDTH {
            (at, row) = (LEFT, row + 1.0);
        }
        out.push((ink(i, s), name, (at, row * LINE - 4.0)));
        at += width;
    }
    (out, row * LINE)
}

fn axes(svg: &mut Svg, lines: &Lines, x: &Axis, y: &Axis, floor: f64) {
    let step = |ticks: &[f64]| match ticks {
        [first, second, ..] => second - first,
        _ => 1.0,
    };
    let ticks = y.ticks();
    for &tick in &ticks {
        let at = y.at(tick);
        svg.line((LEFT, at), (WIDTH - RIGHT, at), Ink::Grid, 1.0);
        let label = number::tick(tick, step(&ticks), lines.unit);
        svg.text((LEFT - 8.0, at + 4.0), &label, Anchor::End, Ink::Soft);
    }
    svg.line((LEFT, floor), (WIDTH - RIGHT, floor), Ink::Soft, 1.0);
    let ticks = x.ticks();
    for &tick in &ticks {
        let label = number::tick(tick, step(&ticks), "");
        svg.text(
            (x.at(tick), floor + 17.0),
            &label,
            Anchor::Middle,
            Ink::Soft,
        );
    }
    let below = floor + BOTTOM - 6.0;
    svg.text((LEFT, below), &lines.across, Anchor::Start, Ink::Soft);
}

fn curve(svg: &mut Svg, series: &Series, ink: Ink, steps: bool, x: &Axis, y: &Axis) {
    if series.band.len() > 1 {
        let low = series.band.iter().map(|b| (x.at(b.0), y.at(b.1)));
        let high = series.band.iter().rev().map(|b| (x.at(b.0), y.at(b.2)));
        svg.band(&low.chain(high).collect::<Vec<_>>(), ink);
    }
    let mut line: Vec<(f64, f64)> = Vec::new();
    for &(px, py) in &series.points {
        let to = (x.at(px), y.at(py));
        if let (true, Some(&(_, before))) = (steps, line.last()) {
            line.push((to.0, before));
        }
        line.push(to);
    }
    svg.polyline(&line, ink, if series.reference { 1.5 } else { 2.0 });
    // Dots name their values; a step curve has one where it falls.
    if !series.reference && series.points.len() <= 64 {
        for &(px, py) in &series.points {
            let said = format!("{}: {px:.3} → {py:.3}", series.name);
            svg.dot((x.at(px), y.at(py)), 2.5, ink, &said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        Series {
            name: name.into(),
            points: points.to_vec(),
            band: points.iter().map(|p| (p.0, p.1 - 0.1, p.1 + 0.1)).collect(),
            reference: name == "half",
        }
    }

    fn lines(series: Vec<Series>) -> Lines {
        Lines {
            series,
            across: "layer".into(),
            unit: "share",
            range: (0.0, 1.0),
            steps: true,
        }
    }

    #[test]
    fn nothing_is_no_figure() {
        assert_eq!(draw(&lines(Vec::new()), "t", "c"), None);
        assert_eq!(draw(&lines(vec![series("a", &[])]), "t", "c"), None);
    }

    #[test]
    fn names_are_inert_and_every_curve_is_there() {
        let all = vec![
            series("<b>x</b>\u{202e}", &[(0.0, 1.0), (2.0, 0.5)]),
            series("half", &[(0.0, 0.5), (2.0, 0.5)]),
        ];
        let svg = draw(&lines(all), "t", "c").unwrap_or_default();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<polygon").count(), 2);
        assert!(svg.contains("&lt;b&gt;") && !svg.contains('\u{202e}'));
    }
}
