//! The flags of the adapter and the loop.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forkscope_train::reasonmaxxer::{AccumPattern, BalancedWindows, Order};

use super::options::put;
use crate::commands::train::adapter::{Target, projections, target};
use crate::commands::train::options::SaveDtype;
use crate::work::reasonmaxxer::recipe::Recipe;

/// The adapter and the loop.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Training")]
pub struct LoopOptions {
    /// Rank r of the adapter [default: 32; stable: 16]
    #[arg(
        long,
        alias = "lora-r",
        value_name = "R",
        conflicts_with = "init_adapter"
    )]
    lora_rank: Option<usize>,
    /// The change is alpha / r (B A) [default: 64; stable: 32]
    #[arg(long, value_name = "A", conflicts_with = "init_adapter")]
    lora_alpha: Option<f64>,
    /// Share of inputs that the adapter does not see while it is trained [default: 0]
    #[arg(long, value_name = "P")]
    lora_dropout: Option<f64>,
    /// Adapted projections: q,k,v,o,gate,up,down (or q_proj, ...), or all-linear [default: q,k,v,o]
    #[arg(long, alias = "lora-target-modules", value_name = "NAME,...", value_delimiter = ',', value_parser = target, conflicts_with = "init_adapter")]
    target_modules: Vec<Target>,
    /// Start from this PEFT adapter, with its rank, scale and targets; the model without it stays the base
    #[arg(long, value_name = "DIR")]
    pub init_adapter: Option<PathBuf>,
    /// Passes over the pool [default: 2]
    #[arg(long, alias = "num-train-epochs", value_name = "E", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    epochs: Option<u32>,
    /// Rollouts (micro-batches) per optimiser step [default: 8]
    #[arg(long, alias = "gradient-accumulation-steps", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    grad_accum_steps: Option<u32>,
    /// Greatest learning rate; it falls to 0 in a straight line [default: 1e-4; stable: 2e-5]
    #[arg(long, alias = "lr", value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Steps over which it rises from 0, at most one less than there are [default: 50]
    #[arg(long, value_name = "N")]
    warmup_steps: Option<u64>,
    /// Decoupled weight decay [default: 0]
    #[arg(long, value_name = "W")]
    weight_decay: Option<f64>,
    /// Greatest norm of the gradient; 0 does not clip [default: 1]
    #[arg(long, value_name = "NORM")]
    max_grad_norm: Option<f64>,
    /// Steps after which the run ends, on a schedule that spans all epochs; 0 for all [default: 149]
    #[arg(long, alias = "max-steps", value_name = "N")]
    max_optimizer_steps: Option<u64>,
    /// Longest sequence; longer ones are cut on the right; 0 cuts none [default: 8192]
    #[arg(long, value_name = "N")]
    max_seq_len: Option<u32>,
    /// signal-clarity: descending |A| x share of decisions; key: by problem and sample; shuffle: anew every epoch [default: signal-clarity; stable: shuffle]
    #[arg(long, value_enum, value_name = "ORDER")]
    order: Option<OrderName>,
    /// Right rollouts (A >= 0) of every window, with --accum-window-neg
    #[arg(long, value_name = "N", requires = "accum_window_neg")]
    accum_window_pos: Option<u32>,
    /// Wrong rollouts of every window
    #[arg(long, value_name = "N", requires = "accum_window_pos")]
    accum_window_neg: Option<u32>,
    /// Their order: alternating_pos_first, alternating_neg_first, grouped_pos_first or grouped_neg_first
    #[arg(long, value_enum, value_name = "ORDER", requires = "accum_window_pos")]
    accum_window_pattern: Option<Pattern>,
    /// Stop after an epoch whose mean ln p - ln b at decisions of right rollouts is below this
    #[arg(
        long,
        alias = "early-stop-delta-logp-pos-lt",
        value_name = "NATS",
        allow_negative_numbers = true
    )]
    early_stop_delta_logp_pos: Option<f64>,
    /// Micro-batches between lines of metrics.jsonl [default: 8]
    #[arg(long, alias = "logging-steps", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    log_every: Option<u64>,
    /// Steps between checkpoints, and evaluations where there are held-out problems [default: 0.15 epochs, at least 1]
    #[arg(long, alias = "save-steps", value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// Checkpoints that are kept [default: 2]
    #[arg(long, alias = "save-total-limit", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: Option<u32>,
    /// Rows of a shard: less memory, same loss, other rounding [default: 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    shard_rows: Option<u32>,
    /// Compute activations again in the backward pass instead of keeping them
    #[arg(long)]
    gradient_checkpointing: bool,
    /// Write no TensorBoard files
    #[arg(long)]
    no_tensorboard: bool,
    /// Number format of final/ and best/; training itself is in f32
    #[arg(long, value_enum, value_name = "TYPE", default_value = "f32")]
    pub save_dtype: SaveDtype,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OrderName {
    #[value(alias = "signal_clarity")]
    SignalClarity,
    #[value(alias = "deterministic_key")]
    Key,
    Shuffle,
}

