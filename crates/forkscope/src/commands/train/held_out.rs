//! The flags of the evaluation on held-out problems that chooses `best/`.

use std::path::PathBuf;

use clap::Args;
use forkscope_policy::Sampling;
use forkscope_policy::text::PromptStyle;
use forkscope_records::RunManifest;
use forkscope_tasks::Verifier;
use forkscope_train::HeldOutEvaluation;
use serde_json::json;

use super::start::Start;
use crate::failure::Failure;
use crate::work::held_out::{Asking, check_answers};
use crate::work::prompts::{self, ProblemSet};

/// How checkpoints are compared.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Held-out problems")]
pub struct HeldOutOptions {
    /// Problems that choose best/ by pass@1; none of them may be trained on
    #[arg(long, value_name = "FILE")]
    eval_problems: Option<PathBuf>,
    /// Steps between evaluations; 0 for one at the end
    #[arg(long, alias = "eval-steps", value_name = "N", default_value_t = 0)]
    pub eval_every: u64,
    /// Completions per held-out problem
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    eval_samples: u32,
    /// Their temperature
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    eval_temperature: f64,
    /// Their most tokens
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    eval_max_tokens: u32,
    /// How answers are found: auto, boxed, hash4, answer-tag, final-answer, last-number, whole, organism or math-verify
    #[arg(long, value_name = "RULE", default_value = "auto")]
    pub verifier: Verifier,
}

/// Held-out problems, ready to be asked.
pub struct HeldOut {
    /// For the trainer.
    pub evaluation: HeldOutEvaluation,
    /// SHA-256 of the file.
    pub digest: String,
}

impl HeldOutOptions {
    /// Reads and renders the problems, if there are any.
    pub fn read(
        &self,
        start: &Start,
        style: &PromptStyle,
        seed: u64,
    ) -> Result<Option<HeldOut>, Failure> {
        self.verifier.ready()?;
        let Some(path) = &self.eval_problems else {
            return match self.eval_every {
                0 => Ok(None),
                n => Err(Failure::Usage(format!(
                    "--eval-every {n} needs --eval-problems"
                ))),
            };
        };
        let sampling = Sampling {
            temperature: self.eval_temperature,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
        };
        sampling.check().map_err(Failure::Usage)?;
        let ProblemSet { problems, digest } = prompts::read(path, None)?;
        check_answers(path, &problems)?;
        let prompts = prompts::render_text(start.need_text()?, &problems, style, &[])?.prompts;
        prompts::check_context(start.config.rope.context_len(), &prompts)?;
        let asking = Asking {
            sampling,
            n: self.eval_samples,
            max_tokens: self.eval_max_tokens,
            verifier: self.verifier,
            seed,
        };
        Ok(Some(HeldOut {
            evaluation: asking.evaluation(problems, prompts),
            digest,
        }))
    }

    /// Adds the evaluation to a manifest.
    pub fn record(&self, manifest: RunManifest, held_out: Option<&HeldOut>) -> RunManifest {
        let Some(held_out) = held_out else {
            return manifest.setting("eval_problems", json!(null));
        };
        let path = self.eval_problems.as_ref();
        manifest
            .digest("eval_problems", held_out.digest.as_str())
            .setting(
                "eval_problems",
                json!(path.map(|p| p.display().to_string())),
            )
            .setting("eval_samples", self.eval_samples)
            .setting("eval_temperature", self.eval_temperature)
            .setting("eval_max_tokens", self.eval_max_tokens)
            .setting("eval_verifier", self.verifier.described())
    }
}
