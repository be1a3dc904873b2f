//! `forkscope diff`: where, token by token, the second policy differs from the
//! first.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use forkscope_audit::DiffSettings;
use forkscope_audit::findings::{FindingSettings, Side};
use forkscope_metrics::stats::BootstrapSettings;
use forkscope_records::types::Rollout;
use forkscope_records::{RunDir, RunManifest, read_findings};
use forkscope_tasks::Verifier;
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::progress::Progress;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::write_findings;
use crate::work::compare::Comparison;
use crate::work::models::{self, Named};
use crate::work::options::{RunOptions, SamplingOptions, TokenOptions};
use crate::work::plan::Plan;
use crate::work::{noise_floor, prompts, rollouts, run};

/// What `forkscope diff` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Compares two policies at every completion position of the same rollouts: entropies, \
        KL both ways, JS, TV, cross-entropy, log-probs, ranks and classes, one row each; then findings \
        with intervals, and a report. KL is of tuned against base unless its name says otherwise.\n\n\
        Rollouts are given (--rollouts), or sampled here from problems (--problems, --rollouts-by); \
        then both policies are sampled, so that answers can be compared too.",
    after_help = "Example:\n  forkscope diff --base embedded:base --tuned embedded:reasoner \\\n    --problems embedded:problems --limit 4 -n 2 --out pair"
)]
pub struct Arguments {
    /// Base policy b: model directory, hub id, MODEL+ADAPTER, or embedded:base
    #[arg(long, value_name = "B")]
    base: String,
    /// Tuned policy p, likewise
    #[arg(long, value_name = "T")]
    tuned: String,
    /// Rollouts to compare on: a run, a rollouts.parquet, or the reference's JSON
    #[arg(
        long,
        value_name = "R",
        required_unless_present = "problems",
        conflicts_with = "problems"
    )]
    rollouts: Option<PathBuf>,
    /// Problems to sample rollouts for: JSONL, JSON, Parquet, or embedded:problems
    #[arg(long, value_name = "FILE")]
    problems: Option<PathBuf>,
    /// Whose rollouts are compared on (with --rollouts: whose they are, if you know)
    #[arg(long, value_enum, value_name = "base|tuned")]
    rollouts_by: Option<By>,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Most probable tokens to record per policy and position
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000))]
    record_topk: u16,
    /// Base rank up to which a changed argmax is reranked, not shifted
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    class_topk: u32,
    /// KL(tuned || base) in nats above which a position counts as changed by KL
    #[arg(long, value_name = "NATS", default_value_t = 0.1)]
    kl_changed: f64,
    /// Measure what bf16 does to the base by itself, and count as changed what lies beyond it
    #[arg(long)]
    noise_floor: bool,
    /// False-discovery rate of what lies beyond the noise floor
    #[arg(
        long,
        value_name = "Q",
        default_value_t = 0.05,
        requires = "noise_floor"
    )]
    noise_fdr: f64,
    /// Bootstrap replicates of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    replicates: u32,
    #[command(flatten)]
    tokens: TokenOptions,
    #[command(flatten)]
    run: RunOptions,
}

/// One of the two policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The base policy.
    Base,
    /// The tuned policy.
    Tuned,
}

impl By {
    fn side(self) -> Side {
        match self {
            Self::Base => Side::Base,
            Self::Tuned => Side::Tuned,
        }
    }
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    match make(a, settings)? {
        Made::Run => print(a),
        Made::Plan => Ok(()),
    }
}

/// What there is after the work.
pub enum Made {
    /// A complete run.
    Run,
    /// A plan, which was printed.
    Plan,
}

/// Everything but the printing of findings.
pub fn make(a: &Arguments, settings: &Settings) -> Result<Made, Failure> {
    if !a.kl_changed.is_finite() || a.kl_changed < 0.0 {
        let said = format!(
            "--kl-changed is {}, not a number of nats, 0 or more",
            a.kl_changed
        );
        return Err(Failure::Usage(said));
    }
    if !(a.noise_fdr > 0.0 && a.noise_fdr < 1.0) {
        let said = format!("--noise-fdr is {}, not between 0 and 1", a.noise_fdr);
        return Err(Failure::Usage(said));
    }
    let (base, tuned) = models::open_pair(&a.base, &a.tuned)?;
    let manifest = run::with_policy(run::manifest("diff", settings), "base", &base)?;
    let manifest = run::with_policy(manifest, "tuned", &tuned)?
        .setting("limit", json!(a.run.limit))
        .setting("record_topk", a.record_topk)
        .setting("class_topk", a.class_topk)
        .setting("kl_changed", a.kl_changed)
        .setting("replicates", a.replicates)
        .setting("row_group_rows", a.tokens.row_group_rows);
    // Absent from runs without it, whose run.json stays as it was.
    let manifest = match a.noise_floor {
        true => manifest.setting("noise_fdr", a.noise_fdr),
        false => manifest,
    };
    match (&a.rollouts, &a.problems) {
        (Some(rollouts), _) => given(a, settings, (&base, &tuned), rollouts, manifest),
        (None, Some(problems)) => sampled(a, settings, (&base, &tuned), problems, manifest),
        (None, None) => Err(Failure::Usage("give --rollouts or --problems".into())),
    }
}

