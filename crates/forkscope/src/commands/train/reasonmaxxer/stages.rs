//! The stages before training: each is the run of a command, below
//! `RUN/stages/`, with an entry in the ledger.
//!
//! ```text
//! problems ─► sample ─► score ─► select ─► (gate) ─► training
//!              rollouts given ─┘    │
//!              scored ones ─────────┘   processed ones ─┘
//! ```

use std::path::{Path, PathBuf};

use forkscope_records::digest::sha256_bytes;
use forkscope_records::types::Rollout;
use forkscope_records::{RunStatus, read_run_json};
use forkscope_train::reasonmaxxer::{Candidate, PoolRollout, select_pool};
use serde_json::{Value, json};

use super::Job;
use super::material::{Asked, Given};
use super::sampling::stage_options;
use crate::commands::{sample, score, select};
use crate::failure::Failure;
use crate::work::ledger::{Ledger, Meter};
use crate::work::options::{RunOptions, TokenOptions};
use crate::work::pool::{self, GivenRollouts};
use crate::work::rollouts;

/// Folder of the stages.
pub const STAGES: &str = "stages";

/// What is trained on, and how it came to be.
pub struct Learned {
    /// The rollouts.
    pub rollouts: Vec<PoolRollout>,
    /// The run that holds the base's hidden states of them.
    pub hidden: Option<PathBuf>,
    /// Counts of the pool, what the gate chose, how tau was found.
    pub data: Value,
}

