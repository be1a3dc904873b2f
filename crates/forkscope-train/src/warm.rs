//! Going on with an adapter that was trained before.
//!
//! The adapter's own rank, scale and targets are taken; its tensors become the
//! parameters' first values, in f32. Dropout is the new run's. The model without
//! the adapter stays the reference.

use forkscope_policy::{Adapter, ModelConfig, ModelFiles, Projection};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::engine::{LoraSettings, Network};
use crate::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, TrainError};

/// What `adapter_config.json` says, if it is an adapter of that model that can
/// be trained on.
///
/// # Errors
/// An adapter that does not fit the model, or has a rank or scale of their own
/// for some modules.
pub fn adapter_settings(
    files: &ModelFiles,
    model: &ModelConfig,
    dropout: f64,
) -> Result<LoraSettings, TrainError> {
    Adapter::open(files, model)?;
    let path = files.path(ADAPTER_CONFIG);
    let json = files.read_json(ADAPTER_CONFIG)?.unwrap_or_default();
    let refuse = |problem: &str| {
        let remedy =
            "train a new adapter, or save this one with one rank and scale for all modules";
        Err(TrainError::bad(&path, problem, remedy))
    };
    let own = |name: &str| {
        let map = json.get(name).and_then(Value::as_object);
        map.is_some_and(|m| !m.is_empty())
    };
    if own("rank_pattern") || own("alpha_pattern") {
        return refuse(
            "`rank_pattern` or `alpha_pattern` gives modules a rank or scale of their own",
        );
    }
    let Some(rank) = json.get("r").and_then(Value::as_u64) else {
        return refuse("`r` is not a whole number");
    };
    let Some(alpha) = json.get("lora_alpha").and_then(Value::as_f64) else {
        return refuse("`lora_alpha` is not a number");
    };
    let named = json.get("target_modules").and_then(Value::as_array);
    let is_target = |p: &Projection| {
        let short = p.path().rsplit('.').next().unwrap_or_default();
        let names = named.into_iter().flatten().filter_map(Value::as_str);
        names
            .into_iter()
            .any(|n| n == short || n.ends_with(p.path()))
    };
    let targets: Vec<Projection> = match &json["target_modules"] {
        Value::String(all) if all == "all-linear" => Projection::ALL.to_vec(),
        _ => Projection::ALL.into_iter().filter(is_target).collect(),
    };
    let settings = LoraSettings {
        rank: rank as usize,
        alpha,
        dropout,
        rslora: json.get("use_rslora").and_then(Value::as_bool) == Some(true),
        targets,
    };
    settings.check()?;
    Ok(settings)
}

/// Sets the parameters of a network that trains an adapter to the values of one
/// that lies in files.
///
/// # Errors
/// A tensor that is missing, has another shape, or is none of the network's.
pub fn start_from_adapter(network: &mut Network, files: &ModelFiles) -> Result<(), TrainError> {
    let path = files.path(ADAPTER_WEIGHTS);
    let bad = |problem: String| {
        let remedy = "give an adapter of this very model with the same rank and target modules";
        TrainError::bad(&path, problem, remedy)
    };
    let bytes = files.map(ADAPTER_WEIGHTS)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
    let known = network.parameters().len();
    if tensors.len() != known {
        let found = tensors.len();
        return Err(bad(format!(
            "holds {found} tensors where {known} are trained"
        )));
    }
    for parameter in network.parameters_mut() {
        let name = &parameter.name;
        let tensor = tensors
            .tensor(name)
            .map_err(|_| bad(format!("has no tensor `{name}`")))?;
        if tensor.shape() != parameter.shape {
            return Err(bad(format!(
                "tensor `{name}` has shape {:?} where {:?} is trained",
                tensor.shape(),
                parameter.shape
            )));
        }
        let values = widened(tensor.dtype(), tensor.data())
            .ok_or_else(|| bad(format!("tensor `{name}` is not f32, f16 or bf16")))?;
        if let Some(value) = values.iter().find(|v| !v.is_finite()) {
            return Err(bad(format!("tensor `{name}` holds {value}")));
        }
        parameter.values = values;
    }
    Ok(())
}

fn widened(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let two = |of: fn([u8; 2]) -> f32| data.as_chunks::<2>().0.iter().map(|b| of(*b)).collect();
    match dtype {
        Dtype::F32 => Some(
            data.as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
        ),
        Dtype::F16 => Some(two(|b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Some(two(|b| bf16::from_le_bytes(b).to_f32())),
        _ => None,
    }
}
