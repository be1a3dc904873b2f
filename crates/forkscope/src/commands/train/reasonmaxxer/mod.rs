//! `forkscope train reasonmaxxer`: policy selection at gated positions of the
//! base's own rollouts. From rollouts, or from problems through all stages.

mod eval;
mod gate;
mod looping;
mod material;
mod objective;
mod options;
mod plan;
mod pool;
mod prepare;
mod print;
mod sampling;
mod stages;

use std::path::PathBuf;

use clap::Args;
use forkscope_policy::ModelFiles;
use forkscope_records::{RunDir, RunManifest};
use forkscope_train::adapter_settings;
use serde_json::json;

use super::adapter::adapter_files;
use super::data::PromptOptions;
use super::options::usage;
use super::start::Start;
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::terminal::training::TrainingBar;
use crate::work::ledger::Ledger;
use crate::work::models::Named;
use crate::work::options::RunOptions;
use crate::work::reasonmaxxer::Lesson;
use crate::work::reasonmaxxer::recipe::{Recipe, RecipeName};
use crate::work::run;
use material::{Given, HELD_OUT, Material};
use stages::Learned;

/// What `forkscope train reasonmaxxer` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Trains an adapter at the base's own forks (arXiv 2605.06241), without RL: at gated \
        positions of its rollouts, towards what right ones chose and away from what wrong ones chose; \
        elsewhere it is anchored to the base. From --rollouts, or from --problems through all stages: \
        sample, score, select, train, eval. Stages lie in RUN/stages and are runs of their own, \
        costs.json says what each cost, and processed.json is the data as the published trainer reads \
        them. Flags have the published trainer's names.",
    after_help = "Example:\n  forkscope train reasonmaxxer --model embedded:base \\\n    --problems embedded:problems --limit 10 -n 4 --temperature 1 --top-p 1 \\\n    --max-tokens 96 --tau 0.3 --epochs 1 --out reasonmaxxer-of-base"
)]
pub struct Arguments {
    /// Model directory, hub id, or embedded:base; without an adapter
    #[arg(long, value_name = "M")]
    model: String,
    /// Rollouts of that model: a run (sampled, scored or selected), or the reference's scored or processed JSON
    #[arg(
        long,
        value_name = "R",
        required_unless_present = "problems",
        conflicts_with = "problems"
    )]
    rollouts: Option<PathBuf>,
    /// Problems with answers instead, for the whole pipeline: JSONL, JSON or Parquet, or embedded:problems
    #[arg(long, value_name = "P")]
    problems: Option<PathBuf>,
    /// Where every number comes from that no flag gives (docs/reasonmaxxer.md)
    #[arg(long, value_enum, value_name = "NAME", default_value = "reference")]
    recipe: RecipeName,
    /// Dollars per hour of this machine, for the ledger
    #[arg(long, value_name = "USD")]
    price_per_hour: Option<f64>,
    #[command(flatten)]
    sampling: sampling::SampleOptions,
    #[command(flatten)]
    prompts: PromptOptions,
    #[command(flatten)]
    pool: pool::PoolOptions,
    #[command(flatten)]
    gate: gate::GateOptions,
    #[command(flatten)]
    objective: objective::ObjectiveOptions,
    #[command(flatten)]
    training: looping::LoopOptions,
    #[command(flatten)]
    eval: sampling::EvalOptions,
    #[command(flatten)]
    run: RunOptions,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let mut recipe = a.recipe(settings.seed)?;
    a.eval.verifier.ready()?;
    let start = Start::model(&a.model)?;
    let Some(named) = start.named() else {
        return Err(Failure::Internal("a model without weights".into()));
    };
    let init = a.init(&start, &mut recipe)?;
    let material = Material::read(a, &recipe, &start)?;
    let job = Job {
        a,
        settings,
        recipe: &recipe,
        named,
        material: &material,
        init: init.as_ref(),
    };
    if a.run.dry_run {
        return job.plan().print(a.run.json);
    }
    if !a.run.resume {
        job.check_given()?;
    }
    if let Some(dir) = run::open(&a.run, job.manifest(&start)?)? {
        job.go(dir)?;
    }
    print::print(&a.run.out, a.run.json)
}

impl Arguments {
    /// The recipe with what was given, checked.
    fn recipe(&self, seed: u64) -> Result<Recipe, Failure> {
        let mut recipe = Recipe::named(self.recipe);
        self.sampling.apply(&mut recipe)?;
        self.eval.apply(&mut recipe)?;
        self.pool.apply(&mut recipe);
        self.gate.apply(&mut recipe)?;
        self.objective.apply(&mut recipe);
        self.training.apply(&mut recipe, seed);
        if let Some(price) = self
            .price_per_hour
            .filter(|p| !(p.is_finite() && *p >= 0.0))
        {
            return Err(Failure::Usage(format!(
                "--price-per-hour {price} is not a number of dollars"
            )));
        }
        recipe.pool.check().map_err(usage)?;
        recipe.objective.check().map_err(usage)?;
        recipe.lora().check().map_err(usage)?;
        recipe.schedule(1, seed, false).check().map_err(usage)?;
        Ok(recipe)
    }

