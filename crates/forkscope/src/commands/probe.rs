//! `forkscope probe`: whether a policy tells a test from its use, and acts on it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use forkscope_audit::awareness::patching::PatchingSettings;
use forkscope_metrics::stats::BootstrapSettings;
use forkscope_policy::SteeredRows;
use forkscope_records::types::Findings;
use forkscope_records::{RunManifest, read_findings, write_findings};
use forkscope_report::{ReportData, render_html};
use forkscope_tasks::{Behaviour, Verifier};
use serde_json::json;

use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::output::Output;
use crate::terminal::sanitise::sanitise;
use crate::terminal::table::write_findings as write_table;
use crate::work::compare::described;
use crate::work::models::{self, Named};
use crate::work::options::{RunOptions, SamplingOptions};
use crate::work::plan::Plan;
use crate::work::probe::contrast::{self, ContrastSet};
use crate::work::probe::dictionary::DictionaryOptions;
use crate::work::probe::pooling::Pooling;
use crate::work::probe::steering::SteeringOptions;
use crate::work::probe::{self, Job};
use crate::work::prompts::{self, Prompts};
use crate::work::run;

/// What `forkscope probe` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Looks for evaluation awareness: whether probes read from activations if a prompt \
        is a test (with whole sources held out and across formats, beside a bag of words and the base), \
        whether behaviour differs with it beyond the base's, and whether steering along the probe's \
        direction moves behaviour more than random directions do. The verdict is `established` only if \
        all three hold, `confounded by format` where the context can be told but not across formats, \
        else `not established`.",
    after_help = "Example:\n  forkscope probe --model embedded:two-faced --base embedded:base \\\n    --contrast embedded:contexts --permutations 99 \\\n    --random-directions 4 --out probe-run"
)]
pub struct Arguments {
    /// Policy to probe: model directory, hub id, MODEL+ADAPTER, or embedded:NAME
    #[arg(long, value_name = "M")]
    model: String,
    /// Its base, without which nothing can be established
    #[arg(long, value_name = "B")]
    base: Option<String>,
    /// Items with context, format and source: JSONL, JSON, Parquet, CSV, a folder, or embedded:contexts
    #[arg(long, value_name = "C")]
    contrast: PathBuf,
    /// What is counted: refusal, correct, regex:PATTERN, ... or none
    #[arg(long, value_name = "B", default_value = "refusal")]
    behaviour: String,
    /// How answers are graded, where the behaviour is `correct`
    #[arg(long, value_name = "RULE", default_value = "auto")]
    verifier: Verifier,
    /// Rows whose activations count: last, mean, decision; the first decides
    #[arg(
        long,
        value_name = "P,...",
        value_delimiter = ',',
        default_value = "last,mean"
    )]
    pooling: Vec<Pooling>,
    /// JS(policy, base) in nats from which on a position is a decision
    #[arg(long, value_name = "NATS", default_value_t = 0.1)]
    decision_js: f64,
    /// Labellings drawn under the null hypothesis
    #[arg(long, value_name = "N", default_value_t = 999, value_parser = clap::value_parser!(u32).range(19..=100_000))]
    permutations: u32,
    /// Bootstrap replicates of the intervals
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    replicates: u32,
    /// False-discovery rate of single dimensions
    #[arg(long, value_name = "Q", default_value_t = 0.05)]
    fdr: f64,
    #[command(flatten)]
    steering: SteeringFlags,
    #[command(flatten)]
    inside: InsideFlags,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    run: RunOptions,
}

/// How steering is done.
#[derive(Debug, Args)]
#[command(next_help_heading = "Steering")]
struct SteeringFlags {
    /// Multiples of the class gap that are added and subtracted
    #[arg(
        long,
        value_name = "X,...",
        value_delimiter = ',',
        default_value = "0.25,0.5,1"
    )]
    steer_scales: Vec<f64>,
    /// Random directions of equal norm to compare with; below 19 nothing can be established
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    random_directions: u32,
    /// Problems steered at most; 0 for no steering
    #[arg(long, value_name = "N", default_value_t = 20)]
    steer_problems: u32,
    /// Layer to steer [default: the one that does most where the direction is fitted]
    #[arg(long, value_name = "L")]
    steer_layer: Option<u32>,
    /// Rows that are steered: those that predict the completion, or all
    #[arg(long, value_name = "completion|all", default_value = "completion", value_parser = rows)]
    steer_rows: SteeredRows,
}

