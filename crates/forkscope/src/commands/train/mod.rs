//! `forkscope train`: one file per objective; what they share is in `options`
//! (flags), `start` (where the weights come from), `data` (rows and held-out
//! problems), `session` (the run itself) and `summary` (what is printed of it).

mod adapter;
mod data;
mod distill;
mod dpo;
mod grpo;
mod held_out;
mod options;
mod pretrain;
mod reasonmaxxer;
pub mod session;
mod sft;
pub mod start;
mod summary;

use clap::{Args, Subcommand};

use crate::cli::Settings;
use crate::failure::Outcome;

pub use adapter::{LoraOptions, described as adapter_setting, lora};
pub use data::{BatchOptions, denominator, denominator_setting};
pub use distill::taught;
pub use options::{OptimiserOptions, usage};

/// What `forkscope train` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Trains a model or an adapter. A run holds final/ (the last step), best/ (chosen on \
        held-out problems, with --eval-problems), checkpoints/, metrics.jsonl and TensorBoard files. \
        An interrupted run continues with --resume to the bytes of an uninterrupted one.\n\n\
        Flags have the names of transformers and TRL where those have them.",
    after_help = "Example:\n  forkscope sample --model embedded:reasoner --problems embedded:problems \\\n    --limit 4 -n 2 --max-tokens 96 --out demonstrations\n  \
        forkscope train sft --model embedded:base --data demonstrations \\\n    --with-truncated --steps 2 --out sft-of-base"
)]
pub struct Arguments {
    #[command(subcommand)]
    objective: Objective,
}

#[derive(Debug, Subcommand)]
enum Objective {
    /// All weights from random ones, on a corpus
    Pretrain(Box<pretrain::Arguments>),
    /// Cross-entropy on given completions
    Sft(Box<sft::Arguments>),
    /// Direct preference optimisation on pairs
    Dpo(Box<dpo::Arguments>),
    /// Group-relative policy optimisation with a verifiable reward
    Grpo(Box<grpo::Arguments>),
    /// Policy selection at gated positions of the base's own rollouts, without RL
    Reasonmaxxer(Box<reasonmaxxer::Arguments>),
    /// KL(teacher || student) on the teacher's rollouts
    Distill(Box<distill::Arguments>),
}

/// Runs the command.
pub fn run(a: &Arguments, settings: &Settings) -> Outcome {
    match &a.objective {
        Objective::Pretrain(a) => pretrain::run(a, settings),
        Objective::Sft(a) => sft::run(a, settings),
        Objective::Dpo(a) => dpo::run(a, settings),
        Objective::Grpo(a) => grpo::run(a, settings),
        Objective::Reasonmaxxer(a) => reasonmaxxer::run(a, settings),
        Objective::Distill(a) => distill::run(a, settings),
    }
}
