//! Where the shards of an optimiser step come from.

use serde_json::Value;

use crate::TrainError;
use crate::engine::{Network, Shard, Sums};

/// One optimiser step's work.
pub struct Step {
    /// Shards in the order in which their gradients are summed.
    pub shards: Vec<Box<dyn Shard + Send>>,
    /// Tokens that are trained on, for the rate.
    pub tokens: u64,
    /// Values for the log, under TRL's names where they exist.
    pub log: Vec<(String, f64)>,
    /// What the batch was, for inspection after a non-finite loss: problem ids,
    /// token ids, rewards.
    pub inspect: Value,
}

/// Data and objective of a training run.
///
/// What a source yields must be a function of its settings, the seed, the step
/// and the network's parameters alone, beside the state it hands to checkpoints.
pub trait Source {
    /// The work of step `step`, counted from 0. A step without shards (nothing
    /// to learn from) is logged and leaves the parameters as they are.
    fn step(&mut self, step: u64, network: &Network) -> Result<Step, TrainError>;

    /// Values for the log that are known after the backward pass only; `sums`
    /// are the sums of all shards.
    fn after(&mut self, _sums: &Sums) -> Vec<(String, f64)> {
        Vec::new()
    }

    /// A further name under which a line of the log has the learning rate.
    fn rate_name(&self) -> Option<&'static str> {
        None
    }

    /// Whether the run ends with the step that was taken last, though more were
    /// asked for. What it says must follow from `state`.
    fn finished(&self) -> bool {
        false
    }

    /// Whether the step that was taken last gets a line in the log. One with an
    /// evaluation always does.
    fn logged(&self) -> bool {
        true
    }

    /// What a checkpoint keeps: data cursor, counters.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Goes on from such a state.
    fn restore(&mut self, _state: &Value) -> Result<(), TrainError> {
        Ok(())
    }
}
