//! The pair diff of rollouts into a run: `tokens.parquet`, `findings.json`,
//! `token_pieces.json`, `report.html`.

use std::collections::HashSet;
use std::time::Instant;

use forkscope_audit::findings::{FindingInput, FindingSettings, ModelCost, Side, findings};
use forkscope_audit::{DiffSettings, diff_window, windows};
use forkscope_policy::Policy;
use forkscope_records::types::{DiffRow, Findings, Rollout};
use forkscope_records::{RunDir, TokenPieces, write_findings};
use forkscope_report::{ReportData, render_html};

use super::models::Named;
use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;

/// What is compared, and how.
pub struct Comparison<'a> {
    /// The base policy.
    pub base: &'a Named,
    /// The tuned policy.
    pub tuned: &'a Named,
    /// Rollouts to score, in row order.
    pub rollouts: &'a [Rollout],
    /// Whose they are, if known.
    pub by: Option<Side>,
    /// The other policy's rollouts on the same problems.
    pub other: Option<&'a [Rollout]>,
    /// What is recorded.
    pub diff: DiffSettings,
    /// How findings are made.
    pub findings: FindingSettings,
    /// Rows per row group, which is also the unit of work.
    pub row_group_rows: usize,
}

/// What a comparison leaves in memory.
pub struct Compared {
    /// What was found.
    pub findings: Findings,
    /// One row per position.
    pub rows: Vec<DiffRow>,
    /// Text of the tokens that occur.
    pub pieces: TokenPieces,
}

impl Comparison<'_> {
    /// Scores what the table lacks, writes everything, marks the run complete
    /// and returns the findings.
    pub fn run(&self, mut run: RunDir, settings: &Settings) -> Result<Findings, Failure> {
        let compared = self.make(&mut run, settings)?;
        let found = compared.findings.clone();
        compared.report(&mut run, self.rollouts)?;
        run.complete()?;
        Ok(found)
    }

    /// Scores what the table lacks; the run holds tokens and their pieces then,
    /// findings are left to the caller.
    pub fn make(&self, run: &mut RunDir, settings: &Settings) -> Result<Compared, Failure> {
        let rows = self.score(run, settings)?;
        let began = Instant::now();
        let pieces = self.pieces(&rows);
        let found = findings(
            &FindingInput {
                rows: &rows,
                rollouts: self.rollouts,
                rollouts_by: self.by,
                other_rollouts: self.other,
                base_cost: Some(cost(&self.base.policy)),
                tuned_cost: Some(cost(&self.tuned.policy)),
                pieces: &|id| pieces.get(id).map(str::to_owned),
            },
            &self.findings,
        )?;
        pieces.write(run)?;
        run.time("findings_s", began.elapsed().as_secs_f64());
        Ok(Compared {
            findings: found,
            rows,
            pieces,
        })
    }

    fn score(&self, run: &mut RunDir, settings: &Settings) -> Result<Vec<DiffRow>, Failure> {
        let mut table = run.table::<DiffRow>("tokens", self.row_group_rows)?;
        let mut rows = table.read_kept()?;
        let windows = windows::windows(self.rollouts, table.rows_kept());
        let yielding = self.rollouts.iter().filter(|r| windows::yields_rows(r));
        let total: usize = yielding.map(|r| r.completion().len()).sum();
        let progress = Progress::new(total as u64, "positions compared", settings);
        progress.skip(rows.len() as u64);
        let (mut scoring, mut writing) = (0.0, 0.0);
        for (window, kept) in windows {
            let began = Instant::now();
            let new = diff_window(&self.base.policy, &self.tuned.policy, &window, self.diff)?;
            scoring += began.elapsed().as_secs_f64();
            let began = Instant::now();
            progress.inc((new.len() - kept) as u64);
            for row in new.into_iter().skip(kept) {
                rows.push(row.clone());
                table.append(row)?;
            }
            writing += began.elapsed().as_secs_f64();
            if interrupted() {
                return Err(Failure::interrupted());
            }
        }
        let began = Instant::now();
        table.finish()?;
        run.time("score_s", scoring);
        run.time("write_s", writing + began.elapsed().as_secs_f64());
        run.note("positions", rows.len());
        Ok(rows)
    }

    fn pieces(&self, rows: &[DiffRow]) -> TokenPieces {
        let mut ids: HashSet<u32> = self
            .rollouts
            .iter()
            .flat_map(|r| r.token_ids.iter().copied())
            .collect();
        for row in rows {
            ids.extend([row.argmax_base_id, row.argmax_tuned_id]);
            ids.extend(row.topk_base.ids.iter().chain(&row.topk_tuned.ids));
        }
        let text = self.base.policy.text().or(self.tuned.policy.text());
        ids.into_iter()
            .filter_map(|id| Some((id, text?.tokenizer.piece(id)?)))
            .collect()
    }
}

impl Compared {
    /// Writes findings and report.
    pub fn report(self, run: &mut RunDir, rollouts: &[Rollout]) -> Result<(), Failure> {
        write_findings(run, &self.findings)?;
        let began = Instant::now();
        let html = render_html(&ReportData {
            run: described(run)?,
            findings: self.findings,
            rollouts: rollouts.to_vec(),
            rows: self.rows,
            pieces: self.pieces.pieces,
        })?;
        run.write_atomic("report.html", html.as_bytes())?;
        run.time("report_s", began.elapsed().as_secs_f64());
        Ok(())
    }
}

/// `run.json` as it will be once the report beside it exists: complete, and
/// without times, so that a resumed run ends in the same report.
pub fn described(run: &RunDir) -> Result<serde_json::Value, Failure> {
    let mut json = serde_json::to_value(run.json())
        .map_err(|e| Failure::Internal(format!("cannot describe the run: {e}")))?;
    if let Some(map) = json.as_object_mut() {
        map.insert("status".into(), "complete".into());
        map.shift_remove("timing");
    }
    Ok(json)
}

fn cost(policy: &Policy) -> ModelCost {
    ModelCost {
        flops_per_token: policy.flops_per_token(),
        attention_flops_per_token_per_context: policy.attention_flops(),
    }
}
