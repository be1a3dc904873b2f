//! Evaluation awareness: does a policy tell a test from its use, does it act on
//! it, and can that be steered?
//!
//! Three questions are kept apart ([`verdict`]): whether the context can be read
//! from activations (*detectable*), whether behaviour differs with it
//! (*behavioural*), and whether moving activations along the direction moves the
//! behaviour (*controllable*). What training added is what the tuned policy has
//! beyond its base on the same items and splits.
//!
//! Everything is computed under the true labels once and under labellings of the
//! null hypothesis many times; the [`Bench`] holds what both share.

mod behaviour;
mod design;
mod features;
mod findings;
mod folds;
mod lbfgs;
mod neurons;
pub mod null;
pub mod patching;
mod probe;
mod random;
mod ranked;
pub mod sae;
mod study;
mod verdict;
mod words;

#[cfg(test)]
mod tests;

pub use behaviour::{Arm, Control, Estimate, control, gap, rate};
pub use design::{Design, Kind};
pub use features::{FeatureSummary, feature_findings, features};
pub use findings::{Material, findings, id_part};
pub use folds::{Fold, Folding, Split};
pub use neurons::neurons;
pub use probe::{Layer, Probe, mean_difference};
pub use random::random_direction;
pub use ranked::{Ranked, Resamples, Weights};
pub use study::{Bench, Measure, Study, Target};
pub use verdict::{ALPHA, Across, Conclusion, Evidence, Verdict, verdict};
pub use words::Words;
