//! Evaluation awareness into a run: `awareness.parquet` with its neighbours
//! `awareness_neurons`, `awareness_steering`, `awareness_texts`,
//! `awareness_rollouts` and `awareness_rollouts_base`.

pub mod contrast;
mod decisions;
pub mod dictionary;
mod judge;
mod patching;
pub mod pooling;
pub mod steering;

use std::time::Instant;

use forkscope_audit::awareness::patching::PatchingSettings;
use forkscope_audit::awareness::sae::Dictionary;
use forkscope_audit::awareness::{
    Across, Bench, Control, Estimate, Evidence, Layer, Material, Measure, Resamples, Split, Study,
    Target, Verdict, Words, findings, gap, neurons, rate, verdict,
};
use forkscope_audit::findings::FindingSettings;
use forkscope_metrics::stats::BootstrapSettings;
use forkscope_policy::{SamplePrompt, SampleSettings};
use forkscope_records::RunDir;
use forkscope_records::types::{AwarenessRow, Finding, NeuronRow, Rollout};
use forkscope_tasks::{Behaviour, Verifier};

use self::contrast::ContrastSet;
use self::decisions::Decisions;
use self::pooling::Pooling;
use self::steering::{Steered, SteeringOptions};
use super::models::Named;
use super::rollouts;
use crate::cli::Settings;
use crate::failure::Failure;
use crate::terminal::progress::Progress;

/// What is probed, and how.
pub struct Job<'a> {
    /// The policy.
    pub model: &'a Named,
    /// Its base, on the same items.
    pub base: Option<&'a Named>,
    /// The contrast set.
    pub set: &'a ContrastSet,
    /// Its prompts, in the policy's text side.
    pub prompts: &'a [SamplePrompt],
    /// The same with the base's end tokens.
    pub base_prompts: &'a [SamplePrompt],
    /// What is counted; `None` to look at activations only.
    pub behaviour: Option<(&'a str, &'a Behaviour)>,
    /// How answers are graded.
    pub verifier: Verifier,
    /// How completions are drawn.
    pub sampler: SampleSettings,
    /// Poolings, the one that counts first.
    pub poolings: &'a [Pooling],
    /// JS of a decision position, nats.
    pub decision_js: f64,
    /// Steering; `None` for none.
    pub steering: Option<&'a SteeringOptions>,
    /// Labellings under the null hypothesis.
    pub permutations: u32,
    /// Bootstrap.
    pub bootstrap: BootstrapSettings,
    /// False-discovery rate of dimensions.
    pub fdr: f64,
    /// Activation patching between base and policy; `None` for none.
    pub patching: Option<PatchingSettings>,
    /// A dictionary of features and its layer; `None` for none.
    pub dictionary: Option<(&'a Dictionary, u32)>,
}

/// Activations of one policy, by pooling.
type Pooled = Vec<(Pooling, Vec<Layer>)>;

/// Probes, samples, steers; writes the tables and returns the findings.
pub fn run(job: &Job<'_>, dir: &mut RunDir, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let began = Instant::now();
    let prompts = (job.prompts, job.set.problems.as_slice());
    let decisions = decisions::find(
        job.model,
        job.base,
        match job.base {
            Some(_) => (job.base_prompts, prompts.1),
            None => prompts,
        },
        (&job.sampler, job.decision_js),
        dir,
        settings,
    )?;
    dir.time("decisions_s", began.elapsed().as_secs_f64());
    let rates = job.rates(dir, settings)?;
    let began = Instant::now();
    let model = job.pooled(job.model, &decisions)?;
    let base_held = match job.base {
        Some(base) => job.pooled(base, &decisions)?,
        None => Vec::new(),
    };
    dir.time("activations_s", began.elapsed().as_secs_f64());
    let control = job.steered(&model, &decisions, dir, settings)?;
    let began = Instant::now();
    let design = &job.set.design;
    let resamples = Resamples::new(design, &job.bootstrap);
    let bench = Bench::new(design, resamples, job.bootstrap.seed, job.permutations);
    let texts = job.set.texts();
    let words = bench.words(&Words::new(texts.iter().map(String::as_str)));
    let policy = studies(&bench, "model", &model);
    let base = studies(&bench, "base", &base_held);
    let main = model.first();
    let dimensions = match main {
        Some((pooling, layers)) => neurons(&bench, "model", pooling.as_str(), layers, job.fdr)
            .map_err(|e| Failure::Input(format!("the dimensions cannot be compared: {e}")))?,
        None => Vec::new(),
    };
    dir.time("probes_s", began.elapsed().as_secs_f64());
    keep(dir, &policy, &base, &words, &dimensions)?;
    let evidence = evidence(
        &bench,
        (&policy, &base, &words),
        &rates,
        control,
        job.base.is_some(),
    );
    let verdict = verdict(&evidence);
    note(dir, &verdict);
    let behaviour: Vec<_> = rates
        .iter()
        .map(|(who, rates)| {
            let of = |evaluation| rate(&bench, rates, evaluation);
            (*who, gap(&bench, rates), of(true), of(false))
        })
        .collect();
    let features = job.features(&bench, &model, &base_held, dir)?;
    let patched = job.patched(&decisions, dir, settings)?;
    let mut found = findings(&Material {
        bench: &bench,
        policy: &policy,
        base: &base,
        words: &words,
        behaviour: &behaviour,
        behaviour_name: job.behaviour.map_or("none", |(name, _)| name),
        neurons: &dimensions,
        fdr: job.fdr,
        evidence: &evidence,
        verdict: &verdict,
    });
    found.extend(features);
    found.extend(patched);
    Ok(found)
}

