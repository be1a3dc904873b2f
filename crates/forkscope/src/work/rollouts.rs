//! Sampling problems into the `rollouts` table of a run.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use forkscope_policy::text::TextSide;
use forkscope_policy::{Completion, Ended, Policy, SamplePrompt, SampleSettings};
use forkscope_records::digest::sha256_bytes;
use forkscope_records::import::read_rollouts_bytes;
use forkscope_records::types::{FinishReason, Problem, Rollout, Validity};
use forkscope_records::{RecordsError, RunDir, TableWriter};
use forkscope_tasks::Verifier;

use super::ledger::{Meter, Work};
use super::models::Named;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::terminal::progress::Progress;

/// Rollouts per row group: few, because each may have taken long to sample.
pub const ROW_GROUP: usize = 64;

/// What is sampled from whom.
pub struct Job<'a> {
    /// The policy.
    pub named: &'a Named,
    /// One per problem.
    pub prompts: &'a [SamplePrompt],
    /// In the same order.
    pub problems: &'a [Problem],
    /// Settings; `skip` is set here.
    pub settings: SampleSettings,
    /// How answers are found and graded.
    pub verifier: Verifier,
}

/// Samples what the table lacks and returns all rollouts in their order.
pub fn sample(
    job: &Job<'_>,
    table: TableWriter<Rollout>,
    progress: &Progress,
) -> Result<Vec<Rollout>, Failure> {
    sample_metered(job, table, progress, &Meter::default())
}

/// As [`sample`], counting the work.
pub fn sample_metered(
    job: &Job<'_>,
    mut table: TableWriter<Rollout>,
    progress: &Progress,
    meter: &Meter,
) -> Result<Vec<Rollout>, Failure> {
    let mut rollouts = table.read_kept()?;
    progress.skip(rollouts.len() as u64);
    let total = job.prompts.len() * job.settings.n as usize;
    let settings = SampleSettings {
        skip: rollouts.len(),
        ..job.settings.clone()
    };
    let mut early: BTreeMap<(usize, u32), Rollout> = BTreeMap::new();
    let mut failed: Option<Failure> = None;
    let mut asked = HashSet::new();
    if rollouts.len() < total {
        job.named
            .policy
            .sample(job.prompts, &settings, &mut |completion| {
                meter.add(job.work(&completion, asked.insert(completion.prompt)));
                early.insert(
                    (completion.prompt, completion.sample),
                    job.rollout(completion),
                );
                progress.inc(1);
                let written = write_in_order(job.settings.n, &mut early, &mut rollouts, &mut table);
                failed = written.err().map(Failure::from);
                failed.is_none() && !interrupted()
            })?;
    }
    if let Some(failure) = failed {
        return Err(failure);
    }
    if rollouts.len() < total {
        return Err(Failure::interrupted());
    }
    table.finish()?;
    Ok(rollouts)
}

/// Samples everything into memory, in order of (problem, sample).
pub fn collect(job: &Job<'_>, progress: &Progress) -> Result<Vec<Rollout>, Failure> {
    let mut done: BTreeMap<(usize, u32), Rollout> = BTreeMap::new();
    job.named
        .policy
        .sample(job.prompts, &job.settings, &mut |completion| {
            let place = (completion.prompt, completion.sample);
            done.insert(place, job.rollout(completion));
            progress.inc(1);
            !interrupted()
        })?;
    if done.len() < job.prompts.len() * job.settings.n as usize {
        return Err(Failure::interrupted());
    }
    Ok(done.into_values().collect())
}

/// Rows stand in order of (problem, sample), completions end in any order.
fn write_in_order(
    n: u32,
    early: &mut BTreeMap<(usize, u32), Rollout>,
    rollouts: &mut Vec<Rollout>,
    table: &mut TableWriter<Rollout>,
) -> Result<(), RecordsError> {
    let place = |i: usize| (i / n as usize, (i % n as usize) as u32);
    while let Some(rollout) = early.remove(&place(rollouts.len())) {
        table.append(rollout.clone())?;
        rollouts.push(rollout);
    }
    Ok(())
}

