//! Networks with the fixtures' weights, and with weights of any configuration.

use std::collections::{BTreeMap, HashMap};

use forkscope_policy::{ModelFiles, Projection};
use forkscope_train::engine::{LoraSettings, Network, Parameter, Trainable};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use super::fixture::{AdapterCase, ModelCase};
use super::hash;

/// A model directory in memory.
pub fn model_files(
    name: &str,
    config: &Value,
    tensors: &[(String, Vec<usize>, Vec<f32>)],
) -> ModelFiles {
    let parameters: Vec<Parameter> = tensors
        .iter()
        .map(|(name, shape, values)| Parameter {
            name: name.clone(),
            shape: shape.clone(),
            values: values.clone(),
        })
        .collect();
    in_dtype(name, config, &parameters, Dtype::F32)
}

/// A model directory in memory, its weights rounded to `dtype`.
pub fn in_dtype(name: &str, config: &Value, tensors: &[Parameter], dtype: Dtype) -> ModelFiles {
    let rounded = |x: &f32| -> Vec<u8> {
        match dtype {
            Dtype::BF16 => half::bf16::from_f32(*x).to_le_bytes().to_vec(),
            Dtype::F16 => half::f16::from_f32(*x).to_le_bytes().to_vec(),
            _ => x.to_le_bytes().to_vec(),
        }
    };
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|p| p.values.iter().flat_map(rounded).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|(p, data)| {
        let view = TensorView::new(dtype, p.shape.clone(), data).unwrap();
        (p.name.clone(), view)
    });
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = safetensors::serialize(views, Some(format)).unwrap();
    ModelFiles::in_memory(
        name,
        BTreeMap::from([
            ("config.json".to_owned(), config.to_string().into_bytes()),
            ("model.safetensors".to_owned(), weights),
        ]),
    )
}

impl ModelCase {
    /// The model with its hashed weights.
    pub fn files(&self) -> ModelFiles {
        let tensors: Vec<_> = self
            .weights
            .iter()
            .map(|r| (r.0.clone(), r.1.clone(), r.values(&self.name)))
            .collect();
        model_files(&self.name, &self.config, &tensors)
    }

    /// A network of which all weights are trained (`full`), or the named adapter.
    pub fn network(&self, trainable: &str) -> Network {
        if trainable == "full" {
            return Network::open(&self.files(), &Trainable::Full, 1).unwrap();
        }
        let adapter = &self.adapters[trainable];
        let settings = Trainable::Lora(adapter.settings());
        let mut network = Network::open(&self.files(), &settings, 1).unwrap();
        let owner = format!("{}/{trainable}", self.name);
        assert_eq!(network.parameters().len(), adapter.weights.len(), "{owner}");
        for recipe in &adapter.weights {
            let parameter = network
                .parameters_mut()
                .iter_mut()
                .find(|p| p.name == recipe.0)
                .unwrap_or_else(|| panic!("{owner} has no {}", recipe.0));
            assert_eq!(parameter.shape, recipe.1, "{}", recipe.0);
            parameter.values = recipe.values(&owner);
        }
        network
    }
}

impl AdapterCase {
    pub fn settings(&self) -> LoraSettings {
        let short = |p: &Projection| p.path().rsplit('.').next().unwrap().to_owned();
        LoraSettings {
            rank: self.r,
            alpha: self.lora_alpha,
            dropout: 0.0,
            rslora: self.use_rslora,
            targets: Projection::ALL
                .into_iter()
                .filter(|p| self.target_modules.contains(&short(p)))
                .collect(),
        }
    }
}

/// Gives every parameter hashed values of the size that `make_common.py` uses.
pub fn fill(network: &mut Network, owner: &str) {
    for p in network.parameters_mut().iter_mut() {
        let inputs = *p.shape.last().unwrap() as f32;
        let (offset, scale) = match p.name.as_str() {
            n if n.contains("norm") => (1.0, 0.4),
            n if n.ends_with(".bias") => (0.0, 0.5),
            n if n.contains("embed_tokens") => (0.0, 0.6),
            n if n.contains("lora_B") => (0.0, 0.2 / inputs.sqrt()),
            _ => (0.0, 2.0 / inputs.sqrt()),
        };
        p.values = hash::weights(
            &format!("{owner}/{}", p.name),
            p.values.len(),
            offset,
            scale,
        );
    }
}

/// A network of any configuration, with hashed weights, and its files.
pub fn of_config(owner: &str, config: &Value) -> (ModelFiles, Network) {
    let bare = ModelFiles::in_memory(
        owner,
        BTreeMap::from([("config.json".to_owned(), config.to_string().into_bytes())]),
    );
    let mut network = Network::initialised(&bare, 1).unwrap();
    fill(&mut network, owner);
    let files = ModelFiles::in_memory(owner, network.saved_files().unwrap());
    (files, network)
}
