//! Survival curves of reversions: S(x) = share of attempts that have not turned
//! at a price of at most x.

use serde_json::{Value, json};

use super::json::maybe;
use super::reversions::{Controls, Row};
use crate::figures::lines::{Lines, Series, draw};
use crate::text::visible;

/// Counts of one method under one control.
pub fn summary(direction: &str, method: &str, control: &str, rows: &[&Row]) -> Value {
    let counted = || rows.iter().filter(|r| r.counts());
    let reached = counted().filter(|r| r.price.is_some()).count();
    let n = counted().count();
    json!({
        "direction": visible(direction),
        "method": visible(method),
        "control": visible(control),
        "unit": visible(rows.first().map_or("", |r| r.unit.as_str())),
        "cap": maybe(counted().map(|r| r.cap).reduce(f64::max)),
        "n": n,
        "reached": reached,
        "left_out": rows.len() - n,
        "median": maybe(median(rows)),
    })
}

/// The least price at which half of the attempts had turned.
fn median(rows: &[&Row]) -> Option<f64> {
    let steps = survival(rows);
    steps.iter().find(|(_, s)| *s <= 0.5).map(|(x, _)| *x)
}

/// (price, share that still stands just after it), from (0, 1) to the cap.
fn survival(rows: &[&Row]) -> Vec<(f64, f64)> {
    let counted: Vec<&&Row> = rows.iter().filter(|r| r.counts()).collect();
    if counted.is_empty() {
        return Vec::new();
    }
    let n = counted.len() as f64;
    let mut prices: Vec<f64> = counted.iter().filter_map(|r| r.price).collect();
    prices.sort_by(f64::total_cmp);
    let mut steps = vec![(0.0, 1.0)];
    for (turned, price) in (1u32..).zip(&prices) {
        let left = 1.0 - f64::from(turned) / n;
        match steps.last_mut() {
            Some(last) if last.0 >= *price => last.1 = left,
            _ => steps.push((*price, left)),
        }
    }
    let end = counted.iter().map(|r| r.cap).fold(0.0, f64::max);
    if let Some(&(at, left)) = steps.last()
        && at < end
    {
        steps.push((end, left));
    }
    steps
}

/// The survival curves of a method and its controls.
pub fn figure(direction: &str, method: &str, controls: &Controls<'_>) -> Option<Value> {
    let unit = controls
        .values()
        .flatten()
        .next()
        .map(|r| r.unit.as_str())?;
    let mut names: Vec<&&str> = controls.keys().collect();
    names.sort_by_key(|name| **name != "none");
    let series = names.into_iter().filter_map(|name| {
        let points = survival(controls.get(*name)?);
        Some(Series {
            name: match *name {
                "none" => method.replace('_', " "),
                control => format!("control: {}", control.replace('_', " ")),
            },
            points,
            band: Vec::new(),
            reference: false,
        })
    });
    let lines = Lines {
        series: series.filter(|s| !s.points.is_empty()).collect(),
        across: format!("price in {unit}"),
        unit: "share",
        range: (0.0, 1.0),
        steps: true,
    };
    let verb = if direction == "induce" {
        "Inducing"
    } else {
        "Undoing"
    };
    let title = format!("{verb} by {}", method.replace('_', " "));
    let caption = "Share of attempts whose behaviour had not turned at that price or below it.";
    let svg = draw(&lines, &title, caption)?;
    Some(json!({ "title": visible(&title), "caption": caption, "svg": svg }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use forkscope_records::types::ReversionStatus;

    fn row(price: Option<f64>, status: ReversionStatus) -> Row {
        Row {
            direction: "undo".into(),
            method: "tokens".into(),
            control: "none".into(),
            problem: "p".into(),
            sample: 0,
            status,
            price,
            cap: 16.0,
            unit: "tokens".into(),
            kl_nats: None,
            positions: 0,
            valid: true,
        }
    }

    #[test]
    fn what_does_not_turn_survives_to_the_cap() {
        use ReversionStatus::{NotReached, NotVerified, Reached};
        let rows = [
            row(Some(1.0), Reached),
            row(Some(1.0), Reached),
            row(Some(4.0), Reached),
            row(None, NotReached),
            row(None, NotVerified),
        ];
        let rows: Vec<&Row> = rows.iter().collect();
        assert_eq!(
            survival(&rows),
            [(0.0, 1.0), (1.0, 0.5), (4.0, 0.25), (16.0, 0.25)]
        );
        assert_eq!(median(&rows), Some(1.0));
        assert_eq!(survival(&[]), []);
        let never = [row(None, NotReached)];
        let never: Vec<&Row> = never.iter().collect();
        assert_eq!(
            (survival(&never), median(&never)),
            (vec![(0.0, 1.0), (16.0, 1.0)], None)
        );
    }

    #[test]
    fn a_price_of_nothing_is_the_first_step() {
        let free = [row(Some(0.0), ReversionStatus::Reached)];
        let free: Vec<&Row> = free.iter().collect();
        assert_eq!(survival(&free), [(0.0, 0.0), (16.0, 0.0)]);
    }
}
