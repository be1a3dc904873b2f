//! What a sweep learns from and is measured on.

use forkscope_policy::SamplePrompt;
use forkscope_records::types::{Problem, Rollout};
use forkscope_records::{RunDir, RunManifest};
use forkscope_train::objective::Example;
use forkscope_train::{refuse_shared, refuse_shared_prompts};

use super::{Arguments, Sweep};
use crate::cli::Settings;
use crate::commands::sample::with_sampling;
use crate::failure::Failure;
use crate::terminal::progress::Progress;
use crate::work::models::Named;
use crate::work::prompts::{self, Prompts};
use crate::work::rollouts::{self, Job};

/// Problems and prompts, read and checked.
pub struct Material {
    /// Problems to distill on, with their prompts; none where rollouts are given.
    training: Option<(Vec<Problem>, Prompts)>,
    /// Rollouts that were given.
    given: Vec<Rollout>,
    /// Problems that are measured on.
    pub held_out: Vec<Problem>,
    prompts: Prompts,
    digests: Vec<(&'static str, String)>,
    per_problem: usize,
}

impl Material {
    /// Reads what the flags name.
    pub fn read(
        a: &Arguments,
        base: &Named,
        tuned: &Named,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        a.sampling.settings(settings.seed)?;
        let style = a.sampling.style()?;
        let render = |problems: &[Problem]| {
            let rendered = prompts::render(base, problems, &style, &a.sampling.stop)?;
            prompts::check_room(&base.policy, &rendered.prompts)?;
            prompts::check_room(&tuned.policy, &rendered.prompts)?;
            Ok::<Prompts, Failure>(rendered)
        };
        let mut digests = Vec::new();
        let mut training = None;
        let mut given = Vec::new();
        let mut held_out = Vec::new();
        if let Some(path) = &a.problems {
            let set = prompts::read(path, a.run.limit)?;
            digests.push(("data", set.digest));
            let mut kept = set.problems;
            if a.eval_problems.is_none() {
                (kept, held_out) = prompts::every_fourth(kept)?;
            }
            let rendered = render(&kept)?;
            training = Some((kept, rendered));
        }
        if let Some(path) = &a.rollouts {
            let (mut read, digest) = rollouts::read(path, a.run.limit)?;
            rollouts::check(path, &mut read, &[&base.policy, &tuned.policy])?;
            digests.push(("data", digest));
            given = read;
        }
        if let Some(path) = &a.eval_problems {
            let set = prompts::read(path, None)?;
            digests.push(("eval_problems", set.digest));
            held_out = set.problems;
        }
        if let Some(problem) = held_out.iter().find(|p| p.answer.is_none()) {
            return Err(Failure::Input(format!(
                "held-out problem `{}` has no `answer`, so it cannot be graded; add it or leave the problem out",
                problem.id
            )));
        }
        let prompts = render(&held_out)?;
        if let (Some((problems, _)), true) = (&training, a.eval_problems.is_some()) {
            refuse_shared(&held_out, problems)?;
        }
        refuse_shared_prompts(
            &prompts.prompts,
            given.iter().map(|r| r.token_ids.as_slice()),
        )?;
        Ok(Self {
            training,
            given,
            held_out,
            prompts,
            digests,
            per_problem: a.sampling.n as usize,
        })
    }

    /// Examples, as far as is known before sampling.
    pub fn most_examples(&self) -> usize {
        match &self.training {
            Some((problems, _)) => problems.len() * self.per_problem,
            None => examples(&self.given).len(),
        }
    }

    /// Adds the data to a manifest.
    pub fn record(&self, manifest: RunManifest, a: &Arguments) -> RunManifest {
        let shown = |path: &Option<std::path::PathBuf>| {
            serde_json::json!(path.as_ref().map(|p| p.display().to_string()))
        };
        let mut manifest = manifest
            .setting("problems", shown(&a.problems))
            .setting("rollouts", shown(&a.rollouts))
            .setting("eval_problems", shown(&a.eval_problems));
        for (name, digest) in &self.digests {
            manifest = manifest.digest(name, digest.as_str());
        }
        with_sampling(manifest, &a.sampling, &self.prompts)
    }
}

/// Rollouts as examples: those with a completion that the models can take.
fn examples(rollouts: &[Rollout]) -> Vec<Example> {
    let used = rollouts
        .iter()
        .filter(|r| forkscope_audit::windows::yields_rows(r));
    used.map(|r| Example {
        ids: r.token_ids.clone(),
        prompt_len: r.prompt_len,
        weights: None,
    })
    .collect()
}

/// All rollouts that a sweep shares between its ranks.
pub struct Rollouts {
    /// To learn from.
    pub examples: Vec<Example>,
    /// Of the tuned policy, on held-out problems.
    pub tuned: Vec<Rollout>,
    /// Of the base, on held-out problems.
    pub base: Vec<Rollout>,
}

impl Sweep<'_> {
    /// Samples what the run lacks.
    pub fn rollouts(&self, dir: &mut RunDir) -> Result<Rollouts, Failure> {
        let m = &self.material;
        let examples = match &m.training {
            None => examples(&m.given),
            Some((problems, prompts)) => {
                let prompts = prompts.ended_by(self.base_named, self.tuned);
                examples(&self.sample(dir, "rollouts", self.tuned, problems, &prompts)?)
            }
        };
        if examples.is_empty() {
            return Err(Failure::Input(
                "the tuned policy's rollouts have no completion to learn from; check --max-tokens and the problems".into(),
            ));
        }
        let own = m.prompts.ended_by(self.base_named, self.tuned);
        let tuned = self.sample(dir, "rollouts_held_out", self.tuned, &m.held_out, &own)?;
        let base = self.held_out_rollouts(dir, "rollouts_base", self.base_named)?;
        Ok(Rollouts {
            examples,
            tuned,
            base,
        })
    }

    /// Samples held-out problems from the base, or from a student of it.
    pub fn held_out_rollouts(
        &self,
        dir: &mut RunDir,
        table: &str,
        named: &Named,
    ) -> Result<Vec<Rollout>, Failure> {
        let m = &self.material;
        self.sample(dir, table, named, &m.held_out, &m.prompts.prompts)
    }

    fn sample(
        &self,
        dir: &mut RunDir,
        table: &str,
        named: &Named,
        problems: &[Problem],
        prompts: &[SamplePrompt],
    ) -> Result<Vec<Rollout>, Failure> {
        let mut sampler = self.a.sampling.settings(self.settings.seed)?;
        // Every policy reads every rollout: none may be longer than all can take.
        sampler.max_len = self
            .base_named
            .policy
            .context_len()
            .min(self.tuned.policy.context_len());
        let total = prompts.len() as u64 * u64::from(sampler.n);
        let what = format!("rollouts of {}", named.spec);
        let progress = Progress::new(total, &what, self.settings);
        let job = Job {
            named,
            prompts,
            problems,
            settings: sampler,
            verifier: self.a.verifier,
        };
        let sampled = rollouts::sample(&job, dir.table(table, rollouts::ROW_GROUP)?, &progress)?;
        progress.finish();
        Ok(sampled)
    }
}
