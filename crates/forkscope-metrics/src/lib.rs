//! Token metrics for one policy and for a pair of policies, intervals from
//! top-k log-probs, and the statistics over them.

pub mod divergence;
mod error;
pub mod interval;
mod kernels;
mod logit;
pub mod pair;
mod pass;
pub mod reference;
pub mod rng;
pub mod row;
pub mod stats;
mod top;

pub use divergence::{Class, class};
pub use error::MetricsError;
pub use interval::{Interval, Listed, PairIntervals, PartialRow, RankInterval, printed_error};
pub use kernels::instruction_set;
pub use logit::Logit;
pub use pair::{PairMetrics, Side, pair_rows};
pub use row::{Normaliser, RowMetrics, normaliser, probabilities, score_rows};
