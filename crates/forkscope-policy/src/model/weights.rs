//! Tensors of a model's safetensors files, single or sharded, mapped and kept
//! in their own dtype (f32, f16 or bf16) until a block of them is needed.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use half::slice::HalfFloatSliceExt;
use safetensors::{Dtype, SafeTensors};

use crate::PolicyError;
use crate::files::{Blob, ModelFiles};

/// Formats that run code when they are opened.
const PICKLES: [&str; 5] = [".bin", ".pt", ".pth", ".pkl", ".ckpt"];

/// A tensor in place.
#[derive(Debug, Clone)]
pub struct Tensor {
    blob: Blob,
    range: Range<usize>,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl Tensor {
    /// Shape, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    fn bytes(&self) -> &[u8] {
        self.blob.get(self.range.clone()).unwrap_or(&[])
    }

    /// Elements `range` as f32: borrowed where they are f32 already, else
    /// widened (exactly) into a new vector.
    pub fn f32(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        let mut scratch = Vec::new();
        match self.f32_in_place(range.clone()) {
            Some(slice) => Cow::Borrowed(slice),
            None => {
                self.widen(range, &mut scratch);
                Cow::Owned(scratch)
            }
        }
    }

    /// Elements `range` if they are f32 and aligned.
    pub fn f32_in_place(&self, range: Range<usize>) -> Option<&[f32]> {
        if self.dtype != Dtype::F32 {
            return None;
        }
        bytemuck::try_cast_slice::<u8, f32>(self.bytes())
            .ok()
            .map(|s| &s[range])
    }

    /// Writes elements `range` as f32 into `out`.
    pub fn widen(&self, range: Range<usize>, out: &mut Vec<f32>) {
        let size = if self.dtype == Dtype::F32 { 4 } else { 2 };
        let bytes = &self.bytes()[range.start * size..range.end * size];
        out.clear();
        match self.dtype {
            Dtype::F32 => out.extend(
                bytes
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            ),
            Dtype::F16 => match bytemuck::try_cast_slice::<u8, half::f16>(bytes) {
                Ok(halves) => {
                    out.resize(halves.len(), 0.0);
                    halves.convert_to_f32_slice(out);
                }
                Err(_) => out.extend(
                    bytes
                        .chunks_exact(2)
                        .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()),
                ),
            },
            _ => out.extend(
                bytes
                    .chunks_exact(2)
                    .map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)),
            ),
        }
    }

    /// The tensor in bf16: each element to the nearest, halves to even; itself
    /// where it is bf16 already.
    pub fn rounded(&self) -> Self {
        if self.dtype == Dtype::BF16 {
            return self.clone();
        }
        const STEP: usize = 1 << 16;
        let n = self.elements();
        let mut bytes = Vec::with_capacity(2 * n);
        for from in (0..n).step_by(STEP) {
            let values = self.f32(from..(from + STEP).min(n));
            bytes.extend(
                values
                    .iter()
                    .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()),
            );
        }
        Self {
            range: 0..bytes.len(),
            blob: Blob::Read(Arc::new(bytes)),
            dtype: Dtype::BF16,
            shape: self.shape.clone(),
        }
    }

    /// Lets the system take the tensor's pages back.
    pub fn release(&self) {
        self.blob.release();
    }
}

/// All tensors of a model.
#[derive(Debug, Clone)]
pub struct Weights {
    files: ModelFiles,
    tensors: BTreeMap<String, (Tensor, String)>,
    file_names: Vec<String>,
}

impl Weights {
    /// Maps `model.safetensors`, or the shards that
    /// `model.safetensors.index.json` names.
    pub fn open(files: &ModelFiles) -> Result<Self, PolicyError> {
        let index = "model.safetensors.index.json";
        let names: Vec<String> = if files.has("model.safetensors") {
            vec!["model.safetensors".to_owned()]
        } else if let Some(json) = files.read_json(index)? {
            shard_names(files, index, &json)?
        } else {
            return Err(no_weights(files)?);
        };
        let mut tensors = BTreeMap::new();
        for name in &names {
            for (key, tensor) in open_safetensors(files, name)? {
                if tensors
                    .insert(key.clone(), (tensor, name.clone()))
                    .is_some()
                {
                    return Err(PolicyError::bad(
                        &files.path(name),
                        format!("tensor `{key}` is in more than one shard"),
                        "convert the model again",
                    ));
                }
            }
        }
        Ok(Self {
            files: files.clone(),
            tensors,
            file_names: names,
        })
    }

    /// Names of the safetensors files.
    pub fn file_names(&self) -> &[String] {
        &self.file_names
    }

    /// Number of scalar parameters in the files.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(|(t, _)| t.elements()).sum()
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> usize {
        self.tensors.values().map(|(t, _)| t.range.len()).sum()
    }

