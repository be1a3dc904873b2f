//! Making a plan from the base alone: `base_tokens.parquet`, `noise.parquet`
//! where the rule asks for it, `plan.parquet` and `plan.json`.

use std::path::Path;
use std::time::Instant;

use forkscope_audit::coverage::{
    Assumption, BudgetPlan, Calibration, Changed, Design, Draw, Expectation, Gate, GateKind, Kind,
    NoiseFloor, NoiseRule, PlanDocument, Population, expect_positions, expect_problems, full_cost,
    plan_findings,
};
use forkscope_audit::{score_window, windows};
use forkscope_policy::Policy;
use forkscope_records::digest::sha256_bytes;
use forkscope_records::types::{DiffRow, Finding, NoiseRow, PlanRow, Rollout, ScoreRow, Stratum};
use forkscope_records::{RunDir, read_table};

use super::{PLAN, ROW_GROUP};
use crate::cli::Settings;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;
use crate::work::noise_floor;

/// What is planned.
pub struct Job<'a> {
    /// The base policy.
    pub base: &'a Policy,
    /// Rollouts whose positions are the population, checked, in row order.
    pub rollouts: &'a [Rollout],
    /// A run of `diff` that says what to expect.
    pub calibration: Option<&'a Path>,
    /// Changed share that is assumed without one.
    pub assumed_share: f64,
    /// What puts positions first.
    pub gate: GateKind,
    /// What `plan.parquet` lists.
    pub design: Kind,
    /// Share of a budget for the certain stratum.
    pub certain_share: f64,
    /// Shares of the units, ascending.
    pub budgets: &'a [f64],
    /// When a position is changed.
    pub changed: Changed,
    /// Confidence level of the bounds.
    pub level: f64,
    /// Seed of the draws.
    pub seed: u64,
    /// Tokens per second and policy, where the user knows.
    pub tokens_per_second: Option<f64>,
}

/// Makes the plan, writes it, and returns its findings.
pub fn plan(job: &Job<'_>, dir: &mut RunDir, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let rows = base_rows(job, dir, settings)?;
    let population = Population::new(&rows, job.rollouts)?;
    let noise = match job.changed {
        Changed::Noise(p) => {
            let rows = noise_floor::measure(job.base, job.rollouts, dir, settings)?;
            Some(NoiseFloor::new(&rows)?.rule(p)?)
        }
        _ => None,
    };
    let expectation = expectation(job)?;
    let gate = match (&expectation, job.gate) {
        (Expectation::Calibrated(c), _) => c.gate.clone(),
        (Expectation::Assumed(_), GateKind::Entropy) => Gate::Entropy,
        (Expectation::Assumed(_), GateKind::Learned) => {
            return Err(Failure::Usage(
                "--gate learned is fitted on a calibration; give --calibration".into(),
            ));
        }
    };
    let scores = gate.scores(&population)?;
    let design = Design::new(&population, &scores, job.certain_share, job.seed)?;
    let mut lines = Vec::new();
    let mut draws = Vec::new();
    for budget in job.budgets {
        let positions = design.draw(Kind::Positions, *budget)?;
        let problems = design.draw(Kind::Problems, *budget)?;
        lines.push(BudgetPlan {
            positions: expect_positions(
                &population,
                &positions,
                &expectation,
                (job.certain_share, job.seed),
                job.level,
            )?,
            problems: expect_problems(&population, &problems, &expectation, job.seed, job.level)?,
        });
        draws.push(match job.design {
            Kind::Positions => positions,
            Kind::Problems => problems,
        });
    }
    write_rows(dir, &population, &scores, &draws)?;
    let document = document(job, &population, gate, noise, &expectation, lines);
    let mut json = serde_json::to_vec_pretty(&document)
        .map_err(|e| Failure::Internal(format!("a plan cannot be written: {e}")))?;
    json.push(b'\n');
    dir.write_atomic(PLAN, &json)?;
    Ok(plan_findings(&document))
}

/// Rows of the base at every position: what the table lacks is computed.
fn base_rows(
    job: &Job<'_>,
    dir: &mut RunDir,
    settings: &Settings,
) -> Result<Vec<ScoreRow>, Failure> {
    let mut table = dir.table::<ScoreRow>("base_tokens", ROW_GROUP)?;
    let mut rows = table.read_kept()?;
    let windows = windows::windows(job.rollouts, table.rows_kept());
    let progress = Progress::new(
        windows.iter().map(|(w, _)| tokens(w)).sum(),
        "positions of the base",
        settings,
    );
    let (began, mut forwarded) = (Instant::now(), 0u64);
    for (window, kept) in windows {
        let new = score_window(job.base, &window, 2)?;
        progress.inc(new.len() as u64);
        forwarded += tokens(&window) + prompt_tokens(&window);
        for row in new.into_iter().skip(kept) {
            rows.push(row.clone());
            table.append(row)?;
        }
        if interrupted() {
            return Err(Failure::interrupted());
        }
    }
    table.finish()?;
    if forwarded > 0 {
        let seconds = began.elapsed().as_secs_f64().max(1e-9);
        dir.time("base_tokens_s", seconds);
        dir.time("base_tokens_per_s", forwarded as f64 / seconds);
    }
    Ok(rows)
}

