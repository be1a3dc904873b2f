//! The training engine: a decoder whose every operation has a forward and a
//! backward pass on plain slices.
//!
//! A [`Pack`] holds the rows of a pass, a [`Shard`] a pack and the loss on it,
//! [`Network::gradients`] runs the shards of a step over the cores and sums
//! their gradients in order.

#[doc(hidden)]
pub mod bench;
mod block;
mod build;
mod head;
mod linear;
mod network;
pub(crate) mod ops;
mod pack;
mod parameters;
mod pass;
pub(crate) mod save;
mod shard;

pub use head::{Head, HeadWeight};
pub use network::{LoraSettings, Network, PassOptions, Trainable, Which};
pub use pack::{Pack, Site, Stretch};
pub use parameters::{Gradients, Parameter, Parameters};
pub use save::SavedDtype;
pub use shard::{Shard, Sums};
