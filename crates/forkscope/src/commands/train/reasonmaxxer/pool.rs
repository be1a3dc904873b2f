//! The flags that say which problems and rollouts are learned from.

use clap::{Args, ValueEnum};
use forkscope_train::reasonmaxxer::AdvantageControl;

use super::options::put;
use crate::work::reasonmaxxer::recipe::Recipe;

/// Which problems and rollouts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pool")]
pub struct PoolOptions {
    /// Take all rollouts that are given instead of choosing problems of middling difficulty
    #[arg(long, conflicts_with_all = ["max_problems", "min_pass", "max_pass", "allow_one_sign", "trim", "skip_ungraded"])]
    pub no_select: bool,
    /// Most problems, those closest to a pass rate of 1/2 [default: 50]
    #[arg(long, alias = "max-target-problems", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_problems: Option<u32>,
    /// Least pass rate [default: 0]
    #[arg(long, value_name = "P")]
    min_pass: Option<f64>,
    /// Greatest pass rate [default: 1]
    #[arg(long, value_name = "P")]
    max_pass: Option<f64>,
    /// Also problems whose rollouts are all right or all wrong: their advantages are 0
    #[arg(long)]
    allow_one_sign: bool,
    /// Share of the chosen problems' rollouts that stays, the shortest first [default: 0.8]
    #[arg(long, alias = "trim-fraction", value_name = "SHARE")]
    trim: Option<f64>,
    /// Leave out problems with rollouts that nobody graded
    #[arg(long)]
    skip_ungraded: bool,
    /// What is done to the advantages: none, shuffle-within, shuffle-global or positives-only [default: none]
    #[arg(long, value_enum, value_name = "KIND")]
    control: Option<Control>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Control {
    None,
    ShuffleWithin,
    ShuffleGlobal,
    PositivesOnly,
}

impl From<Control> for AdvantageControl {
    fn from(control: Control) -> Self {
        match control {
            Control::None => Self::None,
            Control::ShuffleWithin => Self::ShuffledWithinProblem,
            Control::ShuffleGlobal => Self::ShuffledGlobally,
            Control::PositivesOnly => Self::PositivesOnly,
        }
    }
}

impl PoolOptions {
    /// The flag that was given, if any: processed rollouts are a pool, with
    /// advantages, already.
    pub fn given(&self) -> Option<&'static str> {
        [
            (self.no_select, "--no-select"),
            (self.control.is_some(), "--control"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
        .or(self.choice())
    }

    /// The flag that chooses a pool, if any was given.
    pub fn choice(&self) -> Option<&'static str> {
        [
            (self.max_problems.is_some(), "--max-problems"),
            (self.min_pass.is_some(), "--min-pass"),
            (self.max_pass.is_some(), "--max-pass"),
            (self.allow_one_sign, "--allow-one-sign"),
            (self.trim.is_some(), "--trim"),
            (self.skip_ungraded, "--skip-ungraded"),
        ]
        .into_iter()
        .find_map(|(given, name)| given.then_some(name))
    }

    /// Puts what was given in its place.
    pub fn apply(&self, recipe: &mut Recipe) {
        let p = &mut recipe.pool;
        put! {
            self.max_problems.map(|n| n as usize) => p.max_problems,
            self.min_pass => p.min_pass,
            self.max_pass => p.max_pass,
            self.allow_one_sign.then_some(false) => p.require_both,
            self.trim => p.trim_fraction,
            self.skip_ungraded.then_some(true) => p.skip_ungraded,
            self.control => recipe.control,
        }
    }
}
