//! The last stage: the base and the chosen checkpoint answer problems that
//! neither was trained on.

use forkscope_policy::ModelFiles;
use forkscope_records::RunDir;
use forkscope_train::run::{BEST, FINAL};

use super::Job;
use super::material::{Asked, Given};
use super::sampling::stage_options;
use crate::commands::eval;
use crate::failure::{Failure, Outcome};
use crate::work::ledger::Ledger;
use crate::work::models::Named;

/// Stage of the base's answers.
pub const BASE: &str = "eval_base";

/// Stage of the checkpoint's answers.
pub const TUNED: &str = "eval";

impl Job<'_> {
    /// Evaluates, where there is something to evaluate on: `--test-problems`,
    /// or, where the run began with problems, the held-out ones.
    pub fn evaluate(&self, dir: &RunDir, ledger: &Ledger) -> Outcome {
        let held_out = match self.material.given {
            Given::Problems(_) => self.material.held_out.as_ref(),
            Given::Rollouts { .. } => None,
        };
        let Some(asked) = self.material.test.as_ref().or(held_out) else {
            return Ok(());
        };
        self.answers(ledger, BASE, self.named, asked)?;
        let chosen = [BEST, FINAL]
            .into_iter()
            .find(|f| dir.path().join(f).is_dir());
        let Some(folder) = chosen else {
            return Err(Failure::Internal("a run without a model".into()));
        };
        let adapter = ModelFiles::dir_at(dir.path().join(folder));
        let spec = format!("{}+../../{folder}", self.named.spec);
        let tuned = Named::new(spec, self.named.policy.with_adapter(adapter)?);
        self.answers(ledger, TUNED, &tuned, asked)
    }

    fn answers(&self, ledger: &Ledger, stage: &str, named: &Named, asked: &Asked) -> Outcome {
        let h = &self.recipe.held_out;
        let a = self.a;
        let (split, test) = (self.material.split.is_some(), self.material.test.is_some());
        let arguments = eval::Arguments {
            model: named.spec.clone(),
            problems: match split && !test {
                true => std::path::Path::new("../..").join(&asked.path),
                false => asked.path.clone(),
            },
            k: Vec::new(),
            greedy: false,
            verifier: a.eval.verifier,
            replicates: 1000,
            sampling: stage_options(
                h.sampling(),
                h.test_samples,
                h.max_tokens,
                &a.eval.stop,
                &a.prompts,
            ),
            run: self.stage_run(stage, None),
        };
        self.stage(ledger, stage, |meter| {
            let (set, prompts) = (&asked.set, &asked.prompts);
            eval::into_run(&arguments, named, set, prompts, self.settings, meter)
        })
    }
}
