//! What the oracle tests share: inputs that are computed and not stored, the
//! golden answers of torch, and a decoder of stock differentiable operations.

#![allow(dead_code, reason = "each test binary uses what it needs")]

pub mod compare;
pub mod fixture;
pub mod grpo;
pub mod hash;
pub mod loss;
pub mod models;
pub mod page;
pub mod plain;
pub mod shards;