/// Rates of each item, policy first.
type Rates = Vec<(&'static str, Vec<Option<f64>>)>;

impl Job<'_> {
    fn pooled(&self, named: &Named, decisions: &Decisions) -> Result<Pooled, Failure> {
        let prompts = match named.spec == self.model.spec {
            true => self.prompts,
            false => self.base_prompts,
        };
        let one = |pooling: &Pooling| {
            let layers = pooling::layers(&named.policy, prompts, decisions, *pooling)?;
            Ok((*pooling, layers))
        };
        self.poolings.iter().map(one).collect()
    }

    /// Samples both policies and judges what they say.
    fn rates(&self, dir: &mut RunDir, settings: &Settings) -> Result<Rates, Failure> {
        let Some((_, behaviour)) = self.behaviour else {
            return Ok(Vec::new());
        };
        let mut out = Rates::new();
        let model = Some(("model", "awareness_rollouts", self.model, self.prompts));
        let base = self
            .base
            .map(|base| ("base", "awareness_rollouts_base", base, self.base_prompts));
        for (who, table, named, prompts) in model.into_iter().chain(base) {
            let began = Instant::now();
            let total = prompts.len() as u64 * u64::from(self.sampler.n);
            let progress = Progress::new(total, &format!("completions of the {who}"), settings);
            let job = rollouts::Job {
                named,
                prompts,
                problems: &self.set.problems,
                settings: self.sampler.clone(),
                verifier: self.verifier,
            };
            let rows = dir.table::<Rollout>(table, rollouts::ROW_GROUP)?;
            let sampled = rollouts::sample(&job, rows, &progress)?;
            progress.finish();
            let rates = judge::rates(behaviour, &sampled, self.sampler.n as usize)?;
            dir.time(&format!("sample_{who}_s"), began.elapsed().as_secs_f64());
            out.push((who, rates));
        }
        Ok(out)
    }

    /// Features of the dictionary under the main pooling, policy first.
    fn features(
        &self,
        bench: &Bench<'_>,
        model: &Pooled,
        base: &Pooled,
        dir: &mut RunDir,
    ) -> Result<Vec<Finding>, Failure> {
        let Some((dictionary, layer)) = self.dictionary else {
            return Ok(Vec::new());
        };
        let began = Instant::now();
        let held: Vec<(&str, &str, &[Layer])> = [("model", model), ("base", base)]
            .into_iter()
            .filter_map(|(who, pooled)| {
                let (pooling, layers) = pooled.first()?;
                Some((who, pooling.as_str(), layers.as_slice()))
            })
            .collect();
        let found = dictionary::run(bench, dictionary, layer, &held, self.fdr, dir)?;
        dir.time("features_s", began.elapsed().as_secs_f64());
        Ok(found)
    }

    /// Patches base and policy at decisions of the texts.
    fn patched(
        &self,
        decisions: &Decisions,
        dir: &mut RunDir,
        settings: &Settings,
    ) -> Result<Vec<Finding>, Failure> {
        let (Some(patching), Some(base)) = (&self.patching, self.base) else {
            return Ok(Vec::new());
        };
        let began = Instant::now();
        let of = patching::PatchingFindings {
            findings: FindingSettings {
                seed: self.bootstrap.seed,
                replicates: self.bootstrap.replicates,
                level: self.bootstrap.level,
                ..FindingSettings::default()
            },
            fdr: self.fdr,
        };
        let found = patching::run(
            (&base.policy, &self.model.policy),
            &decisions.texts,
            &self.set.items,
            patching,
            of,
            dir,
            settings,
        )?;
        dir.time("patching_s", began.elapsed().as_secs_f64());
        Ok(found)
    }

    fn steered(
        &self,
        model: &Pooled,
        decisions: &Decisions,
        dir: &mut RunDir,
        settings: &Settings,
    ) -> Result<Option<Control>, Failure> {
        let (Some(options), Some((_, behaviour))) = (self.steering, self.behaviour) else {
            return Ok(None);
        };
        let Some((_, layers)) = model.first() else {
            return Ok(None);
        };
        let began = Instant::now();
        let steered = Steered {
            policy: self.model,
            set: self.set,
            prompts: self.prompts,
            decisions,
            layers,
            behaviour,
            verifier: self.verifier,
            sampler: self.sampler.clone(),
            options,
            bootstrap: self.bootstrap,
        };
        let control = steered.run(dir, settings)?;
        dir.time("steering_s", began.elapsed().as_secs_f64());
        Ok(control)
    }
}

