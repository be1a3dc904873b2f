//! Hardening: training that raises what it takes to bring a tuned policy's
//! behaviour back to its base's.
//!
//! With p the trained policy, q the tuned policy as it was (frozen) and b the
//! base, nats, T = 1, a step's loss is
//!
//! L = w_R mean_R (-ln p(y_t)) + w_M mean_D relu(m - (ln p(y_t) - ln p(r_t)))
//!     + w_K mean_K KL(q || p)
//!
//! - R, **recovery** (deep-alignment augmentation, arXiv 2406.05946): a prompt,
//!   tokens that an adversary would force, and then the tuned policy's own answer
//!   y, whose tokens are learned;
//! - D, **margins**: those tokens of y that decide, with r_t the token that the
//!   base would take there instead ([`Decision`]);
//! - K, **anchor**: the tuned policy's own answers to prompts whose behaviour is
//!   to stay as it is.
//!
//! Each mean is over the tokens of its kind in the step. What is forced, and
//! where, is drawn from the pair alone ([`make`]): nothing of it depends on the
//! parameters, so a run that was stopped goes on with the same lessons.

mod answers;
mod decisions;
mod lessons;
mod make;
mod settings;
mod shard;
mod source;
#[cfg(test)]
mod tests;

pub use lessons::{Anchor, Decision, Forced, Lessons, Made, Recovery};
pub use make::{Pair, make};
pub use settings::HardenSettings;
pub use shard::RecoveryShard;
pub use source::HardenSource;
