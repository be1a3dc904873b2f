//! AUROC and average precision of resamples, from units that are sorted once.

use super::simd::widest;
use super::weighted::{add, descending_order, indexable};
use super::{LANES, Lanes, StatsError, finite};

/// Units in descending order of a score, for ranking statistics of resamples.
#[derive(Debug, Clone)]
pub struct RankedLabels {
    /// Tie groups with a positive, each after the negatives that lie above it.
    steps: Vec<Step>,
    /// Negatives in groups of their own: their order does not matter between
    /// two steps, so those of one cluster are counted together.
    runs: Vec<Run>,
    /// Clusters of the units of the steps, positives before negatives.
    tied: Vec<u32>,
    /// Number of negatives of each cluster.
    negatives: Vec<f64>,
}

/// Negatives of one cluster in one run.
#[derive(Debug, Clone, Copy)]
struct Run {
    count: f64,
    cluster: u32,
}

/// A tie group that holds a positive; each field is an end within its list.
#[derive(Debug, Clone, Copy)]
struct Step {
    runs: u32,
    positives: u32,
    negatives: u32,
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
        let n_clusters = clusters.iter().max().map_or(0, |&c| c as usize + 1);
        let mut ranked = Self {
            steps: Vec::new(),
            runs: Vec::new(),
            tied: Vec::new(),
            negatives: vec![0.0; n_clusters],
        };
        let mut run = Vec::new();
        let order = descending_order(scores);
        for group in order.chunk_by(|&a, &b| scores[a as usize] == scores[b as usize]) {
            let of = |label: bool| {
                let units = group.iter().map(|&i| i as usize);
                units
                    .filter(move |&i| positive[i] == label)
                    .map(|i| clusters[i])
            };
            of(false).for_each(|cluster| ranked.negatives[cluster as usize] += 1.0);
            if of(true).next().is_none() {
                run.extend(of(false));
                continue;
            }
            ranked.close_run(&mut run);
            ranked.tied.extend(of(true));
            let positives = ranked.tied.len() as u32;
            ranked.tied.extend(of(false));
            ranked.steps.push(Step {
                runs: ranked.runs.len() as u32,
                positives,
                negatives: ranked.tied.len() as u32,
            });
        }
        Ok(ranked)
    }

    /// Stores a run of negatives, counted by cluster, and empties it.
    fn close_run(&mut self, run: &mut Vec<u32>) {
        run.sort_unstable();
        let by_cluster = run.chunk_by(|a, b| a == b);
        self.runs.extend(by_cluster.map(|same| Run {
            count: same.len() as f64,
            cluster: same[0],
        }));
        run.clear();
    }

    /// Writes AUROC, then average precision, of the resample: see
    /// [`super::auroc`] and [`super::average_precision`]. NaN where undefined.
    pub fn auroc_and_precision(&self, weights: &[Lanes], out: &mut [Lanes]) {
        let state = rank(self, weights);
        for (lane, negatives) in state.all_negatives.into_iter().enumerate() {
            let hits = state.hits[lane];
            // 0/0 where a class is missing: NaN, undefined.
            out[0][lane] = state.twice_u[lane] / (2.0 * hits * negatives);
            out[1][lane] = state.precision[lane] / hits;
        }
    }
}

/// Sums of the pass over ranked units.
#[derive(Debug, PartialEq)]
struct Ranking {
    all_negatives: Lanes,
    hits: Lanes,
    twice_u: Lanes,
    precision: Lanes,
}

widest! {
    /// One pass from the highest score to the lowest positive.
    fn rank(ranked: &RankedLabels, weights: &[Lanes]) -> Ranking = rank_body;
}

#[inline(always)]
fn rank_body(ranked: &RankedLabels, weights: &[Lanes]) -> Ranking {
    let zero = [0.0; LANES];
    let mut all_negatives = zero;
    for (count, weight) in ranked.negatives.iter().zip(weights) {
        add_scaled(&mut all_negatives, weight, *count);
    }
    let (mut hits, mut negatives) = (zero, zero);
    let (mut twice_u, mut precision) = (zero, zero);
    let (mut run, mut tied) = (0, 0);
    for step in &ranked.steps {
        for part in &ranked.runs[run..step.runs as usize] {
            add_scaled(&mut negatives, &weights[part.cluster as usize], part.count);
        }
        let (mut group_hits, mut group_negatives) = (zero, zero);
        for &cluster in &ranked.tied[tied..step.positives as usize] {
            add(&mut group_hits, &weights[cluster as usize]);
        }
        for &cluster in &ranked.tied[step.positives as usize..step.negatives as usize] {
            add(&mut group_negatives, &weights[cluster as usize]);
        }
        (run, tied) = (step.runs as usize, step.negatives as usize);
        for lane in 0..LANES {
            hits[lane] += group_hits[lane];
            negatives[lane] += group_negatives[lane];
            let below = all_negatives[lane] - negatives[lane];
            twice_u[lane] += group_hits[lane] * (2.0 * below + group_negatives[lane]);
            // A lane that has taken nothing has no hits either: 0/1, not 0/0.
            let taken = (hits[lane] + negatives[lane]).max(1.0);
            precision[lane] += group_hits[lane] * (hits[lane] / taken);
        }
    }
    Ranking {
        all_negatives,
        hits,
        twice_u,
        precision,
    }
}

#[inline(always)]
fn add_scaled(total: &mut Lanes, term: &Lanes, scale: f64) {
    for lane in 0..LANES {
        total[lane] += scale * term[lane];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instruction_set_does_not_change_a_bit() {
        let key = crate::rng::Key::new(3, "", 0, "test");
        let scores: Vec<f64> = (0..500).map(|i| (key.uniform(i) * 90.0).floor()).collect();
        let labels: Vec<bool> = (500..1000).map(|i| key.uniform(i) < 0.2).collect();
        let clusters: Vec<u32> = (0..500).map(|i| i % 7).collect();
        let ranked = RankedLabels::new(&scores, &labels, &clusters).unwrap();
        let weights: Vec<Lanes> = (0..7u64)
            .map(|c| std::array::from_fn(|lane| (c * 5 + lane as u64) as f64 % 4.0))
            .collect();
        assert_eq!(rank(&ranked, &weights), rank_body(&ranked, &weights));
    }
}