/// Studies of all poolings, the first in full.
fn studies(bench: &Bench<'_>, who: &str, pooled: &Pooled) -> Vec<(String, Study)> {
    let one = |(i, (pooling, layers)): (usize, &(Pooling, Vec<Layer>))| {
        let name = pooling.as_str();
        (name.to_owned(), bench.study(who, name, layers, i == 0))
    };
    pooled.iter().enumerate().map(one).collect()
}

/// Writes the tables that are computed in one go.
fn keep(
    dir: &RunDir,
    policy: &[(String, Study)],
    base: &[(String, Study)],
    words: &Study,
    dimensions: &[NeuronRow],
) -> Result<(), Failure> {
    let studies = policy.iter().chain(base).map(|(_, s)| s);
    let rows = studies.chain([words]).flat_map(|s| s.rows.iter().cloned());
    let mut table = dir.table::<AwarenessRow>("awareness", 4096)?;
    if !table.is_whole() {
        let kept = table.rows_kept() as usize;
        table.append_all(rows.skip(kept))?;
    }
    table.finish()?;
    let mut table = dir.table::<NeuronRow>("awareness_neurons", 4096)?;
    if !table.is_whole() {
        let kept = table.rows_kept() as usize;
        table.append_all(dimensions.iter().skip(kept).cloned())?;
    }
    table.finish()?;
    Ok(())
}

/// A study under the name of its pooling.
type NamedStudy = (String, Study);

/// What the verdict rests on.
fn evidence(
    bench: &Bench<'_>,
    (policy, base, words): (&[NamedStudy], &[NamedStudy], &Study),
    rates: &Rates,
    control: Option<Control>,
    has_base: bool,
) -> Evidence {
    let design = bench.design;
    let on = |studies: &[(String, Study)], target| {
        let (_, study) = studies.first()?;
        study.on(target).cloned()
    };
    let held_out = Target {
        split: Split::Source,
        format: None,
    };
    let resamples = &bench.resamples;
    let beyond = |m: &Measure, other: Option<&Measure>| match other {
        None => Estimate::default(),
        Some(o) => Estimate {
            value: Some(m.auroc - o.auroc),
            interval: resamples.difference(&m.replicates, &o.replicates),
            n: m.n,
            ..Estimate::default()
        },
    };
    let across = (0u32..).zip(&design.formats).filter_map(|(f, name)| {
        let target = Target {
            split: Split::SourceAndFormat,
            format: Some(f),
        };
        let own = on(policy, target)?;
        let bases = on(base, target);
        let text = words.on(target);
        Some(Across {
            format: name.clone(),
            words: text.map(|m| m.auroc),
            beyond_words: beyond(&own, text),
            base: bases.as_ref().map(|m| m.auroc),
            beyond_base: beyond(&own, bases.as_ref()),
            policy: own,
        })
    });
    let across = across.collect();
    let gaps: Vec<Estimate> = rates.iter().map(|(_, r)| gap(bench, r)).collect();
    let beyond_base = match gaps.as_slice() {
        [own, base] => Some(own.minus(base, resamples)),
        _ => None,
    };
    Evidence {
        two_formats: design.formats.len() > 1,
        crosses_formats: design.crosses_formats(),
        held_out: on(policy, held_out),
        across,
        has_base,
        beyond_base,
        control,
    }
}

fn note(dir: &mut RunDir, verdict: &Verdict) {
    dir.note("verdict", verdict.conclusion.as_str());
}
