//! What bf16 alone does to the base: `noise.parquet`; and which positions of a
//! diff differ by more: `beyond_noise.parquet` and findings.

use std::time::Instant;

use forkscope_audit::coverage::{NoiseFloor, beyond_noise, noise_findings, noise_window};
use forkscope_audit::windows;
use forkscope_metrics::stats::BootstrapSettings;
use forkscope_policy::{Policy, Rounding};
use forkscope_records::RunDir;
use forkscope_records::types::{BeyondNoiseRow, DiffRow, Finding, NoiseRow, Rollout};

use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;

/// Rows per row group of both tables.
const ROW_GROUP: usize = 4096;

/// A diff whose noise is asked for.
pub struct Job<'a> {
    /// The base policy.
    pub base: &'a Policy,
    /// Rollouts of the diff, checked, in row order.
    pub rollouts: &'a [Rollout],
    /// Its rows.
    pub rows: &'a [DiffRow],
    /// False-discovery rate.
    pub rate: f64,
    /// Intervals.
    pub bootstrap: BootstrapSettings,
}

/// Measures the noise, writes both tables and returns the findings.
pub fn run(job: &Job<'_>, dir: &mut RunDir, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let noise = measure(job.base, job.rollouts, dir, settings)?;
    let floor = NoiseFloor::new(&noise)?;
    let beyond = beyond_noise(job.rows, &floor, job.rate)?;
    let mut table = dir.table::<BeyondNoiseRow>("beyond_noise", ROW_GROUP)?;
    if !table.is_whole() {
        let kept = usize::try_from(table.rows_kept()).unwrap_or(usize::MAX);
        table.append_all(beyond.iter().skip(kept).cloned())?;
    }
    table.finish()?;
    Ok(noise_findings(
        &noise,
        &beyond,
        job.rows,
        job.rate,
        &job.bootstrap,
    )?)
}

/// Noise of every completion position: what `noise.parquet` lacks is computed.
pub fn measure(
    base: &Policy,
    rollouts: &[Rollout],
    dir: &mut RunDir,
    settings: &Settings,
) -> Result<Vec<NoiseRow>, Failure> {
    let mut table = dir.table::<NoiseRow>("noise", ROW_GROUP)?;
    let mut rows = table.read_kept()?;
    let windows = windows::windows(rollouts, table.rows_kept());
    if !windows.is_empty() {
        let began = Instant::now();
        let weights = base.rounded(Rounding::Weights);
        let activations = base.rounded(Rounding::Activations);
        let yielding = rollouts.iter().filter(|r| windows::yields_rows(r));
        let total: usize = yielding.map(|r| r.completion().len()).sum();
        let progress = Progress::new(total as u64, "positions in bf16", settings);
        progress.skip(rows.len() as u64);
        for (window, kept) in windows {
            let new = noise_window(base, &weights, &activations, &window)?;
            progress.inc((new.len() - kept) as u64);
            for row in new.into_iter().skip(kept) {
                rows.push(row.clone());
                table.append(row)?;
            }
            if interrupted() {
                return Err(Failure::interrupted());
            }
        }
        dir.time("noise_s", began.elapsed().as_secs_f64());
    }
    table.finish()?;
    Ok(rows)
}
