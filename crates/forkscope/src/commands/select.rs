//! `forkscope select`: the problems of middling difficulty, and the shorter of
//! their rollouts.

use std::path::PathBuf;

use clap::Args;
use forkscope_records::RunDir;
use forkscope_records::import::ReferenceRollout;
use forkscope_records::types::{Rollout, ScoreRow};
use forkscope_records::write_reference;
use forkscope_train::reasonmaxxer::{Candidate, Pool, PoolSettings, select_pool};
use serde_json::{Value, json};

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::interrupt::interrupted;
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::work::options::{RunOptions, TokenOptions};
use crate::work::plan::Plan;
use crate::work::pool::{self, GivenRollouts, POOL, REFERENCE, Rows, Tokens};
use crate::work::run;

/// What `forkscope select` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Chooses what is worth learning from: of the problems that have right and wrong \
        rollouts, those whose pass rate is closest to one half (ties: fewer truncated rollouts, \
        shorter completions, id), and of all their rollouts the shortest 80 %. No model is needed. \
        The run holds the chosen rollouts, the rows of those that were scored, and pool.json.",
    after_help = "Example:\n  forkscope sample --model embedded:base --problems embedded:problems \\\n    --limit 12 -n 4 --out rollouts-to-select\n  \
        forkscope select --rollouts rollouts-to-select --max-problems 4 --out pool"
)]
pub struct Arguments {
    /// Rollouts: a score run, a run without scores, a rollouts.parquet, or the reference's JSON
    #[arg(long, value_name = "R")]
    pub rollouts: PathBuf,
    #[command(flatten)]
    pub pool: PoolOptions,
    /// Also write the pool as the reference's rollout JSON, reference.json
    #[arg(long)]
    pub write_reference: bool,
    #[command(flatten)]
    pub tokens: TokenOptions,
    #[command(flatten)]
    pub run: RunOptions,
}

/// How the pool is chosen.
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Pool")]
pub struct PoolOptions {
    /// Most problems
    #[arg(long, alias = "max-target-problems", value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_problems: u32,
    /// Least pass rate of a problem
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_pass: f64,
    /// Greatest pass rate of a problem
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub max_pass: f64,
    /// Also problems whose rollouts are all right or all wrong: their advantages are 0
    #[arg(long)]
    pub allow_one_sign: bool,
    /// Share of the chosen problems' rollouts to keep, the shortest first
    #[arg(long, alias = "trim-fraction", value_name = "F", default_value_t = 0.8)]
    pub trim: f64,
    /// Leave out problems with ungraded rollouts instead of stopping at them
    #[arg(long)]
    pub skip_ungraded: bool,
}

impl PoolOptions {
    /// The settings, checked.
    pub fn settings(&self) -> Result<PoolSettings, Failure> {
        let settings = PoolSettings {
            max_problems: self.max_problems as usize,
            min_pass: self.min_pass,
            max_pass: self.max_pass,
            require_both: !self.allow_one_sign,
            trim_fraction: self.trim,
            skip_ungraded: self.skip_ungraded,
        };
        settings
            .check()
            .map_err(|e| Failure::Usage(e.to_string()))?;
        Ok(settings)
    }
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let chosen = choose(a)?;
    if a.run.dry_run {
        return plan(&chosen.pool).print(a.run.json);
    }
    into_run(a, &chosen, settings)?;
    report(a, &chosen.pool)
}

/// A pool, and what a run of it holds besides.
pub struct Chosen {
    /// The pool.
    pub pool: Pool,
    /// How it was chosen.
    pub settings: PoolSettings,
    /// Whether its rollouts have entropies.
    pub scored: bool,
    /// Rows of the rollouts that were given, where those are a scored run.
    tokens: Option<Tokens>,
    /// Digest of the rollouts that were given.
    digest: String,
    /// Digest of the model whose entropies they have.
    scored_by: Option<String>,
}

/// Reads the rollouts and chooses.
pub fn choose(a: &Arguments) -> Result<Chosen, Failure> {
    let settings = a.pool.settings()?;
    let named = |said: String| Failure::Input(format!("{}: {said}", a.rollouts.display()));
    if pool::is_selected(&a.rollouts) {
        return Err(named(format!(
            "this run is a pool already ({POOL} is in it), and choosing from it would trim it twice; \
             give the rollouts that it was chosen from"
        )));
    }
    let (given, tokens, digest) = pool::read_with_tokens(&a.rollouts)?;
    let (candidates, scored) = match given.limited(a.run.limit) {
        GivenRollouts::Scored(candidates) => (candidates, true),
        GivenRollouts::Plain(candidates) => (candidates, false),
        GivenRollouts::Processed(_) => {
            return Err(named(
                "its rollouts have decision positions and advantages, so their pool is chosen \
                 already; give the file to `train reasonmaxxer`"
                    .to_owned(),
            ));
        }
    };
    let pool = select_pool(candidates, &settings).map_err(|e| match e.is_internal() {
        true => e.into(),
        false => named(e.to_string()),
    })?;
    Ok(Chosen {
        pool,
        settings,
        scored,
        tokens,
        digest,
        scored_by: pool::scored_by(&a.rollouts),
    })
}

