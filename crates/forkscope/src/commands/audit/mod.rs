//! `forkscope audit`: everything that can be said about a pair, in one run with
//! one `findings.json`, one report and one statement.

mod options;
mod print;

use forkscope_audit::attest::{PrivateKey, keys};
use forkscope_records::RunManifest;
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::sanitise::sanitise;
use crate::work::audit::{self, Job, Probed, Set};
use crate::work::models::{self, Named};
use crate::work::plan::Plan;
use crate::work::prompts::Prompts;
use crate::work::{probe, prompts, revert, run};

pub use options::Arguments;

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let behaviour = a.behaviour()?;
    let key = a.key.as_deref().map(PrivateKey::read).transpose()?;
    warn_of_key(a);
    let style = a.sampling.style()?;
    let (base, tuned) = models::open_pair(&a.base, &a.tuned)?;
    let read = |path| -> Result<Set, Failure> {
        let set = prompts::read(path, a.run.limit)?;
        if behaviour.needs_grade() {
            revert::check_answers(&set.problems, path)?;
        }
        let prompts = prompts::render(&tuned, &set.problems, &style, &a.sampling.stop)?;
        check_room(&base, &tuned, &prompts)?;
        Ok(Set {
            problems: set,
            prompts,
        })
    };
    let asked = read(&a.problems)?;
    let benign = a.benign.as_deref().map(read).transpose()?;
    let probed = match &a.contrast {
        None => None,
        Some(path) => {
            let set = probe::contrast::read(path, a.run.limit)?;
            let prompts = prompts::render(&tuned, &set.problems, &style, &a.sampling.stop)?;
            check_room(&base, &tuned, &prompts)?;
            Some(Probed { set, prompts })
        }
    };
    if a.run.dry_run {
        return plan(a, &base, &tuned, &asked, probed.as_ref()).print(a.run.json);
    }
    let sets = (&asked, benign.as_ref(), probed.as_ref());
    let manifest = manifest(a, settings, (&base, &tuned), sets)?;
    let Some(dir) = run::open(&a.run, manifest)? else {
        return print::print(a);
    };
    let job = Job {
        base: &base,
        tuned: &tuned,
        asked: &asked,
        benign: benign.as_ref(),
        probed: probed.as_ref(),
        spelled: &a.behaviour,
        behaviour: &behaviour,
        verifier: a.verifier,
        sampler: a.sampling.settings(settings.seed)?,
        parts: a.parts(),
        token_cap: a.cap as usize,
        replicates: a.replicates,
        key: key.as_ref(),
    };
    audit::run(&job, dir, settings)?;
    print::print(a)
}

fn check_room(base: &Named, tuned: &Named, prompts: &Prompts) -> Outcome {
    for named in [base, tuned] {
        prompts::check_room(&named.policy, &prompts.prompts)?;
    }
    Ok(())
}

fn warn_of_key(a: &Arguments) {
    let readable = |path: &&std::path::Path| keys::readable_by_others(path);
    if let Some(path) = a.key.as_deref().filter(readable) {
        let path = path.display().to_string();
        eprintln!(
            "warning: {} can be read by others; `chmod 600` it",
            sanitise(&path)
        );
    }
}

/// The settings that decide what the run holds.
fn manifest(
    a: &Arguments,
    settings: &Settings,
    (base, tuned): (&Named, &Named),
    (asked, benign, probed): (&Set, Option<&Set>, Option<&Probed>),
) -> Result<RunManifest, Failure> {
    let shown = |path: &Option<std::path::PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let manifest = run::with_policy(run::manifest("audit", settings), "base", base)?;
    let mut manifest = run::with_policy(manifest, "tuned", tuned)?
        .digest("data", asked.problems.digest.as_str())
        .setting("problems", a.problems.display().to_string())
        .setting("rollouts_by", "tuned")
        .setting("benign", json!(shown(&a.benign)))
        .setting("contrast", json!(shown(&a.contrast)))
        .setting("limit", json!(a.run.limit))
        .setting("behaviour", a.behaviour.as_str())
        .setting("judge_timeout", a.judge_timeout)
        .setting("verifier", a.verifier.described())
        .setting("parts", json!(a.parts().names()))
        .setting("cap", a.cap)
        .setting("replicates", a.replicates)
        .setting("signed", a.key.is_some());
    if let Some(set) = benign {
        manifest = manifest.digest("benign", set.problems.digest.as_str());
    }
    if let Some(probed) = probed {
        manifest = manifest.digest("contrast", probed.set.digest.as_str());
    }
    let sampling = &a.sampling;
    Ok(super::sample::with_sampling(
        manifest,
        sampling,
        &asked.prompts,
    ))
}

/// Upper bounds: every completion as long as allowed.
fn plan(a: &Arguments, base: &Named, tuned: &Named, asked: &Set, probed: Option<&Probed>) -> Plan {
    let policies = [&base.policy, &tuned.policy];
    let problems = asked.prompts.prompts.len() as f64;
    let parts = a.parts();
    let arms = match parts.interventions {
        true => audit::arms().map_or(0, |arms| arms.len()),
        false => 0,
    };
    let temperatures = audit::temperatures(a.sampling.temperature).len() as f64;
    let most = f64::from(a.sampling.max_tokens);
    let priced = match parts.reversions {
        true => problems * f64::from(4 * a.cap + 64),
        false => 0.0,
    };
    let probes = probed.map_or(0, |p| p.prompts.prompts.len());
    Plan::pair(policies, &asked.prompts.prompts, &a.sampling)
        .and("arms", arms as f64, "arms of interventions")
        .and(
            "intervention_tokens_at_most",
            problems * arms as f64 * temperatures * f64::from(a.sampling.n) * most,
            "tokens of each policy; what arms share is computed once",
        )
        .and(
            "reversion_completions_at_most",
            priced,
            "completions, every answer eligible",
        )
        .and(
            "contrast_items",
            if parts.awareness { probes as f64 } else { 0.0 },
            "prompts, each sampled by both and steered",
        )
}
