//! What a run learns from and is measured on, read and checked before anything
//! is written.

use std::path::{Path, PathBuf};

use forkscope_policy::text::PromptStyle;
use forkscope_records::digest::sha256_bytes;
use forkscope_records::types::{Problem, ProblemPrompt};
use forkscope_train::{HeldOutEvaluation, refuse_shared, refuse_shared_prompts};
use serde_json::json;

use super::Arguments;
use crate::commands::train::start::Start;
use crate::failure::Failure;
use crate::work::held_out::{Asking, check_answers};
use crate::work::models::Named;
use crate::work::pool::{self, GivenRollouts};
use crate::work::prompts::{self, ProblemSet, Prompts};
use crate::work::reasonmaxxer::recipe::Recipe;

/// File of the problems that were split off.
pub const HELD_OUT: &str = "held_out.jsonl";

/// The problems of a file, as prompts.
pub struct Asked {
    /// The problems with the digest of their file.
    pub set: ProblemSet,
    /// As prompts of the model.
    pub prompts: Prompts,
    /// Where they are.
    pub path: PathBuf,
}

/// What is learned from.
pub enum Given {
    /// Problems that are to be sampled.
    Problems(Asked),
    /// Rollouts, in whichever form.
    Rollouts {
        /// The rollouts.
        rollouts: GivenRollouts,
        /// Where they are.
        path: PathBuf,
        /// Of the bytes that were read.
        digest: String,
    },
}

/// Everything that a run reads.
pub struct Material {
    /// What is learned from.
    pub given: Given,
    /// What chooses the checkpoint.
    pub held_out: Option<Asked>,
    /// The held-out problems as a file of the run, where they were split off.
    pub split: Option<Vec<u8>>,
    /// What measures it.
    pub test: Option<Asked>,
}

/// Reads and renders problems.
struct Reader<'a> {
    a: &'a Arguments,
    named: &'a Named,
    style: PromptStyle,
}

impl Reader<'_> {
    fn asked(&self, path: &Path, set: ProblemSet) -> Result<Asked, Failure> {
        check_answers(path, &set.problems)?;
        let prompts = prompts::render(self.named, &set.problems, &self.style, &self.a.eval.stop)?;
        prompts::check_room(&self.named.policy, &prompts.prompts)?;
        Ok(Asked {
            set,
            prompts,
            path: path.to_owned(),
        })
    }

    fn file(&self, path: &Path) -> Result<Asked, Failure> {
        self.asked(path, prompts::read(path, None)?)
    }
}

impl Material {
    /// Reads what the flags name.
    pub fn read(a: &Arguments, recipe: &Recipe, start: &Start) -> Result<Self, Failure> {
        let Some(named) = start.named() else {
            return Err(Failure::Internal("a model without weights".into()));
        };
        let reader = Reader {
            a,
            named,
            style: a.prompts.style()?,
        };
        let file = |path: &Option<PathBuf>| path.as_deref().map(|p| reader.file(p)).transpose();
        let mut material = Self {
            held_out: file(&a.eval.eval_problems)?,
            test: file(&a.eval.test_problems)?,
            split: None,
            given: match (&a.rollouts, &a.problems) {
                (Some(path), _) => given_rollouts(a, path, named)?,
                (None, Some(path)) => {
                    let set = prompts::read(path, a.run.limit)?;
                    Given::Problems(reader.asked(path, set)?)
                }
                (None, None) => return Err(Failure::Internal("nothing to learn from".into())),
            },
        };
        material.split_off(&reader, recipe)?;
        material.refuse_shared()?;
        Ok(material)
    }

    /// Takes the last problems for the choice of the checkpoint, where no file
    /// says which.
    fn split_off(&mut self, reader: &Reader<'_>, recipe: &Recipe) -> Result<(), Failure> {
        let a = reader.a;
        let Given::Problems(asked) = &mut self.given else {
            return match a.eval.holdout {
                None | Some(0) => Ok(()),
                Some(n) => Err(Failure::Usage(format!(
                    "--holdout {n} splits problems of --problems; with --rollouts give --eval-problems"
                ))),
            };
        };
        if self.held_out.is_some() {
            return Ok(());
        }
        let all = asked.set.problems.len() as u64;
        let n = match a.eval.holdout {
            Some(n) if n >= all => {
                return Err(Failure::Usage(format!(
                    "--holdout {n} leaves none of the {all} problems to learn from; hold out fewer"
                )));
            }
            Some(n) => n,
            None => recipe.held_out.problems.min(all / 5),
        };
        if n == 0 {
            return Ok(());
        }
        let problems = asked.set.problems.split_off((all - n) as usize);
        asked.prompts.prompts.truncate(asked.set.problems.len());
        let bytes = as_lines(&problems)?;
        let digest = sha256_bytes(&bytes);
        self.held_out = Some(reader.asked(Path::new(HELD_OUT), ProblemSet { problems, digest })?);
        self.split = Some(bytes);
        Ok(())
    }

