//! The golden files that `fixtures/make_*.py` write.

use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::hash;

/// A prompt and the completions of it.
#[derive(Deserialize)]
pub struct Group {
    pub prompt: Vec<u32>,
    pub completions: Vec<Vec<u32>>,
}

/// Recipe of a weight: name, shape, offset and scale of its hash.
#[derive(Deserialize)]
pub struct Recipe(pub String, pub Vec<usize>, pub f32, pub f32);

impl Recipe {
    /// Values of a tensor of `owner`.
    pub fn values(&self, owner: &str) -> Vec<f32> {
        let name = format!("{owner}/{}", self.0);
        hash::weights(&name, self.1.iter().product(), self.2, self.3)
    }
}

#[derive(Deserialize)]
pub struct AdapterCase {
    pub r: usize,
    pub lora_alpha: f64,
    pub use_rslora: bool,
    pub target_modules: Vec<String>,
    pub weights: Vec<Recipe>,
}

#[derive(Deserialize)]
pub struct LogitSums {
    pub sum: f64,
    pub sum_of_squares: f64,
}

#[derive(Deserialize)]
pub struct ModelCase {
    pub name: String,
    pub tests: String,
    /// The model that teaches it.
    pub teacher: String,
    pub config: Value,
    pub weights: Vec<Recipe>,
    pub adapters: std::collections::BTreeMap<String, AdapterCase>,
    pub logits: LogitSums,
}

#[derive(Clone, Deserialize)]
pub struct Case {
    pub model: String,
    pub trainable: String,
    pub objective: String,
    pub settings: Value,
    pub loss: f64,
    pub facts: Value,
}

impl Case {
    /// `MODEL/TRAINABLE`.
    pub fn owner(&self) -> String {
        format!("{}/{}", self.model, self.trainable)
    }

    /// A number among the settings; 0 if it is not there.
    pub fn setting(&self, name: &str) -> f64 {
        self.settings[name].as_f64().unwrap_or(0.0)
    }
}

/// `gradients.json`.
#[derive(Deserialize)]
pub struct Gradients {
    pub batch: Vec<Group>,
    pub models: Vec<ModelCase>,
    pub cases: Vec<Case>,
    pub kept_whole: String,
}

#[derive(Deserialize)]
pub struct Row {
    pub prompt: Vec<u32>,
    pub completion: Vec<u32>,
}

#[derive(Deserialize)]
pub struct Trajectory {
    pub model: String,
    pub trainable: String,
    pub lr: f64,
    pub weight_decay: f64,
    pub loss: Vec<f64>,
    pub loss_f64: Vec<f64>,
    pub grad_norm: Vec<f64>,
    pub lr_of_step: Vec<f64>,
}

/// `trajectories.json`.
#[derive(Deserialize)]
pub struct Trajectories {
    pub steps: usize,
    pub warm_up: usize,
    pub clip: f64,
    pub batch: usize,
    pub rows: Vec<Row>,
    pub runs: Vec<Trajectory>,
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A golden JSON file.
pub fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(path(name)).unwrap()).unwrap()
}

/// The golden tensors of `gradients.safetensors`.
pub struct Goldens(Vec<u8>);

impl Goldens {
    pub fn open() -> Self {
        Self(std::fs::read(path("gradients.safetensors")).unwrap())
    }

    /// Values of a tensor, F64 or F32.
    pub fn values(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        let bytes = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => bytes
                .chunks_exact(8)
                .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            _ => bytes
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
                .collect(),
        }
    }
}

impl Gradients {
    pub fn open() -> Self {
        json("gradients.json")
    }

    pub fn model(&self, name: &str) -> &ModelCase {
        self.models.iter().find(|m| m.name == name).unwrap()
    }

    /// Prompt and completion of every sequence, group after group.
    pub fn sequences(&self) -> Vec<(&[u32], &[u32])> {
        self.batch
            .iter()
            .flat_map(|g| {
                g.completions
                    .iter()
                    .map(|c| (g.prompt.as_slice(), c.as_slice()))
            })
            .collect()
    }
}
