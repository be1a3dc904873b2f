//! Sequences to learn from.

use crate::TrainError;

/// A sequence of token ids whose tokens from `prompt_len` on are to be learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// All ids, the prompt first.
    pub ids: Vec<u32>,
    /// Leading ids that are the prompt; 0 where all of it is text.
    pub prompt_len: usize,
    /// Weight of each id where it is predicted, if not 1: as many as ids, none
    /// negative. (Nothing predicts the first id; its weight counts for nothing.)
    pub weights: Option<Vec<f32>>,
}

impl Example {
    /// A prompt and its completion, every token of weight 1.
    pub fn new(prompt: &[u32], completion: &[u32]) -> Self {
        Self {
            ids: [prompt, completion].concat(),
            prompt_len: prompt.len(),
            weights: None,
        }
    }

    /// The ids after the prompt.
    pub fn completion(&self) -> &[u32] {
        self.ids.get(self.prompt_len..).unwrap_or(&[])
    }

    /// Weights of the predicted tokens `ids[1..]`, prompt tokens times
    /// `prompt_weight`.
    pub(crate) fn site_weights(&self, prompt_weight: f64) -> Vec<f64> {
        (1..self.ids.len())
            .map(|t| {
                let own = self.weights.as_ref().and_then(|w| w.get(t));
                let own = own.map_or(1.0, |w| f64::from(*w));
                own * if t < self.prompt_len {
                    prompt_weight
                } else {
                    1.0
                }
            })
            .collect()
    }

    /// Refuses what cannot be learned from: no predicted token, ids outside the
    /// vocabulary, more tokens than the context, weights that are no weights.
    pub fn check(&self, vocab: usize, context: usize) -> Result<(), String> {
        let len = self.ids.len();
        if len < 2 || self.prompt_len >= len {
            return Err(format!(
                "has {len} tokens of which {} are the prompt, so there is no token to learn; leave it out",
                self.prompt_len
            ));
        }
        if let Some(id) = self.ids.iter().find(|id| **id as usize >= vocab) {
            return Err(format!(
                "has token id {id}, outside the vocabulary of {vocab}; tokenise it with the model's own tokenizer"
            ));
        }
        if len - 1 > context {
            return Err(format!(
                "has {len} tokens, more than the model's context of {context}; cut it or leave it out"
            ));
        }
        let Some(weights) = &self.weights else {
            return Ok(());
        };
        if weights.len() != len {
            return Err(format!(
                "has {} weights for {len} tokens; give one per token",
                weights.len()
            ));
        }
        match weights.iter().find(|w| !w.is_finite() || **w < 0.0) {
            Some(w) => Err(format!(
                "has the weight {w}; weights are numbers of at least 0"
            )),
            None => Ok(()),
        }
    }
}

/// A collection of examples, in memory, in a file, or made on the fly.
pub trait Examples: Send + Sync {
    /// How many there are; `None` if they never end.
    fn len(&self) -> Option<u64>;

    /// Example `index`: the same one whenever it is asked for.
    fn get(&self, index: u64) -> Result<Example, TrainError>;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

impl Examples for Vec<Example> {
    fn len(&self) -> Option<u64> {
        Some(self.as_slice().len() as u64)
    }

    fn get(&self, index: u64) -> Result<Example, TrainError> {
        usize::try_from(index)
            .ok()
            .and_then(|i| self.as_slice().get(i))
            .cloned()
            .ok_or_else(|| TrainError::Internal(format!("there is no example {index}")))
    }
}
