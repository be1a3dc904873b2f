//! A list of findings to be, and what they need from the data; [`finish`]
//! evaluates all of them on the data and on every bootstrap replicate at once.
//!
//! Most findings are ratios of sums over positions: they need one number per
//! problem. The rest (quantiles, coverage, Gini, AUROC) are passes over units
//! that were sorted beforehand.
//!
//! [`finish`]: Catalogue::finish

use forkscope_metrics::stats::{
    BootstrapSettings, LANES, Lanes, Replicated, Resampler, StatsError,
};
use forkscope_records::types::Finding;
use serde_json::Value;

use super::FindingSettings;
use crate::AuditError;

/// A sum over units, kept per problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum(usize);

/// One output of a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output(usize);

/// The units that a finding is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Population {
    /// Number of units, per problem: the denominator of shares and means.
    pub count: Sum,
    /// Number of units.
    pub n: u64,
    /// Problems with at least one.
    pub n_clusters: u64,
    /// Units left out as invalid or null.
    pub n_invalid: u64,
}

/// Where a finding's value comes from.
pub(super) enum Estimate {
    /// Ratio of two sums.
    Ratio(Sum, Sum),
    /// (first / second) / (third / fourth).
    RatioOfRatios([Sum; 4]),
    /// first / second - third / fourth.
    Difference([Sum; 4]),
    /// (first / second - third / fourth) / (fifth / sixth - third / fourth).
    Recovery([Sum; 6]),
    /// Output of a pass.
    Pass(Output),
    /// Output of a pass for which a bootstrap interval means nothing, and why.
    PassPoint(Output, &'static str),
}

/// A finding without its numbers.
pub(super) struct Entry<'a> {
    pub id: String,
    pub definition: String,
    pub unit: &'static str,
    pub of: Population,
    pub estimate: Estimate,
    pub thresholds: Vec<(&'a str, Value)>,
    pub label: Option<String>,
}

type Pass = Box<dyn Fn(&[Lanes], &mut [Lanes]) + Sync>;

/// Findings to be.
pub(super) struct Catalogue {
    n_clusters: usize,
    sums: Vec<Vec<f64>>,
    passes: Vec<(usize, Pass)>,
    outputs: usize,
    drafts: Vec<(Finding, Estimate)>,
}

impl Catalogue {
    pub fn new(n_clusters: usize) -> Self {
        Self {
            n_clusters,
            sums: Vec::new(),
            passes: Vec::new(),
            outputs: 0,
            drafts: Vec::new(),
        }
    }

    /// Sums of values by group: `units` yields cluster, group and value.
    pub fn sums(
        &mut self,
        groups: usize,
        units: impl Iterator<Item = (u32, usize, f64)>,
    ) -> Vec<Sum> {
        let mut totals = vec![vec![0.0; self.n_clusters]; groups];
        for (cluster, group, value) in units {
            totals[group][cluster as usize] += value;
        }
        let first = self.sums.len();
        self.sums.extend(totals);
        (first..first + groups).map(Sum).collect()
    }

    /// One sum over all units.
    pub fn sum(&mut self, units: impl Iterator<Item = (u32, f64)>) -> Sum {
        let first = self.sums.len();
        self.sums(1, units.map(|(cluster, value)| (cluster, 0, value)));
        Sum(first)
    }

    /// The units that `clusters` yields, one entry each.
    pub fn population(
        &mut self,
        clusters: impl Iterator<Item = u32>,
        n_invalid: u64,
    ) -> Population {
        let count = self.sum(clusters.map(|cluster| (cluster, 1.0)));
        self.counted(count, n_invalid)
    }

    /// The units that a sum of ones has counted.
    pub fn counted(&self, count: Sum, n_invalid: u64) -> Population {
        let counts = &self.sums[count.0];
        Population {
            count,
            n: counts.iter().map(|&n| n as u64).sum(),
            n_clusters: counts.iter().filter(|&&n| n > 0.0).count() as u64,
            n_invalid,
        }
    }

    /// Registers a pass that writes `outputs` statistics.
    pub fn pass(&mut self, outputs: usize, pass: Pass) -> Vec<Output> {
        let first = self.outputs;
        self.outputs += outputs;
        self.passes.push((outputs, pass));
        (first..self.outputs).map(Output).collect()
    }

    /// Adds a finding.
    pub fn push(&mut self, entry: Entry<'_>) {
        let thresholds = entry.thresholds.into_iter();
        let finding = Finding {
            id: entry.id,
            definition: entry.definition,
            value: None,
            unit: entry.unit.to_owned(),
            low: None,
            high: None,
            level: None,
            method: String::new(),
            n: entry.of.n,
            n_clusters: entry.of.n_clusters,
            n_invalid: entry.of.n_invalid,
            thresholds: thresholds.map(|(k, v)| (k.to_owned(), v)).collect(),
            label: entry.label,
        };
        self.drafts.push((finding, entry.estimate));
    }

