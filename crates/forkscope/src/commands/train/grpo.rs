//! `forkscope train grpo`: group-relative policy optimisation with a verifiable
//! reward.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forkscope_policy::Sampling;
use forkscope_records::RunManifest;
use forkscope_train::objective::grpo::advantage::{AdvantageSettings, Scale};
use forkscope_train::objective::grpo::loss::{Aggregation, Importance, LossSettings};
use forkscope_train::objective::grpo::select::DivergenceWeights;
use forkscope_train::objective::grpo::{
    GrpoProblem, GrpoSettings, GrpoSource, SoftOverlong, VerifierReward, WeightedReward,
};
use forkscope_train::refuse_shared;
use serde_json::json;

use super::adapter::AdapterOptions;
use super::data::PromptOptions;
use super::held_out::HeldOutOptions;
use super::options::{OptimiserOptions, usage};
use super::session::Session;
use super::start::{Start, has_reference};
use crate::cli::Settings;
use crate::failure::{Failure, Outcome};
use crate::interrupt::interrupted;
use crate::work::options::RunOptions;
use crate::work::{prompts, run};

/// What `forkscope train grpo` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Samples groups of completions, rewards right answers, and learns from what sets them \
        apart (arXiv 2402.03300; DAPO's two epsilons, arXiv 2503.14476; the 80/20 rule, arXiv \
        2506.01939; divergence-weighted advantages, arXiv 2603.22446). A group whose rewards are \
        all equal is skipped and counted.",
    after_help = "Example:\n  forkscope train grpo --model embedded:base --problems embedded:problems \\\n    --limit 8 --prompts-per-step 4 --num-generations 4 \\\n    --max-completion-length 64 --steps 2 --out grpo-of-base"
)]
pub struct Arguments {
    /// Model directory, hub id, or embedded:base
    #[arg(long, value_name = "M")]
    model: String,
    /// Problems with answers as JSONL, JSON or Parquet, or embedded:problems
    #[arg(long, value_name = "FILE")]
    problems: PathBuf,
    #[command(flatten)]
    rounds: RoundOptions,
    #[command(flatten)]
    loss: LossOptions,
    #[command(flatten)]
    prompts: PromptOptions,
    #[command(flatten)]
    adapter: AdapterOptions,
    #[command(flatten)]
    optimiser: OptimiserOptions,
    #[command(flatten)]
    held_out: HeldOutOptions,
    #[command(flatten)]
    run: RunOptions,
}

/// How completions are sampled.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
struct RoundOptions {
    /// Problems of a round of sampling
    #[arg(long, value_name = "P", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    prompts_per_step: u32,
    /// Completions per problem
    #[arg(long, value_name = "G", default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    num_generations: u32,
    /// Optimiser steps on the completions of a round
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    num_iterations: u32,
    /// Divides the logits
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Smallest set of most probable tokens with at least this mass
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// That many most probable tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Tokens of at least this share of the greatest probability
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f64,
    /// Most tokens of a completion
    #[arg(long, alias = "max-tokens", value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_completion_length: u32,
    /// A further string that ends a completion (may be given several times)
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
}

