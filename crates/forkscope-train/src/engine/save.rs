//! A network as files: a model directory, or a PEFT adapter.

use std::collections::{BTreeMap, HashMap};

use forkscope_policy::{ModelFiles, Policy, Projection};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use super::network::{LoraSettings, Network, Trainable};
use super::parameters::Parameter;
use crate::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, TrainError};

/// The type of the numbers in a saved model. Training itself is in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SavedDtype {
    /// As they were trained.
    #[default]
    F32,
    /// Rounded to the nearest bf16, ties to even: half the size.
    Bf16,
}

impl SavedDtype {
    /// As `config.json` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
        }
    }
}

/// Files of a model directory that training leaves as they are.
const KEPT: [&str; 12] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
];

impl Network {
    /// The trained model as files by name: for an adapter `adapter_config.json`
    /// and `adapter_model.safetensors` as PEFT reads them, else the model's own
    /// small files and `model.safetensors` in the type that was chosen, which
    /// `config.json` then names: transformers loads what it says there.
    pub fn saved_files(&self) -> Result<BTreeMap<String, Vec<u8>>, TrainError> {
        self.files_as(self.saved)
    }

    fn files_as(&self, dtype: SavedDtype) -> Result<BTreeMap<String, Vec<u8>>, TrainError> {
        let mut files = BTreeMap::new();
        match &self.trainable {
            Trainable::Lora(settings) => {
                let config = adapter_config(settings, self.files.dir());
                files.insert(ADAPTER_CONFIG.to_owned(), config?);
                let weights = safetensors(&self.parameters, SavedDtype::F32)?;
                files.insert(ADAPTER_WEIGHTS.to_owned(), weights);
            }
            Trainable::Full => {
                for name in KEPT {
                    if let Some(bytes) = self.files.read(name)? {
                        files.insert(name.to_owned(), bytes.to_vec());
                    }
                }
                if let Some(config) = self.files.read_json("config.json")? {
                    files.insert("config.json".to_owned(), with_dtype(config, dtype)?);
                }
                let weights = safetensors(&self.parameters, dtype)?;
                files.insert("model.safetensors".to_owned(), weights);
            }
        }
        Ok(files)
    }

    /// Chooses the type of the numbers in a saved model; adapters are always f32.
    pub fn save_as(&mut self, dtype: SavedDtype) {
        self.saved = dtype;
    }

    /// The policy of the current parameters, to sample from.
    pub fn policy(&self) -> Result<Policy, TrainError> {
        let files =
            ModelFiles::in_memory("the model that is trained", self.files_as(SavedDtype::F32)?);
        Ok(match &self.base {
            Some(base) => base.with_adapter(files)?,
            None => Policy::open_files(files, None)?,
        })
    }

    /// The policy without the adapter that is trained; the model as it is now
    /// where all weights are.
    pub fn reference(&self) -> Result<Policy, TrainError> {
        match &self.base {
            Some(base) => Ok(base.clone()),
            None => self.policy(),
        }
    }
}

fn adapter_config(
    settings: &LoraSettings,
    base: Option<&std::path::Path>,
) -> Result<Vec<u8>, TrainError> {
    let short = |p: &Projection| p.path().rsplit('.').next().unwrap_or_default();
    let alpha = if settings.alpha.fract() == 0.0 && settings.alpha.abs() < 1e15 {
        json!(settings.alpha as i64)
    } else {
        json!(settings.alpha)
    };
    let name = base
        .and_then(|p| p.file_name())
        .map(|n| n.to_string_lossy());
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name,
        "inference_mode": true,
        "r": settings.rank,
        "lora_alpha": alpha,
        "lora_dropout": settings.dropout,
        "bias": "none",
        "fan_in_fan_out": false,
        "use_rslora": settings.rslora,
        "use_dora": false,
        "modules_to_save": null,
        "target_modules": settings.targets.iter().map(short).collect::<Vec<_>>(),
        "rank_pattern": {},
        "alpha_pattern": {},
    });
    let mut text =
        serde_json::to_string_pretty(&config).map_err(|e| TrainError::Internal(e.to_string()))?;
    text.push('\n');
    Ok(text.into_bytes())
}

/// The configuration with that type; unchanged bytes would be nicer to read,
/// but the type must not lie.
fn with_dtype(mut config: serde_json::Value, dtype: SavedDtype) -> Result<Vec<u8>, TrainError> {
    if let Some(fields) = config.as_object_mut() {
        let old = fields.contains_key("torch_dtype") && !fields.contains_key("dtype");
        let name = if old { "torch_dtype" } else { "dtype" };
        fields.insert(name.to_owned(), json!(dtype.name()));
    }
    let mut text =
        serde_json::to_string_pretty(&config).map_err(|e| TrainError::Internal(e.to_string()))?;
    text.push('\n');
    Ok(text.into_bytes())
}

/// Parameters as a safetensors file; the format sorts its tensors, so equal
/// parameters give equal bytes.
pub(crate) fn safetensors(
    parameters: &[Parameter],
    dtype: SavedDtype,
) -> Result<Vec<u8>, TrainError> {
    let internal = |e: safetensors::SafeTensorError| TrainError::Internal(e.to_string());
    let bytes: Vec<Vec<u8>> = parameters
        .iter()
        .map(|p| match dtype {
            SavedDtype::F32 => p.values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            SavedDtype::Bf16 => {
                let halves = p.values.iter().map(|x| half::bf16::from_f32(*x));
                halves.flat_map(|x| x.to_le_bytes()).collect()
            }
        })
        .collect();
    let dtype = match dtype {
        SavedDtype::F32 => Dtype::F32,
        SavedDtype::Bf16 => Dtype::BF16,
    };
    let views = parameters
        .iter()
        .zip(&bytes)
        .map(|(p, data)| {
            let view = TensorView::new(dtype, p.shape.clone(), data).map_err(internal)?;
            Ok((p.name.as_str(), view))
        })
        .collect::<Result<Vec<_>, TrainError>>()?;
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(format)).map_err(internal)
}