    /// Evaluates everything.
    pub fn finish(self, settings: &FindingSettings) -> Result<Vec<Finding>, AuditError> {
        let bootstrap = BootstrapSettings {
            seed: settings.seed,
            replicates: settings.replicates,
            level: settings.level,
        };
        let resampler = Resampler::new(self.n_clusters, bootstrap)?;
        let outputs = self.outputs + self.drafts.len();
        let replicated = resampler.run(outputs, |weights, out| self.evaluate(weights, out));
        let drafts = self.drafts.into_iter().enumerate();
        Ok(drafts
            .map(|(i, (finding, estimate))| {
                let output = match estimate {
                    Estimate::Pass(output) | Estimate::PassPoint(output, _) => output.0,
                    _ => self.outputs + i,
                };
                let point_only = match estimate {
                    Estimate::PassPoint(_, why) => Some(why),
                    _ => None,
                };
                complete(finding, output, point_only, &replicated, settings)
            })
            .collect())
    }

    /// Writes the outputs of all passes, then one value per finding that is made
    /// of sums.
    fn evaluate(&self, weights: &[Lanes], out: &mut [Lanes]) {
        let (mut passes, ratios) = out.split_at_mut(self.outputs);
        for (outputs, pass) in &self.passes {
            let (own, rest) = passes.split_at_mut(*outputs);
            pass(weights, own);
            passes = rest;
        }
        let sums: Vec<Lanes> = self.sums.iter().map(|s| weighted(weights, s)).collect();
        let ratio = |a: Sum, b: Sum, lane: usize| {
            let (above, below) = (sums[a.0][lane], sums[b.0][lane]);
            // Undefined, not infinite.
            if below == 0.0 {
                f64::NAN
            } else {
                above / below
            }
        };
        for (slot, (_, estimate)) in ratios.iter_mut().zip(&self.drafts) {
            for (lane, value) in slot.iter_mut().enumerate() {
                *value = match *estimate {
                    Estimate::Ratio(a, b) => ratio(a, b, lane),
                    Estimate::RatioOfRatios([a, b, c, d]) => {
                        let below = ratio(c, d, lane);
                        if below == 0.0 {
                            f64::NAN
                        } else {
                            ratio(a, b, lane) / below
                        }
                    }
                    Estimate::Difference([a, b, c, d]) => ratio(a, b, lane) - ratio(c, d, lane),
                    Estimate::Recovery([a, b, c, d, e, f]) => {
                        let from = ratio(c, d, lane);
                        let way = ratio(e, f, lane) - from;
                        if way == 0.0 {
                            f64::NAN
                        } else {
                            (ratio(a, b, lane) - from) / way
                        }
                    }
                    Estimate::Pass(_) | Estimate::PassPoint(..) => f64::NAN,
                };
            }
        }
    }
}

/// Σ over problems of weight times value.
fn weighted(weights: &[Lanes], values: &[f64]) -> Lanes {
    let mut total = [0.0; LANES];
    for (weight, value) in weights.iter().zip(values) {
        for (slot, w) in total.iter_mut().zip(weight) {
            *slot += w * value;
        }
    }
    total
}

/// Fills in value, interval and method.
fn complete(
    mut finding: Finding,
    output: usize,
    point_only: Option<&str>,
    replicated: &Replicated,
    settings: &FindingSettings,
) -> Finding {
    finding.value = replicated.point.get(output).copied().flatten();
    let none = |why: &str| format!("no interval: {why}");
    finding.method = match (finding.value, point_only) {
        (None, _) => "undefined: a denominator is empty or zero".to_owned(),
        (_, Some(why)) => none(why),
        _ if settings.replicates == 0 => none("no replicates asked for"),
        _ if finding.n_clusters < 2 => {
            none("one problem, and the problem is the unit of inference")
        }
        _ => match replicated.interval(output) {
            Ok(found)
                if found.interval.low == found.interval.high
                    && Some(found.interval.low) == finding.value =>
            {
                // Resampling what never varied says nothing about what would.
                none("every cluster-bootstrap replicate gives the same value")
            }
            Ok(found) => {
                finding.low = Some(found.interval.low);
                finding.high = Some(found.interval.high);
                finding.level = Some(found.interval.level);
                bootstrap_method(settings, found.undefined)
            }
            Err(StatsError::Undefined {
                undefined,
                replicates,
            }) => none(&format!(
                "undefined in {undefined} of {replicates} cluster-bootstrap replicates"
            )),
            Err(error) => none(&error.to_string()),
        },
    };
    finding
}

fn bootstrap_method(settings: &FindingSettings, undefined: usize) -> String {
    let mut method = format!(
        "cluster bootstrap over problems, {} replicates, percentile, seed {}",
        settings.replicates, settings.seed
    );
    if undefined > 0 {
        method += &format!("; undefined in {undefined} replicates, which are left out");
    }
    method
}