impl Job<'_> {
    /// Of a completion, and of its prompt where it is the first one.
    fn work(&self, c: &Completion, first: bool) -> Work {
        let policy = &self.named.policy;
        let prompt = self.prompts.get(c.prompt).map_or(0, |p| p.ids.len());
        let mut work = Work::completion(policy, prompt, c.ids.len());
        if first {
            work += Work::prompt(policy, prompt);
        }
        work
    }

    fn rollout(&self, c: Completion) -> Rollout {
        let prompt = &self.prompts[c.prompt];
        let text = self
            .named
            .policy
            .text()
            .map(|t| readable(t, &c.ids))
            .unwrap_or_default();
        let gold = self
            .problems
            .get(c.prompt)
            .and_then(|p| p.answer.as_deref());
        let whole = matches!(c.ended, Ended::Eos | Ended::Stop);
        let correct = gold.map(|gold| self.verifier.grade(&text, whole, gold).correct);
        let validity = match c.ended {
            _ if c.ids.is_empty() => Validity::Empty,
            Ended::Length | Ended::Context => Validity::Truncated,
            Ended::Eos | Ended::Stop => Validity::Ok,
        };
        let mut token_ids = prompt.ids.clone();
        token_ids.extend(&c.ids);
        Rollout {
            problem_id: prompt.problem_id.clone(),
            sample: c.sample,
            token_ids,
            prompt_len: prompt.ids.len(),
            finish_reason: match c.ended {
                Ended::Eos => FinishReason::Eos,
                Ended::Stop => FinishReason::Stop,
                Ended::Length => FinishReason::Length,
                Ended::Context => FinishReason::Context,
            },
            text,
            correct,
            validity,
            logprobs: Some(c.logprobs),
        }
    }
}

/// The completion's text, without special tokens.
fn readable(text: &TextSide, ids: &[u32]) -> String {
    text.tokenizer.decode(ids, true)
}

/// Reads the rollouts of what a user gave, with the SHA-256 of the very bytes
/// that were read.
pub fn read(given: &Path, limit: Option<u64>) -> Result<(Vec<Rollout>, String), Failure> {
    let path = file(given);
    let bytes = bytes_of(&path)?;
    let digest = sha256_bytes(&bytes);
    Ok((limited(read_rollouts_bytes(bytes, &path)?, limit), digest))
}

/// The bytes of a file, or of what cannot be read twice, such as a pipe.
pub fn bytes_of(path: &Path) -> Result<Bytes, Failure> {
    let read = |source| RecordsError::Read {
        path: path.to_owned(),
        source,
    };
    Ok(std::fs::read(path).map_err(read)?.into())
}

/// The rollouts of the first `limit` problems, in the order of rows.
fn limited(mut rollouts: Vec<Rollout>, limit: Option<u64>) -> Vec<Rollout> {
    forkscope_audit::windows::in_row_order(&mut rollouts);
    let Some(limit) = limit else { return rollouts };
    let mut seen: Vec<String> = Vec::new();
    rollouts.retain(|r| {
        if seen.last() != Some(&r.problem_id) {
            seen.push(r.problem_id.clone());
        }
        seen.len() as u64 <= limit
    });
    rollouts
}

/// Checks rollouts of the file at `path` against the policies that are to score
/// them.
pub fn check(path: &Path, rollouts: &mut [Rollout], policies: &[&Policy]) -> Result<(), Failure> {
    let named = |said: String| Failure::Input(format!("{}: {said}", file(path).display()));
    forkscope_audit::windows::check(rollouts, policies).map_err(|e| named(e.to_string()))?;
    if rollouts.iter().any(forkscope_audit::windows::yields_rows) {
        return Ok(());
    }
    let count = |v: Validity| rollouts.iter().filter(|r| r.validity == v).count();
    Err(named(format!(
        "none of the {} rollouts has a position to score ({} without a completion, {} longer than the context); give rollouts with completions",
        rollouts.len(),
        count(Validity::Empty),
        count(Validity::ContextExceeded)
    )))
}

/// The file that holds the rollouts of what a user gave.
pub fn file(given: &Path) -> PathBuf {
    if given.is_dir() {
        given.join("rollouts.parquet")
    } else {
        given.to_owned()
    }
}

/// Keeps a copy of the rollouts in the run, as they were scored.
pub fn keep(run: &RunDir, rollouts: &[Rollout]) -> Result<(), Failure> {
    let mut table = run.table::<Rollout>("rollouts", 4096)?;
    if !table.is_whole() {
        let kept = table.rows_kept() as usize;
        table.append_all(rollouts.iter().skip(kept).cloned())?;
    }
    table.finish()?;
    Ok(())
}
