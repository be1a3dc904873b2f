//! What an objective sees of the network: one pack's hidden states, through the
//! token head, at the sites it asks for.

use super::head::Head;
use super::pack::{Pack, Site};
use crate::TrainError;

/// Named sums over a shard's sites or sequences (a loss's terms, counts); they
/// add up over the shards of a step in a fixed order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums(Vec<(&'static str, f64)>);

impl Sums {
    /// The name under which every objective puts the loss itself, the value
    /// whose gradient was computed.
    pub const LOSS: &'static str = "loss";

    /// Adds to the sum of that name.
    pub fn add(&mut self, name: &'static str, value: f64) {
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, sum)) => *sum += value,
            None => self.0.push((name, value)),
        }
    }

    /// The sum of that name; 0 if nothing was added to it.
    pub fn get(&self, name: &str) -> f64 {
        self.0
            .iter()
            .find(|(n, _)| *n == name)
            .map_or(0.0, |(_, sum)| *sum)
    }

    /// Adds all sums of another shard.
    pub fn merge(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            self.add(name, *value);
        }
    }

    /// Name and sum, in the order in which they first appeared.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.0.iter().copied()
    }
}

/// One pack and the loss on it. A step's loss is the sum over its shards, so
/// whatever it is divided by (tokens of the batch, a constant) is known to the
/// shard already.
pub trait Shard: Sync {
    /// The rows.
    fn pack(&self) -> &Pack;

    /// The sites that the loss looks at, if they are known before: the last
    /// block's MLP is computed at their rows alone. `None` for any row.
    fn sites(&self) -> Option<&[Site]> {
        None
    }

    /// Computes the loss and pulls its gradient into the head. Called once.
    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError>;
}
