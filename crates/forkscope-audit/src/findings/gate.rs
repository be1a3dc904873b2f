//! Does base entropy, which needs the base only, find the changed positions?

use forkscope_metrics::stats::RankedLabels;
use serde_json::{Value, json};

use super::FindingSettings;
use super::catalogue::{Catalogue, Entry, Estimate, Population};
use super::columns::Columns;
use crate::AuditError;

/// One notion of "changed".
struct Target {
    id: &'static str,
    rule: String,
    entropies: Vec<f64>,
    changed: Vec<bool>,
    clusters: Vec<u32>,
    nulls: u64,
    thresholds: Vec<(&'static str, Value)>,
}

pub(super) fn add(
    catalogue: &mut Catalogue,
    columns: &Columns,
    settings: &FindingSettings,
) -> Result<(), AuditError> {
    let targets = [by_argmax(columns), by_kl(columns, settings.kl_changed)];
    let rank = |t: &Target| RankedLabels::new(&t.entropies, &t.changed, &t.clusters);
    let (first, second) = rayon::join(|| rank(&targets[0]), || rank(&targets[1]));
    for (target, ranked) in targets.into_iter().zip([first?, second?]) {
        let invalid = columns.invalid() + target.nulls;
        let of = catalogue.population(target.clusters.iter().copied(), invalid);
        let flags = target.clusters.iter().zip(&target.changed);
        let changed = catalogue.sum(flags.map(|(c, y)| (*c, f64::from(u8::from(*y)))));
        let outputs = catalogue.pass(
            2,
            Box::new(move |weights, out| ranked.auroc_and_precision(weights, out)),
        );
        let Target {
            id,
            rule,
            thresholds,
            ..
        } = target;
        let mut push = |family: &str, unit, definition, estimate| {
            catalogue.push(entry(
                format!("{family}.{id}"),
                unit,
                definition,
                of,
                estimate,
                &thresholds,
            ));
        };
        push(
            "auroc.entropy",
            "auroc",
            format!(
                "probability that a position with {rule} has greater H(b) than one without, ties counting half; undefined if there is no such pair"
            ),
            Estimate::Pass(outputs[0]),
        );
        push(
            "ap.entropy",
            "average_precision",
            format!(
                "average precision of H(b) for finding positions with {rule}: Σ (R_k - R_(k-1)) P_k, ties together; its baseline is ap.baseline.{id}"
            ),
            Estimate::Pass(outputs[1]),
        );
        push(
            "ap.baseline",
            "share",
            format!("share of positions with {rule}: the average precision of a random score"),
            Estimate::Ratio(changed, of.count),
        );
    }
    Ok(())
}

fn entry<'a>(
    id: String,
    unit: &'static str,
    definition: String,
    of: Population,
    estimate: Estimate,
    thresholds: &[(&'a str, Value)],
) -> Entry<'a> {
    Entry {
        id,
        definition,
        unit,
        of,
        estimate,
        thresholds: thresholds.to_vec(),
        label: None,
    }
}

fn by_argmax(columns: &Columns) -> Target {
    Target {
        id: "argmax",
        rule: "a changed argmax".into(),
        entropies: columns.entropy_base.clone(),
        changed: (0..columns.len()).map(|i| columns.changed(i)).collect(),
        clusters: columns.cluster.clone(),
        nulls: 0,
        thresholds: vec![],
    }
}

fn by_kl(columns: &Columns, cut_off: f64) -> Target {
    let mut target = Target {
        id: "kl",
        rule: format!("KL(p ‖ b) > {cut_off} nats"),
        entropies: Vec::with_capacity(columns.len()),
        changed: Vec::with_capacity(columns.len()),
        clusters: Vec::with_capacity(columns.len()),
        nulls: 0,
        thresholds: vec![("kl_changed_nats", json!(cut_off))],
    };
    for (i, kl) in columns.kl_tuned_base.iter().enumerate() {
        match kl {
            Some(kl) => {
                target.entropies.push(columns.entropy_base[i]);
                target.changed.push(*kl > cut_off);
                target.clusters.push(columns.cluster[i]);
            }
            None => target.nulls += 1,
        }
    }
    target
}
