//! Rollouts to train on, in whichever form they are given: a `score` or `select`
//! run, a run without scores, a `rollouts.parquet`, the reference's scored JSON
//! or its processed JSON.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use forkscope_records::digest::sha256_bytes;
use forkscope_records::import::{ReferenceRollout, read_reference_bytes, read_rollouts_bytes};
use forkscope_records::types::{Rollout, ScoreRow};
use forkscope_records::{HiddenStore, RunStatus, TableReader, read_run_json};
use forkscope_train::reasonmaxxer::{Candidate, PoolRollout, from_processed};

use super::rollouts::bytes_of;
use crate::failure::Failure;

/// The document that says that a run holds a pool.
pub const POOL: &str = "pool.json";

/// The pool as the reference's rollout JSON, in a run of `select`.
pub const REFERENCE: &str = "reference.json";

/// What a user gave, by what was done to it before.
#[derive(Debug)]
pub enum GivenRollouts {
    /// Rollouts with the base's entropies.
    Scored(Vec<Candidate>),
    /// Rollouts without entropies: enough to select, not to gate.
    Plain(Vec<Candidate>),
    /// Rollouts with decision positions and advantages, to be used as recorded.
    Processed(Vec<PoolRollout>),
}

impl GivenRollouts {
    /// The rollouts of the first `limit` problems, in the order of the file.
    pub fn limited(self, limit: Option<u64>) -> Self {
        let Some(limit) = limit else { return self };
        match self {
            Self::Scored(c) => Self::Scored(first(c, limit, |c| &c.rollout.problem_id)),
            Self::Plain(c) => Self::Plain(first(c, limit, |c| &c.rollout.problem_id)),
            Self::Processed(r) => Self::Processed(first(r, limit, |r| &r.problem_id)),
        }
    }
}

fn first<T>(mut all: Vec<T>, limit: u64, id: impl Fn(&T) -> &String) -> Vec<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut seen: HashSet<String> = HashSet::new();
    all.retain(|x| {
        if !seen.contains(id(x)) && seen.len() < limit {
            seen.insert(id(x).clone());
        }
        seen.contains(id(x))
    });
    all
}

/// Rows of `tokens.parquet` by rollout, (problem, sample).
pub type Rows = HashMap<(String, u32), Vec<ScoreRow>>;

/// A `tokens.parquet` as it was read, still compressed.
pub struct Tokens {
    path: PathBuf,
    bytes: Bytes,
}

impl Tokens {
    /// The rows of these rollouts.
    pub fn of(&self, rollouts: &[Rollout]) -> Result<Rows, Failure> {
        let names = rollouts.iter().map(|r| (r.problem_id.clone(), r.sample));
        let mut rows: Rows = names.map(|name| (name, Vec::new())).collect();
        self.each(|row| {
            if let Some(of) = rows.get_mut(&(row.problem_id.clone(), row.sample)) {
                of.push(row);
            }
        })?;
        Ok(rows)
    }

    /// What is needed of all rows: t, token and H.
    fn entropies(&self) -> Result<Entropies, Failure> {
        let mut all = Entropies::new();
        self.each(|row| {
            let of = all.entry((row.problem_id, row.sample)).or_default();
            of.push((row.t, row.token_id, row.entropy_nats));
        })?;
        Ok(all)
    }

    fn each(&self, mut take: impl FnMut(ScoreRow)) -> Result<(), Failure> {
        for batch in TableReader::<ScoreRow>::from_bytes(self.bytes.clone(), &self.path)? {
            batch?.into_iter().for_each(&mut take);
        }
        Ok(())
    }
}

type Entropies = HashMap<(String, u32), Vec<(u32, u32, f64)>>;

/// Reads the rollouts of what a user gave, in the order of the file, with the
/// SHA-256 of the very bytes that were read (of a run with scores, that of the
/// digests of both tables).
pub fn read(given: &Path) -> Result<(GivenRollouts, String), Failure> {
    let (rollouts, _, digest) = read_with_tokens(given)?;
    Ok((rollouts, digest))
}

/// Whether what was given is a pool that `select` chose: choosing again from it
/// would trim it twice.
pub fn is_selected(given: &Path) -> bool {
    given.join(POOL).is_file()
}

/// Digest of the model whose entropies the rollouts have, where the run says.
pub fn scored_by(given: &Path) -> Option<String> {
    let json = read_run_json(given).ok()?;
    let role = match json.command.as_str() {
        "score" => "model",
        "select" => "scored_by",
        _ => return None,
    };
    Some(json.digests.get(role)?.as_str()?.to_owned())
}

/// The run that holds the hidden states of these rollouts: what was given, or
/// the run that a pool was chosen from, if that is where it was.
pub fn hidden_run(given: &Path) -> Option<PathBuf> {
    if HiddenStore::is_in(given) {
        return Some(given.to_owned());
    }
    let json = read_run_json(given).ok()?;
    let from = PathBuf::from(json.settings.get("rollouts")?.as_str()?);
    if json.command != "select" {
        return None;
    }
    // A stage of a longer run names the stage before it from where it lies.
    [given.join(&from), from]
        .into_iter()
        .find(|run| HiddenStore::is_in(run))
}