    /// A checkpoint is chosen, and measured, on problems that it was not trained
    /// on; and measured on others than chose it.
    fn refuse_shared(&self) -> Result<(), Failure> {
        for asked in [&self.held_out, &self.test].into_iter().flatten() {
            let held_out = &asked.prompts.prompts;
            match &self.given {
                Given::Problems(training) => {
                    refuse_shared(&asked.set.problems, &training.set.problems)?;
                }
                Given::Rollouts { rollouts, .. } => match rollouts {
                    GivenRollouts::Scored(all) | GivenRollouts::Plain(all) => {
                        let ids = all.iter().map(|c| c.rollout.token_ids.as_slice());
                        refuse_shared_prompts(held_out, ids)?;
                    }
                    GivenRollouts::Processed(all) => {
                        let ids = all.iter().map(|r| r.token_ids.as_slice());
                        refuse_shared_prompts(held_out, ids)?;
                    }
                },
            }
        }
        if let (Some(held_out), Some(test)) = (&self.held_out, &self.test) {
            refuse_shared(&held_out.set.problems, &test.set.problems).map_err(|e| {
                Failure::Input(format!(
                    "{e} (--eval-problems chooses, --test-problems measures)"
                ))
            })?;
        }
        Ok(())
    }

    /// The evaluation that chooses the checkpoint.
    pub fn evaluation(
        &self,
        a: &Arguments,
        recipe: &Recipe,
        seed: u64,
    ) -> Option<HeldOutEvaluation> {
        let asked = self.held_out.as_ref()?;
        let asking = Asking {
            sampling: recipe.held_out.sampling(),
            n: recipe.held_out.samples,
            max_tokens: recipe.held_out.max_tokens,
            verifier: a.eval.verifier,
            seed,
        };
        let problems = asked.set.problems.clone();
        Some(asking.evaluation(problems, asked.prompts.prompts.clone()))
    }
}

fn given_rollouts(a: &Arguments, path: &Path, named: &Named) -> Result<Given, Failure> {
    let (rollouts, digest) = pool::read(path)?;
    let rollouts = rollouts.limited(a.run.limit);
    let unused = |flag: &str| {
        Failure::Usage(format!(
            "{flag} says how decision positions and advantages are made, but {} is processed: they are used as recorded; leave the flag out, or give the rollouts it was made from",
            path.display()
        ))
    };
    if let GivenRollouts::Processed(_) = &rollouts
        && let Some(flag) = a.gate.given().or(a.pool.given())
    {
        return Err(unused(flag));
    }
    if let Some(flag) = a.pool.choice().filter(|_| pool::is_selected(path)) {
        return Err(Failure::Usage(format!(
            "{flag} says how a pool is chosen, but {} is one; leave the flag out, or give the rollouts it was chosen from",
            path.display()
        )));
    }
    if a.gate.probes().is_some() {
        return Err(Failure::Usage(
            "--probe-budget samples continuations, which the answers of --problems grade; with --rollouts leave it out, and shared prefixes tell".into(),
        ));
    }
    if let Some(flag) = a.sampling.given() {
        return Err(Failure::Usage(format!(
            "{flag} says how problems are sampled, but --rollouts gives rollouts; leave one of them out"
        )));
    }
    if let Some(by) = pool::scored_by(path).filter(|_| matches!(rollouts, GivenRollouts::Scored(_)))
        && by != named.digest()?
    {
        return Err(Failure::Input(format!(
            "{}: these entropies are of another model than {}; score the rollouts with it, or give the model that scored them",
            path.display(),
            named.spec
        )));
    }
    Ok(Given::Rollouts {
        rollouts,
        path: path.to_owned(),
        digest,
    })
}

/// Problems as JSON Lines that reads back as the same problems.
fn as_lines(problems: &[Problem]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    for p in problems {
        let mut line = json!({ "id": p.id });
        match &p.prompt {
            ProblemPrompt::Text(text) => line["problem"] = json!(text),
            ProblemPrompt::Messages(messages) => line["messages"] = json!(messages),
        }
        if let Some(answer) = &p.answer {
            line["answer"] = json!(answer);
        }
        if let Some(category) = &p.category {
            line["category"] = json!(category);
        }
        serde_json::to_writer(&mut out, &line)
            .map_err(|e| Failure::Internal(format!("{HELD_OUT} cannot be encoded: {e}")))?;
        out.push(b'\n');
    }
    Ok(out)
}
