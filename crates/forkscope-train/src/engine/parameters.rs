//! Trainable tensors and their gradients, in one fixed order.

use crate::TrainError;

/// A trainable tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name as the saved file spells it (`model.layers.0.mlp.up_proj.weight`,
    /// `base_model.model....lora_A.weight`).
    pub name: String,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// Values in row-major order, always f32: the master copy.
    pub values: Vec<f32>,
}

impl Parameter {
    /// Whether it is a matrix; weight decay is for those, not for norms and
    /// biases.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() > 1
    }
}

/// All trainable tensors of a network.
pub type Parameters = Vec<Parameter>;

/// d loss / d parameter, in the order of the parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// One per parameter, of its length.
    pub tensors: Vec<Vec<f32>>,
}

impl Gradients {
    /// Zeros for those parameters.
    pub fn zeros(parameters: &[Parameter]) -> Self {
        Self {
            tensors: parameters
                .iter()
                .map(|p| vec![0.0; p.values.len()])
                .collect(),
        }
    }

    /// Sets every value to zero, keeping the memory.
    pub fn clear(&mut self) {
        for tensor in &mut self.tensors {
            tensor.fill(0.0);
        }
    }

    /// Adds other gradients of the same parameters.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.tensors.iter_mut().zip(&other.tensors) {
            for (a, b) in mine.iter_mut().zip(theirs) {
                *a += b;
            }
        }
    }

    /// Multiplies every value.
    pub fn scale(&mut self, factor: f32) {
        for value in self.tensors.iter_mut().flatten() {
            *value *= factor;
        }
    }

    /// Euclidean norm over all tensors, summed in f64 in a fixed order.
    pub fn norm(&self) -> f64 {
        let square = |t: &Vec<f32>| t.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
        self.tensors.iter().map(square).sum::<f64>().sqrt()
    }

    /// Refuses NaN and infinity, naming the tensor.
    pub fn check(&self, parameters: &[Parameter]) -> Result<(), TrainError> {
        for (tensor, parameter) in self.tensors.iter().zip(parameters) {
            if !tensor.iter().all(|x| x.is_finite()) {
                return Err(TrainError::NonFinite(format!(
                    "the gradient of `{}` is not finite",
                    parameter.name
                )));
            }
        }
        Ok(())
    }
}