/// As [`read`], with the rows of a run that was scored.
pub fn read_with_tokens(given: &Path) -> Result<(GivenRollouts, Option<Tokens>, String), Failure> {
    if given.is_dir() {
        return read_run(given);
    }
    let bytes = bytes_of(given)?;
    let digest = sha256_bytes(&bytes);
    if bytes.starts_with(b"PAR1") {
        let rollouts = read_rollouts_bytes(bytes, given)?;
        return Ok((GivenRollouts::Plain(plain(rollouts)), None, digest));
    }
    let rollouts = read_reference_bytes(&bytes, given)?;
    Ok((of_reference(given, rollouts)?, None, digest))
}

fn plain(rollouts: Vec<Rollout>) -> Vec<Candidate> {
    let one = |rollout| Candidate {
        rollout,
        entropies_nats: None,
    };
    rollouts.into_iter().map(one).collect()
}

/// The form that every rollout of the file has.
fn of_reference(path: &Path, rollouts: Vec<ReferenceRollout>) -> Result<GivenRollouts, Failure> {
    let named = |said: &str| Failure::Input(format!("{}: {said}", path.display()));
    if rollouts.is_empty() {
        return Err(named("the file has no rollouts; sample some first"));
    }
    let with = |has: &dyn Fn(&ReferenceRollout) -> bool| {
        let n = rollouts.iter().filter(|r| has(r)).count();
        (n > 0, n == rollouts.len())
    };
    let (some_decisions, all_decisions) = with(&|r| r.decisions.is_some());
    let (some_entropies, all_entropies) = with(&|r| r.entropies_nats.is_some());
    if all_decisions {
        let processed = from_processed(rollouts).map_err(|e| named(&e.to_string()))?;
        return Ok(GivenRollouts::Processed(processed));
    }
    if some_decisions {
        return Err(named(
            "some rollouts have `decision_positions` and others not; give a file of one kind",
        ));
    }
    if some_entropies && !all_entropies {
        return Err(named(
            "some rollouts have `entropies` and others not; score all of them",
        ));
    }
    let candidate = |r: ReferenceRollout| Candidate {
        rollout: r.rollout,
        entropies_nats: r.entropies_nats,
    };
    let candidates = rollouts.into_iter().map(candidate).collect();
    Ok(match all_entropies {
        true => GivenRollouts::Scored(candidates),
        false => GivenRollouts::Plain(candidates),
    })
}

fn read_run(dir: &Path) -> Result<(GivenRollouts, Option<Tokens>, String), Failure> {
    let command = whole_run(dir)?;
    let path = dir.join("rollouts.parquet");
    let bytes = bytes_of(&path)?;
    let digest = sha256_bytes(&bytes);
    let rollouts = read_rollouts_bytes(bytes, &path)?;
    let tokens = dir.join("tokens.parquet");
    // The tokens of `diff` are about two policies, and say nothing of a base alone.
    let scored = matches!(command.as_deref(), None | Some("score" | "select"));
    let reference = dir.join(REFERENCE);
    if command.as_deref() == Some("select") && !tokens.is_file() && reference.is_file() {
        // A pool of scored JSON: its entropies are there.
        return read_with_tokens(&reference);
    }
    if !scored || !tokens.is_file() {
        return Ok((GivenRollouts::Plain(plain(rollouts)), None, digest));
    }
    let bytes = bytes_of(&tokens)?;
    let digest = sha256_bytes(format!("{digest}\n{}\n", sha256_bytes(&bytes)).as_bytes());
    let tokens = Tokens {
        path: tokens,
        bytes,
    };
    let entropies = tokens.entropies()?;
    let candidates = rollouts
        .into_iter()
        .map(|r| with_entropies(r, &entropies, &tokens.path));
    let candidates = candidates.collect::<Result<Vec<_>, Failure>>()?;
    Ok((GivenRollouts::Scored(candidates), Some(tokens), digest))
}

/// The command that made the run, if the directory says; refuses one that is
/// not complete.
fn whole_run(dir: &Path) -> Result<Option<String>, Failure> {
    if !dir.join("run.json").is_file() {
        return Ok(None);
    }
    let json = read_run_json(dir)?;
    match json.status {
        RunStatus::Complete => Ok(Some(json.command)),
        _ => Err(Failure::Input(format!(
            "{}: the run is not complete; finish it with --resume, then use it",
            dir.display()
        ))),
    }
}

/// A rollout with the entropies of its rows: one per completion token, in
/// order. A rollout that `score` could not read has none.
fn with_entropies(rollout: Rollout, all: &Entropies, path: &Path) -> Result<Candidate, Failure> {
    let of = all.get(&(rollout.problem_id.clone(), rollout.sample));
    let entropies_nats = match of {
        None if !forkscope_audit::windows::yields_rows(&rollout) => None,
        None => return Err(contradicts(&rollout, 0, path)),
        Some(rows) => {
            let expected = (rollout.prompt_len..).zip(rollout.completion());
            let same = rows.len() == rollout.completion().len()
                && rows
                    .iter()
                    .zip(expected)
                    .all(|((at, token, _), (t, id))| *at as usize == t && token == id);
            if !same {
                return Err(contradicts(&rollout, rows.len(), path));
            }
            Some(rows.iter().map(|(_, _, h)| *h).collect())
        }
    };
    Ok(Candidate {
        rollout,
        entropies_nats,
    })
}

fn contradicts(rollout: &Rollout, rows: usize, path: &Path) -> Failure {
    Failure::Input(format!(
        "{}: its {rows} rows of sample {} of problem {:?} are not those of the {} completion tokens \
         in rollouts.parquet; score the rollouts again",
        path.display(),
        rollout.sample,
        rollout.problem_id,
        rollout.completion().len(),
    ))
}
