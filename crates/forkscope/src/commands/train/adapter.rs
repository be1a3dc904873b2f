//! The flags that say what is trained: all weights, or an adapter.

use std::path::{Path, PathBuf};

use clap::Args;
use forkscope_policy::{ModelConfig, ModelFiles, Projection};
use forkscope_records::RunManifest;
use forkscope_records::digest::sha256_bytes;
use forkscope_train::engine::{LoraSettings, Trainable};
use forkscope_train::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, adapter_settings};
use serde_json::json;

use super::options::usage;
use crate::failure::Failure;

/// Full weights, a new adapter, or one that is there.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "What is trained")]
pub struct AdapterOptions {
    /// Train all weights instead of a LoRA adapter
    #[arg(long, conflicts_with_all = ["lora_rank", "lora_alpha", "lora_dropout", "rslora", "target_modules", "adapter"])]
    full: bool,
    /// Rank r of the adapter [default: 16]
    #[arg(long, alias = "lora-r", value_name = "R")]
    lora_rank: Option<usize>,
    #[command(flatten)]
    lora: LoraOptions,
    /// Go on training this PEFT adapter, with its rank, scale and targets
    #[arg(long, value_name = "DIR", conflicts_with_all = ["lora_rank", "lora_alpha", "rslora", "target_modules"])]
    adapter: Option<PathBuf>,
}

/// An adapter's settings beside its rank.
#[derive(Debug, Clone, Args)]
pub struct LoraOptions {
    /// The change is alpha / r (B A) [default: twice the rank]
    #[arg(long, value_name = "A")]
    lora_alpha: Option<f64>,
    /// Share of inputs that the adapter does not see while it is trained
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    lora_dropout: f64,
    /// Scale by alpha / sqrt(r) (arXiv 2312.03732)
    #[arg(long, alias = "use-rslora")]
    rslora: bool,
    /// Adapted projections: q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj or all-linear
    #[arg(long, alias = "lora-target-modules", value_name = "NAME,...", value_delimiter = ',', default_value = "all-linear", value_parser = target)]
    target_modules: Vec<Target>,
}

/// One projection, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Every projection of a block.
    All,
    /// This one.
    One(Projection),
}

fn short(p: Projection) -> &'static str {
    p.path().rsplit('.').next().unwrap_or_default()
}

/// A projection under its name, with or without `_proj`, or `all-linear`.
pub fn target(name: &str) -> Result<Target, String> {
    if name == "all-linear" {
        return Ok(Target::All);
    }
    let is = |p: &Projection| short(*p) == name || short(*p).strip_suffix("_proj") == Some(name);
    let found = Projection::ALL.into_iter().find(is);
    found.map(Target::One).ok_or_else(|| {
        let known: Vec<&str> = Projection::ALL.into_iter().map(short).collect();
        format!("a block has {} and no other projection", known.join(", "))
    })
}

/// The projections that are named, in the order of a block.
pub fn projections(targets: &[Target]) -> Vec<Projection> {
    let named = |p: &Projection| targets.contains(&Target::One(*p));
    match targets.contains(&Target::All) {
        true => Projection::ALL.to_vec(),
        false => Projection::ALL.into_iter().filter(named).collect(),
    }
}

/// Settings of an adapter of that rank.
pub fn lora(rank: usize, o: &LoraOptions) -> Result<LoraSettings, Failure> {
    let settings = LoraSettings {
        rank,
        alpha: o.lora_alpha.unwrap_or(2.0 * rank as f64),
        dropout: o.lora_dropout,
        rslora: o.rslora,
        targets: projections(&o.target_modules),
    };
    settings.check().map_err(usage)?;
    Ok(settings)
}

/// What is trained, resolved.
pub struct Chosen {
    /// For the engine.
    pub trainable: Trainable,
    /// The adapter that the parameters start from.
    pub start: Option<ModelFiles>,
}

impl AdapterOptions {
    /// Resolves the flags for a model.
    pub fn choose(&self, model: &ModelConfig) -> Result<Chosen, Failure> {
        if self.full {
            return Ok(Chosen {
                trainable: Trainable::Full,
                start: None,
            });
        }
        if let Some(dir) = &self.adapter {
            let files = adapter_files(dir)?;
            let settings = adapter_settings(&files, model, self.lora.lora_dropout)?;
            return Ok(Chosen {
                trainable: Trainable::Lora(settings),
                start: Some(files),
            });
        }
        Ok(Chosen {
            trainable: Trainable::Lora(lora(self.lora_rank.unwrap_or(16), &self.lora)?),
            start: None,
        })
    }
}

/// The files of an adapter that a user named.
pub fn adapter_files(dir: &Path) -> Result<ModelFiles, Failure> {
    match dir.is_dir() {
        true => Ok(ModelFiles::dir_at(dir)),
        false => Err(Failure::Input(format!(
            "{} is no folder; give a PEFT adapter's, with {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} in it",
            dir.display()
        ))),
    }
}

impl Chosen {
    /// Seed of the adapter's dropout, if it has any.
    pub fn dropout_seed(&self, seed: u64) -> Option<u64> {
        match &self.trainable {
            Trainable::Lora(lora) if lora.dropout > 0.0 => Some(seed),
            _ => None,
        }
    }

    /// Adds what is trained to a manifest.
    pub fn record(&self, manifest: RunManifest) -> Result<RunManifest, Failure> {
        let manifest = match &self.trainable {
            Trainable::Full => manifest.setting("adapter", json!(null)),
            Trainable::Lora(settings) => manifest.setting("adapter", described(settings)),
        };
        let Some(files) = &self.start else {
            return Ok(manifest);
        };
        let bytes = files.map(ADAPTER_WEIGHTS)?;
        Ok(manifest.digest("adapter", sha256_bytes(&bytes)))
    }
}

/// An adapter's settings under PEFT's names.
pub fn described(settings: &LoraSettings) -> serde_json::Value {
    let targets: Vec<&str> = settings.targets.iter().map(|p| short(*p)).collect();
    json!({
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "use_rslora": settings.rslora,
        "target_modules": targets,
    })
}