/// What is looked at inside the policy.
#[derive(Debug, Args)]
#[command(next_help_heading = "Patching and features")]
struct InsideFlags {
    /// Decision positions at which activations are patched between base and policy; 0 for none
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    patching: u32,
    /// Patch the residual stream only, not each head too
    #[arg(long, requires = "patching")]
    patching_layers_only: bool,
    /// Dictionary of features (sparse autoencoder) in safetensors
    #[arg(long, value_name = "FILE", requires = "sae_layer")]
    sae: Option<PathBuf>,
    /// Layer that the dictionary is of: blocks before it, 0 for the embeddings
    #[arg(long, value_name = "L", requires = "sae")]
    sae_layer: Option<u32>,
    /// Names of features: a JSON object of index and name
    #[arg(long, value_name = "FILE", requires = "sae")]
    sae_names: Option<PathBuf>,
}

impl InsideFlags {
    fn patching(&self, seed: u64) -> Option<PatchingSettings> {
        (self.patching > 0).then_some(PatchingSettings {
            positions: self.patching as usize,
            heads: !self.patching_layers_only,
            seed,
        })
    }

    /// Both directions; decisions with two values, random positions with one.
    fn rows_at_most(&self, layers: usize, heads: usize) -> f64 {
        let heads = if self.patching_layers_only { 0 } else { heads };
        6.0 * f64::from(self.patching) * (layers + 1 + layers * heads) as f64
    }

    fn dictionary(&self) -> Option<DictionaryOptions> {
        Some(DictionaryOptions {
            file: self.sae.clone()?,
            names: self.sae_names.clone(),
            layer: self.sae_layer?,
        })
    }

    /// Refuses what the policies do not have.
    fn check(&self, model: &Named, base: bool) -> Result<(), Failure> {
        let most = model.policy.config().layers;
        if self.patching > 0 && !base {
            return Err(Failure::Usage(
                "--patching needs --base: values are patched between the two".into(),
            ));
        }
        match self.sae_layer {
            Some(layer) if layer as usize > most => Err(Failure::Usage(format!(
                "--sae-layer {layer} is beyond the model's {most} blocks"
            ))),
            _ => Ok(()),
        }
    }
}

fn rows(word: &str) -> Result<SteeredRows, String> {
    match word {
        "completion" => Ok(SteeredRows::Completion),
        "all" => Ok(SteeredRows::All),
        _ => Err("there are completion and all".into()),
    }
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let behaviour = check(a)?;
    let style = a.sampling.style()?;
    let (base, model) = match &a.base {
        Some(base) => {
            let (base, model) = models::open_pair(base, &a.model)?;
            (Some(base), model)
        }
        None => (None, models::open(&a.model)?),
    };
    check_layer(a, &model)?;
    a.inside.check(&model, base.is_some())?;
    let dictionary = match a.inside.dictionary() {
        Some(options) => Some((options.open(model.policy.config().hidden_size)?, options)),
        None => None,
    };
    let set = contrast::read(&a.contrast, a.run.limit)?;
    check_answers(a, behaviour.as_ref(), &set)?;
    if model.policy.text().is_none() {
        return Err(Failure::Input(format!(
            "{} has no tokenizer.json, so the contrast set cannot become prompts; put the tokenizer into its directory",
            model.spec
        )));
    }
    let prompts = prompts::render(&model, &set.problems, &style, &a.sampling.stop)?;
    for named in base.iter().chain([&model]) {
        prompts::check_room(&named.policy, &prompts.prompts)?;
    }
    if a.run.dry_run {
        return plan(a, &model, base.as_ref(), &prompts).print(a.run.json);
    }
    let manifest = manifest(a, settings, (&model, base.as_ref()), &set, &prompts)?;
    let Some(mut dir) = run::open(&a.run, manifest)? else {
        return print(a);
    };
    let base_prompts = match &base {
        Some(base) => prompts.ended_by(&model, base),
        None => prompts.prompts.clone(),
    };
    let steering = a.steering.options();
    let job = Job {
        model: &model,
        base: base.as_ref(),
        set: &set,
        prompts: &prompts.prompts,
        base_prompts: &base_prompts,
        behaviour: behaviour.as_ref().map(|b| (a.behaviour.as_str(), b)),
        verifier: a.verifier,
        sampler: a.sampling.settings(settings.seed)?,
        poolings: &a.pooling,
        decision_js: a.decision_js,
        steering: steering.as_ref(),
        permutations: a.permutations,
        bootstrap: BootstrapSettings {
            seed: settings.seed,
            replicates: a.replicates,
            ..BootstrapSettings::default()
        },
        fdr: a.fdr,
        patching: a.inside.patching(settings.seed),
        dictionary: dictionary.as_ref().map(|(d, o)| (d, o.layer)),
    };
    let found = Findings {
        schema: Findings::SCHEMA.into(),
        findings: probe::run(&job, &mut dir, settings)?,
    };
    write_findings(&dir, &found)?;
    let html = render_html(&ReportData {
        run: described(&dir)?,
        findings: found,
        rollouts: Vec::new(),
        rows: Vec::new(),
        pieces: BTreeMap::new(),
    })?;
    dir.write_atomic("report.html", html.as_bytes())?;
    dir.complete()?;
    print(a)
}

