//! `forkscope gate`: an exit code for CI, from findings and the rules that they must
//! not meet.

mod junit;
mod rule;

use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_audit::DiffSettings;
use forkscope_audit::findings::FindingSettings;
use forkscope_records::types::Findings;
use forkscope_records::{Mode, Opened, RecordsError, RunDir, read_findings};
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::work::compare::Comparison;
use crate::work::{models, rollouts, run};
use rule::{Rule, Verdict};

/// What `forkscope gate` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Fails (exit 4) if a finding meets a rule. The findings are those of a run, or of a pair \
        that is compared here on given rollouts as `diff` compares it.\n\n\
        A rule is ID[.low|.high] OP NUMBER[%]: a finding's id (its value, or an end of its interval), \
        one of > >= < <= == !=, and a number, with % for shares. A finding without the number fails \
        the gate; an id that no finding has is a usage error.",
    after_help = "Example:\n  forkscope sample --model embedded:base --problems embedded:problems \\\n    --limit 2 --out gate-rollouts\n  \
        forkscope gate --base embedded:base --tuned embedded:reasoner \\\n    --rollouts gate-rollouts --fail-if 'share.shifted > 50%'"
)]
pub struct Arguments {
    /// A run with findings
    #[arg(value_name = "RUN", conflicts_with_all = ["base", "tuned", "rollouts", "out", "limit", "class_topk", "kl_changed", "replicates"])]
    run: Option<PathBuf>,
    /// Fail if a finding meets this (may be given several times)
    #[arg(long, value_name = "RULE", required = true)]
    fail_if: Vec<Rule>,
    /// Base policy b: model directory, hub id, MODEL+ADAPTER, or embedded:base
    #[arg(long, value_name = "B", required_unless_present = "run")]
    base: Option<String>,
    /// Tuned policy p, likewise
    #[arg(long, value_name = "T", required_unless_present = "run")]
    tuned: Option<String>,
    /// Rollouts to compare on: a run, a rollouts.parquet, or the reference's JSON
    #[arg(long, value_name = "R", required_unless_present = "run")]
    rollouts: Option<PathBuf>,
    /// Keep the comparison as a run [default: it is removed]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// The first N problems in file order, with all their rollouts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Base rank up to which a changed argmax is reranked, not shifted
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    class_topk: u32,
    /// KL(tuned || base) in nats above which a position counts as changed by KL
    #[arg(long, value_name = "NATS", default_value_t = 0.1)]
    kl_changed: f64,
    /// Bootstrap replicates of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    replicates: u32,
    /// Write the verdicts as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// One JSON document on stdout instead of lines
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let findings = match (&a.run, &a.base, &a.tuned, &a.rollouts) {
        (Some(run), ..) => read_findings(run)?,
        (None, Some(base), Some(tuned), Some(rollouts)) => {
            compare(a, settings, (base, tuned), rollouts)?
        }
        _ => {
            return Err(Failure::Usage(
                "give a run, or --base, --tuned and --rollouts".into(),
            ));
        }
    };
    let mut verdicts = Vec::new();
    for rule in &a.fail_if {
        verdicts.extend(rule.judge(&findings).map_err(Failure::Usage)?);
    }
    if let Some(path) = &a.junit {
        std::fs::write(path, junit::document(&verdicts)).map_err(|source| RecordsError::Write {
            path: path.clone(),
            source,
        })?;
    }
    print(a, &verdicts)?;
    let failed = verdicts.iter().filter(|v| v.failed).count();
    match failed {
        0 => Ok(()),
        n => Err(Failure::Gate(format!(
            "the gate failed: {n} of {} rules are met",
            verdicts.len()
        ))),
    }
}

fn print(a: &Arguments, verdicts: &[Verdict]) -> Outcome {
    let mut out = Output::open();
    if a.json {
        out.json(&json!({
            "schema": "forkscope/gate/1",
            "failed": verdicts.iter().any(|v| v.failed),
            "rules": verdicts,
        }))?;
    } else {
        for verdict in verdicts {
            let word = if verdict.failed { "FAILED" } else { "ok" };
            let line = format!("fails if {}: {}", verdict.rule, verdict.reason);
            out.labelled(word, &sanitise(&line))?;
        }
    }
    out.finish()
}

/// The findings of a comparison made here.
fn compare(
    a: &Arguments,
    settings: &Settings,
    (base, tuned): (&str, &str),
    path: &Path,
) -> Result<Findings, Failure> {
    if !a.kl_changed.is_finite() || a.kl_changed < 0.0 {
        return Err(Failure::Usage(format!(
            "--kl-changed is {}, not a number of nats, 0 or more",
            a.kl_changed
        )));
    }
    let (base, tuned) = models::open_pair(base, tuned)?;
    let (mut rollouts, digest) = rollouts::read(path, a.limit)?;
    rollouts::check(path, &mut rollouts, &[&base.policy, &tuned.policy])?;
    let manifest = run::with_policy(run::manifest("gate", settings), "base", &base)?;
    let manifest = run::with_policy(manifest, "tuned", &tuned)?
        .digest("data", digest)
        .setting("rollouts", path.display().to_string())
        .setting("limit", json!(a.limit))
        .setting("class_topk", a.class_topk)
        .setting("kl_changed", a.kl_changed)
        .setting("replicates", a.replicates);
    interrupt::watch()?;
    let aside = Aside::new(a.out.as_deref());
    let Opened::Start(dir) = RunDir::open(&aside.path, manifest, Mode::Fresh)? else {
        return Err(Failure::Internal("a new run was not new".into()));
    };
    rollouts::keep(&dir, &rollouts)?;
    let comparison = Comparison {
        base: &base,
        tuned: &tuned,
        rollouts: &rollouts,
        by: None,
        other: None,
        diff: DiffSettings {
            class_k: a.class_topk,
            ..DiffSettings::default()
        },
        findings: FindingSettings {
            seed: settings.seed,
            replicates: a.replicates,
            top_k: a.class_topk,
            kl_changed: a.kl_changed,
            ..FindingSettings::default()
        },
        row_group_rows: 4096,
    };
    comparison.run(dir, settings)
}

/// Where the comparison lies: where the user wants it, or in a folder that vanishes.
struct Aside {
    path: PathBuf,
    vanishes: bool,
}

impl Aside {
    fn new(out: Option<&Path>) -> Self {
        match out {
            Some(out) => Self {
                path: out.to_owned(),
                vanishes: false,
            },
            None => {
                let mut name = [0u8; 8];
                // Without random bytes the process id has to do; a folder that is
                // not empty is refused, not used.
                let _ = getrandom::fill(&mut name);
                let name = u64::from_le_bytes(name);
                let name = format!("forkscope-gate-{}-{name:016x}", std::process::id());
                Self {
                    path: std::env::temp_dir().join(name),
                    vanishes: true,
                }
            }
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.vanishes {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
