//! How large the differences are and in how few positions they sit: means,
//! percentiles, shares above a cut-off, Gini, coverage.

use forkscope_metrics::stats::Descending;
use rayon::prelude::*;
use serde_json::json;

use super::catalogue::{Catalogue, Entry, Estimate, Output, Population};
use super::columns::Columns;
use crate::AuditError;

const UPPER: &[(&str, f64)] = &[
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99_9", 0.999),
    ("max", 1.0),
];

const BOTH_TAILS: &[(&str, f64)] = &[
    ("min", 0.0),
    ("p0_1", 0.001),
    ("p1", 0.01),
    ("p5", 0.05),
    ("p10", 0.1),
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99_9", 0.999),
    ("max", 1.0),
];

/// Top fractions of the coverage curve, in per cent.
const COVERAGE: [f64; 8] = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0];

/// A metric over positions.
struct Metric {
    id: &'static str,
    formula: &'static str,
    unit: &'static str,
    values: Vec<f64>,
    clusters: Vec<u32>,
    nulls: u64,
    quantiles: &'static [(&'static str, f64)],
    /// Name of the metric in coverage and Gini findings, if it has them.
    total: Option<&'static str>,
    /// Cut-offs of `share.NAME_above_X`.
    cut_offs: &'static [f64],
}

pub(super) fn add(catalogue: &mut Catalogue, columns: &Columns) -> Result<(), AuditError> {
    let metrics = metrics(columns);
    let sorted: Result<Vec<Descending>, _> = metrics
        .par_iter()
        .map(|metric| Descending::new(&metric.values, &metric.clusters))
        .collect();
    let sorted = sorted?;
    let mut totals = Vec::new();
    for (metric, sorted) in metrics.iter().zip(sorted) {
        let of = catalogue.population(
            metric.clusters.iter().copied(),
            columns.invalid() + metric.nulls,
        );
        mean(catalogue, metric, of);
        let outputs = percentiles(catalogue, metric, sorted, of);
        above(catalogue, metric, of);
        if let Some(name) = metric.total {
            totals.push((name, metric.formula, of, outputs));
        }
    }
    for (name, formula, of, outputs) in totals {
        concentration(catalogue, name, formula, of, &outputs);
    }
    cross_entropy(catalogue, columns);
    Ok(())
}

fn metrics(columns: &Columns) -> Vec<Metric> {
    let nullable = |column: &[Option<f64>]| {
        let kept = column.iter().zip(&columns.cluster);
        let (values, clusters): (Vec<f64>, Vec<u32>) =
            kept.filter_map(|(v, c)| Some(((*v)?, *c))).unzip();
        let nulls = (column.len() - values.len()) as u64;
        (values, clusters, nulls)
    };
    let full = |column: &[f64]| (column.to_vec(), columns.cluster.clone(), 0);
    let metric = |id, formula, unit, (values, clusters, nulls): (Vec<f64>, Vec<u32>, u64)| Metric {
        id,
        formula,
        unit,
        values,
        clusters,
        nulls,
        quantiles: UPPER,
        total: None,
        cut_offs: &[],
    };
    vec![
        Metric {
            total: Some("kl"),
            cut_offs: &[0.1, 0.5],
            ..metric(
                "kl_tuned_base",
                "KL(p ‖ b) = Σ p ln(p/b)",
                "nats",
                nullable(&columns.kl_tuned_base),
            )
        },
        metric(
            "kl_base_tuned",
            "KL(b ‖ p) = Σ b ln(b/p)",
            "nats",
            nullable(&columns.kl_base_tuned),
        ),
        Metric {
            total: Some("js"),
            cut_offs: &[0.1],
            ..metric(
                "js",
                "JS = ½ KL(p ‖ m) + ½ KL(b ‖ m), m = (p + b)/2",
                "nats",
                full(&columns.js),
            )
        },
        metric("tv", "TV = ½ Σ |p - b|", "probability", full(&columns.tv)),
        Metric {
            quantiles: BOTH_TAILS,
            ..metric(
                "delta_logprob",
                "ln p(x_t) - ln b(x_t) of the recorded token",
                "nats",
                nullable(&columns.delta_logprob),
            )
        },
    ]
}

fn mean(catalogue: &mut Catalogue, metric: &Metric, of: Population) {
    let units = metric
        .clusters
        .iter()
        .copied()
        .zip(metric.values.iter().copied());
    let sum = catalogue.sum(units);
    catalogue.push(Entry {
        id: format!("{}.mean", metric.id),
        definition: format!("mean over positions of {}", metric.formula),
        unit: metric.unit,
        of,
        estimate: Estimate::Ratio(sum, of.count),
        thresholds: vec![],
        label: None,
    });
}

