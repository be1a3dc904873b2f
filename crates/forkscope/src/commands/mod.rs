//! One file per subcommand.
//!
//! A new command is a file with `Arguments` (a `clap::Args`, whose
//! `after_help` ends in one example that runs as it stands, anywhere, in a few
//! seconds; help is wrapped on narrow screens, so lines are continued with `\`
//! before column 78) and `run(&Arguments, &Settings) -> Outcome`, a variant of
//! [`Command`], and a line in [`run`].

mod ablate;
mod attest;
mod audit;
mod demo;
mod diff;
mod distill;
mod entropy;
mod eval;
mod footprints;
mod gate;
mod grade;
mod harden;
mod intervene;
mod lab;
mod plan;
mod probe;
mod report;
mod revert;
mod sample;
mod score;
mod select;
mod train;
mod verify;
mod view;

use clap::Subcommand;

use crate::cli::Settings;
use crate::failure::Outcome;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The embedded pair, compared end to end in about a minute
    Demo(demo::Arguments),
    /// Entropy per position from probability tables or log-prob responses
    Entropy(entropy::Arguments),
    /// Completions of problems, with the log-probs of their tokens
    Sample(sample::Arguments),
    /// Entropy, log-prob and rank of every completion position under one policy
    Score(score::Arguments),
    /// The problems of middling difficulty, and the shorter of their rollouts
    Select(select::Arguments),
    /// Where, token by token, a tuned policy differs from its base
    Diff(Box<diff::Arguments>),
    /// Several tuned policies beside each other: where each differs from the base
    Footprints(footprints::Arguments),
    /// Which positions carry the difference: tokens of one policy forced into the other's text
    Intervene(Box<intervene::Arguments>),
    /// What it costs to bring a behaviour back to the base's: tokens, nats, mixing, prompts
    Revert(Box<revert::Arguments>),
    /// Trains a tuned policy so that its behaviour costs more to undo; before and after in one table
    Harden(Box<harden::Arguments>),
    /// How often a policy answers right: pass@k, maj@k, avg@k, greedy, with intervals
    Eval(eval::Arguments),
    /// Whether a policy tells a test from its use, acts on it, and can be steered
    Probe(Box<probe::Arguments>),
    /// Whether answers are equivalent to reference answers
    Grade(grade::Arguments),
    /// Trains a model or an adapter: pretrain, sft, dpo, grpo, reasonmaxxer, distill
    Train(train::Arguments),
    /// How small an adapter can be and still do what a tuned policy does: a sweep over ranks
    Distill(Box<distill::Arguments>),
    /// A grid of arms over one store of rollouts with equal budgets: one table, one figure
    Ablate(ablate::Arguments),
    /// Which positions to audit under a budget, and the bound that it buys
    Plan(Box<plan::Arguments>),
    /// The model organisms, from nothing
    Lab(lab::Arguments),
    /// All of it: comparison, interventions, prices, awareness, bounds, report, statement
    Audit(Box<audit::Arguments>),
    /// Passes or fails in CI: findings held against rules
    Gate(gate::Arguments),
    /// Signs what was audited, how, and what came out
    Attest(attest::Arguments),
    /// Whether an attestation, and all that it is about, is as it was
    Verify(verify::Arguments),
    /// The findings of a run as a table, a page, Markdown and figures
    Report(report::Arguments),
    /// A run in the browser: sorted, filtered, token by token, however large
    View(view::Arguments),
}

/// Runs the command that was asked for.
pub fn run(command: &Command, settings: &Settings) -> Outcome {
    match command {
        Command::Demo(arguments) => demo::run(arguments, settings),
        Command::Sample(arguments) => sample::run(arguments, settings),
        Command::Score(arguments) => score::run(arguments, settings),
        Command::Select(arguments) => select::run(arguments, settings),
        Command::Diff(arguments) => diff::run(arguments, settings),
        Command::Footprints(arguments) => footprints::run(arguments, settings),
        Command::Intervene(arguments) => intervene::run(arguments, settings),
        Command::Revert(arguments) => revert::run(arguments, settings),
        Command::Harden(arguments) => harden::run(arguments, settings),
        Command::Eval(arguments) => eval::run(arguments, settings),
        Command::Probe(arguments) => probe::run(arguments, settings),
        Command::Grade(arguments) => grade::run(arguments, settings),
        Command::Ablate(arguments) => ablate::run(arguments, settings),
        Command::Plan(arguments) => plan::run(arguments, settings),
        Command::Lab(arguments) => lab::run(arguments, settings),
        Command::Distill(arguments) => distill::run(arguments, settings),
        Command::Train(arguments) => train::run(arguments, settings),
        Command::Entropy(arguments) => entropy::run(arguments, settings),
        Command::Audit(arguments) => audit::run(arguments, settings),
        Command::Gate(arguments) => gate::run(arguments, settings),
        Command::Attest(arguments) => attest::run(arguments, settings),
        Command::Verify(arguments) => verify::run(arguments, settings),
        Command::Report(arguments) => report::run(arguments, settings),
        Command::View(arguments) => view::run(arguments, settings),
    }
}
