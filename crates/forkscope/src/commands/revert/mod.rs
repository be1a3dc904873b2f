//! `forkscope revert`: what it costs to bring a behaviour back to the base's.

mod options;
mod print;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use forkscope_audit::findings::FindingSettings;
use forkscope_records::types::Findings;
use forkscope_records::{RunManifest, write_findings};
use forkscope_report::{ReportData, render_html};
use forkscope_tasks::Behaviour;
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::work::models::{self, Named};
use crate::work::options::SamplingOptions;
use crate::work::plan::Plan;
use crate::work::prompts::{ProblemSet, Prompts};
use crate::work::revert::{Asked, Job, SearchBounds};
use crate::work::{compare, prompts, revert, run};

pub use options::Arguments;
use options::{behaviour, files, induce_by, prices, sampling};

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let behaviour = behaviour(a)?;
    let sampling = sampling(a);
    let prices = prices(a, settings);
    prices.check().map_err(|e| Failure::Usage(e.to_string()))?;
    let (undo, induce) = files(a)?;
    let (base, tuned) = models::open_pair(&a.base, &a.tuned)?;
    let undo = undo
        .map(|p| read(a, &tuned, &sampling, &behaviour, p))
        .transpose()?;
    let induce = induce
        .map(|p| read(a, &tuned, &sampling, &behaviour, p))
        .transpose()?;
    for (_, prompts) in undo.iter().chain(&induce) {
        prompts::check_room(&base.policy, &prompts.prompts)?;
        prompts::check_room(&tuned.policy, &prompts.prompts)?;
    }
    if a.run.dry_run {
        return plan(a, &tuned, undo.iter().chain(&induce)).print(a.run.json);
    }
    let mut manifest = run::with_policy(run::manifest("revert", settings), "base", &base)?;
    manifest = run::with_policy(manifest, "tuned", &tuned)?;
    manifest = described(manifest, a);
    for ((set, prompts), role) in [(&undo, "data"), (&induce, "benign")]
        .into_iter()
        .filter_map(|(given, role)| Some((given.as_ref()?, role)))
    {
        manifest = manifest.digest(role, set.digest.as_str());
        manifest = super::sample::with_sampling(manifest, &sampling, prompts);
    }
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return print::print(&a.run, &a.behaviour);
    };
    let job = Job {
        base: &base,
        tuned: &tuned,
        undo: undo.as_ref().map(|(set, prompts)| Asked { set, prompts }),
        induce: induce.as_ref().map(|(set, prompts)| Asked { set, prompts }),
        induce_by: induce_by(a, &behaviour),
        spelled: &a.behaviour,
        behaviour: &behaviour,
        verifier: a.verifier,
        search: a.prompt_search.then_some(SearchBounds {
            tokens: a.prompt_tokens as usize,
            budget: a.prompt_budget as usize,
        }),
        prices,
        findings: FindingSettings {
            seed: settings.seed,
            replicates: a.replicates,
            ..FindingSettings::default()
        },
    };
    let found = Findings {
        schema: Findings::SCHEMA.to_owned(),
        findings: revert::run(&job, &mut dir, settings)?,
    };
    write_findings(&dir, &found)?;
    revert::write_pieces(&tuned, &dir)?;
    let html = render_html(&ReportData {
        run: compare::described(&dir)?,
        findings: found,
        rollouts: Vec::new(),
        rows: Vec::new(),
        pieces: std::collections::BTreeMap::new(),
    })?;
    dir.write_atomic("report.html", html.as_bytes())?;
    dir.complete()?;
    print::print(&a.run, &a.behaviour)
}

/// Problems and prompts of a file.
fn read(
    a: &Arguments,
    tuned: &Named,
    sampling: &SamplingOptions,
    behaviour: &Behaviour,
    path: &Path,
) -> Result<(ProblemSet, Prompts), Failure> {
    let set = prompts::read(path, a.run.limit)?;
    if behaviour.needs_grade() {
        revert::check_answers(&set.problems, path)?;
    }
    let prompts = prompts::render(tuned, &set.problems, &sampling.style()?, &a.stop)?;
    Ok((set, prompts))
}

/// The settings that decide what the run holds.
fn described(manifest: RunManifest, a: &Arguments) -> RunManifest {
    let file = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let way = a.direction.and_then(|w| w.to_possible_value());
    let by = a.induce_by.and_then(|w| w.to_possible_value());
    manifest
        .setting("problems", json!(file(&a.problems)))
        .setting("benign", json!(file(&a.benign)))
        .setting("limit", json!(a.run.limit))
        .setting("behaviour", a.behaviour.as_str())
        .setting("direction", json!(way.map(|w| w.get_name().to_owned())))
        .setting("induce_by", json!(by.map(|w| w.get_name().to_owned())))
        .setting("induce_text", json!(a.induce_text))
        .setting("verifier", a.verifier.described())
        .setting("judge_timeout", a.judge_timeout)
        .setting("cap", a.cap)
        .setting("alpha", json!(a.alpha))
        .setting("exhaustive", a.exhaustive)
        .setting("prompt_search", a.prompt_search)
        .setting("prompt_tokens", a.prompt_tokens)
        .setting("prompt_budget", a.prompt_budget)
        .setting("controls", !a.no_controls)
        .setting("replicates", a.replicates)
}

/// Upper bounds: every answer eligible, every method at its cap.
fn plan<'a>(
    a: &Arguments,
    tuned: &Named,
    given: impl Iterator<Item = &'a (ProblemSet, Prompts)>,
) -> Plan {
    let (mut answers, mut prompt_tokens) = (0.0, 0.0);
    for (set, prompts) in given {
        answers += set.problems.len() as f64 * f64::from(a.n);
        let tokens: usize = prompts.prompts.iter().map(|p| p.ids.len()).sum();
        prompt_tokens += tokens as f64;
    }
    let cap = f64::from(a.cap);
    let controls = if a.no_controls { 1.0 } else { 2.0 };
    let grid = a.alpha.len() as f64;
    let tries = 2.0
        + cap * (2.0 + controls)
        + 2.0 * f64::from(a.exhaustive)
        + (cap + grid) * controls
        + 5.0;
    let passes = match a.prompt_search {
        true => f64::from(a.prompt_budget) * controls,
        false => 0.0,
    };
    Plan::of(vec![
        ("answers", answers, "rollouts"),
        (
            "prompt_tokens",
            prompt_tokens,
            "tokens, each computed once per policy",
        ),
        ("completions_at_most", answers * tries, "completions"),
        (
            "completion_tokens_at_most",
            answers * tries * f64::from(a.max_tokens),
            "tokens, of both policies",
        ),
        (
            "prompt_passes_at_most",
            answers * passes,
            "forward passes over a prompt",
        ),
        (
            "weights",
            tuned.policy.weight_bytes() as f64,
            "bytes, mapped",
        ),
    ])
}
