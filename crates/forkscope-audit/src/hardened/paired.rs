//! Means before and after, over problems that are drawn together.

use std::collections::{BTreeMap, BTreeSet};

use forkscope_metrics::stats::{
    BootstrapSettings, Interval, SignFlipSettings, cluster_bootstrap, sign_flip_test,
};
use forkscope_records::types::Finding;
use serde_json::{Value, json};

use crate::AuditError;
use crate::findings::FindingSettings;

/// Sum and number of units by problem.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Pairs {
    pub sums: BTreeMap<String, (f64, f64)>,
    /// Units without a value.
    pub invalid: u64,
}

impl Pairs {
    fn units(&self) -> u64 {
        self.sums.values().map(|s| s.1 as u64).sum()
    }
}

/// A share and what it is.
pub(super) struct Share {
    pub what: &'static str,
    pub definition: &'static str,
}

/// Sums of one problem: before and after, each (sum, number).
type Both = [(f64, f64); 2];

/// Makes findings of two sides.
pub(super) struct Maker<'a> {
    draws: BootstrapSettings,
    behaviour: &'a str,
}

/// A number of both sides and how it is described.
pub(super) struct Number<'a> {
    pub id: String,
    pub definition: String,
    pub unit: &'a str,
    pub thresholds: BTreeMap<String, Value>,
}

impl<'a> Maker<'a> {
    pub fn new(settings: &FindingSettings, behaviour: &'a str) -> Self {
        Self {
            draws: BootstrapSettings {
                seed: settings.seed,
                replicates: settings.replicates,
                level: settings.level,
            },
            behaviour,
        }
    }

    /// What every finding depends on.
    pub fn thresholds(&self) -> BTreeMap<String, Value> {
        BTreeMap::from([("behaviour".to_owned(), json!(self.behaviour))])
    }

    /// A share on both sides and its change.
    pub fn shares(
        &self,
        share: &Share,
        before: &Pairs,
        after: &Pairs,
    ) -> Result<Vec<Finding>, AuditError> {
        let number = |when: &str, more: &str| Number {
            id: format!("harden.{when}.{}", share.what),
            definition: format!("{}{more}", share.definition),
            unit: "share",
            thresholds: self.thresholds(),
        };
        Ok(vec![
            self.mean(number("before", ", before hardening"), before),
            self.mean(number("after", ", after hardening"), after),
            self.change(
                number("change", ": after minus before, within problems"),
                before,
                after,
            )?,
        ])
    }

    /// Mean over units.
    pub fn mean(&self, number: Number<'_>, of: &Pairs) -> Finding {
        let sums: Vec<Both> = of.sums.values().map(|s| [*s, (0.0, 0.0)]).collect();
        let estimated = self.estimate(&sums, &|[before, _]| share_of(before));
        self.finding(number, estimated, of.units(), sums.len(), of.invalid)
    }

    /// Mean after minus mean before, over the problems of both.
    pub fn change(
        &self,
        mut number: Number<'_>,
        before: &Pairs,
        after: &Pairs,
    ) -> Result<Finding, AuditError> {
        let sums = shared(before, after);
        let difference = |[a, b]: Both| Some(share_of(b)? - share_of(a)?);
        let estimated = self.estimate(&sums, &difference);
        let per_problem: Vec<f64> = sums.iter().filter_map(|s| difference(*s)).collect();
        if !per_problem.is_empty() {
            let test = SignFlipSettings {
                seed: self.draws.seed,
                ..SignFlipSettings::default()
            };
            let p = sign_flip_test(&per_problem, &test)?.p_value;
            number.thresholds.insert("p_value".into(), json!(p));
        }
        let invalid = before.invalid + after.invalid;
        let units = after.units();
        Ok(self.finding(number, estimated, units, sums.len(), invalid))
    }

    /// Mean after over mean before.
    pub fn ratio(&self, number: Number<'_>, before: &Pairs, after: &Pairs) -> Finding {
        let sums = shared(before, after);
        let ratio = |[a, b]: Both| {
            let (a, b) = (share_of(a)?, share_of(b)?);
            (a > 0.0).then(|| b / a)
        };
        let estimated = self.estimate(&sums, &ratio);
        let invalid = before.invalid + after.invalid;
        self.finding(number, estimated, after.units(), sums.len(), invalid)
    }

    fn estimate(
        &self,
        sums: &[Both],
        of: &(dyn Fn(Both) -> Option<f64> + Sync),
    ) -> (Option<f64>, Option<Interval>) {
        let total = |weight: &dyn Fn(usize) -> f64| {
            let mut all: Both = [(0.0, 0.0); 2];
            for (i, sums) in sums.iter().enumerate() {
                let w = weight(i);
                for (all, sum) in all.iter_mut().zip(sums) {
                    all.0 += w * sum.0;
                    all.1 += w * sum.1;
                }
            }
            of(all)
        };
        let drawn = (sums.len() >= 2 && self.draws.replicates > 0).then(|| {
            let weighted =
                |counts: &[u32]| total(&|i| counts.get(i).map_or(0.0, |c| f64::from(*c)));
            cluster_bootstrap(sums.len(), &self.draws, weighted)
        });
        let interval = drawn.and_then(Result::ok).map(|b| b.interval);
        (total(&|_| 1.0), interval)
    }

    fn finding(
        &self,
        number: Number<'_>,
        (value, interval): (Option<f64>, Option<Interval>),
        n: u64,
        clusters: usize,
        n_invalid: u64,
    ) -> Finding {
        let method = match interval {
            Some(_) => format!(
                "cluster bootstrap over problems, {} replicates, percentile",
                self.draws.replicates
            ),
            None => "no interval".to_owned(),
        };
        Finding {
            id: number.id,
            definition: number.definition,
            value,
            unit: number.unit.to_owned(),
            low: interval.map(|i| i.low),
            high: interval.map(|i| i.high),
            level: interval.map(|_| self.draws.level),
            method,
            n,
            n_clusters: clusters as u64,
            n_invalid,
            thresholds: number.thresholds,
            label: None,
        }
    }
}

fn share_of((sum, n): (f64, f64)) -> Option<f64> {
    (n > 0.0).then(|| sum / n)
}

/// Sums of the problems that either side has.
fn shared(before: &Pairs, after: &Pairs) -> Vec<Both> {
    let names: BTreeSet<&String> = before.sums.keys().chain(after.sums.keys()).collect();
    let of = |pairs: &Pairs, name: &String| pairs.sums.get(name).copied().unwrap_or_default();
    names
        .into_iter()
        .map(|name| [of(before, name), of(after, name)])
        .collect()
}
