//! Two checkpoints of one architecture -> the factors of their difference.
//!
//! Δ = W_tuned - W_base in f64, per projection. Everything that is not a
//! projection weight (embeddings, norms, biases, the head, the config) must be
//! the same in both, byte for byte: an adapter could not carry it, and leaving
//! it out would make a policy that is neither of the two.
//!
//! Fine-tuning with LoRA (Hu et al., 2106.09685) and merging leaves
//! W_tuned = W_base + B·A with B·A of rank r, up to the rounding of W_tuned.
//! [`low_rank_adapter`] goes the way back: the thin singular value decomposition
//! of each Δ, and the smallest rank whose relative Frobenius residual is within
//! the tolerance. What comes out is a PEFT LoRA adapter with scaling 1
//! (`lora_alpha = r`), and the measured residual of every projection.

mod adapter;
mod checkpoint;
mod factor;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::tensor::TensorView;
use serde_json::Value;

use checkpoint::{Checkpoint, Matrix, matrix};
use factor::Spectrum;

pub use adapter::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
pub use factor::{Cut, Factors};

use crate::TrainError;

/// The linear layers of a decoder block that an adapter may sit on.
pub(crate) const PROJECTIONS: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// Config fields that say where a model came from, not what it computes.
const BOOKKEEPING: [&str; 7] = [
    "_name_or_path",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "use_cache",
    "unsloth_version",
    "unsloth_fixed",
];

/// How the ranks of the projections relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankPlan {
    /// One rank for all: the largest that any projection needs.
    Common,
    /// Each projection its own smallest rank, written as `rank_pattern`.
    PerModule,
}

/// One adapted projection.
#[derive(Debug, Clone, PartialEq)]
pub struct Module {
    /// Name in the model, `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// The two halves and what they leave out.
    pub factors: Factors,
}

/// The difference of two checkpoints as a LoRA adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// The adapted projections in name order. A projection that is the same in
    /// both checkpoints is not among them.
    pub modules: Vec<Module>,
    /// Projections that are the same in both checkpoints, in name order.
    pub unchanged: Vec<String>,
}

impl Adapter {
    /// The largest rank among the projections.
    pub fn rank(&self) -> usize {
        self.modules
            .iter()
            .map(|m| m.factors.rank)
            .max()
            .unwrap_or(0)
    }

    /// The largest relative Frobenius residual among the projections.
    pub fn residual(&self) -> f64 {
        self.modules
            .iter()
            .map(|m| m.factors.residual)
            .fold(0.0, f64::max)
    }