    /// The tensor of that name, which must have that shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, PolicyError> {
        let Some((tensor, file)) = self.tensors.get(name) else {
            let path = self.files.path(
                self.file_names
                    .first()
                    .map_or("model.safetensors", String::as_str),
            );
            return Err(PolicyError::bad(
                &path,
                format!("tensor `{name}` is missing"),
                "config.json and the weights must belong to the same model; download both again",
            ));
        };
        if tensor.shape() != shape {
            return Err(PolicyError::bad(
                &self.files.path(file),
                format!(
                    "tensor `{name}` has shape {:?}, config.json asks for {shape:?}",
                    tensor.shape()
                ),
                "config.json and the weights must belong to the same model; download both again",
            ));
        }
        Ok(tensor.clone())
    }

    /// A small tensor (norm weight, bias), widened.
    pub fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, PolicyError> {
        let tensor = self.tensor(name, &[len])?;
        let mut out = Vec::new();
        tensor.widen(0..len, &mut out);
        Ok(out)
    }

    /// Gives the pages of all files back to the system.
    pub fn release(&self) {
        for (tensor, _) in self.tensors.values() {
            tensor.release();
        }
    }
}

/// All tensors of one safetensors file that is no model's: a dictionary of
/// features, for instance.
pub fn open_tensors(file: &Path) -> Result<BTreeMap<String, Tensor>, PolicyError> {
    let name = file.file_name().map(|n| n.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    if PICKLES.iter().any(|p| name.ends_with(p)) || name.ends_with(".npz") {
        return Err(PolicyError::bad(
            file,
            "is not a safetensors file",
            "convert it once with `safetensors` in an environment you trust",
        ));
    }
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let files = ModelFiles::dir_at(dir);
    Ok(open_safetensors(&files, &name)?.into_iter().collect())
}

/// Opens one safetensors file; offsets, overlaps and sizes are checked by the
/// safetensors crate, dtypes here.
pub(crate) fn open_safetensors(
    files: &ModelFiles,
    name: &str,
) -> Result<Vec<(String, Tensor)>, PolicyError> {
    let blob = files.map(name)?;
    let path = files.path(name);
    let parsed = SafeTensors::deserialize(&blob).map_err(|e| {
        PolicyError::bad(
            &path,
            format!("is not a whole safetensors file ({e})"),
            "download or convert the weights again",
        )
    })?;
    let base = blob.as_ptr() as usize;
    let mut out = Vec::new();
    for (key, view) in parsed.tensors() {
        let dtype = view.dtype();
        if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(PolicyError::bad(
                &path,
                format!("tensor `{key}` has dtype {dtype:?}"),
                "forkscope reads f32, f16 and bf16; convert the weights to one of them",
            ));
        }
        let start = view.data().as_ptr() as usize - base;
        let range = start..start + view.data().len();
        out.push((
            key,
            Tensor {
                blob: blob.clone(),
                range,
                dtype,
                shape: view.shape().to_vec(),
            },
        ));
    }
    Ok(out)
}

fn shard_names(
    files: &ModelFiles,
    index: &str,
    json: &serde_json::Value,
) -> Result<Vec<String>, PolicyError> {
    let bad =
        |problem: String| PolicyError::bad(&files.path(index), problem, "download the index again");
    let map = json
        .get("weight_map")
        .and_then(|m| m.as_object())
        .ok_or_else(|| bad("field `weight_map` is not an object".into()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let file = file
            .as_str()
            .ok_or_else(|| bad(format!("`weight_map.{tensor}` is not a file name")))?;
        let plain = !file.contains(['/', '\\', '\0']) && !file.starts_with('.');
        if !plain || !file.ends_with(".safetensors") {
            return Err(bad(format!(
                "`weight_map.{tensor}` names `{}`, which is no safetensors file of this folder",
                file.escape_debug()
            )));
        }
        names.insert(file.to_owned());
    }
    if names.is_empty() {
        return Err(bad("field `weight_map` is empty".into()));
    }
    Ok(names.into_iter().collect())
}

fn no_weights(files: &ModelFiles) -> Result<PolicyError, PolicyError> {
    let pickled = files
        .names()?
        .into_iter()
        .find(|n| PICKLES.iter().any(|p| n.ends_with(p)));
    let path = files.path("model.safetensors");
    Ok(match pickled {
        Some(name) => PolicyError::bad(
            &files.path(&name),
            "is a pickle, which can run code when it is opened, and there is no model.safetensors",
            "convert it once with `safetensors.torch.save_file` in an environment you trust",
        ),
        None => PolicyError::bad(
            &path,
            "does not exist, nor does model.safetensors.index.json",
            "point at a Hugging Face model directory with safetensors weights",
        ),
    })
}
