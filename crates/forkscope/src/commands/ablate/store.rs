//! Rollouts with the entropies of the policy that sampled them: what arms learn
//! from.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use forkscope_audit::{score_window, windows};
use forkscope_policy::{Policy, SampleSettings};
use forkscope_records::digest::sha256_bytes;
use forkscope_records::types::{Rollout, ScoreRow};
use forkscope_records::{RunDir, RunManifest};
use forkscope_train::reasonmaxxer::Candidate;
use serde_json::json;

use super::Ablation;
use super::grid::{Store, sampling};
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::work::models::Named;
use crate::work::rollouts::{self, Job};
use crate::work::run;

/// Rows per row group of `tokens.parquet`.
const TOKEN_ROWS: usize = 4096;

/// Which problems a policy is asked, how often and with which luck.
pub struct Draw<'a> {
    /// How.
    pub store: &'a Store,
    /// Places of the problems in the file.
    pub problems: std::ops::Range<usize>,
    /// Samples of each.
    pub samples: u32,
    /// Seed of the completions.
    pub seed: u64,
}

impl Ablation<'_> {
    /// Number of problems of a store.
    pub fn problems_of(&self, store: &Store) -> usize {
        let all = self.training.problems.len();
        store.problems.map_or(all, |n| n.min(all))
    }

    /// The run of a store.
    pub fn store_path(&self, store: &Store, seed: u64) -> Result<PathBuf, Failure> {
        let name = match *store == self.grid.store {
            true => format!("seed-{seed}"),
            false => {
                let text = serde_json::to_vec(store)
                    .map_err(|e| Failure::Internal(format!("cannot name a store: {e}")))?;
                let digest = sha256_bytes(&text);
                format!("seed-{seed}-{}", digest.get(..8).unwrap_or(&digest))
            }
        };
        Ok(self.a.run.out.join("stores").join(name))
    }

    /// The rollouts of a store, sampled and scored as far as its run lacks them.
    pub fn candidates(&self, store: &Store, seed: u64) -> Result<Vec<Candidate>, Failure> {
        let path = self.store_path(store, seed)?;
        let draw = Draw {
            store,
            problems: 0..self.problems_of(store),
            samples: store.samples,
            seed,
        };
        let manifest = self.store_manifest(store, seed)?;
        if let Some(mut dir) = run::open(&self.options(&path), manifest)? {
            self.progress.rename(&format!("rollouts of seed {seed}"));
            self.sampled(&mut dir, &self.base_named, &draw)?;
            dir.complete()?;
        } else {
            let units = draw.problems.len() as u64 * u64::from(draw.samples);
            self.progress.skip(units);
        }
        read(&path)
    }

    fn store_manifest(&self, store: &Store, seed: u64) -> Result<RunManifest, Failure> {
        let manifest = self.manifest("ablate store", seed)?;
        Ok(manifest
            .setting("store", json!(store))
            .setting("problems", self.problems_of(store)))
    }

    /// Samples rollouts into a run, and scores them under the same policy.
    pub fn sampled(&self, dir: &mut RunDir, named: &Named, draw: &Draw<'_>) -> Result<(), Failure> {
        let range = draw.problems.clone();
        let job = Job {
            named,
            prompts: self
                .training
                .prompts
                .prompts
                .get(range.clone())
                .unwrap_or(&[]),
            problems: self.training.problems.get(range).unwrap_or(&[]),
            settings: SampleSettings {
                sampling: sampling(draw.store.temperature, draw.store.top_p),
                n: draw.samples,
                max_tokens: draw.store.max_tokens as usize,
                seed: draw.seed,
                skip: 0,
                max_len: usize::MAX,
                interrupted,
                width: None,
            },
            verifier: self.grid.verifier,
        };
        let table = dir.table("rollouts", rollouts::ROW_GROUP)?;
        let sampled = rollouts::sample(&job, table, &self.progress)?;
        score(dir, &named.policy, &sampled)
    }
}

/// Writes entropies of the rollouts' positions as far as the run lacks them.
fn score(dir: &RunDir, policy: &Policy, sampled: &[Rollout]) -> Result<(), Failure> {
    let mut table = dir.table::<ScoreRow>("tokens", TOKEN_ROWS)?;
    if !table.is_whole() {
        for (window, kept) in windows::windows(sampled, table.rows_kept()) {
            let rows = score_window(policy, &window, 0)?;
            table.append_all(rows.into_iter().skip(kept))?;
            if interrupted() {
                return Err(Failure::interrupted());
            }
        }
    }
    table.finish()?;
    Ok(())
}

/// The rollouts of a run with their entropies.
pub fn read(path: &Path) -> Result<Vec<Candidate>, Failure> {
    let rollouts = forkscope_records::read_rollouts(path)?;
    let rows: Vec<ScoreRow> = forkscope_records::read_table(&path.join("tokens.parquet"))?;
    let mut entropies: HashMap<(String, u32), Vec<f64>> = HashMap::new();
    for row in rows {
        let place = (row.problem_id, row.sample);
        entropies.entry(place).or_default().push(row.entropy_nats);
    }
    let candidate = |rollout: Rollout| Candidate {
        entropies_nats: entropies.remove(&(rollout.problem_id.clone(), rollout.sample)),
        rollout,
    };
    Ok(rollouts.into_iter().map(candidate).collect())
}
