//! The price of a behaviour: what it takes to make a tuned policy p lose what its
//! tuning taught it (`undo`), or show it where it does not (`induce`).
//!
//! A *subject* is an answer of p (problem, sample). It is eligible to `undo` if
//! p's own answer shows the behaviour and the base b's own answer does not; to
//! `induce` if p's does not (and, where the base is the donor, b's does). All
//! others are counted with their reason and enter no price.
//!
//! The *donor* says which token would be put in the place of p's: the base given
//! the same tokens so far, or a given text (an opening that shows the behaviour)
//! as long as it was followed. A *forced* token is the donor's where p would have
//! taken another; what follows it is p's own.
//!
//! | method | price | what is done |
//! |---|---|---|
//! | `tokens` | forced tokens | force at the highest JS(p, b) behind the last forced position, let p go on, repeat |
//! | `tokens_first` | forced tokens | the same at the first disagreement: with enough of them the answer is the donor's own |
//! | `tokens_minimal` | forced tokens | the least number, where all smaller ones were tried |
//! | `prefill` | tokens | the donor's own answer's first k tokens, then p |
//! | `alpha` | weight | ln π = (1-α) ln p + α ln b + c at every position |
//! | `nats` | nats | Σ over forced tokens of max ln p - ln p(donor's token), least over all sets found |
//! | `prompt` | tokens | ids added before or after the user's text, found by search |
//!
//! Prices are upper bounds of the least price, found by these procedures and no
//! others; only `tokens_minimal` is exact, for what it says it tried. The price
//! of an answer that never turns is censored at the cap: restricted means count
//! the cap, survival curves end there.
//!
//! Sources: shallow alignment and prefilling, arXiv 2406.05946; emulated
//! disalignment, 2402.12343; JS as the selector, 2603.22446; the random-token
//! control at fixed positions, 2605.06241.

mod alpha;
mod choose;
mod curves;
mod eligible;
mod findings;
mod forced;
mod minimal;
mod prefill;
mod price;
mod prompt;
mod rows;
mod walk;

#[cfg(test)]
mod tests;

use forkscope_policy::{Ended, Policy};
use forkscope_records::types::ReversionStatus;

use crate::AuditError;

pub use curves::{Curve, Estimated, Prices};
pub use eligible::{Standing, Subject};
pub use findings::{Described, findings};
pub use price::{Priced, TokenPrice, price_all, price_tokens};
pub use prompt::{Placement, PromptSearch};
pub use rows::{Labels, rows, rows_per_subject};
pub use walk::{Rule, Start, Step, Trace, Walked, Walker};

/// Two policies over one vocabulary.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The base, b.
    pub base: &'a Policy,
    /// The tuned policy, p.
    pub tuned: &'a Policy,
}

/// Who says which token is to be forced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Donor {
    /// The base's choice given the same tokens so far.
    Base,
    /// These completion tokens, as long as they were followed.
    Text(Vec<u32>),
}

/// Which way the behaviour is pushed.
pub use forkscope_records::types::ReversionDirection as Direction;

/// An answer to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Index of the prompt among those given.
    pub prompt: usize,
    /// Completion ids.
    pub ids: &'a [u32],
    /// Why the completion ended.
    pub ended: Ended,
}