/// Adds the percentiles; returns the outputs of coverage and Gini, if any.
fn percentiles(
    catalogue: &mut Catalogue,
    metric: &Metric,
    sorted: Descending,
    of: Population,
) -> Vec<Output> {
    let levels: Vec<f64> = metric.quantiles.iter().map(|(_, q)| *q).collect();
    let mut outputs = if metric.total.is_some() {
        let fractions = COVERAGE.map(|percent| percent / 100.0);
        catalogue.pass(
            levels.len() + fractions.len() + 1,
            Box::new(move |weights, out| sorted.spread(weights, &levels, &fractions, out)),
        )
    } else {
        catalogue.pass(
            levels.len(),
            Box::new(move |weights, out| sorted.quantiles(weights, &levels, out)),
        )
    };
    let rest = outputs.split_off(metric.quantiles.len());
    for ((name, q), output) in metric.quantiles.iter().zip(outputs) {
        let extreme = *q == 0.0 || *q == 1.0;
        catalogue.push(Entry {
            id: format!("{}.{name}", metric.id),
            definition: match *q {
                0.0 => format!("least over positions of {}", metric.formula),
                1.0 => format!("greatest over positions of {}", metric.formula),
                q => format!(
                    "{} % quantile (type 7) over positions of {}",
                    percent(q),
                    metric.formula
                ),
            },
            unit: metric.unit,
            of,
            estimate: match extreme {
                true => {
                    Estimate::PassPoint(output, "a bootstrap cannot go beyond the sample's extreme")
                }
                false => Estimate::Pass(output),
            },
            thresholds: if extreme {
                vec![]
            } else {
                vec![("quantile", json!(q))]
            },
            label: None,
        });
    }
    rest
}

fn above(catalogue: &mut Catalogue, metric: &Metric, of: Population) {
    let name = metric.total.unwrap_or(metric.id);
    for &cut_off in metric.cut_offs {
        let units = metric.clusters.iter().zip(&metric.values);
        let count = catalogue.sum(units.map(|(c, v)| (*c, f64::from(u8::from(*v > cut_off)))));
        catalogue.push(Entry {
            id: format!("share.{name}_above_{cut_off}"),
            definition: format!(
                "share of positions with {} > {cut_off} nats",
                metric.formula
            ),
            unit: "share",
            of,
            estimate: Estimate::Ratio(count, of.count),
            thresholds: vec![("cut_off_nats", json!(cut_off))],
            label: None,
        });
    }
}

fn concentration(
    catalogue: &mut Catalogue,
    name: &str,
    formula: &str,
    of: Population,
    outputs: &[Output],
) {
    for (top, output) in COVERAGE.iter().zip(outputs) {
        catalogue.push(Entry {
            id: format!("coverage.{name}.top_{top}pct"),
            definition: format!("share of the sum over positions of {formula} that sits in the {top} % of positions where it is largest (part of a position counts in part); undefined if the sum is 0"),
            unit: "share",
            of,
            estimate: Estimate::Pass(*output),
            thresholds: vec![("top_percent", json!(top))],
            label: None,
        });
    }
    if let Some(output) = outputs.get(COVERAGE.len()) {
        catalogue.push(Entry {
            id: format!("gini.{name}"),
            definition: format!("Gini coefficient over positions of {formula}: Σ|x_i - x_j| / (2 n Σ x), 0 if all are equal; undefined if the sum is 0"),
            unit: "gini",
            of,
            estimate: Estimate::Pass(*output),
            thresholds: vec![],
            label: None,
        });
    }
}

fn cross_entropy(catalogue: &mut Catalogue, columns: &Columns) {
    let units = || {
        let kept = columns.cluster.iter().zip(&columns.ce_base_tuned);
        kept.filter_map(|(c, v)| Some((*c, (*v)?)))
    };
    let nulls = columns.len() - units().count();
    let of = catalogue.population(units().map(|(c, _)| c), columns.invalid() + nulls as u64);
    let sum = catalogue.sum(units());
    catalogue.push(Entry {
        id: "ce_base_tuned.mean".into(),
        definition: "mean over positions of the cross-entropy -Σ b ln p".into(),
        unit: "nats",
        of,
        estimate: Estimate::Ratio(sum, of.count),
        thresholds: vec![],
        label: None,
    });
}

/// `0.999` as `99.9`, without the noise of the multiplication.
fn percent(q: f64) -> f64 {
    (q * 100_000.0).round() / 1000.0
}
