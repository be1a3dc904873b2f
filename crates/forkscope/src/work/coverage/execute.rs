//! Executing a plan: both policies at the planned positions, and what that says
//! about all of them.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use forkscope_audit::DiffSettings;
use forkscope_audit::coverage::{
    Design, Draw, PlanDocument, Population, audit_window, coverage_findings, outcomes,
    plan_findings,
};
use forkscope_policy::Policy;
use forkscope_records::types::{DiffRow, Finding, PlanRow, Rollout, ScoreRow};
use forkscope_records::{RunDir, read_table};

use super::{PLAN, ROW_GROUP, plan::plan_rows};
use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;

/// Planned positions that go through the policies together, about.
const WINDOW: usize = 4096;
/// Tokens of the rollouts that go through them together, about.
const WINDOW_TOKENS: usize = 65_536;

/// A plan that was read back and found to be what its seed draws.
pub struct Planned {
    /// The document.
    pub document: PlanDocument,
    /// The rollouts that it is about.
    pub rollouts: Vec<Rollout>,
    population: Population,
    design: Design,
    scores: Vec<f64>,
    rows: Vec<PlanRow>,
}

impl Planned {
    /// Reads the plan in the run at `run`.
    pub fn read(run: &Path) -> Result<Self, Failure> {
        let path = run.join(PLAN);
        let bad = |said: String| Failure::Input(format!("{}: {said}", path.display()));
        let bytes = std::fs::read(&path).map_err(|e| {
            bad(format!(
                "cannot be read ({e}); give a run of `forkscope plan`"
            ))
        })?;
        let document: PlanDocument =
            serde_json::from_slice(&bytes).map_err(|e| bad(format!("is no plan: {e}")))?;
        if document.schema != PlanDocument::SCHEMA {
            return Err(bad(format!(
                "schema {:?} is not {:?}; it was written by another version of forkscope",
                document.schema,
                PlanDocument::SCHEMA
            )));
        }
        let rollouts: Vec<Rollout> = read_table(&run.join("rollouts.parquet"))?;
        let base: Vec<ScoreRow> = read_table(&run.join("base_tokens.parquet"))?;
        let rows: Vec<PlanRow> = read_table(&run.join("plan.parquet"))?;
        let population = Population::new(&base, &rollouts)?;
        let scores = document.gate.scores(&population)?;
        let design = Design::new(&population, &scores, document.certain_share, document.seed)?;
        Ok(Self {
            document,
            rollouts,
            population,
            design,
            scores,
            rows,
        })
    }

    /// Budgets of the plan.
    pub fn budgets(&self) -> Vec<f64> {
        let lines = self.document.budgets.iter();
        lines.map(|b| b.positions.budget).collect()
    }

    /// The draw of a budget, which must be what `plan.parquet` lists.
    fn draw(&self, budget: f64) -> Result<Draw, Failure> {
        let draw = self.design.draw(self.document.design, budget)?;
        let listed: Vec<&PlanRow> = self.rows.iter().filter(|r| r.budget == budget).collect();
        let drawn = plan_rows(&self.population, &self.scores, &draw);
        let same = listed.len() == drawn.len()
            && listed.iter().zip(&drawn).all(|(a, b)| {
                (&a.problem_id, a.sample, a.t, a.stratum)
                    == (&b.problem_id, b.sample, b.t, b.stratum)
            });
        match same {
            true => Ok(draw),
            false => Err(Failure::Input(format!(
                "plan.parquet lists {} positions at a budget of {budget} that are not the {} that plan.json's seed and gate draw; the plan was changed after it was made",
                listed.len(),
                drawn.len()
            ))),
        }
    }
}

/// A plan with the policies to execute it on.
pub struct Execution<'a> {
    /// The plan.
    pub planned: &'a Planned,
    /// Which of its budgets.
    pub budget: f64,
    /// The base policy.
    pub base: &'a Policy,
    /// The tuned policy.
    pub tuned: &'a Policy,
    /// Tokens per policy to record, classes.
    pub diff: DiffSettings,
}

/// Positions of a rollout that are planned.
type Wanted<'r> = (&'r Rollout, Vec<u32>);

