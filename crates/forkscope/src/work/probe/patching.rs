//! Activation patching between base and policy on the texts of the decisions:
//! `patching.parquet`.

use std::collections::BTreeMap;

use forkscope_audit::awareness::patching::{PatchingPlan, PatchingSettings};
use forkscope_audit::findings::{FindingSettings, Patched, patching};
use forkscope_policy::Policy;
use forkscope_records::RunDir;
use forkscope_records::types::{ContrastItem, Finding, PatchingRow, Rollout};

use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;

/// Rows per row group.
const ROW_GROUP: usize = 4096;

/// How findings are made of the rows.
#[derive(Debug, Clone, Copy)]
pub struct PatchingFindings {
    /// Intervals.
    pub findings: FindingSettings,
    /// False-discovery rate of layers and heads.
    pub fdr: f64,
}

/// Patches what the table lacks and gives the findings of all rows.
pub fn run(
    (base, model): (&Policy, &Policy),
    texts: &[Rollout],
    items: &[ContrastItem],
    settings: &PatchingSettings,
    of: PatchingFindings,
    dir: &RunDir,
    cli: &Settings,
) -> Result<Vec<Finding>, Failure> {
    let clusters: BTreeMap<&str, &str> = items
        .iter()
        .map(|i| (i.id.as_str(), i.cluster.as_str()))
        .collect();
    let problem = |id: &str| (*clusters.get(id).unwrap_or(&id)).to_owned();
    let plan = PatchingPlan::new(base, model, texts, &problem, settings)?;
    let mut table = dir.table::<PatchingRow>("patching", ROW_GROUP)?;
    let mut rows = table.read_kept()?;
    if !table.is_whole() {
        let progress = Progress::new(plan.rows() as u64, "patches", cli);
        progress.skip(rows.len() as u64);
        let mut before = 0;
        for block in 0..plan.blocks() {
            let n = plan.rows_of(block);
            let kept = rows.len().saturating_sub(before).min(n);
            before += n;
            if kept == n {
                continue;
            }
            if interrupted() {
                return Err(Failure::interrupted());
            }
            let made: Vec<PatchingRow> = plan.run(block)?.into_iter().skip(kept).collect();
            progress.inc(made.len() as u64);
            table.append_all(made.iter().cloned())?;
            rows.extend(made);
        }
        progress.finish();
    }
    table.finish()?;
    let input = Patched {
        rows: &rows,
        counts: plan.counts(),
        problem: &problem,
        rate: of.fdr,
    };
    Ok(patching(&input, &of.findings)?)
}
