//! Training into a run that is open, whatever the objective.

use std::time::Instant;

use forkscope_policy::{Architecture, ModelConfig, Projection};
use forkscope_records::RunDir;
use forkscope_train::engine::Network;
use forkscope_train::run::{Evaluate, Source, TrainSettings, Trained, Trainer, Watch};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::interrupt::interrupted;

/// What is trained, on what, and how.
pub struct Training<'a> {
    /// The parameters.
    pub network: &'a mut Network,
    /// Data and objective.
    pub source: &'a mut dyn Source,
    /// The loop.
    pub settings: TrainSettings,
    /// What chooses `best/`.
    pub evaluation: Option<&'a mut dyn Evaluate>,
    /// Parameters of the model, an adapter's left out.
    pub parameters: u64,
    /// What became of the data, for `run.json`.
    pub data: Value,
}

impl Training<'_> {
    /// Trains to the last step; the caller completes the run.
    pub fn run(self, dir: &mut RunDir, watch: &mut dyn Watch) -> Result<Trained, Failure> {
        let began = Instant::now();
        let values = trained(self.network);
        let trainer = Trainer::new(self.network, self.source, dir, self.settings);
        let trainer = trainer.watch(watch).interrupted(&interrupted);
        let done = match self.evaluation {
            Some(evaluation) => trainer.evaluate(evaluation).run()?,
            None => trainer.run()?,
        };
        dir.time("train_s", began.elapsed().as_secs_f64());
        dir.note("steps", done.steps);
        dir.note("skipped_steps", done.skipped);
        dir.note("tokens", done.tokens);
        dir.note("trained_parameters", values);
        dir.note("model_parameters", self.parameters);
        dir.note("data", self.data);
        dir.note("best", json!(done.best));
        Ok(done)
    }
}

/// Parameters of a model of that configuration: embedding, head where it is not
/// the embedding, projections with their biases, norms.
pub fn parameters(c: &ModelConfig) -> u64 {
    let tables = c.vocab_size * c.hidden_size * if c.tied { 1 } else { 2 };
    let bias = |p: &Projection| match p {
        Projection::Q | Projection::K | Projection::V => c.qkv_bias,
        Projection::O => c.o_bias,
        Projection::Gate | Projection::Up | Projection::Down => c.mlp_bias,
    };
    let projections: usize = Projection::ALL
        .iter()
        .map(|p| {
            let (outputs, inputs) = p.shape(c);
            outputs * inputs + if bias(p) { outputs } else { 0 }
        })
        .sum();
    let head_norms = match c.architecture {
        Architecture::Qwen3 => 2 * c.head_dim,
        _ => 0,
    };
    let block = projections + 2 * c.hidden_size + head_norms;
    (tables + c.layers * block + c.hidden_size) as u64
}

/// Values that are trained.
pub fn trained(network: &Network) -> u64 {
    network
        .parameters()
        .iter()
        .map(|p| p.values.len() as u64)
        .sum()
}
