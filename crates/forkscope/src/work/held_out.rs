//! Held-out problems as a training run asks them.

use std::path::Path;

use forkscope_metrics::stats::BootstrapSettings;
use forkscope_policy::{SamplePrompt, SampleSettings, Sampling};
use forkscope_records::types::Problem;
use forkscope_tasks::Verifier;
use forkscope_train::{HeldOutEvaluation, HeldOutSettings};

use crate::failure::Failure;
use crate::interrupt::interrupted;

/// How held-out problems are answered and graded.
#[derive(Debug, Clone)]
pub struct Asking {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Completions per problem.
    pub n: u32,
    /// Their most tokens.
    pub max_tokens: u32,
    /// How answers are found.
    pub verifier: Verifier,
    /// Of the completions, and of the interval.
    pub seed: u64,
}

impl Asking {
    /// The evaluation that chooses a checkpoint.
    pub fn evaluation(
        &self,
        problems: Vec<Problem>,
        prompts: Vec<SamplePrompt>,
    ) -> HeldOutEvaluation {
        HeldOutEvaluation {
            prompts,
            problems,
            settings: HeldOutSettings {
                sampler: SampleSettings {
                    sampling: self.sampling.clone(),
                    n: self.n,
                    max_tokens: self.max_tokens as usize,
                    seed: self.seed,
                    skip: 0,
                    max_len: usize::MAX,
                    interrupted,
                    width: None,
                },
                verifier: self.verifier,
                bootstrap: BootstrapSettings {
                    seed: self.seed,
                    ..BootstrapSettings::default()
                },
            },
        }
    }
}

/// Refuses a problem without an answer, of the file at `path`.
pub fn check_answers(path: &Path, problems: &[Problem]) -> Result<(), Failure> {
    match problems.iter().find(|p| p.answer.is_none()) {
        None => Ok(()),
        Some(problem) => Err(Failure::Input(format!(
            "{}: problem `{}` has no `answer`, so it cannot be graded; add it or leave the problem out",
            path.display(),
            problem.id
        ))),
    }
}