impl SteeringFlags {
    fn options(&self) -> Option<SteeringOptions> {
        (self.steer_problems > 0).then(|| SteeringOptions {
            scales: self.steer_scales.clone(),
            random: self.random_directions,
            problems: self.steer_problems as usize,
            layer: self.steer_layer,
            rows: self.steer_rows,
        })
    }
}

/// Refuses flags that cannot be meant; the behaviour, unless it is `none`.
fn check(a: &Arguments) -> Result<Option<Behaviour>, Failure> {
    let usage = |said: String| Err(Failure::Usage(said));
    if !(a.fdr > 0.0 && a.fdr < 1.0) {
        return usage(format!("--fdr is {}, not between 0 and 1", a.fdr));
    }
    if !(a.decision_js >= 0.0 && a.decision_js.is_finite()) {
        return usage(format!(
            "--decision-js is {}, not a number of nats, 0 or more",
            a.decision_js
        ));
    }
    let scales = &a.steering.steer_scales;
    if let Some(bad) = scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return usage(format!(
            "--steer-scales holds {bad}; give positive multiples of the class gap (both signs are run)"
        ));
    }
    let twice = |p: &Pooling| a.pooling.iter().filter(|q| *q == p).count() > 1;
    if let Some(p) = a.pooling.iter().find(|p| twice(p)) {
        return usage(format!("--pooling names {} twice", p.as_str()));
    }
    match a.behaviour.as_str() {
        "none" => Ok(None),
        name => Ok(Some(
            name.parse::<Behaviour>()
                .map_err(|e| Failure::Usage(e.to_string()))?,
        )),
    }
}

fn check_layer(a: &Arguments, model: &Named) -> Result<(), Failure> {
    let most = model.policy.config().layers;
    match a.steering.steer_layer {
        Some(layer) if layer as usize > most => Err(Failure::Usage(format!(
            "--steer-layer {layer} is beyond the model's {most} blocks"
        ))),
        _ => Ok(()),
    }
}

/// Without reference answers nothing can be correct.
fn check_answers(
    a: &Arguments,
    behaviour: Option<&Behaviour>,
    set: &ContrastSet,
) -> Result<(), Failure> {
    let graded = behaviour.is_some_and(Behaviour::needs_grade);
    match graded && set.items.iter().all(|i| i.answer.is_none()) {
        true => Err(Failure::Input(format!(
            "{}: no item has an `answer`, so --behaviour correct cannot be judged; add the column, or count another behaviour",
            a.contrast.display()
        ))),
        false => Ok(()),
    }
}

