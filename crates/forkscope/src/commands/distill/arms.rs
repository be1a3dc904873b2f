//! The policies of a sweep, measured: answers to held-out problems, and
//! divergence from the tuned policy on its own held-out rollouts.

use std::collections::HashMap;

use forkscope_audit::findings::{ProblemDivergence, SweepArm};
use forkscope_audit::{DiffSettings, diff_window, windows};
use forkscope_policy::Policy;
use forkscope_records::RunDir;
use forkscope_records::types::Rollout;
use forkscope_train::engine::{LoraSettings, Network, Trainable};
use forkscope_train::objective::{DistillSettings, DistillSource};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Sweep;
use super::data::Rollouts;
use crate::commands::train::session::Session;
use crate::commands::train::start::{parameters, trained};
use crate::commands::train::{adapter_setting, taught};
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::work::models::Named;
use crate::work::options::RunOptions;
use crate::work::run;

/// Divergences of an arm as a file of a run keeps them.
#[derive(Serialize, Deserialize)]
struct Kept {
    schema: String,
    problems: Vec<KeptProblem>,
}

#[derive(Serialize, Deserialize)]
struct KeptProblem {
    problem_id: String,
    positions: u64,
    undefined: u64,
    kl_sum_nats: f64,
    same_top1: u64,
}

const SCHEMA: &str = "forkscope/divergence/1";

/// File of a rank's run.
const DIVERGENCE: &str = "divergence.json";