/// Makes the rows that `tokens.parquet` lacks, and returns them with the
/// findings: what was planned, what was found, what that bounds.
pub fn execute(
    job: &Execution<'_>,
    dir: &mut RunDir,
    settings: &Settings,
) -> Result<(Vec<DiffRow>, Vec<Finding>), Failure> {
    let planned = job.planned;
    let draw = planned.draw(job.budget)?;
    let indices = draw.positions(&planned.population);
    let wanted = wanted(planned, &indices)?;
    let rows = rows(job, &wanted, dir, settings)?;
    if rows.len() != indices.len() {
        return Err(Failure::Input(format!(
            "{} of {} planned positions could be compared; execute the plan with policies that can score its rollouts",
            rows.len(),
            indices.len()
        )));
    }
    let rule = planned.document.changed;
    let found = outcomes(&rows, rule, planned.document.noise.as_ref())?;
    let audited: Vec<_> = indices.into_iter().zip(found).collect();
    let mut findings = coverage_findings(
        &planned.population,
        &draw,
        &audited,
        rule,
        planned.document.level,
    )?;
    findings.extend(plan_findings(&planned.document));
    Ok((rows, findings))
}

/// Planned offsets by rollout, in row order.
fn wanted<'a>(planned: &'a Planned, indices: &[u32]) -> Result<Vec<Wanted<'a>>, Failure> {
    let by_name: HashMap<(&str, u32), &Rollout> = planned
        .rollouts
        .iter()
        .map(|r| ((r.problem_id.as_str(), r.sample), r))
        .collect();
    let mut out: Vec<Wanted<'a>> = Vec::new();
    let mut current = None;
    for index in indices {
        let position = planned.population.positions.get(*index as usize);
        let found = position.and_then(|p| {
            let member = planned.population.member_of(p)?;
            let rollout = by_name.get(&(member.problem_id.as_str(), member.sample))?;
            Some((p, *rollout))
        });
        let (position, rollout) =
            found.ok_or_else(|| Failure::Internal("a planned position is nowhere".into()))?;
        match out.last_mut() {
            Some((_, offsets)) if current == Some(position.member) => offsets.push(position.offset),
            _ => out.push((rollout, vec![position.offset])),
        }
        current = Some(position.member);
    }
    Ok(out)
}

fn rows(
    job: &Execution<'_>,
    wanted: &[Wanted<'_>],
    dir: &mut RunDir,
    settings: &Settings,
) -> Result<Vec<DiffRow>, Failure> {
    let mut table = dir.table::<DiffRow>("tokens", ROW_GROUP)?;
    let mut rows = table.read_kept()?;
    let total: usize = wanted.iter().map(|(_, offsets)| offsets.len()).sum();
    let progress = Progress::new(total as u64, "positions audited", settings);
    progress.skip(rows.len() as u64);
    let began = Instant::now();
    let mut done = 0;
    for window in windows(wanted) {
        let size: usize = window.iter().map(|(_, offsets)| offsets.len()).sum();
        let skip = rows.len().saturating_sub(done).min(size);
        done += size;
        if skip == size {
            continue;
        }
        let new = audit_window(job.base, job.tuned, window, job.diff)?;
        progress.inc((new.len() - skip) as u64);
        for row in new.into_iter().skip(skip) {
            rows.push(row.clone());
            table.append(row)?;
        }
        if interrupted() {
            return Err(Failure::interrupted());
        }
    }
    table.finish()?;
    dir.time("audit_s", began.elapsed().as_secs_f64());
    dir.note("positions", rows.len());
    Ok(rows)
}

/// Stretches of rollouts with about so many positions and tokens.
fn windows<'a, 'r>(wanted: &'a [Wanted<'r>]) -> Vec<&'a [Wanted<'r>]> {
    let mut out = Vec::new();
    let (mut from, mut positions, mut tokens) = (0, 0, 0);
    for (i, (rollout, offsets)) in wanted.iter().enumerate() {
        let full = positions + offsets.len() > WINDOW || tokens > WINDOW_TOKENS;
        if full && i > from {
            out.push(wanted.get(from..i).unwrap_or(&[]));
            (from, positions, tokens) = (i, 0, 0);
        }
        positions += offsets.len();
        tokens += rollout.token_ids.len();
    }
    out.push(wanted.get(from..).unwrap_or(&[]));
    out
}
