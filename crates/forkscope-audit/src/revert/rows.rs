//! From prices to rows of `reversions.parquet`.

use forkscope_policy::{Ended, SamplePrompt};
use forkscope_records::types::{
    FinishReason, Reversion, ReversionControl, ReversionDirection, ReversionMethod,
    ReversionStatus, Validity,
};

use super::eligible::Subject;
use super::forced::disagreements;
use super::price::{Priced, asked};
use super::{Attempt, Donor, Forced, RevertSettings};

/// What rows need beside the prices.
pub struct Labels<'a> {
    /// Which way.
    pub direction: ReversionDirection,
    /// The settings of the prices.
    pub settings: &'a RevertSettings,
    /// Text of completion ids.
    pub text: &'a dyn Fn(&[u32]) -> String,
}

/// Rows of a subject: two answers, and one per method and control if it has a
/// price.
pub fn rows_per_subject(settings: &RevertSettings, donor: &Donor, eligible: bool) -> usize {
    2 + if eligible {
        asked(settings, donor).len()
    } else {
        0
    }
}

/// The rows of subjects, in their order.
pub fn rows(priced: &[Priced], prompts: &[SamplePrompt], labels: &Labels<'_>) -> Vec<Reversion> {
    let mut rows = Vec::new();
    for priced in priced {
        let Some(prompt) = prompts.get(priced.subject.prompt) else {
            continue;
        };
        let writer = Writer {
            subject: &priced.subject,
            prompt,
            labels,
        };
        rows.push(writer.own());
        rows.push(writer.base());
        let attempts = priced.attempts.iter();
        rows.extend(attempts.map(|(method, control, a)| writer.attempt(*method, *control, a)));
    }
    rows
}

struct Writer<'w> {
    subject: &'w Subject,
    prompt: &'w SamplePrompt,
    labels: &'w Labels<'w>,
}

impl Writer<'_> {
    /// The tuned policy's own answer, with every decision in it.
    fn own(&self) -> Reversion {
        let own = &self.subject.own;
        let behaves = self.subject.own_behaves;
        let mut attempt = Attempt::idle(&own.ids, own.ended, behaves);
        attempt.status = ReversionStatus::Untouched;
        attempt.forced = disagreements(&own.ids, &own.steps).collect();
        let row = self.attempt(ReversionMethod::Tuned, ReversionControl::None, &attempt);
        Reversion {
            kl_nats: None,
            ..row
        }
    }

    fn base(&self) -> Reversion {
        let base = &self.subject.base;
        let behaves = self.subject.base_behaves;
        let mut attempt = Attempt::idle(&base.ids, base.ended, behaves);
        attempt.status = ReversionStatus::Untouched;
        self.attempt(ReversionMethod::Base, ReversionControl::None, &attempt)
    }

    fn attempt(
        &self,
        method: ReversionMethod,
        control: ReversionControl,
        a: &Attempt,
    ) -> Reversion {
        let prompt = a.prompt.as_deref().unwrap_or(&self.prompt.ids);
        let (cap, unit) = measure(method, self.labels.settings);
        let per = |value: fn(&Forced) -> f32| a.forced.iter().map(value).collect();
        let in_prompt = a.added.iter().map(|i| *i as u32);
        let forced = a.forced.iter().map(|f| (prompt.len() + f.index) as u32);
        let added_ids = a.added.iter().filter_map(|i| prompt.get(*i).copied());
        let none = a.added.iter().map(|_| 0.0f32);
        let (positions, donor_ids): (Vec<u32>, Vec<u32>) = match a.added.is_empty() {
            true => (forced.collect(), a.forced.iter().map(|f| f.token).collect()),
            false => (in_prompt.collect(), added_ids.collect()),
        };
        let (margins_nats, js_nats): (Vec<f32>, Vec<f32>) = match a.added.is_empty() {
            true => (per(|f| f.margin as f32), per(|f| f.js as f32)),
            false => (none.clone().collect(), none.collect()),
        };
        let mut token_ids = prompt.to_vec();
        token_ids.extend(&a.ids);
        Reversion {
            direction: self.labels.direction,
            method,
            control,
            problem_id: self.prompt.problem_id.clone(),
            sample: self.subject.sample,
            status: a.status,
            price: a.price,
            cap,
            unit: unit.to_owned(),
            kl_nats: (!a.forced.is_empty()).then(|| a.kl()),
            tries: a.tries,
            positions,
            donor_ids,
            margins_nats,
            js_nats,
            levels: a.levels.iter().map(|(level, _)| *level).collect(),
            turned: a.levels.iter().map(|(_, turned)| word(*turned)).collect(),
            prompt_len: prompt.len(),
            token_ids,
            finish_reason: match a.ended {
                Ended::Eos => FinishReason::Eos,
                Ended::Stop => FinishReason::Stop,
                Ended::Length => FinishReason::Length,
                Ended::Context => FinishReason::Context,
            },
            text: (self.labels.text)(&a.ids),
            behaviour: a.behaviour,
            validity: match a.ended {
                _ if a.ids.is_empty() => Validity::Empty,
                Ended::Length | Ended::Context => Validity::Truncated,
                Ended::Eos | Ended::Stop => Validity::Ok,
            },
        }
    }
}

fn word(turned: Option<bool>) -> u32 {
    turned.map_or(2, u32::from)
}

/// Cap and unit of a method's prices.
pub(super) fn measure(method: ReversionMethod, s: &RevertSettings) -> (f64, &'static str) {
    use ReversionMethod as M;
    match method {
        M::Tuned | M::Base => (0.0, "tokens"),
        M::Tokens | M::TokensFirst => (s.token_cap as f64, "tokens"),
        M::TokensMinimal => (s.token_cap.min(3) as f64, "tokens"),
        M::Prefill => (s.prefill_cap as f64, "tokens"),
        M::Alpha => (s.alphas.last().copied().unwrap_or(0.0), "alpha"),
        M::Nats => (s.nats_cap, "nats"),
        M::Prompt => (s.prompt.as_ref().map_or(0, |p| p.cap) as f64, "tokens"),
    }
}
