//! The training engine: a decoder whose every operation has a forward and a
//! backward pass on plain slices.

mod head;
mod network;
pub(crate) mod ops;
mod pack;
mod parameters;
mod shard;

pub use head::{Head, HeadWeight};
pub use network::{LoraSettings, Network, PassOptions, Trainable, Which};
pub use pack::{Pack, Site, Stretch};
pub use parameters::{Gradients, Parameter, Parameters};
pub use shard::{Shard, Sums};
