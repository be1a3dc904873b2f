//! Evaluation awareness: does a policy tell a test from its use, does it act on
//! it, and can that be steered?
//!
//! Three questions are kept apart ([`verdict`]): whether the context can be read
//! from activations (*detectable*), whether behaviour differs with it
//! (*behavioural*), and whether moving activations along the direction moves the
//! behaviour (*controllable*). What training added is what the tuned policy has
//! beyond its base on the same items and splits.

mod design;

pub use design::{Design, Kind};