    /// The adapter that is started from, whose rank, scale and targets the
    /// recipe takes.
    fn init(&self, start: &Start, recipe: &mut Recipe) -> Result<Option<ModelFiles>, Failure> {
        let Some(dir) = &self.training.init_adapter else {
            return Ok(None);
        };
        let files = adapter_files(dir)?;
        let lora = adapter_settings(&files, &start.config, recipe.adapter.dropout)?;
        recipe.adapter.rank = lora.rank;
        recipe.adapter.alpha = lora.alpha;
        recipe.adapter.rslora = lora.rslora;
        recipe.adapter.targets = lora.targets;
        Ok(Some(files))
    }
}

/// A run whose input is checked.
struct Job<'a> {
    a: &'a Arguments,
    settings: &'a Settings,
    recipe: &'a Recipe,
    named: &'a Named,
    material: &'a Material,
    init: Option<&'a ModelFiles>,
}

impl Job<'_> {
    fn go(&self, mut dir: RunDir) -> Outcome {
        let ledger = Ledger::open(&dir, self.a.price_per_hour)?;
        if let Some(lines) = &self.material.split {
            dir.write_atomic(HELD_OUT, lines)?;
        }
        let learned = match prepare::kept(dir.path())? {
            Some(kept) => Learned {
                hidden: self.hidden(),
                ..kept
            },
            None => {
                let learned = self.learned(&ledger)?;
                prepare::keep(&dir, &learned)?;
                learned
            }
        };
        self.train(&mut dir, &ledger, learned)?;
        self.evaluate(&dir, &ledger)?;
        dir.complete()?;
        Ok(())
    }

    fn train(&self, dir: &mut RunDir, ledger: &Ledger, learned: Learned) -> Outcome {
        let seed = self.settings.seed;
        let lesson = Lesson {
            base: self.named,
            rollouts: learned.rollouts,
            hidden: learned.hidden,
            objective: self.recipe.objective.clone(),
            lora: self.recipe.lora(),
            init: self.init,
            seed,
            saved: self.a.training.save_dtype.saved(),
            evaluation: self.material.evaluation(self.a, self.recipe, seed),
            data: learned.data,
        };
        let ready = lesson.prepare()?;
        let evaluates = self.material.held_out.is_some();
        let train = self
            .recipe
            .schedule(ready.steps_per_epoch(), seed, evaluates);
        let mut bar = TrainingBar::new(train.steps, "train reasonmaxxer", self.settings);
        let stage = ledger.stage("train")?;
        ready.train(train, dir, &mut bar, stage.meter())?;
        stage.end()?;
        bar.finish();
        Ok(())
    }

    fn manifest(&self, start: &Start) -> Result<RunManifest, Failure> {
        let (a, m) = (self.a, self.material);
        let manifest = run::manifest("train reasonmaxxer", self.settings);
        let manifest = start.record(manifest)?;
        let manifest = a.prompts.record(manifest)?;
        let shown = |path: &Option<PathBuf>| json!(path.as_ref().map(|p| p.display().to_string()));
        let digest = match &m.given {
            Given::Problems(asked) => &asked.set.digest,
            Given::Rollouts { digest, .. } => digest,
        };
        let mut manifest = manifest
            .digest("data", digest.as_str())
            .setting("rollouts", shown(&a.rollouts))
            .setting("problems", shown(&a.problems))
            .setting("limit", json!(a.run.limit))
            .setting("eval_problems", shown(&a.eval.eval_problems))
            .setting("test_problems", shown(&a.eval.test_problems))
            .setting(
                "held_out",
                m.held_out.as_ref().map(|h| h.set.problems.len()),
            )
            .setting("stop", a.eval.stop.clone())
            .setting("verifier", a.eval.verifier.described())
            .setting("no_select", a.pool.no_select)
            .setting(
                "gate_share",
                a.gate.share().map(|(share, on)| {
                    json!({
                        "share": share,
                        "on": on.name(),
                    })
                }),
            )
            .setting(
                "pivotality",
                self.recipe
                    .gate
                    .needs_signal()
                    .then(|| json!(a.gate.pivotality(self.recipe, self.settings.seed))),
            )
            .setting("keep_hidden", a.sampling.keep_hidden)
            .setting("recipe", json!(self.recipe))
            .setting("save_dtype", a.training.save_dtype.saved().name());
        for (role, asked) in [("eval_problems", &m.held_out), ("test_problems", &m.test)] {
            if let Some(asked) = asked {
                manifest = manifest.digest(role, asked.set.digest.as_str());
            }
        }
        Ok(match self.init {
            Some(files) => {
                let bytes = files.map(forkscope_train::ADAPTER_WEIGHTS)?;
                manifest.digest("adapter", stages::digest_of(&bytes))
            }
            None => manifest,
        })
    }
}
