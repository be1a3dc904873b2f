//! `forkscope ablate`: a grid of arms over one store of rollouts per seed, with
//! equal sampling budgets, in one table and one figure.
//!
//! ```text
//! RUN/stores/seed-S/            rollouts and entropies that all arms of a seed share
//! RUN/cells/ARM-seed-S/         what an arm trained, and its answers
//! RUN/findings.json, figure.svg what came out
//! ```
//! Stores, trainings and cells are runs of their own, so an interrupted grid
//! continues within one.

mod cell;
mod grid;
mod grpo;
mod plan;
mod print;
mod reasonmaxxer;
mod store;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use forkscope_audit::findings::{AblationArm, FindingSettings, ablation};
use forkscope_records::digest::sha256_bytes;
use forkscope_records::types::Problem;
use forkscope_records::{RunDir, RunManifest, write_findings};
use forkscope_train::reasonmaxxer::Candidate;
use forkscope_train::refuse_shared;
use serde_json::json;

use crate::cli::Settings;
use crate::commands::train::start::Start;
use crate::failure::{Failure, Outcome};
use crate::terminal::progress::Progress;
use crate::work::models::Named;
use crate::work::options::RunOptions;
use crate::work::prompts::{self, Prompts};
use crate::work::run;
use grid::{Grid, Kind, Store};

/// What `forkscope ablate` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Trains every arm of a grid under every seed and measures all of them on the same \
        held-out problems. Arms of a seed share one store of base rollouts, so their sampling budgets \
        are equal; GRPO arms spend as many rollouts online, or the multiple that they ask for. \
        findings.json, the table and figure.svg give each arm's pass@1 and greedy accuracy with \
        intervals over problems, its spread over seeds, paired differences, and the share of \
        completion tokens that its objective pushed. docs/ablate.md describes the grid.",
    after_help = "Example:\n  printf '%s' '{\"schema\": \"forkscope/ablation-grid/1\",' ' \"seeds\": [1],' \
        \\\n    ' \"arms\": [{\"name\": \"grpo\", \"kind\": \"grpo\"}]}' > grid.json\n  \
        forkscope ablate --model embedded:base --problems embedded:problems \\\n    --grid grid.json --dry-run --out grid-of-one"
)]
pub struct Arguments {
    /// Base model: directory, hub id, or embedded:base
    #[arg(long, value_name = "M")]
    model: String,
    /// Problems with answers to learn from, or embedded:problems
    #[arg(long, value_name = "FILE")]
    problems: PathBuf,
    /// The grid, as JSON
    #[arg(long, value_name = "FILE")]
    grid: PathBuf,
    /// Held-out problems that arms are measured on [default: every fourth of --problems]
    #[arg(long, value_name = "FILE")]
    eval_problems: Option<PathBuf>,
    /// What the held-out problems are for: settings are chosen on validation, test is read once
    #[arg(long, value_enum, value_name = "NAME", default_value = "validation")]
    split_name: SplitName,
    /// Bootstrap replicates of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    replicates: u32,
    #[command(flatten)]
    run: RunOptions,
}

/// Which part of the problems somebody reports on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SplitName {
    Validation,
    Test,
}

impl SplitName {
    fn name(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// Problems with their prompts.
struct Material {
    problems: Vec<Problem>,
    prompts: Prompts,
    digest: String,
}

/// A store in memory.
type Loaded = (Store, u64, Vec<Candidate>);

/// A grid whose input is checked.
pub struct Ablation<'a> {
    a: &'a Arguments,
    settings: &'a Settings,
    grid: Grid,
    grid_digest: String,
    start: Start,
    base_named: Named,
    training: Material,
    held_out: Material,
    progress: Progress,
    loaded: RefCell<Option<Loaded>>,
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let ablation = Ablation::read(a, settings)?;
    if a.run.dry_run {
        return ablation.plan();
    }
    ablation.warn()?;
    if let Some(dir) = run::open(&a.run, ablation.own_manifest()?)? {
        ablation.go(dir)?;
    }
    print::print(&ablation)
}

impl<'a> Ablation<'a> {
    fn read(a: &'a Arguments, settings: &'a Settings) -> Result<Self, Failure> {
        let bytes = crate::work::rollouts::bytes_of(&a.grid)?;
        let grid = Grid::read(&a.grid, &bytes)?;
        if a.split_name == SplitName::Test && !grid.frozen {
            return Err(Failure::Input(format!(
                "{}: `frozen` is not true, and test problems are read once, with settings that were fixed before; choose them with --split-name validation, then set \"frozen\": true and keep the file",
                a.grid.display()
            )));
        }
        let start = Start::model(&a.model)?;
        let Some(named) = start.named() else {
            return Err(Failure::Internal("a model without weights".into()));
        };
        let base_named = Named::new(named.spec.as_str(), named.policy.clone());
        let style = grid.prompt_style.parse().map_err(|e: String| {
            Failure::Input(format!("{}: `prompt_style`: {e}", a.grid.display()))
        })?;
        let material = |problems: Vec<Problem>, digest: String| {
            graded(&problems)?;
            let prompts = prompts::render(&base_named, &problems, &style, &[])?;
            prompts::check_room(&base_named.policy, &prompts.prompts)?;
            Ok::<Material, Failure>(Material {
                problems,
                prompts,
                digest,
            })
        };
        let set = prompts::read(&a.problems, a.run.limit)?;
        let (training, mut held_out) = match &a.eval_problems {
            Some(path) => (set.problems, prompts::read(path, None)?),
            None => {
                let (kept, held_out) = prompts::every_fourth(set.problems)?;
                let digest = set.digest.clone();
                (
                    kept,
                    prompts::ProblemSet {
                        problems: held_out,
                        digest,
                    },
                )
            }
        };
        refuse_shared(&held_out.problems, &training)?;
        let most = grid.eval.problems.unwrap_or(usize::MAX);
        held_out.problems.truncate(most);
        if held_out.problems.len() < 2 {
            return Err(Failure::Input(
                "fewer than two held-out problems have no interval over problems; give more with --eval-problems".into(),
            ));
        }
        let training = material(training, set.digest)?;
        let held_out = material(held_out.problems, held_out.digest)?;
        let mut ablation = Self {
            a,
            settings,
            grid_digest: sha256_bytes(&bytes),
            grid,
            start,
            base_named,
            training,
            held_out,
            progress: Progress::none(),
            loaded: RefCell::new(None),
        };
        ablation.check()?;
        if !a.run.dry_run {
            let units = ablation.all_units();
            ablation.progress = Progress::new(units, "grid", settings);
        }
        Ok(ablation)
    }

