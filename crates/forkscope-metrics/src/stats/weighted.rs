//! Rank statistics of resamples, from units that are sorted once.
//!
//! A resample changes how often a unit counts, never the order of the values,
//! so each statistic is one pass over the sorted units with the multiplicity of
//! the unit's cluster as weight. Weights are whole numbers held in f64: counts
//! are exact below 2^53, and a resample gives what the plain function in
//! [`super`] gives for the units written out.

use super::quantile::{between, place};
use super::simd::widest;
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
#[derive(Clone, PartialEq)]
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
        let mut counts = vec![[0.0; LANES]; self.clusters.len().div_ceil(BLOCK)];
        running_counts(weights, &self.clusters, &mut counts);
        Totals {
            counts,
            sums: Vec::new(),
        }
    }

    /// Running counts and sums, and twice the area under the concentration curve.
    fn accumulate(&self, weights: &[Lanes]) -> (Totals, Lanes) {
        let blocks = self.values.len().div_ceil(BLOCK);
        let mut totals = Totals {
            counts: vec![[0.0; LANES]; blocks],
            sums: vec![[0.0; LANES]; blocks],
        };
        let units = (self.values.as_slice(), self.clusters.as_slice());
        let area = running_sums(weights, units, &mut totals);
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

widest! {
    /// Writes the running count at the end of each block.
    fn running_counts(
        weights: &[Lanes],
        clusters: &[u32],
        counts: &mut [Lanes],
    ) -> () = running_counts_body;
}

widest! {
    /// Writes the running counts and sums; returns the area.
    fn running_sums(
        weights: &[Lanes],
        units: (&[f64], &[u32]),
        totals: &mut Totals,
    ) -> Lanes = running_sums_body;
}

#[inline(always)]
fn running_counts_body(weights: &[Lanes], clusters: &[u32], counts: &mut [Lanes]) {
    let mut count = [0.0; LANES];
    for (rows, slot) in clusters.chunks(BLOCK).zip(counts) {
        for &cluster in rows {
            add(&mut count, &weights[cluster as usize]);
        }
        *slot = count;
    }
}

#[inline(always)]
fn running_sums_body(
    weights: &[Lanes],
    (values, clusters): (&[f64], &[u32]),
    totals: &mut Totals,
) -> Lanes {
    let (mut count, mut sum, mut area) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
    let rows = values.chunks(BLOCK).zip(clusters.chunks(BLOCK));
    let slots = totals.counts.iter_mut().zip(&mut totals.sums);
    for ((values, clusters), (counts, sums)) in rows.zip(slots) {
        for (value, &cluster) in values.iter().zip(clusters) {
            let weight = &weights[cluster as usize];
            add(&mut count, weight);
            for lane in 0..LANES {
                let before = sum[lane];
                sum[lane] += weight[lane] * value;
                area[lane] += weight[lane] * (before + sum[lane]);
            }
        }
        *counts = count;
        *sums = sum;
    }
    area
}

/// Positions are kept as u32.
pub(super) fn indexable(values: &[f64]) -> Result<(), StatsError> {
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
pub(super) fn descending_order(values: &[f64]) -> Vec<u32> {
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

#[inline(always)]
pub(super) fn add(total: &mut Lanes, term: &Lanes) {
    for lane in 0..LANES {
        total[lane] += term[lane];
    }
}

fn last(running: &[Lanes]) -> Lanes {
    running.last().copied().unwrap_or([0.0; LANES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instruction_set_does_not_change_a_bit() {
        let key = crate::rng::Key::new(4, "", 0, "test");
        let values: Vec<f64> = (0..500).map(|i| key.uniform(i)).collect();
        let clusters: Vec<u32> = (0..500).map(|i| i % 7).collect();
        let weights: Vec<Lanes> = (0..7u64)
            .map(|c| std::array::from_fn(|lane| (c * 5 + lane as u64) as f64 % 4.0))
            .collect();
        let mut wide = Totals {
            counts: vec![[0.0; LANES]; 8],
            sums: vec![[0.0; LANES]; 8],
        };
        let mut plain = wide.clone();
        let area = running_sums(&weights, (&values, &clusters), &mut wide);
        let same = running_sums_body(&weights, (&values, &clusters), &mut plain);
        assert!(area == same && wide == plain && area[0] > 0.0);
        let mut counts = vec![[0.0; LANES]; 8];
        running_counts(&weights, &clusters, &mut counts);
        assert!(counts == plain.counts);
    }
}
