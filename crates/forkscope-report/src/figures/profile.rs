//! Position profiles: a quantity by place in the completion, early to late.
//!
//! Findings `profile.QUANTITY.BIN` make one figure per quantity, bins in the
//! order in which the findings come.

use forkscope_records::types::{Finding, Findings};

use super::Figure;
use super::axis::Axis;
use super::svg::{Anchor, Ink, Svg};
use crate::number;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

struct Profile<'a> {
    quantity: &'a str,
    bins: Vec<(&'a str, &'a Finding)>,
}

/// One figure per profiled quantity that has at least two bins.
pub fn figures(findings: &Findings) -> Vec<Figure> {
    collect(findings)
        .iter()
        .filter(|p| p.bins.len() > 1)
        .filter_map(|p| {
            let name = quantity_name(p.quantity);
            let title = format!("{name} by position");
            let caption =
                format!("{name} in each tenth of the completions; the band is the interval.");
            Some(Figure {
                name: format!("profile-{}", p.quantity.replace('.', "-")),
                svg: draw(p, &title, &caption)?,
                title,
                caption,
            })
        })
        .collect()
}

fn collect(findings: &Findings) -> Vec<Profile<'_>> {
    let mut out: Vec<Profile<'_>> = Vec::new();
    for f in &findings.findings {
        let Some((quantity, bin)) =
            f.id.strip_prefix("profile.")
                .and_then(|r| r.rsplit_once('.'))
        else {
            continue;
        };
        match out.iter_mut().find(|p| p.quantity == quantity) {
            Some(profile) => profile.bins.push((bin, f)),
            None => out.push(Profile {
                quantity,
                bins: vec![(bin, f)],
            }),
        }
    }
    out
}

fn quantity_name(quantity: &str) -> String {
    match quantity {
        "kl" | "kl_tuned_base" => "KL(tuned ‖ base)".into(),
        "js" => "Jensen–Shannon divergence".into(),
        "tv" => "Total variation".into(),
        "entropy_base" => "Base entropy".into(),
        "changed" => "Share of positions where they disagree".into(),
        other => other.replace(['_', '.'], " "),
    }
}

/// `d01` as `1`; other names as they are.
fn bin_name(bin: &str) -> String {
    let number = bin.strip_prefix('d').and_then(|n| n.parse::<u32>().ok());
    number.map_or_else(|| bin.replace('_', " "), |n| n.to_string())
}

fn draw(profile: &Profile<'_>, title: &str, caption: &str) -> Option<String> {
    let unit = profile.bins.first().map_or("", |(_, f)| f.unit.as_str());
    let top = profile
        .bins
        .iter()
        .flat_map(|(_, f)| [f.value, f.high])
        .flatten()
        .filter(|v| v.is_finite())
        .fold(0.0, f64::max);
    if top <= 0.0 {
        return None;
    }
    let last = (profile.bins.len() - 1) as f64;
    let x = Axis::linear((0.0, last), (LEFT + 24.0, WIDTH - RIGHT - 24.0));
    let y = Axis::linear((0.0, top * 1.05), (HEIGHT - BOTTOM, TOP));
    let mut svg = Svg::new(WIDTH, HEIGHT);
    let floor = HEIGHT - BOTTOM;
    let ticks = y.ticks();
    let step = match ticks[..] {
        [first, second, ..] => second - first,
        _ => top,
    };
    for tick in ticks {
        let at = y.at(tick);
        svg.line((LEFT, at), (WIDTH - RIGHT, at), Ink::Grid, 1.0);
        let label = number::tick(tick, step, unit);
        svg.text((LEFT - 8.0, at + 4.0), &label, Anchor::End, Ink::Soft);
    }
    svg.line((LEFT, floor), (WIDTH - RIGHT, floor), Ink::Soft, 1.0);
    curve(&mut svg, profile, &x, &y);
    let every = profile.bins.len().div_ceil(10);
    for (i, (bin, _)) in profile.bins.iter().enumerate().step_by(every) {
        let at = (x.at(i as f64), floor + 17.0);
        svg.text(at, &bin_name(bin), Anchor::Middle, Ink::Soft);
    }
    let across = "tenth of the completion, first to last";
    let along = if unit == "nats" {
        format!("{across} (vertical: nats per token)")
    } else {
        across.to_owned()
    };
    svg.text((LEFT, HEIGHT - 6.0), &along, Anchor::Start, Ink::Soft);
    Some(svg.finish(title, caption))
}

fn curve(svg: &mut Svg, profile: &Profile<'_>, x: &Axis, y: &Axis) {
    let finite = |v: Option<f64>| v.filter(|v| v.is_finite());
    let at = |i: usize, v: Option<f64>| finite(v).map(|v| (x.at(i as f64), y.at(v)));
    let bins = || profile.bins.iter().map(|(_, f)| *f).enumerate();
    let mut band: Vec<_> = bins().filter_map(|(i, f)| at(i, f.high)).collect();
    band.extend(bins().rev().filter_map(|(i, f)| at(i, f.low)));
    svg.band(&band, Ink::Accent);
    let line: Vec<_> = bins().filter_map(|(i, f)| at(i, f.value)).collect();
    svg.polyline(&line, Ink::Accent, 2.0);
    for (i, f) in bins() {
        if let Some(at) = at(i, f.value) {
            let shown = number::finding(f);
            svg.dot(
                at,
                3.5,
                Ink::Accent,
                &format!("{}: {} [{}]", f.id, shown.value, shown.range()),
            );
        }
    }
}
