//! `forkscope footprints`: several tuned policies beside each other, each
//! compared with the same base on the same problems.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, FromArgMatches, ValueEnum};
use forkscope_records::types::{Finding, Findings};
use forkscope_records::{read_findings, write_findings};
use serde_json::json;

use super::diff;
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::columns::{Align, Columns};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::shown;
use crate::work::footprint::changed;
use crate::work::options::RunOptions;
use crate::work::run;

/// What `forkscope footprints` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Compares several tuned policies with one base: for each, and for each file of problems, \
        rollouts are sampled and every position is compared as `diff` does. One table holds the shares of \
        changed positions, how far down the base's ranking the new argmaxes stood, how far entropy tells \
        where they are, and how much of the divergence the highest-entropy positions carry.",
    after_help = "Example:\n  forkscope footprints --base embedded:base --tuned RL=embedded:reasoner \\\n    \
        --tuned DPO=embedded:guarded --tuned SFT=embedded:sft \\\n    --problems embedded:problems --problems embedded:hazardous \\\n    \
        --limit 4 -n 2 --max-tokens 192 --out footprints"
)]
pub struct Arguments {
    /// Base policy b: model directory, hub id, MODEL+ADAPTER, or embedded:base
    #[arg(long, value_name = "B")]
    base: String,
    /// A tuned policy, as SPEC or NAME=SPEC (give several)
    #[arg(long, value_name = "[NAME=]T", required = true)]
    tuned: Vec<String>,
    /// Problems to sample rollouts for (may be given several times: a column each)
    #[arg(long, value_name = "FILE", required = true)]
    problems: Vec<PathBuf>,
    /// Whose rollouts are compared on
    #[arg(long, value_enum, value_name = "base|tuned", default_value = "tuned")]
    rollouts_by: By,
    /// Completions per problem and policy
    #[arg(short, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    n: u32,
    /// Divides the logits; 0 takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Most tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_tokens: u32,
    /// How a problem becomes a prompt (see docs/cli.md)
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    prompt_style: String,
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
    fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Tuned => "tuned",
        }
    }
}

/// The findings of a diff that stand in the table, with their heads.
const COLUMNS: [(&str, &str); 9] = [
    ("share.changed", "changed"),
    ("share.reranked", "reranked"),
    ("share.shifted", "shifted"),
    ("kl_tuned_base.mean", "KL(tuned||base)"),
    ("mean_base_rank", "base rank"),
    ("entropy_ratio", "H ratio"),
    ("auroc.entropy.argmax", "AUROC of H"),
    ("auroc.entropy.kl", "AUROC of H, KL"),
    ("coverage.kl.top_5pct", "KL in top 5 % H"),
];

/// A tuned policy on a file of problems.
struct Cell<'a> {
    name: String,
    tuned: &'a str,
    problems: &'a PathBuf,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let cells = cells(a)?;
    if a.run.dry_run {
        return cells.iter().try_for_each(|cell| {
            diff::make(&arguments(a, cell)?, settings)?;
            Ok(())
        });
    }
    let described: Vec<_> = cells
        .iter()
        .map(|c| json!({ "name": c.name, "tuned": c.tuned, "problems": c.problems }))
        .collect();
    let manifest = run::manifest("footprints", settings)
        .setting("base", a.base.as_str())
        .setting("cells", json!(described))
        .setting("rollouts_by", a.rollouts_by.name())
        .setting("n", a.n)
        .setting("temperature", a.temperature)
        .setting("max_tokens", a.max_tokens)
        .setting("prompt_style", a.prompt_style.as_str())
        .setting("limit", json!(a.run.limit));
    if let Some(dir) = run::open(&a.run, manifest)? {
        let mut all = Vec::new();
        for cell in &cells {
            diff::make(&arguments(a, cell)?, settings)?;
            let found = read_findings(&folder(a, cell))?;
            all.extend(named(&found, cell));
        }
        write_findings(
            &dir,
            &Findings {
                schema: Findings::SCHEMA.into(),
                findings: all,
            },
        )?;
        dir.complete()?;
    }
    print(a, &cells)
}

/// The cells, in the order given, with names that are folders.
fn cells(a: &Arguments) -> Result<Vec<Cell<'_>>, Failure> {
    let mut taken = HashSet::new();
    let mut cells = Vec::new();
    for tuned in &a.tuned {
        let (name, spec) = split(tuned);
        for problems in &a.problems {
            let set = problems.file_stem().unwrap_or(problems.as_os_str());
            let name = format!("{}-{}", slug(name), slug(&set.to_string_lossy()));
            if !taken.insert(name.clone()) {
                return Err(Failure::Usage(format!(
                    "two footprints would be called `{name}`; name the policies, as in --tuned NAME=SPEC, and keep the names of problem files apart"
                )));
            }
            cells.push(Cell {
                name,
                tuned: spec,
                problems,
            });
        }
    }
    Ok(cells)
}