impl Sweep<'_> {
    /// Verdicts by held-out problem.
    pub fn answers(&self, rollouts: &[Rollout]) -> Vec<Vec<Option<bool>>> {
        let n = self.a.sampling.n.max(1) as usize;
        let verdicts = |r: &[Rollout]| r.iter().map(|r| r.correct).collect();
        rollouts.chunks(n).map(verdicts).collect()
    }

    /// The arm of a rank: trained, sampled and compared as far as its run is
    /// not there.
    pub fn rank(
        &self,
        sweep: &RunDir,
        adapter: &LoraSettings,
        rollouts: &Rollouts,
    ) -> Result<SweepArm, Failure> {
        let name = format!("rank-{:05}", adapter.rank);
        let options = RunOptions {
            out: sweep.path().join(name),
            resume: true,
            limit: self.a.run.limit,
            dry_run: false,
            json: false,
        };
        let network = Network::open(
            &self.base.files,
            &Trainable::Lora(adapter.clone()),
            self.settings.seed,
        )?;
        let values = trained(&network);
        // Of what, and from what, is in the sweep's own manifest.
        let of = sweep.json();
        let mut manifest = run::manifest("distill rank", self.settings);
        for name in ["base", "tuned"] {
            manifest = manifest.setting(name, of.settings.get(name).cloned().unwrap_or_default());
        }
        for (name, digest) in &of.digests {
            manifest = manifest.digest(name, digest.as_str().unwrap_or_default());
        }
        let manifest = manifest
            .setting("adapter", adapter_setting(adapter))
            .setting("examples", rollouts.examples.len());
        let mut session = Session {
            run: &options,
            settings: self.settings,
            manifest,
            network,
            parameters: parameters(&self.base.config),
            train: self.train(rollouts.examples.len())?,
            saved: self.a.optimiser.saved(),
            evaluation: None,
            data: json!({ "examples": rollouts.examples.len() }),
            epoch_tokens: None,
        };
        if let Some(mut dir) = run::open(&options, session.recorded()?)? {
            self.learn(&mut session, &mut dir, rollouts)?;
            let name = format!("rank {}", adapter.rank);
            let student = Named::new(name, session.network.policy()?);
            self.held_out_rollouts(&mut dir, "rollouts", &student)?;
            self.kept_divergence(&dir, DIVERGENCE, &student.policy, rollouts)?;
            dir.complete()?;
        }
        let answers = forkscope_records::read_rollouts(&options.out)?;
        let path = options.out.join(DIVERGENCE);
        Ok(SweepArm {
            name: format!("rank_{}", adapter.rank),
            answers: self.answers(&answers),
            divergence: Some(self.read_divergence(&path)?),
            parameters: Some((values, session.parameters)),
        })
    }

    fn learn(
        &self,
        session: &mut Session<'_>,
        dir: &mut RunDir,
        rollouts: &Rollouts,
    ) -> Result<(), Failure> {
        let vocab = self.base.config.vocab_size;
        let examples = &rollouts.examples;
        let teacher = taught(self.tuned, examples, self.a.teacher_top_k, vocab)?;
        let settings = DistillSettings {
            batches: self.a.batches.settings(self.settings.seed),
            denominator: self.a.loss_divisor,
            ..DistillSettings::default()
        };
        let mut source = DistillSource::new(Box::new(examples.clone()), teacher, settings)?;
        session.train(dir, &mut source)
    }

    /// Divergence of a policy from the tuned one, taken from the run if it is
    /// there.
    pub fn kept_divergence(
        &self,
        dir: &RunDir,
        file: &str,
        policy: &Policy,
        rollouts: &Rollouts,
    ) -> Result<Vec<ProblemDivergence>, Failure> {
        let path = dir.path().join(file);
        if path.is_file() {
            return self.read_divergence(&path);
        }
        let found = self.divergence(policy, &rollouts.tuned)?;
        let problems = self.material.held_out.iter().zip(&found);
        let kept = Kept {
            schema: SCHEMA.into(),
            problems: problems
                .map(|(problem, d)| KeptProblem {
                    problem_id: problem.id.clone(),
                    positions: d.positions,
                    undefined: d.undefined,
                    kl_sum_nats: d.kl_sum,
                    same_top1: d.agree,
                })
                .collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&kept)
            .map_err(|e| Failure::Internal(format!("cannot write {file}: {e}")))?;
        bytes.push(b'\n');
        dir.write_atomic(file, &bytes)?;
        Ok(found)
    }

    fn divergence(
        &self,
        policy: &Policy,
        rollouts: &[Rollout],
    ) -> Result<Vec<ProblemDivergence>, Failure> {
        let ids = self.material.held_out.iter().map(|p| p.id.as_str());
        let places: HashMap<&str, usize> = ids.zip(0..).collect();
        let mut found = vec![ProblemDivergence::default(); places.len()];
        let settings = DiffSettings {
            record_topk: 0,
            ..DiffSettings::default()
        };
        for (window, _) in windows::windows(rollouts, 0) {
            for row in diff_window(policy, &self.tuned.policy, &window, settings)? {
                let place = places.get(row.problem_id.as_str());
                let Some(sums) = place.and_then(|i| found.get_mut(*i)) else {
                    continue;
                };
                // p is the tuned policy, b this one.
                match row.kl_tuned_base_nats {
                    Some(kl) => {
                        sums.positions += 1;
                        sums.kl_sum += kl;
                    }
                    None => sums.undefined += 1,
                }
                sums.agree += u64::from(row.argmax_base_id == row.argmax_tuned_id);
            }
            if interrupted() {
                return Err(Failure::interrupted());
            }
        }
        Ok(found)
    }

    fn read_divergence(&self, path: &std::path::Path) -> Result<Vec<ProblemDivergence>, Failure> {
        let broken = |what: String| {
            Failure::Input(format!(
                "{}: {what}; remove the file and resume, and it is made again",
                path.display()
            ))
        };
        let bytes = crate::work::rollouts::bytes_of(path)?;
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
        let ids = kept.problems.iter().map(|p| p.problem_id.as_str());
        let own = self.material.held_out.iter().map(|p| p.id.as_str());
        if kept.schema != SCHEMA || !ids.eq(own) {
            return Err(broken("it is of other held-out problems".into()));
        }
        let one = |p: &KeptProblem| ProblemDivergence {
            positions: p.positions,
            undefined: p.undefined,
            kl_sum: p.kl_sum_nats,
            agree: p.same_top1,
        };
        Ok(kept.problems.iter().map(one).collect())
    }
}
