//! The training engine: a decoder whose every operation has a forward and a
//! backward pass on plain slices.

mod head;
pub(crate) mod ops;
mod pack;
mod parameters;
mod shard;

pub use head::{Head, HeadWeight};
pub use pack::{Pack, Site, Stretch};
pub use parameters::{Gradients, Parameter, Parameters};
pub use shard::{Shard, Sums};
