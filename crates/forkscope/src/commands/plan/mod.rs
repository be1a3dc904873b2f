//! `forkscope plan`: which positions to audit under a budget, what that costs,
//! and the bound that it buys; and the execution of a plan.

mod options;
mod print;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use forkscope_audit::DiffSettings;
use forkscope_records::digest::sha256_bytes;
use forkscope_records::types::{DiffRow, Finding, Findings, Rollout};
use forkscope_records::{RunDir, RunManifest, read_run_json, write_findings};
use forkscope_report::{ReportData, render_html};
use forkscope_tasks::Verifier;
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::progress::Progress;
use crate::work::compare::described;
use crate::work::coverage::{self, Execution, PLAN, Planned};
use crate::work::models::{self, Named};
use crate::work::plan::Plan;
use crate::work::{prompts, rollouts, run};
pub use options::Arguments;

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    a.design.check()?;
    match (&a.execution.execute, &a.execution.tuned, a.execution.at) {
        (Some(plan), Some(tuned), Some(at)) => execute(a, settings, (plan, tuned, at)),
        _ => make(a, settings),
    }
}

fn make(a: &Arguments, settings: &Settings) -> Outcome {
    let base = models::open(&a.base)?;
    let manifest = run::with_policy(run::manifest("plan", settings), "base", &base)?;
    let d = &a.design;
    let mut manifest = manifest
        .setting("limit", json!(a.run.limit))
        .setting("gate", d.gate.name())
        .setting("design", d.design.name())
        .setting("certain", d.certain)
        .setting("budget", json!(d.budgets()))
        .setting("changed", d.changed.to_string())
        .setting("level", d.level)
        .setting("tokens_per_second", json!(d.tokens_per_second));
    manifest = match &d.calibration {
        Some(path) => calibrated(manifest, path)?,
        None => manifest.setting("assume_changed", d.assume_changed),
    };
    let made = match (&a.rollouts, &a.problems) {
        (Some(path), _) => given(a, &base, path, manifest)?,
        (None, Some(path)) => sampled(a, &base, path, manifest, settings)?,
        (None, None) => return Err(Failure::Usage("give --rollouts or --problems".into())),
    };
    let (mut dir, rollouts) = match made {
        Made::Plan => return Ok(()),
        Made::Complete => return print::plan(a),
        Made::Open(dir, rollouts) => (*dir, rollouts),
    };
    let budgets = d.budgets();
    let job = coverage::Job {
        base: &base.policy,
        rollouts: &rollouts,
        calibration: d.calibration.as_deref(),
        assumed_share: d.assume_changed,
        gate: d.gate.kind(),
        design: d.design.kind(),
        certain_share: d.certain,
        budgets: &budgets,
        changed: d.changed,
        level: d.level,
        seed: settings.seed,
        tokens_per_second: d.tokens_per_second,
    };
    let found = coverage::plan(&job, &mut dir, settings)?;
    close(dir, found, rollouts, Vec::new())?;
    print::plan(a)
}

/// What there is to go on with.
enum Made {
    /// Nothing: the dry run was printed.
    Plan,
    /// Nothing: the run is complete.
    Complete,
    /// A run with its population.
    Open(Box<RunDir>, Vec<Rollout>),
}

/// A calibration under the digest of its rows.
fn calibrated(manifest: RunManifest, run: &Path) -> Result<RunManifest, Failure> {
    let bytes = rollouts::bytes_of(&run.join("tokens.parquet"))
        .map_err(|failure| failure.at("--calibration is to be a run of `forkscope diff`"))?;
    Ok(manifest
        .setting("calibration", run.display().to_string())
        .digest("calibration", sha256_bytes(&bytes)))
}

/// Rollouts that somebody made.
fn given(a: &Arguments, base: &Named, path: &Path, manifest: RunManifest) -> Result<Made, Failure> {
    a.sampling.refuse("--rollouts are there already")?;
    let (mut rollouts, digest) = rollouts::read(path, a.run.limit)?;
    rollouts::check(path, &mut rollouts, &[&base.policy])?;
    if a.run.dry_run {
        Plan::scoring(&[&base.policy], &rollouts).print(a.run.json)?;
        return Ok(Made::Plan);
    }
    let manifest = manifest
        .digest("data", digest)
        .setting("rollouts", path.display().to_string());
    let Some(dir) = run::open(&a.run, manifest)? else {
        return Ok(Made::Complete);
    };
    rollouts::keep(&dir, &rollouts)?;
    Ok(Made::Open(Box::new(dir), rollouts))
}

