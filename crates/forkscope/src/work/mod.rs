//! What several commands do: open policies, sample problems, score rollouts,
//! keep the run.

pub mod attempts;
pub mod attest;
pub mod audit;
pub mod compare;
pub mod coverage;
pub mod footprint;
pub mod harden;
pub mod held_out;
pub mod intervene;
pub mod ledger;
pub mod models;
pub mod noise_floor;
pub mod options;
pub mod organisms;
pub mod plan;
pub mod pool;
pub mod probe;
pub mod prompts;
pub mod reasonmaxxer;
pub mod revert;
pub mod rollouts;
pub mod run;
pub mod scoring;
pub mod training;
pub mod verify;
