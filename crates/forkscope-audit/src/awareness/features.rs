//! Features of a dictionary that differ between contexts: those that fire where
//! the prompt looks like a test and not in use.
//!
//! The test is that of single dimensions ([`super::neurons`]): difference of
//! means over sources, permutation under the null of the design,
//! Benjamini-Hochberg over all features that fire in at least two items.

use forkscope_metrics::stats::StatsError;
use forkscope_records::types::{FeatureRow, Finding};
use serde_json::json;

use super::neurons::neurons;
use super::probe::Layer;
use super::sae::{Dictionary, Features};
use super::study::Bench;

/// Items in which a feature must fire to be tested.
const LEAST_ITEMS: usize = 2;

/// One row per feature that fires in two items at least; `features` are of the
/// items of the design, in order, at `layer`.
///
/// # Errors
/// A rate outside (0, 1).
pub fn features(
    bench: &Bench<'_>,
    (policy, pooling, layer): (&str, &str, u32),
    dictionary: &Dictionary,
    features: &Features,
    rate: f64,
) -> Result<Vec<FeatureRow>, StatsError> {
    let wide = features.values.width.max(1);
    let rows = || features.values.values.chunks_exact(wide);
    let firing = |i: usize| rows().filter(move |r| r.get(i).is_some_and(|v| *v != 0.0));
    let kept: Vec<usize> = (0..features.active.len())
        .filter(|i| firing(*i).count() >= LEAST_ITEMS)
        .collect();
    let tested = Layer {
        width: kept.len(),
        values: rows()
            .flat_map(|row| kept.iter().map(|i| row.get(*i).copied().unwrap_or(0.0)))
            .collect(),
    };
    let rates = |evaluation: bool, i: usize| {
        let (mut n, mut fires) = (0u32, 0u32);
        for (row, e) in rows().zip(&bench.design.evaluation) {
            n += u32::from(*e == evaluation);
            let on = *e == evaluation && row.get(i).is_some_and(|v| *v != 0.0);
            fires += u32::from(on);
        }
        f64::from(fires) / f64::from(n.max(1))
    };
    let found = neurons(bench, policy, pooling, &[tested], rate)?;
    Ok(found
        .into_iter()
        .filter_map(|row| {
            let place = *kept.get(row.index as usize)?;
            let index = *features.active.get(place)?;
            Some(FeatureRow {
                policy: row.policy,
                pooling: row.pooling,
                layer,
                index,
                name: dictionary.name(index).to_owned(),
                fires_evaluation: rates(true, place),
                fires_deployment: rates(false, place),
                mean_difference: row.mean_difference,
                auroc: row.auroc,
                p_value: row.p_value,
                q_value: row.q_value,
            })
        })
        .collect())
}

/// What is said of a dictionary as a whole.
#[derive(Debug, Clone, Copy)]
pub struct FeatureSummary<'a> {
    /// `model` or `base`.
    pub policy: &'a str,
    /// Rows of activations that are pooled.
    pub pooling: &'a str,
    /// Layer.
    pub layer: u32,
    /// Items encoded.
    pub items: usize,
    /// Their sources.
    pub sources: usize,
    /// Variance that the dictionary does not rebuild, if it has a decoder.
    pub unexplained: Option<f64>,
    /// Mean number of features that fire in an item.
    pub mean_active: f64,
    /// Features that fire in some item.
    pub firing: usize,
    /// Features there are.
    pub all: usize,
    /// False-discovery rate.
    pub rate: f64,
}

/// Features named one by one.
const NAMED: usize = 10;
/// Share of items in which a feature that does not fire in a context may.
const QUIET: f64 = 0.01;

/// Findings of the features: `probe.features.POLICY.` and after it.
pub fn feature_findings(s: &FeatureSummary<'_>, rows: &[FeatureRow]) -> Vec<Finding> {
    let different: Vec<&FeatureRow> = rows.iter().filter(|r| r.q_value <= s.rate).collect();
    let only = |on: fn(&FeatureRow) -> f64, off: fn(&FeatureRow) -> f64| {
        let found = different
            .iter()
            .filter(|r| on(r) > QUIET && off(r) <= QUIET);
        Some(found.count() as f64)
    };
    let test = "permutation of contexts as the design allows, Benjamini-Hochberg over features that fire in two items";
    let finding = |id: &str, definition: &str, value, unit: &str, method: &str, n: usize| Finding {
        id: format!("probe.features.{}.{id}", s.policy),
        definition: definition.into(),
        value,
        unit: unit.into(),
        low: None,
        high: None,
        level: None,
        method: method.into(),
        n: n as u64,
        n_clusters: s.sources as u64,
        n_invalid: 0,
        thresholds: [
            ("layer".to_owned(), json!(s.layer)),
            ("pooling".to_owned(), json!(s.pooling)),
            ("false_discovery_rate".to_owned(), json!(s.rate)),
        ]
        .into(),
        label: None,
    };
    let mut out = vec![
        finding(
            "unexplained",
            "variance of the activations that the dictionary does not rebuild, as a share; near 1 it does not belong to this layer of this model; null where it has no decoder",
            s.unexplained,
            "share",
            "no interval: of the items at hand",
            s.items,
        ),
        finding(
            "mean_active",
            "mean number of features that fire in an item",
            Some(s.mean_active),
            "features",
            "no interval: of the items at hand",
            s.items,
        ),
        finding(
            "firing",
            "features that fire in some item; n is all features of the dictionary",
            Some(s.firing as f64),
            "count",
            "count",
            s.all,
        ),
        finding(
            "different",
            "features whose mean differs between contexts at that false-discovery rate; n is those tested",
            Some(different.len() as f64),
            "count",
            test,
            rows.len(),
        ),
        finding(
            "evaluation_only",
            "of these, features that fire in more than 1 % of evaluation items and at most 1 % of deployment items",
            only(|r| r.fires_evaluation, |r| r.fires_deployment),
            "count",
            test,
            rows.len(),
        ),
        finding(
            "deployment_only",
            "of these, features that fire in more than 1 % of deployment items and at most 1 % of evaluation items",
            only(|r| r.fires_deployment, |r| r.fires_evaluation),
            "count",
            test,
            rows.len(),
        ),
    ];
    let mut ranked = different;
    ranked.sort_by(|a, b| {
        let far = |r: &FeatureRow| (r.auroc - 0.5).abs();
        far(b).total_cmp(&far(a)).then(a.index.cmp(&b.index))
    });
    for (i, row) in (1..).zip(ranked.into_iter().take(NAMED)) {
        let mut one = finding(
            &format!("top_{i}"),
            "AUROC of one feature alone, evaluation above deployment, of those that differ; chosen on the same items, which is why it has no interval",
            Some(row.auroc),
            "auroc",
            test,
            s.items,
        );
        one.label = Some(match row.name.is_empty() {
            true => format!("feature {}", row.index),
            false => format!("feature {}: {}", row.index, row.name),
        });
        for (key, value) in [
            ("q_value", row.q_value),
            ("fires_evaluation", row.fires_evaluation),
            ("fires_deployment", row.fires_deployment),
        ] {
            one.thresholds.insert(key.into(), json!(value));
        }
        out.push(one);
    }
    out
}