impl From<OrderName> for Order {
    fn from(order: OrderName) -> Self {
        match order {
            OrderName::SignalClarity => Self::SignalClarity,
            OrderName::Key => Self::Key,
            OrderName::Shuffle => Self::Shuffle,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pattern {
    #[value(name = "alternating_pos_first")]
    PosInTurn,
    #[value(name = "alternating_neg_first")]
    NegInTurn,
    #[value(name = "grouped_pos_first")]
    PosTogether,
    #[value(name = "grouped_neg_first")]
    NegTogether,
}

impl From<Pattern> for AccumPattern {
    fn from(pattern: Pattern) -> Self {
        match pattern {
            Pattern::PosInTurn => Self::AlternatingPosFirst,
            Pattern::NegInTurn => Self::AlternatingNegFirst,
            Pattern::PosTogether => Self::GroupedPosFirst,
            Pattern::NegTogether => Self::GroupedNegFirst,
        }
    }
}

impl LoopOptions {
    /// Puts what was given in its place.
    pub fn apply(&self, recipe: &mut Recipe, seed: u64) {
        let a = &mut recipe.adapter;
        put! {
            self.lora_rank => a.rank,
            self.lora_alpha => a.alpha,
            self.lora_dropout => a.dropout,
        }
        if !self.target_modules.is_empty() {
            a.targets = projections(&self.target_modules);
        }
        let t = &mut recipe.training;
        put! {
            self.epochs => t.epochs,
            self.learning_rate => t.learning_rate,
            self.warmup_steps => t.warmup_steps,
            self.weight_decay => t.weight_decay,
            self.max_grad_norm => t.max_grad_norm,
            self.max_optimizer_steps => t.max_optimizer_steps,
            self.keep.map(|n| n as usize) => t.keep,
            self.gradient_checkpointing.then_some(true) => t.gradient_checkpointing,
            self.no_tensorboard.then_some(false) => t.tensorboard,
        }
        t.checkpoint_every = self.checkpoint_every.or(t.checkpoint_every);
        let o = &mut recipe.objective;
        o.seed = seed;
        put! {
            self.grad_accum_steps.map(|n| n as usize) => o.grad_accum_steps,
            self.max_seq_len.map(|n| n as usize) => o.max_seq_len,
            self.order => o.order,
            self.log_every => o.log_every,
            self.shard_rows.map(|n| n as usize) => o.shard_rows,
        }
        o.early_stop_delta_logp_pos = self
            .early_stop_delta_logp_pos
            .or(o.early_stop_delta_logp_pos);
        if let (Some(pos), Some(neg)) = (self.accum_window_pos, self.accum_window_neg) {
            o.balanced = Some(BalancedWindows {
                pos: pos as usize,
                neg: neg as usize,
                pattern: self
                    .accum_window_pattern
                    .map_or_else(AccumPattern::default, Into::into),
            });
        }
    }
}
