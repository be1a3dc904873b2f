//! From scored rollouts to what is trained on: the pool, tau where a share was
//! asked for, pivotality where the gate looks at a signal, decisions and
//! advantages.
//!
//! What comes out is kept in the run, `processed.json` and `data.json`, and a
//! run that goes on takes it from there.

use std::collections::HashSet;
use std::path::Path;

use forkscope_audit::gates::{Calibration, Gate, GatePlan};
use forkscope_records::import::read_reference_bytes;
use forkscope_records::{RunDir, write_reference};
use forkscope_train::reasonmaxxer::{
    Candidate, Pivotality, Prepared, Prober, from_processed, pivotality, prepare,
    prepare_with_signal, select_pool, to_processed,
};
use serde_json::{Value, json};

use super::Job;
use super::gate::{CalibrateOn, calibrate};
use super::material::Given;
use super::stages::Learned;
use crate::failure::{Failure, Outcome};
use crate::interrupt::interrupted;
use crate::work::ledger::{Ledger, Work, forward};
use crate::work::pool::{self, GivenRollouts};
use crate::work::rollouts::bytes_of;

/// The rollouts as the published trainer reads them.
const PROCESSED: &str = "processed.json";

/// How they came to be.
const DATA: &str = "data.json";

const SCHEMA: &str = "forkscope/reasonmaxxer-data/1";

impl Job<'_> {
    /// The pool of scored rollouts, with positions and advantages. `all` are
    /// those of `path`, where they were read already.
    pub fn of_scored(
        &self,
        ledger: &Ledger,
        path: &Path,
        shown: &Path,
        all: Option<&[Candidate]>,
    ) -> Result<Learned, Failure> {
        let whole = || match all {
            Some(all) => Ok(all.to_vec()),
            None => candidates(path),
        };
        let (pool, selection) = match self.keeps_all(path) {
            true => everything(whole()?),
            false => self.select(ledger, path, shown)?,
        };
        let (gate, calibration) = self.gate(&pool, whole)?;
        let pivotality = match gate.needs_signal() {
            true => Some(self.pivotality(ledger, &pool)?),
            false => None,
        };
        let prepared = self.prepared(&pool, &gate, pivotality.as_ref())?;
        let tau = |c: Calibration| {
            json!({
                "tau_nats": c.tau,
                "share_asked": c.share_asked,
                "share": c.share,
                "positions": c.positions,
            })
        };
        Ok(Learned {
            data: json!({
                "pool": selection,
                "gate": prepared.gate,
                "calibration": calibration.map(tau),
                "probes": pivotality.map(|p| p.cost),
                "prepared": prepared.counts,
            }),
            rollouts: prepared.rollouts,
            hidden: pool::hidden_run(path),
        })
    }

    /// Says what is wrong with scored rollouts, or with the gate on them, before
    /// anything is written.
    pub fn check_given(&self) -> Outcome {
        let Given::Rollouts { rollouts, path, .. } = &self.material.given else {
            return Ok(());
        };
        let GivenRollouts::Scored(all) = rollouts else {
            return Ok(());
        };
        let pool = match self.keeps_all(path) {
            true => everything(all.clone()).0,
            false => select_pool(all.clone(), &self.recipe.pool)?.rollouts,
        };
        let (gate, _) = self.gate(&pool, || Ok(all.clone()))?;
        match gate.needs_signal() && self.a.gate.probes().is_some() {
            // Probes are paid for once the run is open.
            true => Ok(()),
            false => {
                let signal = match gate.needs_signal() {
                    true => Some(self.pivotality_of(&pool, None)?),
                    false => None,
                };
                self.prepared(&pool, &gate, signal.as_ref()).map(drop)
            }
        }
    }

    /// Whether all rollouts are the pool.
    fn keeps_all(&self, path: &Path) -> bool {
        self.a.pool.no_select || pool::is_selected(path)
    }

    /// The gate, with the tau that was asked for by its share.
    fn gate(
        &self,
        pool: &[Candidate],
        whole: impl FnOnce() -> Result<Vec<Candidate>, Failure>,
    ) -> Result<(GatePlan, Option<Calibration>), Failure> {
        let found = match self.a.gate.share() {
            None => return Ok((self.recipe.gate.clone(), None)),
            Some((share, CalibrateOn::Pool)) => calibrate(pool, share)?,
            Some((share, CalibrateOn::LeftOut)) => {
                self.calibrate_on_others(pool, &whole()?, share)?
            }
        };
        Ok((Gate::entropy(found.tau).into(), Some(found)))
    }

    fn calibrate_on_others(
        &self,
        pool: &[Candidate],
        all: &[Candidate],
        share: f64,
    ) -> Result<Calibration, Failure> {
        let id = |c: &'_ Candidate| c.rollout.problem_id.clone();
        let chosen: HashSet<String> = pool.iter().map(id).collect();
        let others: Vec<&Candidate> = all
            .iter()
            .filter(|c| !chosen.contains(&c.rollout.problem_id))
            .filter(|c| c.entropies_nats.as_ref().is_some_and(|e| !e.is_empty()))
            .collect();
        if others.is_empty() {
            return Err(self.nothing_lost(Failure::Input(
                "no scored rollout is of a problem outside the pool, so there is nothing to find tau on; use --calibrate-on pool, or a smaller --max-problems".into(),
            )));
        }
        calibrate(others, share)
    }

    fn prepared(
        &self,
        pool: &[Candidate],
        gate: &GatePlan,
        signal: Option<&Pivotality>,
    ) -> Result<Prepared, Failure> {
        let (control, seed) = (self.recipe.control, self.settings.seed);
        let prepared = match signal {
            Some(p) => prepare_with_signal(pool, &p.signals, gate, control, seed),
            None => prepare(pool, gate, control, seed),
        };
        prepared.map_err(|e| self.nothing_lost(e.into()))
    }

    /// The signal of the gate, with an entry in the ledger.
    fn pivotality(&self, ledger: &Ledger, pool: &[Candidate]) -> Result<Pivotality, Failure> {
        let stage = ledger.stage("pivotality")?;
        let Given::Problems(asked) = &self.material.given else {
            let found = self.pivotality_of(pool, None)?;
            stage.end()?;
            return Ok(found);
        };
        let problems = &asked.set.problems;
        let text = self.named.policy.text();
        let verifier = self.a.eval.verifier;
        let grade = |id: &str, ids: &[u32], ended: bool| {
            let problem = problems.iter().find(|p| p.id == id);
            let gold = problem.and_then(|p| p.answer.as_deref());
            let said = text.map_or_else(String::new, |t| t.tokenizer.decode(ids, true));
            gold.is_some_and(|gold| verifier.grade(&said, ended, gold).correct)
        };
        let prober = Prober {
            policy: &self.named.policy,
            prompts: &asked.prompts.prompts,
            grade: &grade,
        };
        let found = self.pivotality_of(pool, Some(&prober))?;
        let cost = &found.cost;
        let tokens = cost.prefix_tokens + cost.sampled_tokens;
        let length = (tokens / cost.continuations.max(1)).max(1) as usize;
        let per_token = forward(&self.named.policy, 0, length) / length as f64;
        stage.meter().add(Work {
            prompt_tokens: cost.prefix_tokens,
            completion_tokens: cost.sampled_tokens,
            flops: tokens as f64 * per_token,
            ..Work::default()
        });
        stage.end()?;
        Ok(found)
    }

    fn pivotality_of(
        &self,
        pool: &[Candidate],
        prober: Option<&Prober<'_>>,
    ) -> Result<Pivotality, Failure> {
        let settings = self.a.gate.pivotality(self.recipe, self.settings.seed);
        pivotality(pool, &settings, prober, interrupted).map_err(|e| match e {
            forkscope_train::TrainError::Interrupted => e.into(),
            e => self.nothing_lost(e.into()),
        })
    }
}