/// The objective.
#[derive(Debug, Args)]
#[command(next_help_heading = "Loss")]
struct LossOptions {
    /// Ratios below 1 - this gain nothing by falling further
    #[arg(long, value_name = "E", default_value_t = 0.2)]
    epsilon: f64,
    /// Ratios above 1 + this gain nothing by rising further [default: as --epsilon]
    #[arg(long, value_name = "E")]
    epsilon_high: Option<f64>,
    /// Weight of the KL to the reference (k3 estimator); 0 leaves it out
    #[arg(long, value_name = "B", default_value_t = 0.0)]
    beta: f64,
    /// What the sum over tokens is divided by: dapo: tokens of the step; grpo: each completion's own tokens; dr-grpo: a constant
    #[arg(long, value_enum, value_name = "KIND", default_value = "dapo")]
    loss_type: LossType,
    /// Where the importance ratio is taken
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "token")]
    importance_sampling_level: Level,
    /// By what a group's centred rewards are divided: its deviation, that of the step, or nothing
    #[arg(long, value_enum, value_name = "BY", default_value = "group")]
    scale_rewards: ScaleBy,
    /// Share of tokens, those of highest entropy, that are learned from; 1 for all
    #[arg(long, value_name = "RHO", default_value_t = 1.0)]
    top_entropy_quantile: f64,
    /// s of the advantage's factor 1 + s (sigmoid(alpha KL_t) - 1/2); 0 leaves it out
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    divergence_weight: f64,
    /// alpha of it, per nat
    #[arg(long, value_name = "A", default_value_t = 1.0)]
    divergence_alpha: f64,
    /// Leave the tokens of cut completions out
    #[arg(long)]
    mask_truncated_completions: bool,
    /// Over so many last tokens a reward loses up to 1 (DAPO's soft overlong punishment); 0 for none
    #[arg(long, value_name = "N", default_value_t = 0)]
    soft_overlong_cache: usize,
    /// Rows of a micro-batch: less memory, same loss, other rounding
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    shard_rows: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LossType {
    Dapo,
    Grpo,
    DrGrpo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Token,
    Sequence,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScaleBy {
    Group,
    Batch,
    None,
}

/// The word of a choice, as it is typed.
fn word(choice: impl ValueEnum) -> String {
    let value = choice.to_possible_value();
    value.map_or_else(String::new, |v| v.get_name().to_owned())
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    let objective = a.objective(settings.seed);
    let start = Start::model(&a.model)?;
    let chosen = a.adapter.choose(&start.config)?;
    let needs_reference = a.loss.beta > 0.0 || a.loss.divergence_weight != 0.0;
    if needs_reference && !has_reference(&chosen.trainable) {
        return Err(Failure::Usage(
            "--beta and --divergence-weight compare with the model without its adapter, which --full does not keep; train an adapter, or leave them out".into(),
        ));
    }
    let style = a.prompts.style()?;
    let set = prompts::read(&a.problems, a.run.limit)?;
    objective.check(set.problems.len()).map_err(usage)?;
    let text = start.need_text()?;
    let rendered = prompts::render_text(text, &set.problems, &style, &a.rounds.stop)?;
    prompts::check_context(start.config.rope.context_len(), &rendered.prompts)?;
    let held_out = a.held_out.read(&start, &style, settings.seed)?;
    if let Some(held_out) = &held_out {
        refuse_shared(&held_out.evaluation.problems, &set.problems)?;
    }
    let verifier = a.held_out.verifier;
    let problems = set.problems.into_iter().zip(rendered.prompts);
    let problems: Vec<GrpoProblem> = problems
        .map(|(problem, prompt)| GrpoProblem { problem, prompt })
        .collect();
    let n = problems.len();
    let reward = WeightedReward::once(VerifierReward { verifier });
    let source = GrpoSource::new(problems, vec![reward], objective)?;
    let train = a.optimiser.settings(
        source.steps_per_epoch(),
        1e-4,
        chosen.dropout_seed(settings.seed),
        a.held_out.eval_every,
    )?;
    let manifest = run::manifest("train grpo", settings).digest("data", set.digest);
    let manifest = chosen.record(start.record(manifest)?)?;
    let manifest = a.record(a.prompts.record(manifest)?);
    let manifest = a.held_out.record(manifest, held_out.as_ref());
    let session = Session {
        run: &a.run,
        settings,
        manifest,
        network: start.network(&chosen, settings.seed)?,
        parameters: start.parameters(),
        train,
        saved: a.optimiser.saved(),
        evaluation: held_out.map(|h| h.evaluation),
        data: json!({ "problems": n }),
        epoch_tokens: None,
    };
    session.go(|_| Ok(Box::new(source)))
}

impl Arguments {
    fn objective(&self, seed: u64) -> GrpoSettings {
        let (r, l) = (&self.rounds, &self.loss);
        GrpoSettings {
            problems: r.prompts_per_step as usize,
            samples: r.num_generations,
            iterations: r.num_iterations,
            sampling: Sampling {
                temperature: r.temperature,
                top_p: r.top_p,
                top_k: r.top_k,
                min_p: r.min_p,
            },
            max_tokens: r.max_completion_length as usize,
            max_len: usize::MAX,
            seed,
            advantages: AdvantageSettings {
                scale: match l.scale_rewards {
                    ScaleBy::Group => Scale::Group,
                    ScaleBy::Batch => Scale::Batch,
                    ScaleBy::None => Scale::None,
                },
                ..AdvantageSettings::default()
            },
            loss: LossSettings {
                epsilon_low: l.epsilon,
                epsilon_high: l.epsilon_high.unwrap_or(l.epsilon),
                beta: l.beta,
                importance: match l.importance_sampling_level {
                    Level::Token => Importance::Token,
                    Level::Sequence => Importance::Sequence,
                },
                aggregation: match l.loss_type {
                    LossType::Dapo => Aggregation::Token,
                    LossType::Grpo => Aggregation::Sequence,
                    LossType::DrGrpo => Aggregation::Constant,
                },
            },
            mask_truncated: l.mask_truncated_completions,
            overlong: (l.soft_overlong_cache > 0).then_some(SoftOverlong {
                max: r.max_completion_length as usize,
                cache: l.soft_overlong_cache,
            }),
            top_entropy_quantile: l.top_entropy_quantile,
            divergence: (l.divergence_weight != 0.0).then_some(DivergenceWeights {
                strength: l.divergence_weight,
                alpha: l.divergence_alpha,
            }),
            shard_rows: l.shard_rows as usize,
            interrupted,
        }
    }

    /// Adds what decides the tokens and the loss to a manifest.
    fn record(&self, manifest: RunManifest) -> RunManifest {
        let (r, l) = (&self.rounds, &self.loss);
        manifest
            .setting("problems", self.problems.display().to_string())
            .setting("prompts_per_step", r.prompts_per_step)
            .setting("num_generations", r.num_generations)
            .setting("num_iterations", r.num_iterations)
            .setting("temperature", r.temperature)
            .setting("top_p", r.top_p)
            .setting("top_k", r.top_k)
            .setting("min_p", r.min_p)
            .setting("max_completion_length", r.max_completion_length)
            .setting("stop", r.stop.clone())
            .setting("verifier", self.held_out.verifier.described())
            .setting("epsilon", l.epsilon)
            .setting("epsilon_high", l.epsilon_high.unwrap_or(l.epsilon))
            .setting("beta", l.beta)
            .setting("loss_type", word(l.loss_type))
            .setting(
                "importance_sampling_level",
                word(l.importance_sampling_level),
            )
            .setting("scale_rewards", word(l.scale_rewards))
            .setting("top_entropy_quantile", l.top_entropy_quantile)
            .setting("divergence_weight", l.divergence_weight)
            .setting("divergence_alpha", l.divergence_alpha)
            .setting("mask_truncated_completions", l.mask_truncated_completions)
            .setting("soft_overlong_cache", l.soft_overlong_cache)
            .setting("shard_rows", l.shard_rows)
    }
}
