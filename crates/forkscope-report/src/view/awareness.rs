//! Evaluation awareness by layer: the AUROC of each probe with its interval,
//! one figure per probe, split and pooling, base beside model, the bag of words
//! as the line that a probe has to beat.

use std::collections::BTreeMap;

use forkscope_records::types::AwarenessRow;
use serde_json::{Value, json};

use super::json::{maybe, short};
use crate::figures::lines::{Lines, Series, draw};
use crate::text::visible;

type Panel<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Figures and the rows of the layers that were chosen.
pub fn page(rows: &[AwarenessRow]) -> Value {
    let mut panels: BTreeMap<Panel<'_>, BTreeMap<&str, Vec<&AwarenessRow>>> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.selection == "each_layer") {
        let panel = (
            row.split.as_str(),
            row.test_format.as_str(),
            row.probe.as_str(),
            row.pooling.as_str(),
        );
        let policies = panels.entry(panel).or_default();
        policies.entry(row.policy.as_str()).or_default().push(row);
    }
    let figures: Vec<Value> = panels
        .iter()
        .filter_map(|(panel, policies)| figure(*panel, policies, rows))
        .collect();
    let others = rows.iter().filter(|r| r.selection != "each_layer");
    let chosen: Vec<Value> = others.map(row).collect();
    json!({ "figures": figures, "rows": chosen })
}

fn row(r: &AwarenessRow) -> Value {
    json!({
        "policy": visible(&r.policy),
        "pooling": visible(&r.pooling),
        "probe": visible(&r.probe),
        "split": visible(&r.split),
        "test_format": visible(&r.test_format),
        "selection": visible(&r.selection),
        "layer": r.layer,
        "auroc": maybe(r.auroc),
        "low": maybe(r.low),
        "high": maybe(r.high),
        "level": short(r.level),
        "n": r.n,
        "n_groups": r.n_groups,
        "p_value": maybe(r.p_value),
        "p_max": maybe(r.p_max),
    })
}

fn figure(
    (split, format, probe, pooling): Panel<'_>,
    policies: &BTreeMap<&str, Vec<&AwarenessRow>>,
    all: &[AwarenessRow],
) -> Option<Value> {
    let layers = || policies.values().flatten().map(|r| f64::from(r.layer));
    let (low, high) = (layers().reduce(f64::min)?, layers().reduce(f64::max)?);
    let mut names: Vec<&&str> = policies.keys().collect();
    names.sort_by_key(|name| **name != "model");
    let own = names.into_iter().filter_map(|name| {
        let mut rows = policies.get(*name)?.clone();
        rows.sort_by_key(|r| r.layer);
        let at = |r: &AwarenessRow| f64::from(r.layer);
        let points = rows
            .iter()
            .filter_map(|r| Some((at(r), r.auroc?)))
            .collect();
        let band = rows
            .iter()
            .filter_map(|r| Some((at(r), r.low?, r.high?)))
            .collect();
        Some(Series {
            name: (*name).to_owned(),
            points,
            band,
            reference: false,
        })
    });
    let mut series: Vec<Series> = own.collect();
    let words = all
        .iter()
        .find(|r| r.probe == "bag_of_words" && r.split == split && r.test_format == format);
    let flat = |name: &str, y: f64| Series {
        name: name.to_owned(),
        points: vec![(low, y), (high.max(low + 1e-9), y)],
        band: Vec::new(),
        reference: true,
    };
    series.extend(words.and_then(|r| r.auroc).map(|y| flat("bag of words", y)));
    let lines = Lines {
        series,
        across: "layer (0: embeddings)".into(),
        unit: "auroc",
        range: (0.0, 1.0),
        steps: false,
    };
    let part = |text: &str| text.replace('_', " ");
    let tested = match format {
        "" => String::new(),
        format => format!(", tested on {}", part(format)),
    };
    let title = format!(
        "{}, {} tokens, held out: {}{tested}",
        part(probe),
        part(pooling),
        part(split)
    );
    let caption = "AUROC of the probe by layer, evaluation above deployment; 0.5 is chance. \
                   The bands are the intervals over sources.";
    let svg = draw(&lines, &title, caption)?;
    Some(json!({ "title": visible(&title), "caption": caption, "svg": svg }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(policy: &str, layer: u32, selection: &str) -> AwarenessRow {
        AwarenessRow {
            policy: policy.into(),
            pooling: "last".into(),
            probe: "logistic".into(),
            split: "source".into(),
            test_format: String::new(),
            selection: selection.into(),
            layer,
            auroc: Some(0.7),
            low: Some(0.6),
            high: Some(0.8),
            level: 0.95,
            n: 40,
            n_groups: 8,
            n_folds: 4,
            p_value: None,
            p_max: Some(0.01),
        }
    }

    #[test]
    fn one_figure_has_both_policies() {
        let mut rows: Vec<AwarenessRow> = (0..3).map(|l| at("base", l, "each_layer")).collect();
        rows.extend((0..3).map(|l| at("model", l, "each_layer")));
        rows.push(at("model", 2, "chosen"));
        let page = page(&rows);
        let svg = page.pointer("/figures/0/svg").and_then(Value::as_str);
        assert_eq!(svg.map(|s| s.matches("<polyline").count()), Some(2));
        assert_eq!(page.pointer("/figures/1"), None);
        assert_eq!(page.pointer("/rows/0/layer"), Some(&json!(2)));
    }
}
