//! The loss against a plain f64 version of itself, and the source on a tiny
//! model.

mod losses;
mod sources;
