//! What a user's bf16 does to a policy, without changing the stack: the weights
//! rounded to bf16, or what flows between them.
//!
//! bf16 keeps the 8 bits of the exponent and 8 significant bits; rounding is to
//! the nearest, halves to even, so a relative error of at most 2^-8 each time.
//!
//! *Weights*: every tensor and the adapter's factors (the second one after its
//! scale) are rounded once; arithmetic stays f32.
//!
//! *Activations*: weights stay; rounded are the embedding, what each RMSNorm
//! gives (of heads too), q, k and v after their biases and again after rotation,
//! the concatenated head outputs, the residual stream after each of the two
//! additions of a block, gate and up, their product after SiLU, the final hidden
//! state and the logits. Not rounded are the sums inside a product (hardware
//! keeps f32 there too), attention scores and weights, and the output of a
//! projection before it is added to the residual stream.

use std::sync::{Arc, Mutex};

use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::decoder::{Block, Model};
use super::linear::Linear;
use super::lora::Adapter;
use crate::Policy;

/// Which numbers of a policy are rounded to bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// The weights, once.
    Weights,
    /// What flows between the operations, each time.
    Activations,
}

impl Policy {
    /// The same policy in bf16 as far as `rounding` says; see
    /// [`crate::Rounding`]. Rounded weights are a second copy, of 2 bytes per
    /// parameter; rounded activations share the weights' memory.
    pub fn rounded(&self, rounding: Rounding) -> Self {
        let model = match rounding {
            Rounding::Weights => self.model.with_rounded_weights(),
            Rounding::Activations => self.model.with_rounded_activations(),
        };
        let adapter = match rounding {
            Rounding::Weights => self.adapter.as_ref().map(|a| Arc::new(a.rounded())),
            Rounding::Activations => self.adapter.clone(),
        };
        let mut copy = self.clone();
        copy.model = Arc::new(model);
        copy.adapter = adapter;
        copy
    }

    /// Bytes of the copy that [`Policy::rounded`] makes of the weights.
    pub fn rounded_weight_bytes(&self) -> usize {
        2 * self.model.parameters()
    }
}

impl Model {
    fn with_rounded_weights(&self) -> Self {
        let embedding = self.embedding.rounded();
        let head = match self.config.tied {
            true => Linear::new(embedding.clone(), None),
            false => self.head.rounded(),
        };
        let mut copy = self.twin(self.blocks.par_iter().map(Block::rounded).collect());
        copy.embedding = embedding;
        copy.head = head;
        round(&mut copy.final_norm);
        copy
    }

    fn with_rounded_activations(&self) -> Self {
        let mut copy = self.twin(self.blocks.clone());
        copy.rounds_activations = true;
        copy
    }

    /// A model with other blocks; tensors that stay are shared.
    fn twin(&self, blocks: Vec<Block>) -> Self {
        Self {
            config: self.config.clone(),
            embedding: self.embedding.clone(),
            blocks,
            final_norm: self.final_norm.clone(),
            head: self.head.clone(),
            rounds_activations: self.rounds_activations,
            weights: self.weights.clone(),
            rope: Mutex::new(self.rope_table(0)),
        }
    }

    /// Rounds values that go on, where the model rounds activations.
    pub(crate) fn settle(&self, values: &mut [f32]) {
        if self.rounds_activations {
            round(values);
        }
    }
}

impl Block {
    fn rounded(&self) -> Self {
        let mut copy = self.clone();
        for linear in [
            &mut copy.q,
            &mut copy.k,
            &mut copy.v,
            &mut copy.o,
            &mut copy.gate,
            &mut copy.up,
            &mut copy.down,
        ] {
            *linear = linear.rounded();
        }
        round(&mut copy.input_norm);
        round(&mut copy.post_norm);
        for norm in [&mut copy.q_norm, &mut copy.k_norm].into_iter().flatten() {
            round(norm);
        }
        copy
    }
}

impl Adapter {
    fn rounded(&self) -> Self {
        let mut copy = self.clone();
        for change in copy.changes_mut() {
            round(&mut change.a);
            round(&mut change.b);
        }
        copy
    }
}

/// To the nearest bf16, halves to even.
pub(crate) fn round(values: &mut [f32]) {
    const STEP: usize = 256;
    let mut halves = [half::bf16::ZERO; STEP];
    for values in values.chunks_mut(STEP) {
        let Some(halves) = halves.get_mut(..values.len()) else {
            continue;
        };
        halves.convert_from_f32_slice(values);
        halves.convert_to_f32_slice(values);
    }
}

#[cfg(test)]
mod tests {
    use super::round;

    #[test]
    fn rounds_to_nearest_and_halves_to_even() {
        let one = 1.0f32;
        let step = 1.0 / 128.0;
        let mut values = vec![
            one + step * 0.49,
            one + step * 0.5,
            one + step * 1.5,
            -3.0,
            0.0,
            f32::INFINITY,
            f32::MAX,
        ];
        round(&mut values);
        assert_eq!(
            values,
            [
                one,
                one,
                one + 2.0 * step,
                -3.0,
                0.0,
                f32::INFINITY,
                f32::INFINITY
            ]
        );
        let mut nan = [f32::NAN];
        round(&mut nan);
        assert!(nan[0].is_nan());
    }
}
