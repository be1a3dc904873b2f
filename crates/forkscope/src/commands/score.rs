//! `forkscope score`: entropy, log-prob, rank and most probable tokens of every
//! completion position under one policy.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use forkscope_audit::{score_window, windows};
use forkscope_records::RunDir;
use forkscope_records::types::{Rollout, ScoreRow, Validity};
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::interrupt::interrupted;
use crate::terminal::output::Output;
use crate::terminal::progress::Progress;
use crate::terminal::sanitise::sanitise;
use crate::work::ledger::{Meter, Work};
use crate::work::models::{self, Named};
use crate::work::options::{RunOptions, TokenOptions};
use crate::work::plan::Plan;
use crate::work::run;

/// What `forkscope score` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Scores rollouts teacher-forced under one policy: one row per completion position \
        with the entropy (nats, T = 1, whole vocabulary), and of the predicted token the log-prob \
        and rank. Token ids are taken as recorded; nothing is tokenised again.",
    after_help = "Example:\n  forkscope sample --model embedded:base --problems embedded:problems \\\n    --limit 2 --out rollouts-to-score\n  \
        forkscope score --model embedded:reasoner \\\n    --rollouts rollouts-to-score --out scores"
)]
pub struct Arguments {
    /// Model directory, hub id, MODEL+ADAPTER, or embedded:NAME (base, reasoner, guarded, ...)
    #[arg(long, value_name = "M")]
    pub model: String,
    /// Rollouts: a run, a rollouts.parquet, or the reference's JSON
    #[arg(long, value_name = "R")]
    pub rollouts: PathBuf,
    /// Most probable tokens to record per position
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub record_topk: u16,
    #[command(flatten)]
    pub tokens: TokenOptions,
    #[command(flatten)]
    pub run: RunOptions,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let named = models::open(&a.model)?;
    let (mut rollouts, digest) = crate::work::rollouts::read(&a.rollouts, a.run.limit)?;
    crate::work::rollouts::check(&a.rollouts, &mut rollouts, &[&named.policy])?;
    if a.run.dry_run {
        return Plan::scoring(&[&named.policy], &rollouts).print(a.run.json);
    }
    let rows = into_run(a, &named, &rollouts, &digest, settings, &Meter::default())?;
    report(a, &rollouts, &rows)
}

/// The run of the command: opened, scored as far as it lacks rows, and
/// completed. Returns its rows; `digest` is that of the rollouts.
pub fn into_run(
    a: &Arguments,
    named: &Named,
    rollouts: &[Rollout],
    digest: &str,
    settings: &Settings,
    meter: &Meter,
) -> Result<Vec<ScoreRow>, Failure> {
    let manifest = run::manifest("score", settings).digest("data", digest);
    let manifest = run::with_policy(manifest, "model", named)?
        .setting("rollouts", a.rollouts.display().to_string())
        .setting("limit", json!(a.run.limit))
        .setting("record_topk", a.record_topk)
        .setting("row_group_rows", a.tokens.row_group_rows);
    Ok(match run::open(&a.run, manifest)? {
        Some(mut dir) => {
            crate::work::rollouts::keep(&dir, rollouts)?;
            let rows = score(a, named, rollouts, &mut dir, settings, meter)?;
            dir.complete()?;
            rows
        }
        None => forkscope_records::read_table(&a.run.out.join("tokens.parquet"))?,
    })
}

fn score(
    a: &Arguments,
    named: &Named,
    rollouts: &[Rollout],
    dir: &mut RunDir,
    settings: &Settings,
    meter: &Meter,
) -> Result<Vec<ScoreRow>, Failure> {
    let group = a.tokens.row_group_rows as usize;
    let mut table = dir.table::<ScoreRow>("tokens", group)?;
    let mut rows = table.read_kept()?;
    let total: usize = rollouts
        .iter()
        .filter(|r| windows::yields_rows(r))
        .map(|r| r.completion().len())
        .sum();
    let progress = Progress::new(total as u64, "positions scored", settings);
    progress.skip(rows.len() as u64);
    let mut seconds = 0.0;
    for (window, kept) in windows::windows(rollouts, table.rows_kept()) {
        let began = Instant::now();
        let new = score_window(&named.policy, &window, a.record_topk.into())?;
        seconds += began.elapsed().as_secs_f64();
        meter.add(Work::scoring(&named.policy, &window));
        progress.inc((new.len() - kept) as u64);
        for row in new.into_iter().skip(kept) {
            rows.push(row.clone());
            table.append(row)?;
        }
        if interrupted() {
            return Err(Failure::interrupted());
        }
    }
    table.finish()?;
    dir.time("score_s", seconds);
    dir.note("positions", rows.len());
    Ok(rows)
}

fn report(a: &Arguments, rollouts: &[Rollout], rows: &[ScoreRow]) -> Outcome {
    let n = rows.len() as f64;
    let mean = |f: &dyn Fn(&ScoreRow) -> f64| {
        (!rows.is_empty()).then(|| rows.iter().map(f).sum::<f64>() / n)
    };
    let entropy = mean(&|r| r.entropy_nats);
    let logprob = mean(&|r| f64::from(r.logprob));
    let greedy = rows.iter().filter(|r| r.token_id == r.argmax_id).count();
    let invalid = rollouts
        .iter()
        .filter(|r| !matches!(r.validity, Validity::Ok | Validity::Truncated))
        .count();
    let mut out = Output::open();
    if a.run.json {
        out.json(&json!({
            "schema": "forkscope/score/1",
            "run": a.run.out.display().to_string(),
            "rollouts": rollouts.len(),
            "rollouts_without_rows": invalid,
            "positions": rows.len(),
            "mean_entropy_nats": entropy,
            "mean_logprob_nats": logprob,
            "predicted_is_argmax": greedy,
        }))?;
    } else {
        let number = |x: Option<f64>| x.map_or("undefined".to_owned(), |x| format!("{x:.4} nats"));
        out.labelled("run", &sanitise(&a.run.out.display().to_string()))?;
        out.labelled(
            "positions",
            &format!(
                "{} of {} rollouts ({invalid} without rows)",
                rows.len(),
                rollouts.len()
            ),
        )?;
        out.labelled("entropy", &format!("{} mean", number(entropy)))?;
        out.labelled("log-prob", &format!("{} mean", number(logprob)))?;
        out.labelled(
            "argmax",
            &format!("{greedy} of {} predicted tokens are the argmax", rows.len()),
        )?;
    }
    out.finish()
}
