//! What `forkscope plan` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use forkscope_audit::coverage::{Changed, GateKind, Kind};

use crate::failure::Failure;
use crate::work::options::{RunOptions, SamplingOptions};

/// What `forkscope plan` takes.
#[derive(Debug, Args)]
#[command(
    long_about = "Plans an audit before the tuned policy is seen, from the base alone: which completion \
        positions to look at under each budget (a certain stratum that a gate chooses, and a random sample \
        of the rest), what that costs in tokens, and the bound that it buys on what nobody looks at.\n\n\
        --execute then reads both policies at the planned positions only and states the bounds: changed \
        share (exact), JS and TV (betting bounds), KL without a guarantee. Docs: docs/coverage.md.",
    after_help = "Example:\n  forkscope plan --base embedded:base --problems embedded:problems --limit 6 \\\n    --max-tokens 64 --out audit-plan\n  \
        forkscope plan --execute audit-plan --base embedded:base \\\n    --tuned embedded:reasoner --at 10% --out audit-executed"
)]
pub struct Arguments {
    /// Base policy: model directory, hub id, MODEL+ADAPTER, or embedded:base
    #[arg(long, value_name = "B")]
    pub base: String,
    /// Rollouts whose positions are the population: a run, a rollouts.parquet, or the reference's JSON
    #[arg(
        long,
        value_name = "R",
        required_unless_present_any = ["problems", "execute"],
        conflicts_with_all = ["problems", "execute"]
    )]
    pub rollouts: Option<PathBuf>,
    /// Problems that the base is sampled on for it: JSONL, JSON, Parquet, or embedded:problems
    #[arg(long, value_name = "FILE", conflicts_with = "execute")]
    pub problems: Option<PathBuf>,
    #[command(flatten)]
    pub design: DesignOptions,
    #[command(flatten)]
    pub execution: ExecutionOptions,
    #[command(flatten)]
    pub sampling: SamplingOptions,
    #[command(flatten)]
    pub run: RunOptions,
}

/// How the audit is designed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Design")]
pub struct DesignOptions {
    /// A run of `diff` that says what to expect, and that a learned gate is fitted on
    #[arg(long, value_name = "RUN", conflicts_with = "execute")]
    pub calibration: Option<PathBuf>,
    /// Changed share that is assumed without a calibration
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.05,
        conflicts_with = "calibration"
    )]
    pub assume_changed: f64,
    /// What puts positions into the certain stratum: entropy, or learned from the calibration
    #[arg(long, value_enum, value_name = "entropy|learned", default_value_t = GateName::Entropy)]
    pub gate: GateName,
    /// What is drawn: positions, or whole problems (for bounds on new ones)
    #[arg(long, value_enum, value_name = "positions|problems", default_value_t = KindName::Positions)]
    pub design: KindName,
    /// Share of a budget for the certain stratum
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub certain: f64,
    /// Budgets: shares of all positions, or of all problems
    #[arg(
        long,
        value_name = "X%,...",
        value_delimiter = ',',
        default_value = "1%,2%,5%,10%,20%,50%",
        value_parser = share,
        conflicts_with = "execute"
    )]
    pub budget: Vec<f64>,
    /// When a position is changed: argmax, js:NATS, kl:NATS, noise or noise:P (beyond bf16)
    #[arg(long, value_name = "RULE", default_value = "argmax")]
    pub changed: Changed,
    /// Confidence level of every bound
    #[arg(long, value_name = "LEVEL", default_value_t = 0.95)]
    pub level: f64,
    /// Tokens per second and policy [default: as measured on the base here]
    #[arg(long, value_name = "RATE")]
    pub tokens_per_second: Option<f64>,
}

/// Executing a plan.
#[derive(Debug, Args)]
#[command(next_help_heading = "Execution")]
pub struct ExecutionOptions {
    /// Execute the plan in this run instead of making one
    #[arg(long, value_name = "PLAN", requires = "tuned", requires = "at")]
    pub execute: Option<PathBuf>,
    /// Tuned policy: model directory, hub id, MODEL+ADAPTER, or embedded:NAME
    #[arg(long, value_name = "T", requires = "execute")]
    pub tuned: Option<String>,
    /// Which budget of the plan
    #[arg(long, value_name = "X%", value_parser = share, requires = "execute")]
    pub at: Option<f64>,
    /// Most probable tokens to record per policy and position
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u16).range(0..=1000), requires = "execute")]
    pub record_topk: u16,
}

/// Gates by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GateName {
    /// Highest base entropy first.
    Entropy,
    /// Logistic regression on what the base knows, fitted on the calibration.
    Learned,
}

impl GateName {
    /// The gate.
    pub fn kind(self) -> GateKind {
        match self {
            Self::Entropy => GateKind::Entropy,
            Self::Learned => GateKind::Learned,
        }
    }

    /// As typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entropy => "entropy",
            Self::Learned => "learned",
        }
    }
}

/// Designs by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindName {
    /// Positions: certain ones and a sample of the rest.
    Positions,
    /// Whole problems at random.
    Problems,
}

impl KindName {
    /// The design.
    pub fn kind(self) -> Kind {
        match self {
            Self::Positions => Kind::Positions,
            Self::Problems => Kind::Problems,
        }
    }

    /// As typed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Positions => "positions",
            Self::Problems => "problems",
        }
    }
}

/// `5%` or `0.05`.
fn share(text: &str) -> Result<f64, String> {
    let value = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|x| x / 100.0),
        None => text.parse(),
    };
    match value {
        Ok(x) if x > 0.0 && x <= 1.0 => Ok(x),
        _ => Err("give a share above 0 and at most 1, such as 5% or 0.05".into()),
    }
}

impl DesignOptions {
    /// Refuses numbers that cannot be meant.
    pub fn check(&self) -> Result<(), Failure> {
        let usage = |said: String| Err(Failure::Usage(said));
        if !(0.0..1.0).contains(&self.certain) {
            return usage(format!(
                "--certain is {}; the certain stratum gets a share of the budget from 0 to below 1, the sample needs the rest",
                self.certain
            ));
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return usage(format!("--level is {}, not between 0 and 1", self.level));
        }
        if !(0.0..=1.0).contains(&self.assume_changed) {
            return usage(format!(
                "--assume-changed is {}, not a share between 0 and 1",
                self.assume_changed
            ));
        }
        if self.gate == GateName::Learned && self.calibration.is_none() {
            return usage("--gate learned is fitted on a calibration; give --calibration".into());
        }
        match self.tokens_per_second {
            Some(rate) if !(rate > 0.0 && rate.is_finite()) => {
                usage(format!("--tokens-per-second is {rate}, not a rate above 0"))
            }
            _ => Ok(()),
        }
    }

    /// Budgets, ascending, each once.
    pub fn budgets(&self) -> Vec<f64> {
        let mut budgets = self.budget.clone();
        budgets.sort_by(f64::total_cmp);
        budgets.dedup();
        budgets
    }
}
