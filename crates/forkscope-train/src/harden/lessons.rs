//! What is learned from: recoveries and anchors, as a run keeps them.

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::objective::Example;

/// How the tokens between a prompt and its recovery came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forced {
    /// Nothing was forced: the tuned policy's own answer.
    Nothing,
    /// The first tokens of an answer of the base.
    Prefill,
    /// The beginning of the guarded answer, perhaps after a prefill, then what the
    /// base makes of it from a deciding token on.
    Branch,
    /// A prefill, then what the tuned policy itself made of it.
    Relapse,
}

/// A token of a recovery that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Index of the token in `ids`.
    pub t: usize,
    /// The base's most probable token there but for the one that is learned.
    pub rival: u32,
}

/// A prompt, forced tokens, and the tuned policy's guarded answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// The guarded problem.
    pub problem_id: String,
    /// How the forced tokens came about.
    pub forced: Forced,
    /// All tokens.
    pub ids: Vec<u32>,
    /// Of these, the prompt.
    pub prompt_len: usize,
    /// First token that is learned: prompt and forced tokens are before it.
    pub from: usize,
    /// Tokens that get a margin, in order.
    pub decisions: Vec<Decision>,
}

/// An answer of the tuned policy that is to stay as probable as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    /// The kept problem.
    pub problem_id: String,
    /// All tokens.
    pub ids: Vec<u32>,
    /// Of these, the prompt.
    pub prompt_len: usize,
}

impl Recovery {
    /// Tokens between prompt and recovery.
    pub fn depth(&self) -> usize {
        self.from.saturating_sub(self.prompt_len)
    }

    /// The same as an example whose prompt is everything that is not learned.
    pub(super) fn example(&self) -> Example {
        Example {
            ids: self.ids.clone(),
            prompt_len: self.from,
            weights: None,
        }
    }
}

impl Anchor {
    pub(super) fn example(&self) -> Example {
        Example {
            ids: self.ids.clone(),
            prompt_len: self.prompt_len,
            weights: None,
        }
    }
}

/// What became of prompts and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Made {
    /// Prompts whose behaviour is guarded.
    pub guarded_prompts: u64,
    /// Of these, left out: no answer of the tuned policy behaves so, or ended.
    pub without_behaviour: u64,
    /// Of these, left out: every answer of the base behaves so by itself.
    pub without_alternative: u64,
    /// Prompts whose answers are anchored.
    pub kept_prompts: u64,
    /// Recoveries and anchors left out: longer than the context.
    pub too_long: u64,
}

/// All lessons of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lessons {
    /// In the order of prompts.
    pub recoveries: Vec<Recovery>,
    /// In the order of prompts.
    pub anchors: Vec<Anchor>,
    /// Counts.
    pub made: Made,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "lesson", rename_all = "kebab-case")]
enum Line {
    Made(Made),
    Recovery(Recovery),
    Anchor(Anchor),
}

impl Lessons {
    /// As JSON Lines: the counts, recoveries, anchors.
    pub fn to_jsonl(&self) -> Result<String, TrainError> {
        let recoveries = self.recoveries.iter().cloned().map(Line::Recovery);
        let anchors = self.anchors.iter().cloned().map(Line::Anchor);
        let mut text = String::new();
        for line in std::iter::once(Line::Made(self.made))
            .chain(recoveries)
            .chain(anchors)
        {
            let line = serde_json::to_string(&line)
                .map_err(|e| TrainError::Internal(format!("a lesson cannot be written: {e}")))?;
            text.push_str(&line);
            text.push('\n');
        }
        Ok(text)
    }

    /// From JSON Lines as [`Lessons::to_jsonl`] writes them; the first line that
    /// is none, and why.
    pub fn from_jsonl(text: &str) -> Result<Self, String> {
        let mut lessons = Self::default();
        let mut counted = false;
        for (i, line) in text.lines().enumerate() {
            let at = |what: String| format!("line {}: {what}", i + 1);
            match serde_json::from_str(line).map_err(|e| at(e.to_string()))? {
                Line::Made(made) => {
                    lessons.made = made;
                    counted = true;
                }
                Line::Recovery(r) => {
                    r.check().map_err(at)?;
                    lessons.recoveries.push(r);
                }
                Line::Anchor(a) => {
                    a.example().check(usize::MAX, usize::MAX).map_err(at)?;
                    lessons.anchors.push(a);
                }
            }
        }
        match counted {
            true => Ok(lessons),
            false => Err("there is no line of counts".into()),
        }
    }
}

impl Recovery {
    fn check(&self) -> Result<(), String> {
        self.example().check(usize::MAX, usize::MAX)?;
        let inside = |d: &Decision| d.t >= self.from && d.t < self.ids.len();
        let ascending = self.decisions.windows(2).all(|w| w[0].t < w[1].t);
        if self.prompt_len == 0 || self.prompt_len > self.from {
            return Err("the prompt ends after the first learned token".into());
        }
        match self.decisions.iter().all(inside) && ascending {
            true => Ok(()),
            false => Err("a decision is outside the recovery, or out of order".into()),
        }
    }
}
