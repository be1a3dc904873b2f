//! A rollout of the pool, as the trainer takes it.

/// A graded rollout with its advantage and its decision positions.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolRollout {
    /// Problem identifier.
    pub problem_id: String,
    /// Sample index among the problem's rollouts.
    pub sample: u32,
    /// Prompt ids followed by completion ids.
    pub token_ids: Vec<u32>,
    /// Number of leading ids that are the prompt; at least 1.
    pub prompt_len: usize,
    /// Whether the answer was right.
    pub correct: bool,
    /// Whether the completion was cut by the token limit.
    pub truncated: bool,
    /// (r - mean) / max(std, 1e-8) over the problem's rollouts in the pool, not
    /// clipped yet.
    pub advantage: f64,
    /// H(base) in nats of each completion token, T = 1; empty where the source
    /// gave decision positions instead.
    pub entropies_nats: Vec<f64>,
    /// Decision positions t (index of the predicted token in `token_ids`),
    /// ascending, each in `prompt_len..len`.
    pub decisions: Vec<u32>,
}

impl PoolRollout {
    /// The completion's token ids.
    pub fn completion(&self) -> &[u32] {
        self.token_ids.get(self.prompt_len..).unwrap_or(&[])
    }

    /// |A| |D| / completion length: what the curriculum sorts by. 0 for an
    /// empty completion.
    pub fn signal_clarity(&self) -> f64 {
        let len = self.completion().len().max(1);
        self.advantage.abs() * (self.decisions.len() as f64 / len as f64)
    }
}
