//! A command as the judge of texts.
//!
//! `cmd:PROGRAM ARGUMENT ...` starts the program once per text, without a shell.
//! The text goes to its stdin and nowhere else. It answers by one line on stdout,
//! `1`, `true` or `yes` for a text that shows the behaviour, `0`, `false` or `no`
//! for one that does not, and exit code 0. Any other answer is no verdict on that
//! text, which is counted as such. A judge that takes too long, writes too much,
//! or ends with another exit code is an error, because whatever it says of other
//! texts cannot be trusted either; it is killed with all that it started.
//!
//! Equal texts are asked about once.

mod process;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::TaskError;

/// Verdicts that are remembered at most.
const REMEMBERED: usize = 1 << 16;

/// Bounds of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgeLimits {
    /// Time for one text.
    pub time: Duration,
    /// Most bytes of an answer.
    pub output: usize,
}

impl Default for JudgeLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            output: 4096,
        }
    }
}

/// A program that judges texts. Clones share what it has said.
#[derive(Debug, Clone)]
pub struct JudgeCommand {
    program: String,
    arguments: Vec<String>,
    limits: JudgeLimits,
    said: Arc<Mutex<HashMap<String, Option<bool>>>>,
}

impl JudgeCommand {
    /// Reads a program with arguments: words apart by blanks, blanks within
    /// single or double quotes belong to a word, nothing is expanded.
    ///
    /// # Errors
    /// No word, or a quote that is not closed.
    pub fn parse(line: &str) -> Result<Self, TaskError> {
        let bad = |reason: &str| TaskError::BadJudge {
            line: line.chars().take(80).collect(),
            reason: reason.to_owned(),
        };
        let mut words = words::split(line).ok_or_else(|| bad("a quote is not closed"))?;
        if words.is_empty() {
            return Err(bad("it names no program"));
        }
        if words.iter().any(|w| w.contains('\0')) {
            return Err(bad("it holds a zero byte"));
        }
        let arguments = words.split_off(1);
        Ok(Self {
            program: words.concat(),
            arguments,
            limits: JudgeLimits::default(),
            said: Arc::default(),
        })
    }

    /// The same judge under other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: JudgeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether a text shows the behaviour; `None` where the answer is none.
    ///
    /// # Errors
    /// The program cannot be started, takes too long, writes too much, or ends
    /// with another exit code than 0.
    pub fn ask(&self, text: &str) -> Result<Option<bool>, TaskError> {
        if let Some(known) = self.memory().get(text) {
            return Ok(*known);
        }
        let answer = process::run(&self.program, &self.arguments, text, self.limits)
            .map_err(|reason| self.failed(reason))?;
        let verdict = verdict(&answer);
        let mut memory = self.memory();
        if memory.len() < REMEMBERED {
            memory.insert(text.to_owned(), verdict);
        }
        Ok(verdict)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, HashMap<String, Option<bool>>> {
        // A thread that died while it held the lock left whole entries.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, reason: String) -> TaskError {
        TaskError::Judge {
            program: self.program.chars().take(80).collect(),
            reason,
        }
    }
}

/// What an answer says.
fn verdict(answer: &[u8]) -> Option<bool> {
    let line = std::str::from_utf8(answer).ok()?.trim();
    match line.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" => Some(true),
        "0" | "false" | "no" => Some(false),
        _ => None,
    }
}
