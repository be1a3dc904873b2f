//! A policy: tokenizer, chat template, weights and adapter. Scores given token
//! ids, samples new ones, and hands out hidden states.
//!
//! This crate knows models; it knows neither audits nor tasks.

mod error;
pub mod hub;
pub mod text;

pub use error::PolicyError;