impl Job<'_> {
    /// Makes what is trained on, as far as the run lacks it.
    pub fn learned(&self, ledger: &Ledger) -> Result<Learned, Failure> {
        match &self.material.given {
            Given::Problems(asked) => {
                let sampled = self.sample(ledger, asked)?;
                self.worth_scoring(sampled)?;
                let path = self.stage_path("sample");
                let (rollouts, digest) = rollouts::read(&path, None)?;
                let scored =
                    self.score(ledger, &path, Path::new("../sample"), rollouts, &digest)?;
                self.of_scored(ledger, &scored, Path::new("../score"), None)
            }
            Given::Rollouts {
                rollouts: GivenRollouts::Processed(rollouts),
                ..
            } => Ok(Learned {
                data: json!({
                    "rollouts": rollouts.len(),
                    "decisions": rollouts.iter().map(|r| r.decisions.len()).sum::<usize>(),
                    "processed": true,
                }),
                rollouts: rollouts.clone(),
                hidden: None,
            }),
            Given::Rollouts {
                rollouts: GivenRollouts::Scored(all),
                path,
                ..
            } => self.of_scored(ledger, path, path, Some(all)),
            Given::Rollouts {
                rollouts: GivenRollouts::Plain(all),
                path,
                ..
            } => {
                let plain: Vec<Rollout> = all.iter().map(|c| c.rollout.clone()).collect();
                self.worth_scoring(plain)?;
                let (rollouts, digest) = rollouts::read(path, self.a.run.limit)?;
                let scored = self.score(ledger, path, path, rollouts, &digest)?;
                self.of_scored(ledger, &scored, Path::new("../score"), None)
            }
        }
    }

    /// The run that holds the base's hidden states, if any does.
    pub fn hidden(&self) -> Option<PathBuf> {
        let scored = self.stage_path("score");
        match &self.material.given {
            _ if scored.is_dir() => pool::hidden_run(&scored),
            Given::Rollouts { path, .. } => pool::hidden_run(path),
            Given::Problems(_) => None,
        }
    }

    /// Says that there is nothing to learn from before anybody pays for scores.
    fn worth_scoring(&self, rollouts: Vec<Rollout>) -> Result<(), Failure> {
        if self.a.pool.no_select {
            return Ok(());
        }
        let plain = |rollout| Candidate {
            rollout,
            entropies_nats: None,
        };
        let candidates = rollouts.into_iter().map(plain).collect();
        let chosen = select_pool(candidates, &self.recipe.pool);
        chosen.map(drop).map_err(|e| self.nothing_lost(e.into()))
    }

    fn sample(&self, ledger: &Ledger, asked: &Asked) -> Result<Vec<Rollout>, Failure> {
        let s = &self.recipe.sampling;
        let a = self.a;
        // As many problems as are not held out.
        let n = asked.set.problems.len() as u64;
        let split = self.material.split.is_some();
        let arguments = sample::Arguments {
            model: a.model.clone(),
            problems: asked.path.clone(),
            sampling: stage_options(
                s.sampling(),
                s.samples,
                s.max_tokens,
                &a.eval.stop,
                &a.prompts,
            ),
            run: self.stage_run("sample", if split { Some(n) } else { a.run.limit }),
        };
        self.stage(ledger, "sample", |meter| {
            let material = sample::Material {
                set: &asked.set,
                prompts: &asked.prompts,
                sampler: arguments.sampling.settings(self.settings.seed)?,
                verifier: a.eval.verifier,
            };
            sample::into_run(&arguments, self.named, material, self.settings, meter)
        })
    }

    /// Scores the rollouts of `path`; where the scores are.
    fn score(
        &self,
        ledger: &Ledger,
        path: &Path,
        shown: &Path,
        mut rollouts: Vec<Rollout>,
        digest: &str,
    ) -> Result<PathBuf, Failure> {
        rollouts::check(path, &mut rollouts, &[&self.named.policy])?;
        let arguments = score::Arguments {
            model: self.a.model.clone(),
            rollouts: shown.to_owned(),
            record_topk: 0,
            keep_hidden: self.a.sampling.keep_hidden,
            tokens: tokens(),
            run: self.stage_run("score", self.limit_of_given()),
        };
        self.stage(ledger, "score", |meter| {
            score::into_run(
                &arguments,
                self.named,
                &rollouts,
                digest,
                self.settings,
                meter,
            )
        })?;
        Ok(self.stage_path("score"))
    }

    /// The pool of scored rollouts, and counts of what was left out.
    pub fn select(
        &self,
        ledger: &Ledger,
        path: &Path,
        shown: &Path,
    ) -> Result<(Vec<Candidate>, Value), Failure> {
        let p = &self.recipe.pool;
        let mut arguments = select::Arguments {
            rollouts: path.to_owned(),
            pool: select::PoolOptions {
                max_problems: u32::try_from(p.max_problems).unwrap_or(u32::MAX),
                min_pass: p.min_pass,
                max_pass: p.max_pass,
                allow_one_sign: !p.require_both,
                trim: p.trim_fraction,
                skip_ungraded: p.skip_ungraded,
            },
            write_reference: false,
            tokens: tokens(),
            run: self.stage_run("select", self.limit_of_given()),
        };
        let chosen = select::choose(&arguments).map_err(|e| self.nothing_lost(e))?;
        arguments.rollouts = shown.to_owned();
        self.stage(ledger, "select", |_| {
            select::into_run(&arguments, &chosen, self.settings)
        })?;
        Ok((chosen.pool.rollouts, json!(chosen.pool.counts)))
    }

    /// `--limit` of the rollouts that were given: a stage before has heeded it.
    fn limit_of_given(&self) -> Option<u64> {
        match self.material.given {
            Given::Problems(_) => None,
            Given::Rollouts { .. } => self.a.run.limit,
        }
    }

    /// Folder of a stage.
    pub fn stage_path(&self, name: &str) -> PathBuf {
        self.a.run.out.join(STAGES).join(name)
    }

    /// The run of a stage: it goes on where it was left.
    pub fn stage_run(&self, name: &str, limit: Option<u64>) -> RunOptions {
        RunOptions {
            out: self.stage_path(name),
            resume: true,
            limit,
            dry_run: false,
            json: false,
        }
    }

    /// Does the work of a stage, with an entry in the ledger where there is any
    /// to do.
    pub fn stage<T>(
        &self,
        ledger: &Ledger,
        name: &str,
        work: impl FnOnce(&Meter) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let json = read_run_json(&self.stage_path(name));
        if json.is_ok_and(|j| j.status == RunStatus::Complete) {
            return work(&Meter::default());
        }
        let stage = ledger.stage(name)?;
        let done = work(stage.meter())?;
        stage.end()?;
        Ok(done)
    }

    /// An error with where the stages are that were made.
    pub fn nothing_lost(&self, failure: Failure) -> Failure {
        let made = ["score", "sample"].into_iter().find(|stage| {
            let json = read_run_json(&self.stage_path(stage));
            json.is_ok_and(|j| j.status == RunStatus::Complete)
        });
        match (failure, made) {
            (Failure::Input(said), Some(stage)) => Failure::Input(format!(
                "{said}; the rollouts are kept: give them with --rollouts {} to another run",
                self.stage_path(stage).display()
            )),
            (failure, _) => failure,
        }
    }
}

fn tokens() -> TokenOptions {
    TokenOptions {
        row_group_rows: 4096,
    }
}

/// Digest of a file's bytes, for the run that reads it.
pub fn digest_of(bytes: &[u8]) -> String {
    sha256_bytes(bytes)
}