/// NAME=SPEC, or a spec whose last part is the name.
fn split(tuned: &str) -> (&str, &str) {
    let plain = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    if let Some((name, spec)) = tuned.split_once('=')
        && plain(name)
        && !spec.is_empty()
    {
        return (name, spec);
    }
    let last = tuned.trim_end_matches('/').rsplit(['/', ':', '+']).next();
    (last.unwrap_or(tuned), tuned)
}

/// A name that is a folder everywhere.
fn slug(name: &str) -> String {
    let last = name.rsplit(['/', ':']).next().unwrap_or(name);
    let kept = |c: char| match c.is_ascii_alphanumeric() || c == '_' || c == '.' {
        true => c,
        false => '-',
    };
    let slug: String = last.chars().map(kept).take(64).collect();
    let slug = slug.trim_matches(['.', '-']);
    match slug.is_empty() {
        true => "policy".to_owned(),
        false => slug.to_owned(),
    }
}

fn folder(a: &Arguments, cell: &Cell<'_>) -> PathBuf {
    a.run.out.join("cells").join(&cell.name)
}

/// The cell as a diff: a run of its own, which is continued where it stopped.
fn arguments(a: &Arguments, cell: &Cell<'_>) -> Result<diff::Arguments, Failure> {
    let mut line: Vec<OsString> = vec!["diff".into()];
    let mut flag = |name: &str, value: OsString| line.extend([name.into(), value]);
    flag("--base", a.base.clone().into());
    flag("--tuned", cell.tuned.into());
    flag("--problems", cell.problems.clone().into());
    flag("--rollouts-by", a.rollouts_by.name().into());
    flag("-n", a.n.to_string().into());
    flag("--temperature", a.temperature.to_string().into());
    flag("--max-tokens", a.max_tokens.to_string().into());
    flag("--prompt-style", a.prompt_style.clone().into());
    flag("--out", folder(a, cell).into());
    if let Some(limit) = a.run.limit {
        flag("--limit", limit.to_string().into());
    }
    line.push("--resume".into());
    if a.run.dry_run {
        line.push("--dry-run".into());
    }
    if a.run.json {
        line.push("--json".into());
    }
    diff::Arguments::augment_args(clap::Command::new("diff"))
        .try_get_matches_from(line)
        .and_then(|matches| diff::Arguments::from_arg_matches(&matches))
        .map_err(|e| {
            let said = e.to_string();
            let first = said.lines().next().unwrap_or("bad flags");
            Failure::Usage(first.trim_start_matches("error: ").to_owned())
        })
}

/// The findings of a cell under its name.
fn named(found: &Findings, cell: &Cell<'_>) -> Vec<Finding> {
    COLUMNS
        .iter()
        .filter_map(|(id, _)| {
            let finding = match *id {
                "share.changed" => changed(found.get("share.unshifted")?),
                id => found.get(id)?.clone(),
            };
            Some(Finding {
                id: format!("footprint.{}.{id}", cell.name),
                ..finding
            })
        })
        .collect()
}

fn print(a: &Arguments, cells: &[Cell<'_>]) -> Outcome {
    let found = read_findings(&a.run.out)?;
    let mut out = Output::open();
    if a.run.json {
        out.json(&found)?;
        return out.finish();
    }
    let mut heads = vec![
        ("footprint".to_owned(), Align::Left),
        ("positions".to_owned(), Align::Right),
    ];
    heads.extend(COLUMNS.map(|(_, head)| (head.to_owned(), Align::Left)));
    let mut columns = Columns::dynamic(heads);
    for cell in cells {
        let of = |id: &str| found.get(&format!("footprint.{}.{id}", cell.name));
        let n = of("share.changed").map_or(0, |f| f.n);
        let mut row = vec![cell.name.clone(), forkscope_report::number::count(n)];
        row.extend(COLUMNS.map(|(id, _)| of(id).map(shown).unwrap_or_default()));
        columns.push(row);
    }
    columns.write(&mut out)?;
    out.line("")?;
    out.labelled("rollouts of", a.rollouts_by.name())?;
    let each = a.run.out.join("cells");
    out.labelled("each a diff run in", &sanitise(&each.display().to_string()))?;
    out.finish()
}
