//! `forkscope score`: entropy, log-prob, rank and most probable tokens of every
//! completion position under one policy.

use std::path::PathBuf;

use clap::Args;
use forkscope_records::types::{Rollout, Validity};
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::work::ledger::Meter;
use crate::work::models::{self, Named};
use crate::work::options::{RunOptions, TokenOptions};
use crate::work::plan::Plan;
use crate::work::run;
use crate::work::scoring::{self, Job, Totals};

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
    /// Keep the final hidden states (hidden.f32), so that training on these rollouts need not compute them
    #[arg(long)]
    pub keep_hidden: bool,
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
        return plan(a, &named, &rollouts).print(a.run.json);
    }
    let totals = into_run(a, &named, &rollouts, &digest, settings, &Meter::default())?;
    report(a, &rollouts, &totals)
}

fn plan(a: &Arguments, named: &Named, rollouts: &[Rollout]) -> Plan {
    let plan = Plan::scoring(&[&named.policy], rollouts);
    match a.keep_hidden {
        true => plan.and(
            "hidden_on_disk",
            scoring::hidden_bytes(&named.policy, rollouts),
            "bytes of hidden.f32",
        ),
        false => plan,
    }
}

/// The run of the command: opened, scored as far as it lacks rows, and
/// completed. Returns sums over its rows; `digest` is that of the rollouts.
pub fn into_run(
    a: &Arguments,
    named: &Named,
    rollouts: &[Rollout],
    digest: &str,
    settings: &Settings,
    meter: &Meter,
) -> Result<Totals, Failure> {
    let manifest = run::manifest("score", settings).digest("data", digest);
    let manifest = run::with_policy(manifest, "model", named)?
        .setting("rollouts", a.rollouts.display().to_string())
        .setting("limit", json!(a.run.limit))
        .setting("record_topk", a.record_topk)
        .setting("row_group_rows", a.tokens.row_group_rows);
    // Absent from runs without it, whose run.json stays as it was.
    let manifest = match a.keep_hidden {
        true => manifest.setting("keep_hidden", true),
        false => manifest,
    };
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return Ok(Totals::of_run(&a.run.out)?);
    };
    crate::work::rollouts::keep(&dir, rollouts)?;
    // Digested once, for the manifest.
    let digests = &dir.json().digests;
    let model = digests.get("model").and_then(|d| d.as_str());
    let model = model.unwrap_or_default().to_owned();
    let job = Job {
        policy: &named.policy,
        rollouts,
        topk: a.record_topk.into(),
        row_group: a.tokens.row_group_rows as usize,
        keep_hidden: a.keep_hidden.then_some(model.as_str()),
    };
    let totals = job.run(&mut dir, settings, meter)?;
    dir.complete()?;
    Ok(totals)
}

fn report(a: &Arguments, rollouts: &[Rollout], totals: &Totals) -> Outcome {
    let positions = totals.positions;
    let mean = |sum: f64| (positions > 0).then(|| sum / positions as f64);
    let entropy = mean(totals.entropy_nats);
    let logprob = mean(totals.logprob_nats);
    let greedy = totals.greedy;
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
            "positions": positions,
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
                "{positions} of {} rollouts ({invalid} without rows)",
                rollouts.len()
            ),
        )?;
        out.labelled("entropy", &format!("{} mean", number(entropy)))?;
        out.labelled("log-prob", &format!("{} mean", number(logprob)))?;
        out.labelled(
            "argmax",
            &format!("{greedy} of {positions} predicted tokens are the argmax"),
        )?;
    }
    out.finish()
}
