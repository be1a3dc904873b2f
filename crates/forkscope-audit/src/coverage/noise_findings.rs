//! Findings of the noise floor: what bf16 does by itself, and what of the tuned
//! policy's difference lies beyond it.

use std::collections::HashMap;

use forkscope_metrics::stats::{BootstrapSettings, cluster_bootstrap, quantile};
use forkscope_records::types::{BeyondNoiseRow, DiffRow, Finding, NoiseRow};
use serde_json::{Value, json};

use super::noise::{DECILES, NoiseFloor};
use crate::AuditError;

/// One of the two roundings.
struct Side {
    id: &'static str,
    words: &'static str,
    js: fn(&NoiseRow) -> f64,
    argmax: fn(&NoiseRow) -> u32,
}

const SIDES: [Side; 2] = [
    Side {
        id: "weights",
        words: "its weights rounded to bf16",
        js: |r| r.js_weights_nats,
        argmax: |r| r.argmax_weights_id,
    },
    Side {
        id: "activations",
        words: "its activations rounded to bf16",
        js: |r| r.js_activations_nats,
        argmax: |r| r.argmax_activations_id,
    },
];

/// Findings about noise rows, the rows beyond noise, and the diff that these
/// are about (in the same order, rows in use).
///
/// # Errors
/// Rows that do not belong together.
pub fn noise_findings(
    noise: &[NoiseRow],
    beyond: &[BeyondNoiseRow],
    diff: &[DiffRow],
    rate: f64,
    bootstrap: &BootstrapSettings,
) -> Result<Vec<Finding>, AuditError> {
    let used: Vec<&DiffRow> = diff
        .iter()
        .filter(|r| {
            use forkscope_records::types::Validity::{Ok, Truncated};
            matches!(r.validity, Ok | Truncated)
        })
        .collect();
    if used.len() != beyond.len() {
        return Err(AuditError::Internal(format!(
            "{} rows beyond noise for {} of the diff",
            beyond.len(),
            used.len()
        )));
    }
    let mut out = Vec::new();
    for side in &SIDES {
        of_side(side, noise, bootstrap, &mut out)?;
    }
    let invalid = (diff.len() - used.len()) as u64;
    // The procedure rejects k of m positions only if p <= rate k / m.
    let least = NoiseFloor::new(noise)?.least_p_value();
    let fewest = (least * beyond.len() as f64 / rate).ceil();
    let thresholds = [
        ("false_discovery_rate", json!(rate)),
        ("entropy_bins", json!(DECILES)),
        ("least_p_value", json!(least)),
        ("fewest_detectable", json!(fewest)),
    ];
    let tests = Ratios {
        clusters: clusters(beyond.iter().map(|r| r.problem_id.as_str())),
        invalid,
        thresholds: &thresholds,
        bootstrap,
    };
    let share =
        |id: &str, definition: &str, part: &dyn Fn(usize) -> bool, of: &dyn Fn(usize) -> bool| {
            tests.finding(id, definition, "share", &|i| {
                (f64::from(u8::from(part(i) && of(i))), of(i))
            })
        };
    let changed = |i: usize| beyond.get(i).is_some_and(|r| r.changed);
    let argmax = |i: usize| {
        used.get(i)
            .is_some_and(|r| r.argmax_base_id != r.argmax_tuned_id)
    };
    out.push(share(
        "share.changed_beyond_noise",
        "share of positions whose JS lies beyond what bf16 does to the base by itself: p = (1 + #{noise >= JS})/(1 + n) within the tenth of base entropy, Benjamini-Hochberg over all positions; null where too few positions of noise allow none to be found, and fewest_detectable says how many changed positions are the fewest that could be",
        &changed,
        &|_| true,
    ));
    out.push(share(
        "noise_floor.argmax_changed_within",
        "share of the positions with another argmax whose JS is not beyond the noise of bf16; null where no argmax differs",
        &|i| !changed(i),
        &argmax,
    ));
    out.push(share(
        "noise_floor.changed_with_same_argmax",
        "share of the positions beyond noise at which the argmax is the same; null where none is beyond noise",
        &|i| !argmax(i),
        &changed,
    ));
    if fewest > beyond.len() as f64 {
        let tests = out.len().saturating_sub(3);
        out.iter_mut().skip(tests).for_each(unseen);
    }
    Ok(out)
}

