//! The flags of lessons and of the measure.

use std::path::PathBuf;

use clap::Args;
use forkscope_audit::revert::RevertSettings;
use forkscope_policy::Projection;
use forkscope_train::engine::LoraSettings;
use forkscope_train::harden::HardenSettings;

use crate::commands::train::usage;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::work::options::SamplingOptions;

/// Completions that a search for fewer forced tokens may take per answer and
/// number: it only sharpens the price in nats here.
const EXHAUSTIVE: usize = 16;

/// Most nats that count.
const NATS_CAP: f64 = 32.0;

/// What is learned from, and how the terms of the loss weigh.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Lessons")]
pub struct LessonOptions {
    /// Recoveries made of each guarded problem
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    recoveries: u32,
    /// Most tokens that are forced in a row before a recovery
    #[arg(long, value_name = "K", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    depth: u32,
    /// Sampled answers of either policy to each guarded problem, beside the greedy one
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    answers: u32,
    /// Answers of the tuned policy to each benign problem
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub anchors: u32,
    /// JS of the pair, nats, above which a token of the guarded answer decides
    #[arg(long, value_name = "X", default_value_t = 0.1)]
    js_gate: f64,
    /// Margin m at deciding tokens, nats
    #[arg(long, value_name = "M", default_value_t = 5.0)]
    margin: f64,
    /// Weight of the recoveries' cross-entropy
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    recovery_weight: f64,
    /// Weight of the margins' hinge
    #[arg(long, value_name = "W", default_value_t = 0.1)]
    margin_weight: f64,
    /// Weight of KL(tuned || hardened) on benign answers
    #[arg(long, value_name = "W", default_value_t = 10.0)]
    anchor_weight: f64,
    /// Recoveries per optimiser step
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
    /// Anchors per optimiser step
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    anchor_batch: u32,
    /// Rank of the adapter, where the tuned policy has none
    #[arg(long, value_name = "R", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    lora_rank: u32,
}

/// What is measured before and after.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Measure")]
pub struct MeasureOptions {
    /// Most forced or prefilled tokens
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub cap: u32,
    /// Priced answers per guarded problem; more than 1 needs a temperature
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub price_samples: u32,
    /// Answers per problem whose behaviour and correctness are counted
    #[arg(short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub n: u32,
    /// Divides the logits of all answers; 0 takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    temperature: f64,
    /// Most tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_tokens: u32,
    /// A further string that ends a completion (may be given several times)
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub stop: Vec<String>,
    /// How a problem becomes a prompt: auto, raw, chat, or a family (see docs/cli.md)
    #[arg(long, value_name = "STYLE", default_value = "auto")]
    prompt_style: String,
    /// Your own prompt, with {problem} where the problem goes
    #[arg(long, value_name = "FILE", conflicts_with = "prompt_style")]
    prompt_template: Option<PathBuf>,
    /// Bootstrap replicates of the intervals; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub replicates: u32,
}

impl LessonOptions {
    /// The library's settings, checked.
    pub fn settings(&self, seed: u64, measure: &MeasureOptions) -> Result<HardenSettings, Failure> {
        let settings = HardenSettings {
            recoveries: self.recoveries,
            depth: self.depth as usize,
            samples: self.answers,
            anchors: self.anchors,
            // A policy is hardened as it is sampled; anchors need variety.
            temperature: if measure.temperature > 0.0 {
                measure.temperature
            } else {
                1.0
            },
            max_tokens: measure.max_tokens as usize,
            js_gate: self.js_gate,
            margin: self.margin,
            recovery_weight: self.recovery_weight,
            margin_weight: self.margin_weight,
            anchor_weight: self.anchor_weight,
            batch: self.batch as usize,
            anchor_batch: self.anchor_batch as usize,
            seed,
            ..HardenSettings::default()
        };
        settings.check().map_err(usage)?;
        Ok(settings)
    }

    /// A new adapter's settings.
    pub fn lora(&self) -> Result<LoraSettings, Failure> {
        let rank = self.lora_rank as usize;
        let settings = LoraSettings {
            rank,
            alpha: 2.0 * rank as f64,
            dropout: 0.0,
            rslora: false,
            targets: Projection::ALL.to_vec(),
        };
        settings.check().map_err(usage)?;
        Ok(settings)
    }
}

impl MeasureOptions {
    /// How answers are drawn.
    pub fn sampling(&self) -> SamplingOptions {
        SamplingOptions {
            n: self.n,
            temperature: self.temperature,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            prompt_style: self.prompt_style.clone(),
            prompt_template: self.prompt_template.clone(),
        }
    }

    /// How prices are found, checked.
    pub fn prices(&self, seed: u64) -> Result<RevertSettings, Failure> {
        if self.n > 1 && self.temperature == 0.0 {
            return Err(Failure::Usage(format!(
                "-n {} at --temperature 0 gives {} equal completions; use -n 1",
                self.n, self.n
            )));
        }
        let settings = RevertSettings {
            seed,
            temperature: self.temperature,
            samples: self.price_samples,
            max_tokens: self.max_tokens as usize,
            token_cap: self.cap as usize,
            prefill_cap: self.cap as usize,
            controls: false,
            exhaustive: EXHAUSTIVE,
            nats_cap: NATS_CAP,
            interrupted,
            ..RevertSettings::default()
        };
        settings
            .check()
            .map_err(|e| Failure::Usage(e.to_string()))?;
        Ok(settings)
    }
}
