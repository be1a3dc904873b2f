//! The tensors of a Hugging Face model directory, by name, single or sharded.
//!
//! Only what a comparison of two checkpoints needs: names, shapes, raw bytes,
//! and matrices widened to f64. Files are memory-mapped, so that two large
//! checkpoints can be compared without holding either.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::TrainError;

/// The one-file name of a checkpoint's weights.
const SINGLE: &str = "model.safetensors";
/// The index that lists the shards of a checkpoint in several files.
const INDEX: &str = "model.safetensors.index.json";

/// The mapped weight files of one model directory.
pub(crate) struct Checkpoint {
    dir: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Maps the weight files of `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, TrainError> {
        let files = weight_files(dir)?
            .into_iter()
            .map(|path| map(&path).map(|bytes| (path, bytes)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            dir: dir.to_owned(),
            files,
        })
    }

    /// The directory this was opened from.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// All tensors by name.
    pub(crate) fn tensors(&self) -> Result<BTreeMap<String, TensorView<'_>>, TrainError> {
        let mut all = BTreeMap::new();
        for (path, bytes) in &self.files {
            let file = SafeTensors::deserialize(bytes).map_err(|e| {
                TrainError::bad(
                    path,
                    format!("not a whole safetensors file ({e})"),
                    "copy or download it again",
                )
            })?;
            for (name, view) in file.tensors() {
                if all.insert(name.clone(), view).is_some() {
                    return Err(TrainError::bad(
                        path,
                        format!("tensor `{name}` is in two shards"),
                        "remove the file that does not belong to this checkpoint",
                    ));
                }
            }
        }
        Ok(all)
    }
}

/// The weight files that `dir` is made of, in name order.
fn weight_files(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let single = dir.join(SINGLE);
    if single.is_file() {
        return Ok(vec![single]);
    }
    let path = dir.join(INDEX);
    if !path.is_file() {
        return Err(TrainError::bad(
            dir,
            format!("holds neither `{SINGLE}` nor `{INDEX}`"),
            "give a model directory with safetensors weights",
        ));
    }
    let text = std::fs::read(&path).map_err(|e| TrainError::read(&path, e))?;
    let index: Index = serde_json::from_slice(&text).map_err(|e| {
        TrainError::bad(
            &path,
            format!("`weight_map` cannot be read ({e})"),
            "download the index again",
        )
    })?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    shards
        .into_iter()
        .map(|shard| {
            // A shard is a plain file name; anything else would leave the directory.
            if shard.contains(['/', '\\']) || shard == ".." {
                return Err(TrainError::bad(
                    &path,
                    format!("`weight_map` names `{shard}`, which is not a file of this directory"),
                    "use an index whose shards lie beside it",
                ));
            }
            Ok(dir.join(shard))
        })
        .collect()
}

fn map(path: &Path) -> Result<Mmap, TrainError> {
    let file = File::open(path).map_err(|e| TrainError::read(path, e))?;
    // SAFETY: the map is only read. A file that another process truncates
    // meanwhile ends this one with a signal, as for every mapped file.
    unsafe { Mmap::map(&file) }.map_err(|e| TrainError::read(path, e))
}

/// A finite matrix, row-major.
pub(crate) struct Matrix {
    pub(crate) columns: usize,
    pub(crate) values: Vec<f64>,
}

/// A two-dimensional tensor widened to f64; the error says what is wrong with
/// the tensor, the caller knows which file it is in.
pub(crate) fn matrix(view: &TensorView<'_>) -> Result<Matrix, String> {
    let &[rows, columns] = view.shape() else {
        return Err(format!("has shape {:?}, a matrix is needed", view.shape()));
    };
    if rows == 0 || columns == 0 {
        return Err(format!("has shape {:?}, which is empty", view.shape()));
    }
    let bytes = view.data();
    let values: Vec<f64> = match view.dtype() {
        Dtype::F32 => widen(bytes, |b: [u8; 4]| f32::from_le_bytes(b).into()),
        Dtype::F16 => widen(bytes, |b: [u8; 2]| f16::from_le_bytes(b).into()),
        Dtype::BF16 => widen(bytes, |b: [u8; 2]| bf16::from_le_bytes(b).into()),
        other => return Err(format!("is {other:?}, known are F32, F16 and BF16")),
    };
    if !values.iter().all(|x| x.is_finite()) {
        return Err("holds NaN or infinity".to_owned());
    }
    Ok(Matrix { columns, values })
}

fn widen<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|&chunk| value(chunk)).collect()
}
