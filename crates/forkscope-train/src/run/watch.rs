//! How a run tells its caller what happens, and asks for evaluations.

use crate::TrainError;
use crate::engine::Network;

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Steps taken, this one included.
    pub step: u64,
    /// Steps of the run.
    pub total: u64,
    /// The loss whose gradient was taken; `None` for a step without shards,
    /// which left the parameters as they were.
    pub loss: Option<f64>,
    /// Mean reward of the batch, where the objective has one.
    pub reward: Option<f64>,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Norm of the gradient before it was clipped.
    pub grad_norm: Option<f64>,
    /// Tokens that were trained on.
    pub tokens: u64,
    /// How long the step took, making its batch included.
    pub seconds: f64,
}

/// Somebody who follows a run, e.g. a progress bar.
pub trait Watch {
    /// A step was taken.
    fn step(&mut self, report: &StepReport);

    /// The network was evaluated after that many steps.
    fn evaluated(&mut self, _step: u64, _score: Option<f64>) {}

    /// The run goes on after that many steps.
    fn resumed(&mut self, _step: u64) {}

    /// Something the user should know: a checkpoint that was refused.
    fn notice(&mut self, _text: &str) {}
}

/// Result of an evaluation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// Decides which parameters are the best: the greatest, of equals the
    /// earliest. `None` and NaN are never the best.
    pub score: Option<f64>,
    /// Values for the log, under names that begin with `eval_`.
    pub log: Vec<(String, f64)>,
}

/// An evaluation on data that is neither trained on nor tested on.
///
/// What it yields must be a function of the step and the network alone. Ended by
/// [`TrainError::Interrupted`], it is made again when the run goes on.
pub trait Evaluate {
    /// Evaluates the network as it is after `step` steps.
    fn evaluate(&mut self, step: u64, network: &Network) -> Result<Evaluation, TrainError>;
}