/// All rollouts that there is something to learn from, and how many are left out.
fn everything(all: Vec<Candidate>) -> (Vec<Candidate>, Value) {
    let given = all.len();
    let usable = |c: &Candidate| forkscope_audit::windows::yields_rows(&c.rollout);
    let pool: Vec<Candidate> = all.into_iter().filter(usable).collect();
    let counts = json!({ "rollouts": given, "rollouts_unusable": given - pool.len() });
    (pool, counts)
}

/// The rollouts of a run that was scored.
fn candidates(path: &Path) -> Result<Vec<Candidate>, Failure> {
    match pool::read(path)?.0 {
        GivenRollouts::Scored(all) | GivenRollouts::Plain(all) => Ok(all),
        GivenRollouts::Processed(_) => Err(Failure::Internal("processed scores".into())),
    }
}

/// Keeps what is trained on in the run.
pub fn keep(dir: &RunDir, learned: &Learned) -> Outcome {
    let mut bytes = Vec::new();
    let path = dir.path().join(PROCESSED);
    write_reference(&mut bytes, &path, &to_processed(&learned.rollouts))?;
    dir.write_atomic(PROCESSED, &bytes)?;
    let document = json!({ "schema": SCHEMA, "data": learned.data });
    let mut bytes = serde_json::to_vec_pretty(&document)
        .map_err(|e| Failure::Internal(format!("{DATA} cannot be encoded: {e}")))?;
    bytes.push(b'\n');
    dir.write_atomic(DATA, &bytes)?;
    Ok(())
}

/// What an attempt before kept, if it came so far.
pub fn kept(run: &Path) -> Result<Option<Learned>, Failure> {
    let (path, processed) = (run.join(DATA), run.join(PROCESSED));
    if !path.is_file() || !processed.is_file() {
        return Ok(None);
    }
    let broken = |what: String| {
        Failure::Input(format!(
            "{}: {what}; remove the file and resume, and it is made again",
            path.display()
        ))
    };
    let mut document: Value =
        serde_json::from_slice(&bytes_of(&path)?).map_err(|e| broken(e.to_string()))?;
    if document["schema"] != SCHEMA {
        return Err(broken(format!("`schema` is not {SCHEMA:?}")));
    }
    let rollouts = read_reference_bytes(&bytes_of(&processed)?, &processed)?;
    Ok(Some(Learned {
        rollouts: from_processed(rollouts)?,
        hidden: None,
        data: document["data"].take(),
    }))
}
