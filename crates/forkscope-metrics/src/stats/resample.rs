//! The cluster bootstrap of many statistics at once.
//!
//! Replicates are taken in blocks of [`LANES`]. A block draws its cluster
//! multiplicities once; every statistic then makes one pass over its presorted
//! units with one lane per replicate, which the compiler turns into vector
//! instructions. Memory is one block per thread, whatever the number of
//! clusters or replicates. Blocks are independent and collected in order, so the
//! bits do not depend on the number of threads.

use rayon::prelude::*;

use super::bootstrap::{bootstrap_key, draw_clusters};
use super::{Bootstrap, BootstrapSettings, StatsError, open_unit, percentile_interval};

/// Replicates per block: two AVX-512 registers of f64, so that one addition
/// need not wait for the one before.
pub const LANES: usize = 16;

/// One number per replicate of a block.
pub type Lanes = [f64; LANES];

/// Draws resamples of clusters and evaluates statistics on them.
#[derive(Debug, Clone)]
pub struct Resampler {
    n_clusters: usize,
    settings: BootstrapSettings,
}

/// Statistics of the data and of its resamples.
#[derive(Debug, Clone)]
pub struct Replicated {
    /// Each statistic on the data as they are; `None` where undefined.
    pub point: Vec<Option<f64>>,
    /// Replicates of each statistic, in order of draw.
    replicates: Vec<Vec<Option<f64>>>,
    level: f64,
}

impl Resampler {
    /// Resamples of `n_clusters` clusters. With fewer than two clusters nothing
    /// is drawn and only points are computed.
    ///
    /// # Errors
    /// A level outside (0, 1).
    pub fn new(n_clusters: usize, settings: BootstrapSettings) -> Result<Self, StatsError> {
        open_unit("level", settings.level)?;
        Ok(Self {
            n_clusters,
            settings,
        })
    }

    /// Evaluates `outputs` statistics. `pass` gets the multiplicity of each
    /// cluster per lane, and writes one value per statistic and lane: NaN where
    /// the statistic is undefined (it becomes `None` here).
    pub fn run<F>(&self, outputs: usize, pass: F) -> Replicated
    where
        F: Fn(&[Lanes], &mut [Lanes]) + Sync,
    {
        let evaluate = |weights: &[Lanes]| {
            let mut out = vec![[f64::NAN; LANES]; outputs];
            pass(weights, &mut out);
            out
        };
        let point = evaluate(&vec![[1.0; LANES]; self.n_clusters])
            .iter()
            .map(|lanes| defined(lanes[0]))
            .collect();
        let drawn = match self.n_clusters {
            0 | 1 => 0,
            _ => self.settings.replicates,
        };
        let key = bootstrap_key(self.settings.seed);
        let blocks: Vec<Vec<Lanes>> = (0..drawn.div_ceil(LANES as u32))
            .into_par_iter()
            .map(|block| {
                let mut weights = vec![[0.0; LANES]; self.n_clusters];
                for lane in 0..LANES as u32 {
                    let replicate = block * LANES as u32 + lane;
                    draw_clusters(&key, replicate, self.n_clusters, |cluster| {
                        weights[cluster][lane as usize] += 1.0;
                    });
                }
                evaluate(&weights)
            })
            .collect();
        let replicates = (0..outputs)
            .map(|output| {
                let lanes = blocks.iter().flat_map(|block| block[output]);
                lanes.map(defined).take(drawn as usize).collect()
            })
            .collect();
        Replicated {
            point,
            replicates,
            level: self.settings.level,
        }
    }
}

impl Replicated {
    /// Percentile interval of one statistic.
    ///
    /// # Errors
    /// Nothing was drawn, or the statistic is undefined in more than a tenth of
    /// the replicates.
    pub fn interval(&self, output: usize) -> Result<Bootstrap, StatsError> {
        let replicates = self.replicates.get(output).map_or(&[][..], Vec::as_slice);
        percentile_interval(replicates, self.level)
    }

    /// Replicates of one statistic, in order of draw.
    pub fn replicates(&self, output: usize) -> &[Option<f64>] {
        self.replicates.get(output).map_or(&[], Vec::as_slice)
    }
}

fn defined(value: f64) -> Option<f64> {
    (!value.is_nan()).then_some(value)
}