    /// The largest absolute error of a weight.
    pub fn max_error(&self) -> f64 {
        self.modules
            .iter()
            .map(|m| m.factors.max_error)
            .fold(0.0, f64::max)
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` in PEFT's
    /// layout into `dir`, which is made where it does not exist.
    pub fn save(&self, dir: &Path) -> Result<(), TrainError> {
        adapter::save(self, dir)
    }
}

/// The adapter that turns the model in `base` into the model in `tuned`.
pub fn low_rank_adapter(
    base: &Path,
    tuned: &Path,
    cut: Cut,
    plan: RankPlan,
) -> Result<Adapter, TrainError> {
    if cut.max_rank == 0 {
        return Err(TrainError::Setting(
            "the largest rank is 0, give at least 1".into(),
        ));
    }
    if !(cut.tolerance > 0.0 && cut.tolerance < 1.0) {
        return Err(TrainError::Setting(format!(
            "the tolerance is {}, give a number between 0 and 1",
            cut.tolerance
        )));
    }
    same_config(base, tuned)?;
    let (base, tuned) = (Checkpoint::open(base)?, Checkpoint::open(tuned)?);
    let (base_tensors, tuned_tensors) = (base.tensors()?, tuned.tensors()?);
    same_outside_projections(&base_tensors, &tuned_tensors)?;

    let mut unchanged = Vec::new();
    let mut spectra = Vec::new();
    for (name, view) in &tuned_tensors {
        let (Some(module), Some(base_view)) = (projection(name), base_tensors.get(name)) else {
            continue;
        };
        let delta = difference(
            &widened(&tuned, name, view)?,
            &widened(&base, name, base_view)?,
        );
        if delta.iter().flatten().all(|&x| x == 0.0) {
            unchanged.push(module.to_owned());
            continue;
        }
        let spectrum = Spectrum::of(delta, cut);
        let rank = spectrum
            .rank(cut)
            .map_err(|residual| TrainError::NotLowRank {
                module: module.to_owned(),
                residual,
                max_rank: cut.max_rank,
                tolerance: cut.tolerance,
            })?;
        spectra.push((module.to_owned(), spectrum, rank));
    }
    let common = spectra
        .iter()
        .map(|&(_, _, rank)| rank)
        .max()
        .ok_or(TrainError::Identical)?;
    let modules = spectra
        .into_iter()
        .map(|(name, spectrum, rank)| Module {
            name,
            factors: spectrum.factors(match plan {
                RankPlan::Common => common,
                RankPlan::PerModule => rank,
            }),
        })
        .collect();
    Ok(Adapter { modules, unchanged })
}

/// tuned - base, by columns; the shapes were compared before.
fn difference(tuned: &Matrix, base: &Matrix) -> Vec<Vec<f64>> {
    let pairs = tuned.values.iter().zip(&base.values);
    let delta: Vec<f64> = pairs.map(|(t, b)| t - b).collect();
    (0..tuned.columns)
        .map(|j| {
            delta
                .iter()
                .skip(j)
                .step_by(tuned.columns)
                .copied()
                .collect()
        })
        .collect()
}

/// The module of a projection weight, `None` for every other tensor.
fn projection(tensor: &str) -> Option<&str> {
    let module = tensor.strip_suffix(".weight")?;
    let (_, last) = module.rsplit_once('.')?;
    PROJECTIONS.contains(&last).then_some(module)
}

fn widened(from: &Checkpoint, name: &str, view: &TensorView<'_>) -> Result<Matrix, TrainError> {
    matrix(view).map_err(|problem| {
        TrainError::bad(
            from.dir(),
            format!("tensor `{name}` {problem}"),
            "use a checkpoint with finite f32, f16 or bf16 weights",
        )
    })
}

/// Refuses tensors that are in one checkpoint only, have other shapes, or
/// differ without being a projection's weight.
fn same_outside_projections(
    base: &BTreeMap<String, TensorView<'_>>,
    tuned: &BTreeMap<String, TensorView<'_>>,
) -> Result<(), TrainError> {
    let all: BTreeSet<&String> = base.keys().chain(tuned.keys()).collect();
    let mut names = Vec::new();
    for name in all {
        match (base.get(name), tuned.get(name)) {
            (Some(_), None) => names.push(format!("{name} (missing in the tuned model)")),
            (None, Some(_)) => names.push(format!("{name} (missing in the base model)")),
            (Some(b), Some(t)) if b.shape() != t.shape() => {
                names.push(format!(
                    "{name} (shape {:?} and {:?})",
                    b.shape(),
                    t.shape()
                ));
            }
            (Some(b), Some(t)) if projection(name).is_none() && b.data() != t.data() => {
                names.push(format!("{name} (values)"));
            }
            _ => {}
        }
    }
    if names.is_empty() {
        Ok(())
    } else {
        Err(TrainError::OutsideProjections { names })
    }
}

/// Refuses configs that make different functions of the same weights.
fn same_config(base: &Path, tuned: &Path) -> Result<(), TrainError> {
    let (b, t) = (config(base)?, config(tuned)?);
    let keys: BTreeSet<&String> = b.keys().chain(t.keys()).collect();
    let names: Vec<String> = keys
        .into_iter()
        .filter(|key| !BOOKKEEPING.contains(&key.as_str()) && b.get(*key) != t.get(*key))
        .map(|key| format!("config.json `{key}`"))
        .collect();
    if names.is_empty() {
        Ok(())
    } else {
        Err(TrainError::OutsideProjections { names })
    }
}

fn config(dir: &Path) -> Result<serde_json::Map<String, Value>, TrainError> {
    let path = dir.join("config.json");
    let text = std::fs::read(&path).map_err(|e| TrainError::read(&path, e))?;
    serde_json::from_slice(&text).map_err(|e| {
        TrainError::bad(
            &path,
            format!("not a JSON object ({e})"),
            "copy or download it again",
        )
    })
}