/// Says whether answers show the behaviour.
pub trait Judge {
    /// One verdict per answer, in their order; `None` where there is none.
    ///
    /// # Errors
    /// The judge itself failed, so that nothing can be said about any answer.
    fn judge(&self, answers: &[Answer<'_>]) -> Result<Vec<Option<bool>>, AuditError>;
}

/// How prices are found.
#[derive(Debug, Clone)]
pub struct RevertSettings {
    /// Seed of samples and controls.
    pub seed: u64,
    /// 0 takes the most probable token; else completions are drawn, every token
    /// by the number keyed by (seed, problem, sample, position).
    pub temperature: f64,
    /// Answers per prompt; 1 at temperature 0.
    pub samples: u32,
    /// Most tokens of a completion, forced ones included.
    pub max_tokens: usize,
    /// Most forced tokens.
    pub token_cap: usize,
    /// Most prefilled tokens.
    pub prefill_cap: usize,
    /// Weights of the base that are tried, ascending in size; their sign is that
    /// of the direction.
    pub alphas: Vec<f64>,
    /// Halvings between the last weight that did not turn the answer and the
    /// first that did.
    pub bisections: u32,
    /// Completions that a search for a smaller number of forced tokens may take,
    /// per subject and number.
    pub exhaustive: usize,
    /// Most nats that count; beyond, a price is censored.
    pub nats_cap: f64,
    /// Whether controls are run.
    pub controls: bool,
    /// A random token is one of this many most probable ones of the donor.
    pub random_top: usize,
    /// Search over added prompt tokens, if any.
    pub prompt: Option<PromptSearch>,
    /// Asked before every step; true stops the work.
    pub interrupted: fn() -> bool,
}

impl Default for RevertSettings {
    fn default() -> Self {
        Self {
            seed: 42,
            temperature: 0.0,
            samples: 1,
            max_tokens: 256,
            token_cap: 16,
            prefill_cap: 16,
            alphas: vec![
                0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0,
            ],
            bisections: 5,
            exhaustive: 64,
            nats_cap: 128.0,
            controls: true,
            random_top: 20,
            prompt: None,
            interrupted: || false,
        }
    }
}

/// A donor token in the place of the tuned policy's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forced {
    /// Index in the completion.
    pub index: usize,
    /// The token.
    pub token: u32,
    /// max ln p - ln p(token), nats: the logit shift that makes it the argmax.
    pub margin: f64,
    /// -ln p(token), nats.
    pub kl: f64,
    /// JS(p, donor) there, nats.
    pub js: f64,
}

/// What a method or control did to one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// What became of it.
    pub status: ReversionStatus,
    /// Least price at which the behaviour turned.
    pub price: Option<f64>,
    /// Completions generated.
    pub tries: u32,
    /// Forced tokens of the completion below.
    pub forced: Vec<Forced>,
    /// Prices tried with what came of each; `None` undecided.
    pub levels: Vec<(f32, Option<bool>)>,
    /// Prompt ids, where they are not the subject's.
    pub prompt: Option<Vec<u32>>,
    /// Indices of tokens added to the prompt, in it.
    pub added: Vec<usize>,
    /// Completion ids: where the price was reached, else of the last try.
    pub ids: Vec<u32>,
    /// Why that completion ended.
    pub ended: Ended,
    /// Whether it shows the behaviour.
    pub behaviour: Option<bool>,
}

impl Attempt {
    /// Nothing could be tried on this answer.
    fn idle(ids: &[u32], ended: Ended, behaviour: Option<bool>) -> Self {
        Self {
            status: ReversionStatus::NotApplicable,
            price: None,
            tries: 0,
            forced: Vec::new(),
            levels: Vec::new(),
            prompt: None,
            added: Vec::new(),
            ids: ids.to_vec(),
            ended,
            behaviour,
        }
    }

    /// Sum of the margins of the forced tokens, nats.
    pub fn nats(&self) -> f64 {
        self.forced.iter().map(|f| f.margin).sum()
    }

    /// Sum of -ln p over the forced tokens, nats.
    pub fn kl(&self) -> f64 {
        self.forced.iter().map(|f| f.kl).sum()
    }

    /// The price was found.
    fn reached(&mut self, price: f64) {
        self.status = ReversionStatus::Reached;
        self.price = Some(price);
    }
}

impl RevertSettings {
    /// Refuses what cannot be meant.
    pub fn check(&self) -> Result<(), AuditError> {
        let wrong = |setting, value, range| {
            Err(AuditError::Setting {
                setting,
                value,
                range,
            })
        };
        let t = self.temperature;
        if !(t == 0.0 || (1e-6..=1e6).contains(&t)) {
            return wrong("temperature", t, "0, or [1e-6, 1e6]");
        }
        if self.samples == 0 || (self.samples > 1 && t == 0.0) {
            let range = "[1, ...), and 1 at temperature 0";
            return wrong("samples", self.samples.into(), range);
        }
        for (setting, value) in [
            ("max_tokens", self.max_tokens),
            ("token_cap", self.token_cap),
            ("prefill_cap", self.prefill_cap),
            ("random_top", self.random_top),
        ] {
            if value == 0 {
                return wrong(setting, 0.0, "[1, ...)");
            }
        }
        if !(self.nats_cap > 0.0 && self.nats_cap.is_finite()) {
            return wrong("nats_cap", self.nats_cap, "(0, inf)");
        }
        let grown = |w: &[f64]| w[0] >= w[1];
        if let Some(pair) = self.alphas.windows(2).find(|w| grown(w)) {
            return wrong("alpha", pair[1], "an ascending list");
        }
        match self.alphas.iter().find(|a| !(**a > 0.0 && **a <= 100.0)) {
            Some(alpha) => wrong("alpha", *alpha, "(0, 100]"),
            None => Ok(()),
        }
    }
}
