//! Answers of a policy, in the order of prompts and samples.

use forkscope_metrics::rng::Key;
use forkscope_policy::{Completion, Ended, Policy, SamplePrompt, SampleSettings, Sampling};

use super::settings::HardenSettings;
use crate::TrainError;

/// How answers are drawn.
pub(super) struct Draw<'a> {
    pub policy: &'a Policy,
    pub settings: &'a HardenSettings,
    /// Keeps the draws of different uses apart.
    pub purpose: &'a str,
    pub interrupted: fn() -> bool,
}

impl Draw<'_> {
    /// `n` answers to each prompt, by prompt. At temperature 0 they are all alike.
    pub fn answers(
        &self,
        prompts: &[SamplePrompt],
        n: u32,
        temperature: f64,
        max_tokens: usize,
    ) -> Result<Vec<Vec<Completion>>, TrainError> {
        let seeds = Key::new(self.settings.seed, "", 0, "harden answers");
        let mut seed = seeds.rng_at(0).next_u64();
        for byte in self.purpose.bytes() {
            seed = seed.rotate_left(7) ^ u64::from(byte);
        }
        let settings = SampleSettings {
            sampling: Sampling {
                temperature,
                top_p: 1.0,
                top_k: 0,
                min_p: 0.0,
            },
            n,
            max_tokens,
            seed,
            skip: 0,
            max_len: usize::MAX,
            interrupted: self.interrupted,
            width: None,
        };
        let mut found: Vec<Vec<Completion>> = vec![Vec::new(); prompts.len()];
        let mut came = 0;
        if n > 0 && !prompts.is_empty() {
            self.policy.sample(prompts, &settings, &mut |completion| {
                came += 1;
                let slot = found.get_mut(completion.prompt);
                slot.map(|of| of.push(completion)).is_some()
            })?;
        }
        if came < prompts.len() * n as usize {
            return Err(TrainError::Interrupted);
        }
        for of in &mut found {
            of.sort_by_key(|c| c.sample);
        }
        Ok(found)
    }

    /// The greedy answer and `settings.samples` others to each prompt, each once.
    pub fn varied(&self, prompts: &[SamplePrompt]) -> Result<Vec<Vec<Completion>>, TrainError> {
        let s = self.settings;
        let mut found = self.answers(prompts, 1, 0.0, s.max_tokens)?;
        let sampled = self.answers(prompts, s.samples, s.temperature, s.max_tokens)?;
        for (found, sampled) in found.iter_mut().zip(sampled) {
            for completion in sampled {
                if found.iter().all(|known| known.ids != completion.ids) {
                    found.push(completion);
                }
            }
        }
        Ok(found)
    }
}

/// Whether an answer came to its end.
pub(super) fn whole(completion: &Completion) -> bool {
    matches!(completion.ended, Ended::Eos | Ended::Stop)
}

/// A prompt with tokens behind it. Its draws are its own.
pub(super) fn continued(prompt: &SamplePrompt, tokens: &[u32], number: usize) -> SamplePrompt {
    let mut ids = prompt.ids.clone();
    ids.extend_from_slice(tokens);
    SamplePrompt {
        problem_id: format!("{}\u{1f}{number}", prompt.problem_id),
        ids,
        ..prompt.clone()
    }
}