    /// What is wrong with an arm is said before anything is sampled.
    fn check(&self) -> Result<(), Failure> {
        for arm in &self.grid.arms {
            match &arm.kind {
                Kind::Base => {}
                Kind::ReasonMaxxer(settings) => {
                    self.check_rounds(&arm.name, settings)?;
                    self.check_problems(&arm.name, settings.store.problems)?;
                }
                Kind::Grpo(settings) => {
                    self.check_problems(&arm.name, settings.problems)?;
                    self.check_grpo(arm, settings)?;
                }
            }
        }
        self.check_problems("store", self.grid.store.problems)
    }

    /// Refuses more problems than there are.
    fn check_problems(&self, of: &str, asked: Option<usize>) -> Result<(), Failure> {
        let there = self.training.problems.len();
        match asked {
            Some(n) if n > there => Err(Failure::Input(format!(
                "{}: `{of}` asks for `problems` {n} and {} has {there}; give fewer, or a larger file",
                self.a.grid.display(),
                self.a.problems.display()
            ))),
            _ => Ok(()),
        }
    }

    fn go(&self, mut dir: RunDir) -> Outcome {
        let mut arms: Vec<AblationArm> = self
            .grid
            .arms
            .iter()
            .map(|arm| AblationArm {
                name: arm.name.clone(),
                cells: Vec::new(),
            })
            .collect();
        for seed in &self.grid.seeds {
            for (arm, found) in self.grid.arms.iter().zip(&mut arms) {
                let cell = self.cell(arm, *seed);
                let place = || format!("arm `{}`, seed {seed}", arm.name);
                found.cells.push(cell.map_err(|e| e.at(&place()))?);
            }
        }
        self.progress.finish();
        let settings = FindingSettings {
            seed: self.settings.seed,
            replicates: self.a.replicates,
            ..FindingSettings::default()
        };
        let problems = self.held_out.problems.len();
        let found = ablation(problems, &arms, &self.grid.compare_with, &settings)?;
        write_findings(&dir, &found)?;
        if let Some(figure) = forkscope_report::figures(&found)
            .into_iter()
            .find(|f| f.name == "ablation")
        {
            dir.write_atomic("figure.svg", figure.svg.as_bytes())?;
        }
        dir.note("held_out_problems", problems);
        dir.complete()?;
        Ok(())
    }

    /// The rollouts of a store, from memory where they were used last.
    fn stored(&self, store: &Store, seed: u64) -> Result<Vec<Candidate>, Failure> {
        if let Some((of, with, candidates)) = &*self.loaded.borrow()
            && of == store
            && *with == seed
        {
            return Ok(candidates.clone());
        }
        let candidates = self.candidates(store, seed)?;
        *self.loaded.borrow_mut() = Some((store.clone(), seed, candidates.clone()));
        Ok(candidates)
    }

    /// Options of a run below the grid's.
    fn options(&self, path: &Path) -> RunOptions {
        RunOptions {
            out: path.to_owned(),
            resume: true,
            limit: None,
            dry_run: false,
            json: false,
        }
    }

    /// What every run below the grid's records.
    fn manifest(&self, command: &str, seed: u64) -> Result<RunManifest, Failure> {
        let manifest = run::manifest(command, self.settings)
            .seed("cell", seed)
            .digest("data", self.training.digest.as_str());
        let manifest = run::with_policy(manifest, "model", &self.base_named)?
            .setting("limit", json!(self.a.run.limit))
            .setting("verifier", self.grid.verifier.name())
            .setting("prompt_style", self.training.prompts.style.as_str());
        Ok(match &self.training.prompts.template_hash {
            Some(hash) => manifest.digest("template", hash.as_str()),
            None => manifest,
        })
    }

    fn own_manifest(&self) -> Result<RunManifest, Failure> {
        let manifest = run::manifest("ablate", self.settings)
            .digest("data", self.training.digest.as_str())
            .digest("eval_problems", self.held_out.digest.as_str())
            .digest("grid", self.grid_digest.as_str());
        let shown = self
            .a
            .eval_problems
            .as_ref()
            .map(|p| p.display().to_string());
        Ok(run::with_policy(manifest, "model", &self.base_named)?
            .setting("problems", self.a.problems.display().to_string())
            .setting("eval_problems", json!(shown))
            .setting("limit", json!(self.a.run.limit))
            .setting("split_name", self.a.split_name.name())
            .setting("replicates", self.a.replicates)
            .setting("prompt_style", self.training.prompts.style.as_str())
            .setting("grid", json!(self.grid)))
    }
}

/// Every problem of a grid is graded.
fn graded(problems: &[Problem]) -> Result<(), Failure> {
    match problems.iter().find(|p| p.answer.is_none()) {
        Some(problem) => Err(Failure::Input(format!(
            "problem `{}` has no `answer`, so it cannot be graded; add it or leave the problem out",
            problem.id
        ))),
        None => Ok(()),
    }
}
