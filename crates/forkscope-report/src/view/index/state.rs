//! What the index knows.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use forkscope_records::types::{FinishReason, Validity};
use serde_json::{Value, json};

use super::metrics::Kind;

/// One rollout.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Place in [`State::problems`].
    pub problem: u32,
    /// Sample index.
    pub sample: u32,
    /// Completion tokens; `None` if the rollout has token rows only.
    pub tokens: Option<u32>,
    /// Grade.
    pub correct: Option<bool>,
    /// Why the completion ended.
    pub finish: FinishReason,
    /// Validity of the rollout.
    pub validity: Validity,
    /// Classes among its positions, one bit each.
    pub classes: u8,
    /// Its first row of the token table.
    pub first_row: u64,
    /// Its rows of the token table; 0 as long as none are known.
    pub rows: u32,
}

/// How far the index is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Rollouts of the table.
    pub rollouts_total: u64,
    /// Token rows looked at.
    pub rows: u64,
    /// Token rows of the table.
    pub rows_total: u64,
    /// The rollouts are all listed.
    pub listed: bool,
    /// All is there.
    pub whole: bool,
    /// Nothing more comes.
    pub ended: bool,
    /// Why not all is there.
    pub error: Option<String>,
    /// Rollouts whose rows are not together: only the first stretch is used.
    pub scattered: u64,
}

/// What is known so far.
pub struct State {
    /// What the token rows hold.
    pub kind: Kind,
    /// Problems in order of appearance.
    pub problems: Vec<String>,
    /// Rollouts in order of appearance: those of `rollouts.parquet` first.
    pub entries: Vec<Entry>,
    /// One column per metric, NaN where undefined or not known yet.
    pub numbers: Vec<Vec<f32>>,
    /// How far it is.
    pub progress: Progress,
    by_key: HashMap<u64, u32>,
    by_problem: HashMap<u64, u32>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            kind: Kind::Plain,
            problems: Vec::new(),
            entries: Vec::new(),
            numbers: Vec::new(),
            progress: Progress::default(),
            by_key: HashMap::new(),
            by_problem: HashMap::new(),
        }
    }
}

impl State {
    /// Sets what the token rows hold; numbers start undefined.
    pub fn set_kind(&mut self, kind: Kind) {
        self.kind = kind;
        self.numbers = vec![Vec::new(); kind.metrics().len()];
    }

    /// The problem of an entry.
    pub fn problem(&self, entry: &Entry) -> &str {
        let name = self.problems.get(entry.problem as usize);
        name.map_or("", String::as_str)
    }

    /// The place of a rollout. Two that share a hash are told apart by what
    /// they are; a third would not be found, which is as good as impossible.
    pub fn find(&self, problem: &str, sample: u32) -> Option<usize> {
        let at = *self.by_key.get(&key(problem, sample))? as usize;
        let entry = self.entries.get(at)?;
        (entry.sample == sample && self.problem(entry) == problem).then_some(at)
    }

    /// Adds a rollout and gives its place.
    pub fn push(&mut self, problem: &str, mut entry: Entry) -> usize {
        entry.problem = self.problem_index(problem);
        let at = self.entries.len();
        let place = u32::try_from(at).unwrap_or(u32::MAX);
        self.by_key
            .entry(key(problem, entry.sample))
            .or_insert(place);
        self.entries.push(entry);
        self.numbers.iter_mut().for_each(|n| n.push(f32::NAN));
        at
    }

    fn problem_index(&mut self, problem: &str) -> u32 {
        let last = self.problems.len().wrapping_sub(1);
        if self.problems.get(last).is_some_and(|p| p == problem) {
            return u32::try_from(last).unwrap_or(u32::MAX);
        }
        let hash = key(problem, 0);
        if let Some(&at) = self.by_problem.get(&hash)
            && self.problems.get(at as usize).is_some_and(|p| p == problem)
        {
            return at;
        }
        let at = u32::try_from(self.problems.len()).unwrap_or(u32::MAX);
        self.problems.push(problem.to_owned());
        self.by_problem.insert(hash, at);
        at
    }

    /// Completion tokens of the rollouts before one: the row at which its own
    /// start, where every rollout has one row per completion token.
    pub fn expected_row(&self, place: usize) -> u64 {
        let before = self.entries.iter().take(place);
        before.map(|e| u64::from(e.tokens.unwrap_or(0))).sum()
    }

    /// How far the index is, for the page.
    pub fn progress(&self) -> Value {
        let p = &self.progress;
        json!({
            "rollouts": self.entries.len(),
            "rollouts_total": p.rollouts_total.max(self.entries.len() as u64),
            "rows": p.rows,
            "rows_total": p.rows_total,
            "whole": p.whole,
            "scattered": p.scattered,
            "error": p.error.as_deref().map(crate::text::visible),
        })
    }
}

fn key(problem: &str, sample: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (problem, sample).hash(&mut hasher);
    hasher.finish()
}
