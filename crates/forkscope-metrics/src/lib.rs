//! Token metrics for one policy and for a pair of policies, intervals from
//! top-k log-probs, and the statistics over them.
//!
//! With p = softmax of one row of logits (T = 1, nats):
//! - one policy ([`row`]): H = -sum p ln p, ln p(x), rank, argmax, top-k;
//! - a pair, p tuned and b base ([`pair`], [`divergence`]): KL(p||b) = sum p ln(p/b)
//!   and back, JS, TV = sum |p - b|/2, CE = -sum b ln p, ln p(x) - ln b(x), class;
//! - from k log-probs and the mass of the tail ([`interval`]): bounds for the same;
//! - over positions ([`stats`]): rankings, intervals, tests;
//! - [`mod@reference`]: every metric again, plainly, in f64; [`rng`]: random numbers
//!   that depend on their place alone.
//!
//! ```
//! use forkscope_metrics::pair_rows;
//!
//! // One position, a vocabulary of three tokens, token 1 was written.
//! let (base, tuned) = ([2.0f32, 1.0, 0.0], [1.0f32, 2.0, 0.0]);
//! let pair = &pair_rows(&base, 3, &tuned, 3, &[1], 3)?[0];
//! assert_eq!((pair.base.argmax, pair.tuned.argmax), (0, 1));
//! assert_eq!(pair.base_rank_of_tuned_argmax, 2);
//! assert!((pair.delta_logprob.unwrap_or(f64::NAN) - 1.0).abs() < 1e-6);
//! # Ok::<(), forkscope_metrics::MetricsError>(())
//! ```

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