/// Rollouts of the base, sampled here.
fn sampled(
    a: &Arguments,
    base: &Named,
    path: &Path,
    manifest: RunManifest,
    settings: &Settings,
) -> Result<Made, Failure> {
    let sampler = a.sampling.settings(settings.seed)?;
    let style = a.sampling.style()?;
    let set = prompts::read(path, a.run.limit)?;
    if base.policy.text().is_none() {
        return Err(models::no_tokenizer(&base.spec));
    }
    let prompts = prompts::render(base, &set.problems, &style, &a.sampling.stop)?;
    prompts::check_room(&base.policy, &prompts.prompts)?;
    if a.run.dry_run {
        Plan::sampling(&base.policy, &prompts.prompts, &a.sampling).print(a.run.json)?;
        return Ok(Made::Plan);
    }
    let manifest = manifest
        .digest("data", set.digest.as_str())
        .setting("problems", path.display().to_string());
    let manifest = super::sample::with_sampling(manifest, &a.sampling, &prompts);
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return Ok(Made::Complete);
    };
    let total = prompts.prompts.len() as u64 * u64::from(a.sampling.n);
    let progress = Progress::new(total, &format!("rollouts of {}", base.spec), settings);
    let began = Instant::now();
    let job = rollouts::Job {
        named: base,
        prompts: &prompts.prompts,
        problems: &set.problems,
        settings: sampler,
        verifier: Verifier::Auto,
    };
    let table = dir.table("rollouts", rollouts::ROW_GROUP)?;
    let mut rollouts = rollouts::sample(&job, table, &progress)?;
    progress.finish();
    dir.time("sample_s", began.elapsed().as_secs_f64());
    rollouts::check(path, &mut rollouts, &[&base.policy])?;
    Ok(Made::Open(Box::new(dir), rollouts))
}

fn execute(a: &Arguments, settings: &Settings, (path, tuned, at): (&Path, &str, f64)) -> Outcome {
    a.sampling.refuse("the plan has its rollouts already")?;
    let mut planned = Planned::read(path)?;
    let budgets = planned.budgets();
    if !budgets.contains(&at) {
        let known: Vec<String> = budgets
            .iter()
            .map(|b| format!("{}%", (b * 1e8).round() / 1e6))
            .collect();
        return Err(Failure::Usage(format!(
            "--at {at}: the plan has no such budget; it has {}",
            known.join(", ")
        )));
    }
    let (base, tuned) = models::open_pair(&a.base, tuned)?;
    same_base(path, &base)?;
    rollouts::check(path, &mut planned.rollouts, &[&base.policy, &tuned.policy])?;
    if a.run.dry_run {
        let line = planned
            .document
            .budgets
            .iter()
            .find(|b| b.positions.budget == at);
        let tokens = line.map_or(0, |b| b.positions.cost.tokens) as f64;
        return Plan::of(vec![(
            "tokens_to_forward",
            tokens,
            "tokens per policy, at most",
        )])
        .print(a.run.json);
    }
    let document = rollouts::bytes_of(&path.join(PLAN))?;
    let rows = rollouts::bytes_of(&path.join("plan.parquet"))?;
    let manifest = run::with_policy(run::manifest("plan", settings), "base", &base)?;
    let manifest = run::with_policy(manifest, "tuned", &tuned)?
        .setting("execute", path.display().to_string())
        .setting("at", at)
        .setting("record_topk", a.execution.record_topk)
        .digest("plan", sha256_bytes(&document))
        .digest("plan_rows", sha256_bytes(&rows));
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return print::executed(a);
    };
    rollouts::keep(&dir, &planned.rollouts)?;
    dir.write_atomic(PLAN, &document)?;
    let job = Execution {
        planned: &planned,
        budget: at,
        base: &base.policy,
        tuned: &tuned.policy,
        diff: DiffSettings {
            record_topk: a.execution.record_topk.into(),
            ..DiffSettings::default()
        },
    };
    let (_, found) = coverage::execute(&job, &mut dir, settings)?;
    let rollouts = planned.rollouts;
    close(dir, found, rollouts, Vec::new())?;
    print::executed(a)
}

/// Refuses another base than the one that the plan was made with.
fn same_base(path: &Path, base: &Named) -> Result<(), Failure> {
    let json = read_run_json(path)?;
    let planned = json.digests.get("base").and_then(|d| d.as_str());
    if planned == Some(base.digest()?.as_str()) {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "{} was planned with another base than {}; execute it with the same files",
        path.display(),
        base.spec
    )))
}

/// Findings and report; the run is complete then. The report has no token view:
/// it would show the audited positions as if they were all.
fn close(
    dir: RunDir,
    found: Vec<Finding>,
    rollouts: Vec<Rollout>,
    rows: Vec<DiffRow>,
) -> Result<(), Failure> {
    let findings = Findings {
        schema: Findings::SCHEMA.into(),
        findings: found,
    };
    write_findings(&dir, &findings)?;
    let html = render_html(&ReportData {
        run: described(&dir)?,
        findings,
        rollouts,
        rows,
        pieces: BTreeMap::new(),
    })?;
    dir.write_atomic("report.html", html.as_bytes())?;
    dir.complete()?;
    Ok(())
}
