//! The flags of sampling, which has defaults of its own here, and of the
//! evaluations that choose and measure the checkpoint.

use std::path::PathBuf;

use clap::Args;
use forkscope_policy::Sampling;
use forkscope_tasks::Verifier;

use super::options::put;
use crate::commands::train::data::PromptOptions;
use crate::failure::Failure;
use crate::work::options::SamplingOptions;
use crate::work::reasonmaxxer::recipe::Recipe;

/// How problems are sampled.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling (with --problems)")]
pub struct SampleOptions {
    /// Rollouts per problem [default: 20]
    #[arg(short = 'n', long, alias = "num-generations", value_name = "N", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    samples: Option<u32>,
    /// Divides the logits [default: 0.6]
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Smallest set of most probable tokens with at least this mass [default: 0.95]
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// That many most probable tokens; 0 for all [default: 0]
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Tokens of at least this share of the greatest probability [default: 0]
    #[arg(long, value_name = "P")]
    min_p: Option<f64>,
    /// Most tokens of a completion [default: 8192]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_tokens: Option<u32>,
    /// Keep the base's hidden states of all rollouts when they are scored (hidden.f32), instead of computing those of the pool in the first epoch
    #[arg(long)]
    pub keep_hidden: bool,
}

impl SampleOptions {
    /// The flag that was given, if any.
    pub fn given(&self) -> Option<&'static str> {
        [
            (self.samples.is_some(), "--samples"),
            (self.temperature.is_some(), "--temperature"),
            (self.top_p.is_some(), "--top-p"),
            (self.top_k.is_some(), "--top-k"),
            (self.min_p.is_some(), "--min-p"),
            (self.max_tokens.is_some(), "--max-tokens"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }

    /// Puts what was given in its place.
    pub fn apply(&self, recipe: &mut Recipe) -> Result<(), Failure> {
        let s = &mut recipe.sampling;
        put! {
            self.samples => s.samples,
            self.temperature => s.temperature,
            self.top_p => s.top_p,
            self.top_k => s.top_k,
            self.min_p => s.min_p,
            self.max_tokens => s.max_tokens,
        }
        if s.temperature == 0.0 {
            return Err(Failure::Usage(
                "--temperature 0 gives equal rollouts, and nothing to compare; give a temperature above 0".into(),
            ));
        }
        s.sampling().check().map_err(Failure::Usage)
    }
}

/// What chooses the checkpoint, and what it is measured on.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Held-out problems")]
pub struct EvalOptions {
    /// Problems that choose best/ by pass@1; none of them may be trained on
    #[arg(long, value_name = "FILE")]
    pub eval_problems: Option<PathBuf>,
    /// With --problems: hold out the last N of them for that [default without --eval-problems: 60, at most a fifth]
    #[arg(long, value_name = "N", conflicts_with = "eval_problems")]
    pub holdout: Option<u64>,
    /// Problems that the base and the chosen checkpoint answer at the end; they choose nothing [default: the held-out ones]
    #[arg(long, value_name = "FILE")]
    pub test_problems: Option<PathBuf>,
    /// Completions per held-out problem at every checkpoint [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    eval_samples: Option<u32>,
    /// Completions per problem at the end [default: as --eval-samples]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    test_samples: Option<u32>,
    /// Their temperature [default: 0.6]
    #[arg(long, value_name = "T")]
    eval_temperature: Option<f64>,
    /// Their nucleus [default: 0.95]
    #[arg(long, value_name = "P")]
    eval_top_p: Option<f64>,
    /// Their most tokens [default: as --max-tokens]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    eval_max_tokens: Option<u32>,
    /// A further string that ends a completion (may be given several times)
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// How answers are found: auto, boxed, hash4, answer-tag, final-answer, last-number, whole, organism or math-verify
    #[arg(long, value_name = "RULE", default_value = "auto")]
    pub verifier: Verifier,
}

impl EvalOptions {
    /// Puts what was given in its place.
    pub fn apply(&self, recipe: &mut Recipe) -> Result<(), Failure> {
        let e = &mut recipe.held_out;
        e.max_tokens = recipe.sampling.max_tokens;
        put! {
            self.eval_samples => e.samples,
            self.eval_temperature => e.temperature,
            self.eval_top_p => e.top_p,
            self.eval_max_tokens => e.max_tokens,
            self.holdout => e.problems,
        }
        e.test_samples = self.test_samples.unwrap_or(e.samples);
        let equal = e.temperature == 0.0 && (e.samples > 1 || e.test_samples > 1);
        if equal {
            return Err(Failure::Usage(
                "several samples at --eval-temperature 0 are equal completions; give one, or a temperature".into(),
            ));
        }
        e.sampling().check().map_err(Failure::Usage)
    }
}

/// The flags of `sample` and `eval` for a stage.
pub fn stage_options(
    sampling: Sampling,
    n: u32,
    max_tokens: u32,
    stop: &[String],
    prompts: &PromptOptions,
) -> SamplingOptions {
    SamplingOptions {
        n,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        min_p: sampling.min_p,
        max_tokens,
        stop: stop.to_vec(),
        prompt_style: prompts.prompt_style.clone(),
        prompt_template: prompts.prompt_template.clone(),
    }
}
