//! Features of a dictionary that differ between contexts: those that fire where
//! the prompt looks like a test and not in use.
//!
//! The test is that of single dimensions ([`super::neurons`]): difference of
//! means over sources, permutation under the null of the design,
//! Benjamini-Hochberg over all features that fire in at least two items.

use forkscope_metrics::stats::StatsError;
use forkscope_records::types::FeatureRow;

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