/// There is too little noise to tell a difference from it: no share is known.
fn unseen(finding: &mut Finding) {
    (finding.value, finding.low, finding.high, finding.level) = (None, None, None, None);
    finding.method = "null: so few positions of noise allow no p-value that is small enough for any position to be found; give more rollouts".into();
}

fn of_side(
    side: &Side,
    noise: &[NoiseRow],
    bootstrap: &BootstrapSettings,
    out: &mut Vec<Finding>,
) -> Result<(), AuditError> {
    let ratios = Ratios {
        clusters: clusters(noise.iter().map(|r| r.problem_id.as_str())),
        invalid: 0,
        thresholds: &[],
        bootstrap,
    };
    let row = |i: usize| noise.get(i);
    out.push(ratios.finding(
        &format!("noise_floor.{}.js.mean", side.id),
        &format!("mean JS of the base against the base with {}", side.words),
        "nats",
        &|i| (row(i).map_or(0.0, side.js), true),
    ));
    out.push(ratios.finding(
        &format!("noise_floor.{}.argmax_changed", side.id),
        &format!(
            "share of positions where the base's argmax is another with {}",
            side.words
        ),
        "share",
        &|i| {
            let other = row(i).is_some_and(|r| (side.argmax)(r) != r.argmax_base_id);
            (f64::from(u8::from(other)), true)
        },
    ));
    let values: Vec<f64> = noise.iter().map(side.js).collect();
    for (name, q) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        out.push(Finding {
            value: Some(quantile(&values, q)?),
            method: "type 7 quantile over positions; no interval".into(),
            level: None,
            ..ratios.empty(
                &format!("noise_floor.{}.js.{name}", side.id),
                &format!(
                    "quantile {q} over positions of the JS of the base against the base with {}",
                    side.words
                ),
                "nats",
                values.len() as u64,
            )
        });
    }
    Ok(())
}

/// Number of each unit's problem.
fn clusters<'a>(problems: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    problems
        .map(|name| {
            let next = names.len();
            *names.entry(name).or_insert(next)
        })
        .collect()
}

/// Ratios of sums over units, with a bootstrap over problems.
struct Ratios<'a> {
    clusters: Vec<usize>,
    invalid: u64,
    thresholds: &'a [(&'a str, Value)],
    bootstrap: &'a BootstrapSettings,
}

impl Ratios<'_> {
    /// Mean of `value` over the units that count.
    fn finding(
        &self,
        id: &str,
        definition: &str,
        unit: &str,
        value: &dyn Fn(usize) -> (f64, bool),
    ) -> Finding {
        let problems = self.problems();
        let mut sums = vec![(0.0f64, 0u64); problems];
        for (i, cluster) in self.clusters.iter().enumerate() {
            let (x, counts) = value(i);
            if let Some((sum, n)) = sums.get_mut(*cluster).filter(|_| counts) {
                *sum += x;
                *n += 1;
            }
        }
        let n: u64 = sums.iter().map(|(_, n)| n).sum();
        let ratio = |weights: &[u32]| {
            let (mut sum, mut n) = (0.0, 0.0);
            for ((s, count), weight) in sums.iter().zip(weights) {
                sum += s * f64::from(*weight);
                n += *count as f64 * f64::from(*weight);
            }
            (n > 0.0).then(|| sum / n)
        };
        let made = match self.bootstrap.replicates {
            0 => None,
            _ => cluster_bootstrap(problems, self.bootstrap, ratio).ok(),
        };
        Finding {
            value: ratio(&vec![1; problems]),
            low: made.map(|b| b.interval.low),
            high: made.map(|b| b.interval.high),
            level: made.map(|b| b.interval.level),
            method: match made {
                Some(b) => format!(
                    "cluster bootstrap over problems, {} replicates, percentile",
                    b.replicates
                ),
                None => "no interval: fewer than two problems, or undefined in too many replicates"
                    .into(),
            },
            ..self.empty(id, definition, unit, n)
        }
    }

    fn problems(&self) -> usize {
        self.clusters.iter().max().map_or(0, |last| last + 1)
    }

    fn empty(&self, id: &str, definition: &str, unit: &str, n: u64) -> Finding {
        let settings = self.thresholds.iter();
        Finding {
            id: id.to_owned(),
            definition: definition.to_owned(),
            value: None,
            unit: unit.to_owned(),
            low: None,
            high: None,
            level: None,
            method: String::new(),
            n,
            n_clusters: self.problems() as u64,
            n_invalid: self.invalid,
            thresholds: settings
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            label: None,
        }
    }
}
