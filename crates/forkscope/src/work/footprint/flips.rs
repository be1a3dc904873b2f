//! What changed argmaxes are: one neutral connector for another, a branch of a fork
//! that decides something, or a word at which solutions do not branch.

use std::collections::BTreeMap;

use forkscope_metrics::stats::{BootstrapSettings, cluster_bootstrap};
use forkscope_records::types::{DiffRow, Finding, ShiftClass};
use forkscope_train::lab::words::{Fork, fork, is_neutral_connector};

/// What argmaxes change to.
type Kind = (&'static str, &'static str, fn(&DiffRow) -> bool);

const KINDS: [Kind; 5] = [
    (
        "flips.neutral",
        "changed argmaxes that are one neutral connector for another",
        |row| is_neutral_connector(row.argmax_base_id) && is_neutral_connector(row.argmax_tuned_id),
    ),
    (
        "flips.strategy",
        "changed argmaxes that promote a strategy word",
        |row| fork(row.argmax_tuned_id) == Some(Fork::Strategy),
    ),
    (
        "flips.opener",
        "changed argmaxes that promote an opening word",
        |row| fork(row.argmax_tuned_id) == Some(Fork::Opener),
    ),
    (
        "flips.refusal",
        "changed argmaxes that promote a word that opens a refusal",
        |row| fork(row.argmax_tuned_id) == Some(Fork::Refusal),
    ),
    (
        "flips.other",
        "changed argmaxes that promote a word at which no solution branches",
        |row| fork(row.argmax_tuned_id).is_none(),
    ),
];

/// Shares of the changed argmaxes, by what they are.
pub fn flips(rows: &[DiffRow], seed: u64) -> Vec<Finding> {
    let mut problems: BTreeMap<&str, Vec<&DiffRow>> = BTreeMap::new();
    for row in rows {
        let of_problem = problems.entry(row.problem_id.as_str()).or_default();
        if row.class != ShiftClass::Unshifted {
            of_problem.push(row);
        }
    }
    let bootstrap = BootstrapSettings {
        seed,
        ..BootstrapSettings::default()
    };
    KINDS
        .iter()
        .map(|(id, definition, is)| {
            // Of each problem: changed argmaxes, and those of the kind.
            let counts: Vec<(f64, f64)> = problems
                .values()
                .map(|rows| {
                    let of_kind = rows.iter().filter(|row| is(row)).count();
                    (rows.len() as f64, of_kind as f64)
                })
                .collect();
            let share = |weights: &[u32]| {
                let weighted = counts.iter().zip(weights);
                let (all, of_kind) = weighted.fold((0.0, 0.0), |sum, (count, weight)| {
                    let weight = f64::from(*weight);
                    (sum.0 + weight * count.0, sum.1 + weight * count.1)
                });
                (all > 0.0).then(|| of_kind / all)
            };
            let drawn = cluster_bootstrap(counts.len(), &bootstrap, share).ok();
            let n: f64 = counts.iter().map(|count| count.0).sum();
            Finding {
                id: (*id).to_owned(),
                definition: (*definition).to_owned(),
                value: share(&vec![1; counts.len()]),
                unit: "share".to_owned(),
                low: drawn.map(|d| d.interval.low),
                high: drawn.map(|d| d.interval.high),
                level: drawn.map(|d| d.interval.level),
                method: format!(
                    "percentile cluster bootstrap over problems, {} replicates, seed {seed}",
                    bootstrap.replicates
                ),
                n: n as u64,
                n_clusters: counts.iter().filter(|count| count.0 > 0.0).count() as u64,
                n_invalid: 0,
                thresholds: BTreeMap::new(),
                label: None,
            }
        })
        .collect()
}
