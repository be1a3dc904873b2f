//! The PEFT layout of a LoRA adapter: `adapter_config.json` beside
//! `adapter_model.safetensors`, loadable by `PeftModel.from_pretrained`.
//!
//! A tensor's name is `base_model.model.` + the module's name + `.lora_A.weight`
//! (r × in) or `.lora_B.weight` (out × r). The merged weight is
//! W + (lora_alpha / r) · B·A; alpha is r here, so the scaling is 1.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Serialize;

use crate::lowrank::PROJECTIONS;
use crate::{Adapter, TrainError};

/// File name of an adapter's settings.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";
/// File name of an adapter's weights.
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// The fields of `adapter_config.json` that PEFT needs to load the adapter.
#[derive(Serialize)]
struct Config {
    peft_type: &'static str,
    task_type: &'static str,
    base_model_name_or_path: Option<String>,
    inference_mode: bool,
    r: usize,
    lora_alpha: usize,
    lora_dropout: f64,
    bias: &'static str,
    fan_in_fan_out: bool,
    use_rslora: bool,
    use_dora: bool,
    modules_to_save: Option<Vec<String>>,
    target_modules: Vec<String>,
    rank_pattern: BTreeMap<String, usize>,
    alpha_pattern: BTreeMap<String, usize>,
}

/// Writes both files; the weights first, so that a directory with a config is whole.
pub(crate) fn save(adapter: &Adapter, dir: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(dir).map_err(|e| TrainError::write(dir, e))?;
    write(&dir.join(ADAPTER_WEIGHTS), &weights(adapter)?)?;
    let mut text = serde_json::to_string_pretty(&config(adapter))
        .map_err(|e| TrainError::Internal(e.to_string()))?;
    text.push('\n');
    write(&dir.join(ADAPTER_CONFIG), text.as_bytes())
}

/// Writes beside the name and renames, so that no half file bears it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let part = path.with_extension("part");
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|e| TrainError::write(path, e))
}

fn config(adapter: &Adapter) -> Config {
    let r = adapter.rank();
    let own: BTreeMap<String, usize> = adapter
        .modules
        .iter()
        .filter(|m| m.factors.rank != r)
        .map(|m| (m.name.clone(), m.factors.rank))
        .collect();
    Config {
        peft_type: "LORA",
        task_type: "CAUSAL_LM",
        base_model_name_or_path: None,
        inference_mode: true,
        r,
        lora_alpha: r,
        lora_dropout: 0.0,
        bias: "none",
        fan_in_fan_out: false,
        use_rslora: false,
        use_dora: false,
        modules_to_save: None,
        target_modules: targets(adapter),
        rank_pattern: own.clone(),
        alpha_pattern: own,
    }
}

/// Short names where a projection is adapted in every layer, full names where
/// some layer's is not: PEFT would put an untrained pair on the others.
fn targets(adapter: &Adapter) -> Vec<String> {
    let partly: BTreeSet<&str> = adapter.unchanged.iter().map(|name| last(name)).collect();
    let whole = PROJECTIONS
        .iter()
        .filter(|p| !partly.contains(*p) && adapter.modules.iter().any(|m| last(&m.name) == **p))
        .map(|p| (*p).to_owned());
    let single = adapter
        .modules
        .iter()
        .filter(|m| partly.contains(last(&m.name)))
        .map(|m| m.name.clone());
    whole.chain(single).collect()
}

fn last(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

/// The safetensors bytes; the format sorts its tensors, so equal adapters give
/// equal bytes.
fn weights(adapter: &Adapter) -> Result<Vec<u8>, TrainError> {
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for module in &adapter.modules {
        let f = &module.factors;
        let name = format!("base_model.model.{}", module.name);
        tensors.push((
            format!("{name}.lora_A.weight"),
            vec![f.rank, f.columns],
            bytes(&f.a),
        ));
        tensors.push((
            format!("{name}.lora_B.weight"),
            vec![f.rows, f.rank],
            bytes(&f.b),
        ));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, data)| {
            TensorView::new(Dtype::F32, shape.clone(), data).map(|view| (name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TrainError::Internal(e.to_string()))?;
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(format)).map_err(|e| TrainError::Internal(e.to_string()))
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}
