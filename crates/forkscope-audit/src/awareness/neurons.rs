//! Which single dimensions of the residual stream differ between contexts.
//!
//! Per dimension and layer: mean over evaluation sources minus mean over
//! deployment sources (a source's mean counts once), the AUROC of the dimension
//! alone, and a two-sided permutation p-value under the null of
//! [`super::null`]; Benjamini-Hochberg over all dimensions and layers.

use forkscope_metrics::stats::{StatsError, auroc, benjamini_hochberg};
use forkscope_records::types::NeuronRow;
use rayon::prelude::*;

use super::probe::{Layer, mean_difference};
use super::study::Bench;

/// One row per dimension and layer.
///
/// # Errors
/// A rate outside (0, 1); there are no rows without null labellings.
pub fn neurons(
    bench: &Bench<'_>,
    policy: &str,
    pooling: &str,
    layers: &[Layer],
    rate: f64,
) -> Result<Vec<NeuronRow>, StatsError> {
    let design = bench.design;
    let all: Vec<u32> = (0..design.len() as u32).collect();
    let mut rows = Vec::new();
    for (l, layer) in (0u32..).zip(layers) {
        let observed = mean_difference(design, &design.evaluation, layer, &all);
        let null: Vec<Vec<f64>> = bench
            .null
            .par_iter()
            .map(|labels| mean_difference(design, labels, layer, &all))
            .collect();
        for (index, difference) in (0u32..).zip(&observed) {
            let near = difference.abs() - 1e-9 * difference.abs();
            let extreme = null
                .iter()
                .filter(|draw| draw[index as usize].abs() >= near)
                .count();
            let column: Vec<f64> = all
                .iter()
                .map(|i| f64::from(layer.row(*i)[index as usize]))
                .collect();
            rows.push(NeuronRow {
                policy: policy.into(),
                pooling: pooling.into(),
                layer: l,
                index,
                mean_difference: *difference,
                auroc: auroc(&column, &design.evaluation)?,
                p_value: (1 + extreme) as f64 / (1 + null.len()) as f64,
                q_value: 1.0,
            });
        }
    }
    if !rows.is_empty() {
        let p: Vec<f64> = rows.iter().map(|r| r.p_value).collect();
        let found = benjamini_hochberg(&p, rate)?;
        for (row, q) in rows.iter_mut().zip(found.adjusted) {
            row.q_value = q;
        }
    }
    Ok(rows)
}
