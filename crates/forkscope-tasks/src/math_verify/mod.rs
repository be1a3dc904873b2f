//! The Python library math-verify as a second opinion, where it is installed.
//!
//! ```text
//! gold, text --JSON line--> worker process (limited) --JSON line--> equal?
//! ```
//! The library parses with sympy, which is slow (milliseconds) and may take for
//! ever: every check has a time limit, after which the worker is killed and the
//! check is *undecided*. An undecided check counts as not correct and is
//! counted ([`counts`]), never dropped. Workers are started when needed, one
//! for each check that runs at the same time, and kept.
//!
//! The workers' limits (address space, CPU seconds, no file writing, a reduced
//! environment, bounded output) keep a check from hurting the machine by
//! accident; they are no sandbox. The library is Apache-2.0 and not part of
//! this crate.

mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::TaskError;
use worker::{Answer, Ask, Limits, Lost, Worker};

/// Longest text that is sent, bytes.
const MAX_TEXT: usize = 4 << 20;
/// Bounds of every worker of the process.
const LIMITS: Limits = Limits {
    start: Duration::from_secs(60),
    check: Duration::from_secs(10),
    memory: 4 << 30,
};

/// Why a check has no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undecided {
    /// It took longer than the limit.
    Timeout,
    /// The worker failed: out of memory, nested too deep, or ended.
    Failed,
}

/// How many checks there were, and how many have no verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All checks.
    pub checks: u64,
    /// Those that took longer than [`time_limit`].
    pub timeouts: u64,
    /// Those whose worker failed.
    pub failures: u64,
}

/// Seconds that a check may take.
pub fn time_limit() -> Duration {
    LIMITS.check
}

/// The interpreter that [`configure`] was given.
static PYTHON: OnceLock<PathBuf> = OnceLock::new();
/// The workers of this process.
static POOL: OnceLock<Pool> = OnceLock::new();

/// Names the interpreter that has the library; the first that is named counts.
/// Without it: `FORKSCOPE_PYTHON`, else `python3` on the `PATH`.
pub fn configure(python: PathBuf) {
    // A second call comes from the same command line.
    let _ = PYTHON.set(python);
}

/// Starts a worker, if there is none yet; the library's version.
///
/// # Errors
/// No interpreter, or one without the library.
pub fn ready() -> Result<String, TaskError> {
    pool().ready()
}

/// The library's version, if it has been loaded.
pub fn version() -> Option<String> {
    POOL.get()?.version.get().cloned()
}

/// The checks of this process so far.
pub fn counts() -> Counts {
    POOL.get().map(Pool::counts).unwrap_or_default()
}

fn pool() -> &'static Pool {
    POOL.get_or_init(|| Pool::new(interpreter(), LIMITS))
}

fn interpreter() -> PathBuf {
    let given = PYTHON.get().cloned();
    let of_environment = || std::env::var_os("FORKSCOPE_PYTHON").filter(|v| !v.is_empty());
    let usual = if cfg!(windows) { "python" } else { "python3" };
    given
        .or_else(|| of_environment().map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(usual))
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The library's word.
    Decided {
        equal: bool,
        /// Whether it could read both answers.
        read: bool,
        /// The answer that it found in the text.
        found: Option<String>,
    },
    Undecided(Undecided),
}

/// Checks the answer in a completion (`ended`: by the model itself, so that
/// what is last is its answer) against a reference answer.
pub(crate) fn check(gold: &str, text: &str, ended: bool) -> Verdict {
    pool().check(gold, text, ended)
}

struct Pool {
    python: PathBuf,
    limits: Limits,
    idle: Mutex<Vec<Worker>>,
    /// The library's version, once a worker has started.
    version: OnceLock<String>,
    checks: AtomicU64,
    timeouts: AtomicU64,
    failures: AtomicU64,
}

impl Pool {
    fn new(python: PathBuf, limits: Limits) -> Self {
        Self {
            python,
            limits,
            idle: Mutex::default(),
            version: OnceLock::new(),
            checks: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        }
    }

    fn ready(&self) -> Result<String, TaskError> {
        if let Some(version) = self.version.get() {
            return Ok(version.clone());
        }
        let worker = self.start().map_err(TaskError::MathVerify)?;
        self.give_back(worker);
        Ok(self.version.get().cloned().unwrap_or_default())
    }

    fn counts(&self) -> Counts {
        Counts {
            checks: self.checks.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    fn start(&self) -> Result<Worker, String> {
        let (worker, version) = Worker::start(&self.python, &self.limits)?;
        // All workers run the same library.
        let _ = self.version.set(version);
        Ok(worker)
    }

    fn idle(&self) -> Option<Worker> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }

    fn give_back(&self, worker: Worker) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(worker);
    }

    fn check(&self, gold: &str, text: &str, ended: bool) -> Verdict {
        self.checks.fetch_add(1, Ordering::Relaxed);
        let undecided = |why: Undecided, count: &AtomicU64| {
            count.fetch_add(1, Ordering::Relaxed);
            Verdict::Undecided(why)
        };
        match self.ask(&Ask { gold, text, ended }) {
            Ok(Answer {
                failed: None,
                equal,
                read,
                found,
            }) => Verdict::Decided { equal, read, found },
            Err(Lost::Time) => undecided(Undecided::Timeout, &self.timeouts),
            Ok(_) | Err(Lost::Process(_)) => undecided(Undecided::Failed, &self.failures),
        }
    }

    fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Lost> {
        if ask.text.len().saturating_add(ask.gold.len()) > MAX_TEXT {
            return Err(Lost::Process("the text is too long".to_owned()));
        }
        let worker = match self.idle() {
            Some(worker) => worker,
            None => self.start().map_err(Lost::Process)?,
        };
        // A worker that failed is dropped here, and so ended.
        let answer = worker.check(ask)?;
        self.give_back(worker);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
