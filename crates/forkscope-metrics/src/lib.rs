//! Token metrics for one policy and for a pair of policies, intervals from
//! top-k log-probs, and the statistics over them.

pub mod rng;
pub mod stats;
