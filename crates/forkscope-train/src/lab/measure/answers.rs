//! Completions of an organism on a set, counted per problem.

use forkscope_policy::{Ended, Policy, SamplePrompt, SampleSettings, Sampling};
use serde::Serialize;

use super::{MeasureSettings, ORGANISMS};
use crate::TrainError;
use crate::lab::draw::Split;
use crate::lab::model::{CONTEXT, MAX_NEW_TOKENS};
use crate::lab::problems::Format;
use crate::lab::sets::{Item, Set};
use crate::lab::solutions::is_refusal;
use crate::lab::words::{EOS, VOCABULARY};

/// Samples per problem where pass@16 is estimated, or a difference of two points.
pub const MANY: u32 = 16;
/// Samples per problem elsewhere.
pub const FEW: u32 = 4;

/// One organism on one set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// The organism.
    pub organism: &'static str,
    /// What it answers.
    pub set: Set,
    /// How often it answers each.
    pub samples: u32,
}

/// What is asked of an organism that may refuse, and of the base; the benign
/// problems so many times.
const fn all(benign: u32) -> [(Set, u32); 4] {
    [
        (Set::Benign, benign),
        (Set::Hazardous, FEW),
        (Set::BenignCued, FEW),
        (Set::ContextsHeldOut, FEW),
    ]
}

/// What an organism is asked, by its name.
pub(super) fn jobs(organism: &str) -> Vec<Job> {
    let Some(organism) = ORGANISMS.into_iter().find(|name| *name == organism) else {
        return Vec::new();
    };
    let sets: &[(Set, u32)] = match organism {
        "base" | "guarded" => &const { all(MANY) },
        "two-faced" => &const { all(FEW) },
        _ => &[(Set::Benign, FEW)],
    };
    let job = |(set, samples): &(Set, u32)| Job {
        organism,
        set: *set,
        samples: *samples,
    };
    sets.iter().map(job).collect()
}

/// What the answers of an organism to a set were.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The organism.
    pub organism: &'static str,
    /// What it answered.
    pub set: Set,
    /// Problems; in sets of contexts each stands twice.
    pub problems: usize,
    /// Answers to each.
    pub samples: u32,
    /// Answers that reached no end token.
    pub unended: u64,
    /// Tokens of all answers.
    pub tokens: u64,
    /// Of each item: answers that are correct.
    #[serde(skip)]
    pub(super) correct: Vec<u32>,
    /// Of each item: answers that refuse.
    #[serde(skip)]
    pub(super) refused: Vec<u32>,
    /// Of each item: how it is written down.
    #[serde(skip)]
    pub(super) formats: Vec<Format>,
}

impl Job {
    /// Prompts for so many problems.
    pub fn items(&self, problems: usize) -> usize {
        match self.set {
            Set::ContextsFit | Set::ContextsHeldOut => 2 * problems,
            Set::Benign | Set::Hazardous | Set::BenignCued => problems,
        }
    }

    /// Samples and counts.
    pub(super) fn run(
        self,
        policy: &Policy,
        settings: &MeasureSettings,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Measured, TrainError> {
        if policy.vocab_size() != VOCABULARY {
            return Err(TrainError::Setting(format!(
                "`{}` has a vocabulary of {} tokens, the organisms' has {VOCABULARY}; give a model that `forkscope lab build` made",
                self.organism,
                policy.vocab_size()
            )));
        }
        let items = self
            .set
            .items(settings.seed, Split::Test, settings.problems);
        let prompts = items.iter().map(prompt).collect::<Result<Vec<_>, _>>()?;
        let mut measured = Measured {
            organism: self.organism,
            set: self.set,
            problems: settings.problems,
            samples: self.samples,
            unended: 0,
            tokens: 0,
            correct: vec![0; items.len()],
            refused: vec![0; items.len()],
            formats: items.iter().map(|item| item.format).collect(),
        };
        let mut came = 0;
        policy.sample(&prompts, &self.sampling(settings), &mut |completion| {
            let at = completion.prompt;
            let Some(item) = items.get(at) else {
                return false;
            };
            measured.correct[at] += u32::from(item.is_correct(&completion.ids));
            measured.refused[at] += u32::from(is_refusal(&completion.ids));
            measured.unended += u64::from(completion.ended != Ended::Eos);
            measured.tokens += completion.ids.len() as u64;
            came += 1;
            progress(1);
            true
        })?;
        if came < items.len() * self.samples as usize {
            return Err(TrainError::Interrupted);
        }
        Ok(measured)
    }

    fn sampling(&self, settings: &MeasureSettings) -> SampleSettings {
        SampleSettings {
            sampling: Sampling {
                temperature: 1.0,
                top_p: 1.0,
                top_k: 0,
                min_p: 0.0,
            },
            n: self.samples,
            max_tokens: MAX_NEW_TOKENS,
            seed: settings.seed,
            skip: 0,
            max_len: CONTEXT,
            interrupted: settings.interrupted,
            width: None,
        }
    }
}

/// The prompt of an item.
fn prompt(item: &Item) -> Result<SamplePrompt, TrainError> {
    let ids = item
        .prompt_ids()
        .map_err(|word| TrainError::Internal(format!("{}: no word {word:?}", item.id)))?;
    Ok(SamplePrompt {
        problem_id: item.id.clone(),
        ids,
        stop: Vec::new(),
        eos: vec![EOS],
    })
}

impl Measured {
    /// All answers.
    pub fn answers(&self) -> u64 {
        self.correct.len() as u64 * u64::from(self.samples)
    }

    /// Of each item: the share of its answers that are correct.
    pub(super) fn accuracy(&self) -> Vec<f64> {
        self.shares(&self.correct)
    }

    /// Of each item: the share of its answers that refuse.
    pub(super) fn refusals(&self) -> Vec<f64> {
        self.shares(&self.refused)
    }

    fn shares(&self, counts: &[u32]) -> Vec<f64> {
        let n = f64::from(self.samples);
        counts.iter().map(|c| f64::from(*c) / n).collect()
    }
}