/// Rollouts that somebody made.
fn given(
    a: &Arguments,
    settings: &Settings,
    (base, tuned): (&Named, &Named),
    path: &Path,
    manifest: RunManifest,
) -> Result<Made, Failure> {
    a.sampling.refuse("--rollouts are there already")?;
    let (mut rollouts, digest) = rollouts::read(path, a.run.limit)?;
    rollouts::check(path, &mut rollouts, &[&base.policy, &tuned.policy])?;
    if a.run.dry_run {
        Plan::scoring(&[&base.policy, &tuned.policy], &rollouts).print(a.run.json)?;
        return Ok(Made::Plan);
    }
    let by = a.rollouts_by.map(By::side);
    let manifest = manifest
        .digest("data", digest)
        .setting("rollouts", path.display().to_string())
        .setting("rollouts_by", json!(a.rollouts_by.map(name)));
    let Some(dir) = run::open(&a.run, manifest)? else {
        return Ok(Made::Run);
    };
    rollouts::keep(&dir, &rollouts)?;
    compare(a, settings, (base, tuned), (&rollouts, by, None), dir)
}

/// Rollouts that are sampled here, from both policies.
fn sampled(
    a: &Arguments,
    settings: &Settings,
    pair: (&Named, &Named),
    path: &Path,
    manifest: RunManifest,
) -> Result<Made, Failure> {
    let by = a.rollouts_by.unwrap_or(By::Tuned);
    let (first, second) = if by == By::Base {
        pair
    } else {
        (pair.1, pair.0)
    };
    let mut sampler = a.sampling.settings(settings.seed)?;
    // Answers of both are compared: neither may be longer than both can take.
    sampler.max_len = first.policy.context_len().min(second.policy.context_len());
    let style = a.sampling.style()?;
    let set = prompts::read(path, a.run.limit)?;
    // One text side for both: the same prompt ids, or nothing could be compared.
    let prompts = prompts::render(first, &set.problems, &style, &a.sampling.stop)?;
    for named in [first, second] {
        prompts::check_room(&named.policy, &prompts.prompts)?;
    }
    if a.run.dry_run {
        Plan::pair(
            [&first.policy, &second.policy],
            &prompts.prompts,
            &a.sampling,
        )
        .print(a.run.json)?;
        return Ok(Made::Plan);
    }
    let manifest = manifest
        .digest("data", set.digest.as_str())
        .setting("problems", path.display().to_string())
        .setting("rollouts_by", name(by));
    let manifest = super::sample::with_sampling(manifest, &a.sampling, &prompts);
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return Ok(Made::Run);
    };
    let mut both: Vec<Vec<Rollout>> = Vec::new();
    for (named, table) in [(first, "rollouts"), (second, "rollouts_other")] {
        let prompts = prompts.ended_by(first, named);
        let total = prompts.len() as u64 * u64::from(a.sampling.n);
        let progress = Progress::new(total, &format!("rollouts of {}", named.spec), settings);
        let began = Instant::now();
        let job = rollouts::Job {
            named,
            prompts: &prompts,
            problems: &set.problems,
            settings: sampler.clone(),
            verifier: Verifier::Auto,
        };
        both.push(rollouts::sample(
            &job,
            dir.table(table, rollouts::ROW_GROUP)?,
            &progress,
        )?);
        progress.finish();
        dir.time(&format!("sample_{table}_s"), began.elapsed().as_secs_f64());
    }
    let [mut rollouts, other]: [Vec<Rollout>; 2] = both.try_into().map_err(|_| {
        Failure::Internal("two policies gave other than two sets of rollouts".into())
    })?;
    rollouts::check(path, &mut rollouts, &[&first.policy, &second.policy])?;
    compare(
        a,
        settings,
        pair,
        (&rollouts, Some(by.side()), Some(&other)),
        dir,
    )
}

fn compare(
    a: &Arguments,
    settings: &Settings,
    (base, tuned): (&Named, &Named),
    (rollouts, by, other): (&[Rollout], Option<Side>, Option<&[Rollout]>),
    mut dir: RunDir,
) -> Result<Made, Failure> {
    let comparison = Comparison {
        base,
        tuned,
        rollouts,
        by,
        other,
        diff: DiffSettings {
            class_k: a.class_topk,
            record_topk: a.record_topk.into(),
        },
        findings: FindingSettings {
            seed: settings.seed,
            replicates: a.replicates,
            top_k: a.class_topk,
            kl_changed: a.kl_changed,
            ..FindingSettings::default()
        },
        row_group_rows: a.tokens.row_group_rows as usize,
    };
    if !a.noise_floor {
        comparison.run(dir, settings)?;
        return Ok(Made::Run);
    }
    let mut compared = comparison.make(&mut dir, settings)?;
    let noise = noise_floor::Job {
        base: &base.policy,
        rollouts,
        rows: &compared.rows,
        rate: a.noise_fdr,
        bootstrap: BootstrapSettings {
            seed: settings.seed,
            replicates: a.replicates,
            ..BootstrapSettings::default()
        },
    };
    let found = noise_floor::run(&noise, &mut dir, settings)?;
    compared.findings.findings.extend(found);
    compared.report(&mut dir, rollouts)?;
    dir.complete()?;
    Ok(Made::Run)
}

/// What is on the disk, so that a complete run and a new one print the same.
fn print(a: &Arguments) -> Outcome {
    let findings = read_findings(&a.run.out)?;
    let mut out = Output::open();
    if a.run.json {
        out.json(&findings)?;
    } else {
        write_findings(&findings, &mut out)?;
        out.line("")?;
        out.labelled("run", &sanitise(&a.run.out.display().to_string()))?;
        out.labelled(
            "report",
            &sanitise(&a.run.out.join("report.html").display().to_string()),
        )?;
    }
    out.finish()
}

fn name(by: By) -> &'static str {
    match by {
        By::Base => "base",
        By::Tuned => "tuned",
    }
}