fn tokens(window: &[&Rollout]) -> u64 {
    window.iter().map(|r| r.completion().len() as u64).sum()
}

/// Tokens of the prompts, once for neighbours that share one.
fn prompt_tokens(window: &[&Rollout]) -> u64 {
    let prompt = |r: &Rollout| r.token_ids.get(..r.prompt_len).map(<[u32]>::to_vec);
    let mut before = None;
    let mut sum = 0;
    for rollout in window {
        let own = prompt(rollout);
        if own != before {
            sum += rollout.prompt_len as u64;
            before = own;
        }
    }
    sum
}

fn expectation(job: &Job<'_>) -> Result<Expectation, Failure> {
    let Some(run) = job.calibration else {
        return Ok(Expectation::Assumed(Assumption {
            changed_share: job.assumed_share,
        }));
    };
    let named = |failure: Failure| failure.at(&format!("--calibration {}", run.display()));
    let rows: Vec<DiffRow> =
        read_table(&run.join("tokens.parquet")).map_err(|e| named(Failure::from(e)))?;
    let rollouts: Vec<Rollout> =
        read_table(&run.join("rollouts.parquet")).map_err(|e| named(Failure::from(e)))?;
    let noise = match job.changed {
        Changed::Noise(p) => {
            let path = run.join("noise.parquet");
            if !path.exists() {
                return Err(Failure::Input(format!(
                    "--calibration {}: it has no noise.parquet, which --changed {} needs; make it with `forkscope diff --noise-floor`",
                    run.display(),
                    job.changed
                )));
            }
            let rows: Vec<NoiseRow> = read_table(&path)?;
            Some(NoiseFloor::new(&rows)?.rule(p)?)
        }
        _ => None,
    };
    let made = Calibration::new(&rows, &rollouts, job.changed, noise.as_ref(), job.gate)
        .map_err(|e| named(Failure::from(e)))?;
    Ok(Expectation::Calibrated(Box::new(made)))
}

fn write_rows(
    dir: &RunDir,
    population: &Population,
    scores: &[f64],
    draws: &[Draw],
) -> Result<(), Failure> {
    let mut table = dir.table::<PlanRow>("plan", ROW_GROUP)?;
    if !table.is_whole() {
        let kept = usize::try_from(table.rows_kept()).unwrap_or(usize::MAX);
        let mut skip = kept;
        for draw in draws {
            for row in plan_rows(population, scores, draw) {
                if skip > 0 {
                    skip -= 1;
                    continue;
                }
                table.append(row)?;
            }
        }
    }
    table.finish()?;
    Ok(())
}

/// The rows of one budget, in the order of positions.
pub(super) fn plan_rows(population: &Population, scores: &[f64], draw: &Draw) -> Vec<PlanRow> {
    let strata = draw.strata(population);
    let rows = strata
        .into_iter()
        .filter_map(|(index, stratum, inclusion)| {
            let position = population.positions.get(index as usize)?;
            let member = population.member_of(position)?;
            Some(PlanRow {
                problem_id: member.problem_id.clone(),
                sample: member.sample,
                t: member.prompt_len + position.offset,
                budget: draw.budget,
                stratum: match stratum {
                    true => Stratum::Certain,
                    false => Stratum::Sampled,
                },
                inclusion_probability: inclusion,
                entropy_base_nats: position.entropy,
                score: scores.get(index as usize).copied().unwrap_or(0.0),
            })
        });
    rows.collect()
}

fn document(
    job: &Job<'_>,
    population: &Population,
    gate: Gate,
    noise: Option<NoiseRule>,
    expectation: &Expectation,
    budgets: Vec<BudgetPlan>,
) -> PlanDocument {
    let mut committed = format!("{}\n", PlanDocument::SCHEMA).into_bytes();
    committed.extend(job.seed.to_le_bytes());
    PlanDocument {
        schema: PlanDocument::SCHEMA.into(),
        design: job.design,
        certain_share: job.certain_share,
        seed: job.seed,
        seed_sha256: sha256_bytes(&committed),
        level: job.level,
        changed: job.changed,
        noise,
        gate,
        expectation: expectation.words(),
        expected_changed_share: expectation.changed_share(),
        positions: population.len() as u64,
        rollouts: population.members.len() as u64,
        problems: population.problems as u64,
        full_tokens: full_cost(population).tokens,
        tokens_per_second: job.tokens_per_second,
        budgets,
    }
}
