//! Rank statistics of resamples, from units that are sorted once.
//!
//! A resample changes how often a unit counts, never the order of the values,
//! so each statistic is one pass over the sorted units with the multiplicity of
//! the unit's cluster as weight. Weights are whole numbers held in f64: counts
//! are exact below 2^53, and a resample gives what the plain function in
//! [`super`] gives for the units written out.

use super::quantile::{between, place};
use super::{LANES, Lanes, StatsError, finite};

/// Rows between two stored running totals: a look-up is a binary search over
/// blocks and a walk of at most this many rows.
const BLOCK: usize = 64;

/// Values in descending order, each with the cluster it came from.
#[derive(Debug, Clone)]
pub struct Descending {
    values: Vec<f64>,
    clusters: Vec<u32>,
}

/// Running totals at the end of each block of rows, per lane.
struct Totals {
    counts: Vec<Lanes>,
    sums: Vec<Lanes>,
}

/// The row at which a running count passes a target.
struct Place {
    row: usize,
    count_before: f64,
    sum_before: f64,
}

impl Descending {
    /// Sorts the values; equal ones keep their order.
    ///
    /// # Errors
    /// Different lengths or a value that is not finite.
    pub fn new(values: &[f64], clusters: &[u32]) -> Result<Self, StatsError> {
        if values.len() != clusters.len() {
            return Err(StatsError::Length {
                what: "clusters",
                found: clusters.len(),
                expected: values.len(),
            });
        }
        finite("values", values, 0)?;
        indexable(values)?;
        let order = descending_order(values);
        Ok(Self {
            values: order.iter().map(|&i| values[i as usize]).collect(),
            clusters: order.iter().map(|&i| clusters[i as usize]).collect(),
        })
    }

    /// The values, largest first.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Type 7 quantiles of the resample: see [`super::quantile`]. NaN in a lane
    /// without units. Writes as many outputs as there are `quantiles`.
    pub fn quantiles(&self, weights: &[Lanes], quantiles: &[f64], out: &mut [Lanes]) {
        let totals = self.count(weights);
        self.write_quantiles(weights, &totals, quantiles, out);
    }

    /// For values that are not negative: writes the quantiles, then the share of
    /// the total held by each top fraction ([`super::top_share`]), then the Gini
    /// coefficient ([`super::gini`]). Shares and Gini are NaN in a lane whose
    /// total is zero.
    pub fn spread(
        &self,
        weights: &[Lanes],
        quantiles: &[f64],
        fractions: &[f64],
        out: &mut [Lanes],
    ) {
        let (totals, area) = self.accumulate(weights);
        let (first, rest) = out.split_at_mut(quantiles.len());
        self.write_quantiles(weights, &totals, quantiles, first);
        let (count, sum) = (last(&totals.counts), last(&totals.sums));
        for lane in 0..LANES {
            let (n, total) = (count[lane], sum[lane]);
            for (slot, fraction) in rest.iter_mut().zip(fractions) {
                let place = self.locate(weights, &totals, lane, fraction * n);
                let held = match self.values.get(place.row) {
                    Some(value) => place.sum_before + (fraction * n - place.count_before) * value,
                    None => total,
                };
                slot[lane] = held / total;
            }
            if let Some(slot) = rest.get_mut(fractions.len()) {
                slot[lane] = area[lane] / (n * total) - 1.0;
            }
        }
    }

    fn write_quantiles(
        &self,
        weights: &[Lanes],
        totals: &Totals,
        quantiles: &[f64],
        out: &mut [Lanes],
    ) {
        let counts = last(&totals.counts);
        for (slot, q) in out.iter_mut().zip(quantiles) {
            for lane in 0..LANES {
                let end = counts[lane] - 1.0;
                let (lower, fraction) = place(end, *q);
                // The k-th smallest of n is the (n - 1 - k)-th largest.
                let value = |k: f64| {
                    let place = self.locate(weights, totals, lane, end - k);
                    self.values.get(place.row).copied().unwrap_or(f64::NAN)
                };
                slot[lane] = if end < 0.0 {
                    f64::NAN
                } else {
                    between(value(lower), value((lower + 1.0).min(end)), fraction)
                };
            }
        }
    }

    /// Running counts only.
    fn count(&self, weights: &[Lanes]) -> Totals {
        let mut count = [0.0; LANES];
        let counts = self.clusters.chunks(BLOCK).map(|rows| {
            for &cluster in rows {
                add(&mut count, &weights[cluster as usize]);
            }
            count
        });
        Totals {
            counts: counts.collect(),
            sums: Vec::new(),
        }
    }

    /// Running counts and sums, and twice the area under the concentration curve.
    fn accumulate(&self, weights: &[Lanes]) -> (Totals, Lanes) {
        let (mut count, mut sum, mut area) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        let blocks = self.values.len().div_ceil(BLOCK);
        let mut totals = Totals {
            counts: Vec::with_capacity(blocks),
            sums: Vec::with_capacity(blocks),
        };
        for (values, clusters) in self.values.chunks(BLOCK).zip(self.clusters.chunks(BLOCK)) {
            for (value, &cluster) in values.iter().zip(clusters) {
                let weight = &weights[cluster as usize];
                add(&mut count, weight);
                for lane in 0..LANES {
                    let before = sum[lane];
                    sum[lane] += weight[lane] * value;
                    area[lane] += weight[lane] * (before + sum[lane]);
                }
            }
            totals.counts.push(count);
            totals.sums.push(sum);
        }
        (totals, area)
    }

