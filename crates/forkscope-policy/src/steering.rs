//! Steering: a policy whose forward pass adds a vector to the residual stream
//! after some block, everywhere: sampling, scoring, growing sequences, capture
//! and patching (Turner et al., arXiv 2308.10248).
//!
//! x_l <- x_l + scale * vector, in f32, for the rows chosen. A vector of zeros
//! is no steering at all: the bits are those of the policy as it was. Steered
//! policies can be steered again; vectors add up in the order given.

use std::sync::Arc;

use crate::PolicyError;
use crate::model::forward::Runner;
use crate::model::hooks::Steer;
use crate::policy::Policy;

/// Rows of a sequence that are steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SteeredRows {
    /// All of them, the prompt too.
    #[default]
    All,
    /// Those that predict the completion: the prompt's last and all that follow.
    Completion,
}

/// A vector for the residual stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Steering {
    /// Blocks before it: 0 steers the embedding, L what the final norm reads.
    pub layer: usize,
    /// As wide as the residual stream.
    pub vector: Vec<f32>,
    /// Factor of the vector.
    pub scale: f32,
    /// Rows that are steered.
    pub rows: SteeredRows,
}

impl Policy {
    /// This policy, steered; weights and text side are shared. Files and
    /// digests are those of the policy as it was: who caches by digest must
    /// keep steered policies apart.
    pub fn steered(&self, steering: Steering) -> Result<Self, PolicyError> {
        let c = self.config();
        if steering.layer > c.layers {
            return Err(PolicyError::Activation(format!(
                "layer {} is beyond the model's last, {}",
                steering.layer, c.layers
            )));
        }
        if steering.vector.len() != c.hidden_size {
            return Err(PolicyError::Activation(format!(
                "a steering vector has {} values, the model's residual stream {}",
                steering.vector.len(),
                c.hidden_size
            )));
        }
        let vector: Vec<f32> = steering.vector.iter().map(|v| v * steering.scale).collect();
        if !steering.scale.is_finite() || vector.iter().any(|v| !v.is_finite()) {
            return Err(PolicyError::Activation(
                "a steering vector has a value that is NaN or infinite".into(),
            ));
        }
        let mut policy = self.clone();
        if vector.iter().any(|v| *v != 0.0) {
            policy.steering.push(Arc::new(Steer {
                layer: steering.layer,
                vector,
                rows: steering.rows,
            }));
        }
        Ok(policy)
    }

    /// Whether a vector is added to the residual stream anywhere.
    pub fn is_steered(&self) -> bool {
        !self.steering.is_empty()
    }

    /// The forward pass of this policy.
    pub(crate) fn runner(&self) -> Runner<'_> {
        Runner::new(&self.model, self.adapter.as_deref(), &self.steering)
    }
}