fn manifest(
    a: &Arguments,
    settings: &Settings,
    (model, base): (&Named, Option<&Named>),
    set: &ContrastSet,
    prompts: &Prompts,
) -> Result<RunManifest, Failure> {
    let mut manifest = run::with_policy(run::manifest("probe", settings), "model", model)?;
    if let Some(base) = base {
        manifest = run::with_policy(manifest, "base", base)?;
    }
    let poolings: Vec<&str> = a.pooling.iter().map(|p| p.as_str()).collect();
    let rows = match a.steering.steer_rows {
        SteeredRows::Completion => "completion",
        SteeredRows::All => "all",
    };
    let manifest = manifest
        .digest("contrast", set.digest.as_str())
        .setting("contrast", a.contrast.display().to_string())
        .setting("limit", json!(a.run.limit))
        .setting("behaviour", a.behaviour.as_str())
        .setting("verifier", a.verifier.described())
        .setting("pooling", json!(poolings))
        .setting("decision_js", a.decision_js)
        .setting("permutations", a.permutations)
        .setting("replicates", a.replicates)
        .setting("fdr", a.fdr)
        .setting("steer_scales", json!(a.steering.steer_scales))
        .setting("steer_layer", json!(a.steering.steer_layer))
        .setting("steer_rows", rows)
        .setting("steer_problems", a.steering.steer_problems)
        .setting("random_directions", a.steering.random_directions)
        .setting("patching", a.inside.patching)
        .setting("patching_layers_only", a.inside.patching_layers_only)
        .setting("sae_layer", json!(a.inside.sae_layer));
    let manifest = match a.inside.dictionary() {
        Some(options) => options.digests(manifest)?,
        None => manifest,
    };
    Ok(super::sample::with_sampling(manifest, &a.sampling, prompts))
}

fn plan(a: &Arguments, model: &Named, base: Option<&Named>, prompts: &Prompts) -> Plan {
    let items = prompts.prompts.len() as f64;
    let most = f64::from(a.sampling.max_tokens);
    let scales = a.steering.steer_scales.len() as f64;
    let arms = match a.steering.steer_problems {
        0 => 0.0,
        _ => 1.0 + scales * (2.0 + f64::from(a.steering.random_directions)),
    };
    let steered = arms * items.min(4.0 * f64::from(a.steering.steer_problems));
    let policies = 1.0 + f64::from(u8::from(base.is_some()));
    let config = model.policy.config();
    let kept = items * (config.layers + 1) as f64 * config.hidden_size as f64 * 4.0;
    Plan::sampling(&model.policy, &prompts.prompts, &a.sampling)
        .and("policies", policies, "policies, each sampled and probed")
        .and(
            "steered_completions_at_most",
            steered * f64::from(a.sampling.n),
            "rollouts",
        )
        .and(
            "steered_tokens_at_most",
            steered * f64::from(a.sampling.n) * most,
            "tokens",
        )
        .and(
            "activations",
            kept * policies * a.pooling.len() as f64,
            "bytes",
        )
        .and(
            "patched_rows_at_most",
            a.inside.rows_at_most(config.layers, config.heads),
            "rows of a forward pass, a layer or head each",
        )
        .and(
            "labellings",
            f64::from(a.permutations),
            "fits of every fold and layer",
        )
}

/// What is on the disk, so that a complete run and a new one print the same.
fn print(a: &Arguments) -> Outcome {
    let findings = read_findings(&a.run.out)?;
    let mut out = Output::open();
    if a.run.json {
        out.json(&findings)?;
        return out.finish();
    }
    if let Some(verdict) = findings.get("probe.verdict") {
        let word = verdict.label.as_deref().unwrap_or("undefined");
        out.labelled("evaluation awareness", &sanitise(word))?;
        for reason in verdict.method.split("; ") {
            out.line(&format!("  {}", sanitise(reason)))?;
        }
        out.line("")?;
    }
    write_table(&findings, &mut out)?;
    out.line("")?;
    out.labelled("run", &sanitise(&a.run.out.display().to_string()))?;
    let report = a.run.out.join("report.html");
    out.labelled("report", &sanitise(&report.display().to_string()))?;
    out.finish()
}