    /// First row at which the running count exceeds `target`; one past the end
    /// if none does.
    fn locate(&self, weights: &[Lanes], totals: &Totals, lane: usize, target: f64) -> Place {
        let block = totals.counts.partition_point(|count| count[lane] <= target);
        let before = |running: &[Lanes]| {
            let previous = block.checked_sub(1).and_then(|b| running.get(b));
            previous.map_or(0.0, |lanes| lanes[lane])
        };
        let (mut count, mut sum) = (before(&totals.counts), before(&totals.sums));
        let start = (block * BLOCK).min(self.values.len());
        for row in start..self.values.len() {
            let weight = weights[self.clusters[row] as usize][lane];
            if count + weight > target {
                return Place {
                    row,
                    count_before: count,
                    sum_before: sum,
                };
            }
            count += weight;
            sum += weight * self.values[row];
        }
        Place {
            row: self.values.len(),
            count_before: count,
            sum_before: sum,
        }
    }
}

/// Units in descending order of a score, for ranking statistics of resamples.
#[derive(Debug, Clone)]
pub struct RankedLabels {
    units: Vec<Unit>,
    n_clusters: usize,
}

#[derive(Debug, Clone, Copy)]
struct Unit {
    cluster: u32,
    role: Role,
    /// Whether the tie group ends here.
    closes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Role {
    Positive,
    /// Shares its score with a positive.
    TiedNegative,
    /// Shares its score with negatives only: ties do not matter.
    Negative,
}

/// State of the pass over ranked units.
#[derive(Default)]
struct Ranking {
    hits: Lanes,
    negatives: Lanes,
    group_hits: Lanes,
    group_negatives: Lanes,
    twice_u: Lanes,
    precision: Lanes,
}

impl RankedLabels {
    /// Sorts the units by score.
    ///
    /// # Errors
    /// Different lengths or a score that is not finite.
    pub fn new(scores: &[f64], positive: &[bool], clusters: &[u32]) -> Result<Self, StatsError> {
        for (what, found) in [("labels", positive.len()), ("clusters", clusters.len())] {
            if found != scores.len() {
                return Err(StatsError::Length {
                    what,
                    found,
                    expected: scores.len(),
                });
            }
        }
        finite("scores", scores, 0)?;
        indexable(scores)?;
        let order = descending_order(scores);
        let mut units = Vec::with_capacity(order.len());
        for tied in order.chunk_by(|&a, &b| scores[a as usize] == scores[b as usize]) {
            let any = tied.iter().any(|&i| positive[i as usize]);
            units.extend(tied.iter().enumerate().map(|(i, &unit)| Unit {
                cluster: clusters[unit as usize],
                role: match (positive[unit as usize], any) {
                    (true, _) => Role::Positive,
                    (false, true) => Role::TiedNegative,
                    (false, false) => Role::Negative,
                },
                closes: i + 1 == tied.len(),
            }));
        }
        let n_clusters = clusters.iter().max().map_or(0, |&c| c as usize + 1);
        Ok(Self { units, n_clusters })
    }

    /// Writes AUROC, then average precision, of the resample: see
    /// [`super::auroc`] and [`super::average_precision`]. NaN where undefined.
    pub fn auroc_and_precision(&self, weights: &[Lanes], out: &mut [Lanes]) {
        let weights = &weights[..self.n_clusters];
        let mut all_negatives = [0.0; LANES];
        for unit in self.units.iter().filter(|u| u.role != Role::Positive) {
            add(&mut all_negatives, &weights[unit.cluster as usize]);
        }
        let mut state = Ranking::default();
        for unit in &self.units {
            let weight = &weights[unit.cluster as usize];
            match unit.role {
                Role::Negative => {
                    add(&mut state.negatives, weight);
                    continue;
                }
                Role::Positive => add(&mut state.group_hits, weight),
                Role::TiedNegative => add(&mut state.group_negatives, weight),
            }
            if unit.closes {
                state.close_group(&all_negatives);
            }
        }
        for (lane, negatives) in all_negatives.into_iter().enumerate() {
            let hits = state.hits[lane];
            // 0/0 where a class is missing: NaN, undefined.
            out[0][lane] = state.twice_u[lane] / (2.0 * hits * negatives);
            out[1][lane] = state.precision[lane] / hits;
        }
    }
}

impl Ranking {
    fn close_group(&mut self, all_negatives: &Lanes) {
        for (lane, all) in all_negatives.iter().enumerate() {
            let (hits, negatives) = (self.group_hits[lane], self.group_negatives[lane]);
            self.hits[lane] += hits;
            self.negatives[lane] += negatives;
            let below = all - self.negatives[lane];
            self.twice_u[lane] += hits * (2.0 * below + negatives);
            if hits > 0.0 {
                let taken = self.hits[lane] + self.negatives[lane];
                self.precision[lane] += hits * (self.hits[lane] / taken);
            }
        }
        self.group_hits = [0.0; LANES];
        self.group_negatives = [0.0; LANES];
    }
}

/// Positions are kept as u32.
fn indexable(values: &[f64]) -> Result<(), StatsError> {
    if u32::try_from(values.len()).is_ok() {
        return Ok(());
    }
    Err(StatsError::OutOfRange {
        what: "the number of values",
        value: values.len() as f64,
        range: "[0, 2^32)",
    })
}

/// Indices in descending order of value, equal values in input order.
fn descending_order(values: &[f64]) -> Vec<u32> {
    let mut keyed: Vec<(u64, u32)> = values
        .iter()
        .zip(0u32..)
        .map(|(&value, index)| (descending_key(value), index))
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, index)| index).collect()
}

/// A whole number that orders finite values from large to small; -0 as 0.
fn descending_key(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 0 {
        !bits ^ (1 << 63)
    } else {
        bits
    }
}

fn add(total: &mut Lanes, term: &Lanes) {
    for lane in 0..LANES {
        total[lane] += term[lane];
    }
}

fn last(running: &[Lanes]) -> Lanes {
    running.last().copied().unwrap_or([0.0; LANES])
}
