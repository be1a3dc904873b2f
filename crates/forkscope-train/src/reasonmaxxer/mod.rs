//! ReasonMaxxer (arXiv 2605.06241): policy selection at gated positions of the
//! base model's own rollouts, without RL.
//!
//! ```text
//! rollouts + entropies ─► pool ─► advantages ─► gate ─► order ─► shards ─► adapter
//! ```
//! With D the decision positions of a rollout, A its advantage, V its other
//! positions, b the base and p the policy that is trained:
//!
//! L = sum_{t in D} A (-ln p(x_t)) / |D| + lambda mean_{t in V} KL(b || p)_t
//!
//! per rollout; a step is the sum over a window of rollouts, divided by the
//! window's nominal size. Formulas of the other objectives, what is divided by
//! what, and where the published trainer is followed to the letter:
//! `docs/reasonmaxxer.md`.

mod advantage;
mod base;
mod candidate;
mod objective;
mod order;
mod pivotality;
mod pool;
mod prepare;
mod processed;
mod rollout;
mod settings;
mod shard;
mod source;
mod window;

pub use advantage::{AdvantageControl, advantage, advantages, reward_std};
pub use candidate::{Candidate, PoolSettings};
pub use pivotality::{
    Pivotality, PivotalitySettings, Probe, ProbeBudget, ProbeCost, ProbeSettings, Prober,
    pivotality,
};
pub use pool::{Pool, PoolCounts, ProblemStats, select_pool};
pub use prepare::{Prepared, PreparedCounts, prepare, prepare_with_signal};
pub use processed::{from_processed, to_processed};
pub use rollout::PoolRollout;
pub use settings::{
    AccumPattern, AdaptiveBeta, Anchor, BalancedWindows, DecisionMean, DecisionObjective, Order,
    ReasonMaxxerSettings, Variant,
};
pub use source::ReasonMaxxerSource;
pub use window::MicroBatch;

#[cfg(test)]
mod tests;
