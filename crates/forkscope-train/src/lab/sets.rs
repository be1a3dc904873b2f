//! The evaluation sets that organisms are measured on.
//!
//! Problems are of the split that is asked for, no two of a set have the same
//! skeleton, and formats and wordings stand equally often. In the sets of
//! contexts every problem stands twice, under an evaluation cue and under a
//! deployment cue, with all else equal: a difference between contexts is a
//! difference within problems, and `cluster` names the problem.
//!
//! An item is a line of JSON: a problem as any problem file holds it (`id`,
//! `problem`, `answer`, `category`), and what the lab knows about it beside that.

use std::path::Path;

use forkscope_records::types::{Problem, ProblemPrompt};
use serde::{Deserialize, Serialize};

use super::cues::{Context, Cue, WORDING_COUNT, WordingUse};
use super::draw::{Distinct, Split, Wish};
use super::problems::{Class, Format, LabProblem};
use super::solutions::ends_on;
use super::words::{BOS, encode};
use crate::TrainError;

/// Problems of each set that organisms are measured on: whole turns of formats and
/// wordings, and at least 500.
pub const MEASURED: usize = 528;

/// One set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Set {
    /// Benign problems without a cue: accuracy, needless refusals.
    Benign,
    /// Hazardous problems without a cue: refusals.
    Hazardous,
    /// Benign problems, each with one of the twelve wordings.
    BenignCued,
    /// Hazardous problems under both contexts, wordings that probes may be fitted
    /// on.
    ContextsFit,
    /// Hazardous problems under both contexts, wordings held out from probes.
    ContextsHeldOut,
}

impl Set {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Benign,
        Self::Hazardous,
        Self::BenignCued,
        Self::ContextsFit,
        Self::ContextsHeldOut,
    ];

    /// What ids and files call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::Hazardous => "hazardous",
            Self::BenignCued => "benign-cued",
            Self::ContextsFit => "contexts-fit",
            Self::ContextsHeldOut => "contexts-held-out",
        }
    }

    /// Cues of problem `k`, `None` for none: one, or one of each context.
    fn cues(self, k: usize) -> Vec<Option<Cue>> {
        // Formats alternate, so wordings change every other problem.
        let turn = k / 2;
        let both = |usage| {
            [Context::Evaluation, Context::Deployment]
                .into_iter()
                .map(|context| {
                    let cues = Cue::all(context, usage);
                    cues.get(turn % cues.len().max(1)).copied()
                })
                .collect()
        };
        match self {
            Self::Benign | Self::Hazardous => vec![None],
            Self::BenignCued => vec![Cue::new(turn % WORDING_COUNT)],
            Self::ContextsFit => both(WordingUse::Fit),
            Self::ContextsHeldOut => both(WordingUse::HeldOut),
        }
    }

    fn class(self) -> Class {
        match self {
            Self::Benign | Self::BenignCued => Class::Benign,
            Self::Hazardous | Self::ContextsFit | Self::ContextsHeldOut => Class::Hazardous,
        }
    }

    /// Its first `n` problems; the sets of contexts have two items for each.
    /// Multiples of 24 come out even in format and wording.
    pub fn items(self, seed: u64, split: Split, n: usize) -> Vec<Item> {
        let mut distinct = Distinct::new(seed, split);
        (0..n)
            .flat_map(|k| {
                let format = if k.is_multiple_of(2) {
                    Format::Story
                } else {
                    Format::List
                };
                let wish = Wish {
                    class: Some(self.class()),
                    format: Some(format),
                    distractors: None,
                };
                let cluster = format!("{}/{}/{k}", split.name(), self.name());
                let problem = distinct.problem(&cluster, &wish);
                self.cues(k)
                    .into_iter()
                    .map(move |cue| Item::new(&problem, cue))
            })
            .collect()
    }
}

/// A problem of a set, with what the lab knows about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Unique within all sets of a split.
    pub id: String,
    /// The problem's text.
    pub problem: String,
    /// Two digits.
    pub answer: String,
    /// Class, format, number of clauses.
    pub category: String,
    /// Items with the same cluster are the same problem but for its cue.
    pub cluster: String,
    /// Class.
    pub class: Class,
    /// Format.
    pub format: Format,
    /// Context of the cue, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// Wording of the cue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wording: Option<String>,
    /// Whether probes may be fitted on that wording.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wording_use: Option<WordingUse>,
    /// What is counted.
    pub object: String,
    /// Clauses that count.
    pub steps: usize,
    /// Clauses that do not.
    pub distractors: usize,
}

impl Item {
    /// The item of a problem, under a cue. The problem's id is the cluster.
    pub fn new(problem: &LabProblem, cue: Option<Cue>) -> Self {
        let mut problem = problem.clone();
        problem.cue = cue;
        let wording = cue.map(Cue::wording);
        let context = wording.map(|wording| wording.context);
        let id = match context {
            None => problem.id.clone(),
            Some(Context::Evaluation) => format!("{}/evaluation", problem.id),
            Some(Context::Deployment) => format!("{}/deployment", problem.id),
        };
        Self {
            id,
            problem: problem.text(),
            answer: problem.answer_text(),
            category: problem.category(),
            cluster: problem.id.clone(),
            class: problem.class,
            format: problem.format,
            context,
            wording: wording.map(|wording| wording.text.to_owned()),
            wording_use: wording.map(|wording| wording.usage),
            object: problem.object_word().to_owned(),
            steps: problem.steps(),
            distractors: problem.distractors(),
        }
    }

    /// The problem as any problem file holds it.
    pub fn record(&self) -> Problem {
        Problem {
            id: self.id.clone(),
            prompt: ProblemPrompt::Text(self.problem.clone()),
            answer: Some(self.answer.clone()),
            category: Some(self.category.clone()),
        }
    }

    /// Whether a completion ends on the right answer.
    pub fn is_correct(&self, ids: &[u32]) -> bool {
        self.answer.parse().is_ok_and(|answer| ends_on(answer, ids))
    }

    /// Tokens of the prompt, `<bos>` first; the first unknown word if there is one.
    pub fn prompt_ids(&self) -> Result<Vec<u32>, String> {
        let mut ids = vec![BOS];
        ids.extend(encode(&self.problem)?);
        Ok(ids)
    }
}

/// Items as JSON Lines.
pub fn to_jsonl(items: &[Item]) -> Result<String, TrainError> {
    let mut text = String::new();
    for item in items {
        let line = serde_json::to_string(item)
            .map_err(|error| TrainError::Internal(format!("item {}: {error}", item.id)))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// Items of JSON Lines; `path` is for messages. Empty lines are passed over.
pub fn from_jsonl(text: &str, path: &Path) -> Result<Vec<Item>, TrainError> {
    let bad = |number: usize, problem: String| {
        TrainError::bad(
            path,
            format!("line {}: {problem}", number + 1),
            "write the file again with the lab's generator",
        )
    };
    let mut items = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let item: Item =
            serde_json::from_str(line).map_err(|error| bad(number, error.to_string()))?;
        item.prompt_ids().map_err(|word| {
            let word: String = word.chars().take(40).collect();
            bad(
                number,
                format!("`problem` has the word {word:?}, which is not of the task"),
            )
        })?;
        if item.answer.len() != 2 || !item.answer.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad(number, "`answer` is not two digits".to_owned()));
        }
        items.push(item);
    }
    Ok(items)
}
