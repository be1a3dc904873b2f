//! Findings: what the rows of a pair diff say, one number at a time.
//!
//! p is the tuned policy, b the base. Every finding carries its unit, its
//! denominator n, the number of problems behind it, what was left out as
//! invalid, and an interval: a percentile cluster bootstrap over problems
//! ([`forkscope_metrics::stats::Resampler`]), because tokens of one problem are
//! not independent. Ids are stable and listed in `docs/findings.md`; the
//! definition of each stands in the finding itself.
//!
//! Positions enter if their row is `ok` or `truncated` (a completion that was
//! cut holds true positions up to the cut); every other row is counted, by
//! validity. A null KL leaves that row out of the KL findings only, and is
//! counted there. Nothing depends on the number of threads.

mod ablated;
mod answers;
mod catalogue;
mod classes;
mod columns;
mod counts;
mod distilled;
mod evaluation;
mod gate;
mod intervened;
mod patched;
mod profile;
mod spread;
#[cfg(test)]
mod tests;
mod tokens;

use forkscope_records::types::{DiffRow, Findings, Rollout};

use crate::AuditError;
pub use ablated::{AblationArm, AblationCell, ablation};
use catalogue::Catalogue;
use columns::Columns;
pub use distilled::{ProblemDivergence, SweepArm, sweep};
pub use evaluation::{Attempted, Sampled, evaluation};
pub use intervened::{Counted, InterventionTable, interventions};
pub use patched::{Patched, patching};

/// One of the two policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The base, b.
    Base,
    /// The tuned policy, p.
    Tuned,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Tuned => "tuned",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Base => Self::Tuned,
            Self::Tuned => Self::Base,
        }
    }
}

/// Cost of running a model on one token:
/// `flops_per_token + attention_flops_per_token_per_context * context`.
///
/// For a decoder with N parameters outside the embedding, flops_per_token is
/// about 2 N, and the attention term 4 x layers x heads x head_dim (scores and
/// values, two operations each) per token of context.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModelCost {
    /// Floating-point operations per token that do not depend on the context.
    pub flops_per_token: f64,
    /// Further operations per token and token of context (itself included).
    pub attention_flops_per_token_per_context: f64,
}

/// How the findings are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FindingSettings {
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Bootstrap replicates; 0 for none and no intervals.
    pub replicates: u32,
    /// Confidence level of the intervals.
    pub level: f64,
    /// k of the classes: reranked within the base's top k, shifted beyond.
    pub top_k: u32,
    /// KL(p ‖ b) in nats above which a position counts as changed by KL.
    pub kl_changed: f64,
    /// How many promoted and how many demoted tokens are listed.
    pub tokens_listed: usize,
}

impl Default for FindingSettings {
    fn default() -> Self {
        Self {
            seed: 42,
            replicates: 1000,
            level: 0.95,
            top_k: 5,
            kl_changed: 0.1,
            tokens_listed: 20,
        }
    }
}

/// Most replicates that are drawn; beyond, the interval no longer moves.
const MOST_REPLICATES: u32 = 1_000_000;

impl FindingSettings {
    pub(crate) fn check(&self) -> Result<(), AuditError> {
        let wrong = |setting, value, range| {
            Err(AuditError::Setting {
                setting,
                value,
                range,
            })
        };
        if !(self.level > 0.0 && self.level < 1.0) {
            return wrong("level", self.level, "(0, 1)");
        }
        if self.replicates > MOST_REPLICATES {
            return wrong("replicates", self.replicates.into(), "[0, 1000000]");
        }
        if self.top_k == 0 {
            return wrong("top_k", 0.0, "[1, vocabulary size]");
        }
        if !(self.kl_changed >= 0.0 && self.kl_changed.is_finite()) {
            return wrong("kl_changed", self.kl_changed, "[0, inf)");
        }
        Ok(())
    }
}

/// What the findings are made from.
#[derive(Clone, Copy)]
pub struct FindingInput<'a> {
    /// Rows of the diff, grouped by rollout with ascending `t`.
    pub rows: &'a [DiffRow],
    /// The rollouts that the rows score.
    pub rollouts: &'a [Rollout],
    /// Whose rollouts these are; `None` if neither policy's or not known.
    pub rollouts_by: Option<Side>,
    /// Rollouts of the other policy on the same problems, where there are any.
    pub other_rollouts: Option<&'a [Rollout]>,
    /// Cost of the base, for FLOPs per answer.
    pub base_cost: Option<ModelCost>,
    /// Cost of the tuned policy.
    pub tuned_cost: Option<ModelCost>,
    /// Text of a token.
    pub pieces: &'a dyn Fn(u32) -> Option<String>,
}

/// All findings, in the order in which a report prints them.
///
/// # Errors
/// Settings out of range; rows that belong to no rollout, lie outside its
/// completion, are out of order, or hold a number that cannot be (a negative
/// divergence). An undefined statistic is not an error: its value is null and
/// its method says why.
pub fn findings(
    input: &FindingInput<'_>,
    settings: &FindingSettings,
) -> Result<Findings, AuditError> {
    settings.check()?;
    let columns = Columns::new(input.rows, input.rollouts)?;
    let mut positions = Catalogue::new(columns.problems);
    classes::add(&mut positions, &columns, settings);
    spread::add(&mut positions, &columns)?;
    gate::add(&mut positions, &columns, settings)?;
    profile::add(&mut positions, &columns);
    tokens::add(&mut positions, &columns, settings, input.pieces);
    let mut all = positions.finish(settings)?;
    all.extend(answers::findings(input, settings)?);
    all.extend(counts::findings(input, &columns));
    Ok(Findings {
        schema: Findings::SCHEMA.to_owned(),
        findings: all,
    })
}
