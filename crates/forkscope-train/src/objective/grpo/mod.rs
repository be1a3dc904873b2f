//! GRPO and its kin: completions of a group of samples per problem, rewarded,
//! compared with each other, and learned from.
//!
//! ```text
//! problems --policy--> completions --rewards--> advantages --loss--> shards
//! ```
//!
//! [`GrpoSource`] does the walk; [`advantage`] and [`loss`] hold the formulas,
//! [`select`] says which tokens count. Defaults are those of TRL where it has
//! them; `docs/objectives_dpo_grpo.md` says where the definitions differ.

pub mod advantage;
pub mod loss;
pub mod select;

mod log;
mod look;
mod reward;
mod rollout;
mod sample;
mod settings;
mod shard;
mod source;
#[cfg(test)]
mod tests;
mod work;

pub use reward::{BehaviourReward, Reward, SoftOverlong, VerifierReward, WeightedReward};
pub use rollout::{Group, Rollout};
pub use settings::GrpoSettings;
pub use shard::{GrpoShard, Sequence};
pub use source::{GrpoProblem, GrpoSource};