/// The run of the command: opened, written as far as it lacks rows, and
/// completed.
pub fn into_run(a: &Arguments, chosen: &Chosen, settings: &Settings) -> Outcome {
    let mut manifest = run::manifest("select", settings)
        .digest("data", chosen.digest.as_str())
        .setting("rollouts", a.rollouts.display().to_string())
        .setting("limit", json!(a.run.limit))
        .setting("pool", encode(&chosen.settings)?)
        .setting("write_reference", a.write_reference)
        .setting("row_group_rows", a.tokens.row_group_rows);
    if let Some(model) = &chosen.scored_by {
        manifest = manifest.digest("scored_by", model.as_str());
    }
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return Ok(());
    };
    write(a, chosen, &dir)?;
    dir.note("problems", chosen.pool.problems.len());
    dir.note("rollouts", chosen.pool.rollouts.len());
    dir.complete()?;
    Ok(())
}

fn write(a: &Arguments, chosen: &Chosen, dir: &RunDir) -> Outcome {
    let pool = &chosen.pool;
    let rollouts: Vec<Rollout> = pool.rollouts.iter().map(|c| c.rollout.clone()).collect();
    crate::work::rollouts::keep(dir, &rollouts)?;
    if let Some(tokens) = &chosen.tokens {
        let mut table = dir.table::<ScoreRow>("tokens", a.tokens.row_group_rows as usize)?;
        if !table.is_whole() {
            let kept = usize::try_from(table.rows_kept()).unwrap_or(usize::MAX);
            let rows = tokens.of(&rollouts)?;
            for row in in_order(&rows, &rollouts).skip(kept) {
                table.append(row.clone())?;
            }
        }
        table.finish()?;
    }
    if interrupted() {
        return Err(Failure::interrupted());
    }
    // Entropies that came without rows have no other place in a run.
    if a.write_reference || (chosen.scored && chosen.tokens.is_none()) {
        let mut bytes = Vec::new();
        let list: Vec<ReferenceRollout> = pool.rollouts.iter().map(reference).collect();
        write_reference(&mut bytes, &dir.path().join(REFERENCE), &list)?;
        dir.write_atomic(REFERENCE, &bytes)?;
    }
    let document = json!({
        "schema": "forkscope/pool/1",
        "settings": encode(&chosen.settings)?,
        "counts": encode(&pool.counts)?,
        "problems": encode(&pool.problems)?,
    });
    let mut bytes = serde_json::to_vec_pretty(&document)
        .map_err(|e| Failure::Internal(format!("{POOL} cannot be encoded: {e}")))?;
    bytes.push(b'\n');
    dir.write_atomic(POOL, &bytes)?;
    Ok(())
}

/// The rows of these rollouts, in their order.
fn in_order<'r>(rows: &'r Rows, rollouts: &'r [Rollout]) -> impl Iterator<Item = &'r ScoreRow> {
    let of = |r: &'r Rollout| rows.get(&(r.problem_id.clone(), r.sample));
    rollouts.iter().filter_map(of).flatten()
}

fn reference(c: &Candidate) -> ReferenceRollout {
    ReferenceRollout {
        entropies_nats: c.entropies_nats.clone(),
        ..c.rollout.clone().into()
    }
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Value, Failure> {
    serde_json::to_value(value)
        .map_err(|e| Failure::Internal(format!("{POOL} cannot be encoded: {e}")))
}

/// Completion tokens of the pool.
fn completion_tokens(pool: &Pool) -> usize {
    pool.rollouts.iter().map(Candidate::completion_tokens).sum()
}

fn plan(pool: &Pool) -> Plan {
    let c = &pool.counts;
    Plan::of(vec![
        ("problems_given", c.problems as f64, "problems"),
        ("problems_chosen", c.problems_chosen as f64, "problems"),
        ("rollouts_given", c.rollouts as f64, "rollouts"),
        ("rollouts_kept", c.rollouts_kept as f64, "rollouts"),
        (
            "completion_tokens_kept",
            completion_tokens(pool) as f64,
            "tokens",
        ),
    ])
}

fn report(a: &Arguments, pool: &Pool) -> Outcome {
    let c = &pool.counts;
    let rates = pool.problems.iter().map(|p| p.pass_rate);
    let mean = rates.sum::<f64>() / pool.problems.len().max(1) as f64;
    let mut out = Output::open();
    if a.run.json {
        out.json(&json!({
            "schema": "forkscope/select/1",
            "run": a.run.out.display().to_string(),
            "counts": encode(c)?,
            "mean_pass_rate": mean,
            "completion_tokens": completion_tokens(pool),
        }))?;
        return out.finish();
    }
    out.labelled("run", &sanitise(&a.run.out.display().to_string()))?;
    out.labelled(
        "problems",
        &format!(
            "{} of {}: left out {} all right, {} all wrong, {} outside the band, {} farther from one half, {} ungraded, {} without a usable rollout",
            c.problems_chosen,
            c.problems,
            c.problems_all_right,
            c.problems_all_wrong,
            c.problems_outside_band,
            c.problems_beyond_max,
            c.problems_ungraded,
            c.problems_unusable,
        ),
    )?;
    out.labelled("pass rate", &format!("{mean:.4} mean over the pool"))?;
    out.labelled(
        "rollouts",
        &format!(
            "{} of {}, {} completion tokens: the longest has {}, {} are truncated",
            c.rollouts_kept,
            c.rollouts,
            completion_tokens(pool),
            c.cutoff_completion_tokens,
            c.rollouts_kept_truncated,
        ),
    )?;
    out.labelled(
        "one sign",
        &format!(
            "{} problems have only right or only wrong rollouts left (anchors alone), {} have none",
            c.problems_one_sign_after_trim, c.problems_trimmed_away
        ),
    )?;
    out.finish()
}
