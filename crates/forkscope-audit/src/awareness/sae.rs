//! Feature dictionaries: sparse autoencoders that name what a layer holds
//! (Bricken et al. 2023; Gemma Scope, arXiv 2408.05147).
//!
//! Features of a row x of the residual stream (d values, f features):
//!
//!   a = x W_enc + b_enc,  or (x - b_dec) W_enc + b_enc;
//!   feature = relu(a); with a threshold, a where a > threshold, else 0
//!   (JumpReLU, arXiv 2407.14435); with k, only the k greatest of relu(a)
//!   (arXiv 2406.04093; ties by lowest index).
//!
//! A `cfg.json` beside the file (SAELens, EleutherAI's sparsify) decides
//! `apply_b_dec_to_input`, `architecture` and `k`. Without one, b_dec is
//! subtracted first where there is one, unless the dictionary has a threshold,
//! as Gemma Scope's do. How well x is rebuilt, FVU = sum |x - y|^2 /
//! sum |x - mean x|^2 with y = feature W_dec + b_dec, says whether the
//! dictionary belongs to this layer of this model: near 0 is well, 1 is no
//! better than the mean.

use std::collections::BTreeMap;
use std::path::Path;

use forkscope_policy::ops::matmul::{Padding, Product};
use forkscope_policy::{PolicyError, Tensor, open_tensors};
use rayon::prelude::*;
use serde_json::Value;

use super::probe::Layer;
use crate::AuditError;

/// Features computed at a time.
const BLOCK: usize = 512;
/// Largest JSON beside a dictionary.
const MOST_JSON: u64 = 1 << 26;
/// Characters of a feature's name that are kept.
const MOST_NAME: usize = 200;

/// An opened dictionary.
#[derive(Debug)]
pub struct Dictionary {
    width: usize,
    features: usize,
    encoder: Matrix,
    encoder_bias: Vec<f32>,
    decoder: Option<Matrix>,
    decoder_bias: Option<Vec<f32>>,
    threshold: Option<Vec<f32>>,
    top: Option<usize>,
    centred: bool,
    names: BTreeMap<u32, String>,
}

/// A matrix of features x width, as it lies or transposed.
#[derive(Debug)]
struct Matrix {
    tensor: Tensor,
    /// Stored as width x features.
    transposed: bool,
}

/// Features of some rows: those alone that are not zero everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Indices in the dictionary, ascending.
    pub active: Vec<u32>,
    /// rows x active.
    pub values: Layer,
}

impl Features {
    /// Mean number of features that are not zero in a row.
    pub fn mean_active(&self) -> f64 {
        let rows = self.values.values.len() / self.values.width.max(1);
        let firing = self.values.values.iter().filter(|v| **v != 0.0).count();
        firing as f64 / rows.max(1) as f64
    }
}

impl Dictionary {
    /// Opens a safetensors file for a residual stream of `width` values, with
    /// names from a JSON object `{"index": "name"}`.
    ///
    /// # Errors
    /// Files that cannot be read, tensors that are missing, of another shape or
    /// dtype, not finite, or that ask for arithmetic this does not do.
    pub fn open(file: &Path, names: Option<&Path>, width: usize) -> Result<Self, AuditError> {
        let tensors = open_tensors(file)?;
        let bad = |problem: String| bad(file, problem);
        let find = |keys: &[&str]| -> Option<(String, Tensor)> {
            keys.iter()
                .find_map(|k| Some(((*k).to_owned(), tensors.get(*k)?.clone())))
        };
        if let Some(name) = tensors.keys().find(|k| REFUSED.contains(&k.as_str())) {
            return Err(bad(format!(
                "tensor `{name}` asks for arithmetic that is not supported (gated or scaled encoders)"
            )));
        }
        let (name, tensor) = find(&["W_enc", "encoder.weight"]).ok_or_else(|| {
            let found: Vec<&str> = tensors.keys().take(8).map(String::as_str).collect();
            bad(format!(
                "tensor `W_enc` is missing (it holds {})",
                found.join(", ").escape_debug()
            ))
        })?;
        // SAELens stores width x features; `nn.Linear` features x width.
        let (encoder, features) = matrix(file, &name, tensor, width, name == "W_enc")?;
        let vector = |keys: &[&str], len: usize| match find(keys) {
            Some((name, tensor)) => vector(file, &name, &tensor, len).map(Some),
            None => Ok(None),
        };
        let encoder_bias = vector(&["b_enc", "encoder.bias"], features)?
            .ok_or_else(|| bad("tensor `b_enc` is missing".into()))?;
        let decoder_bias = vector(&["b_dec", "decoder.bias", "bias"], width)?;
        let threshold = vector(&["threshold"], features)?;
        let decoder = match find(&["W_dec", "decoder.weight"]) {
            Some((name, tensor)) => {
                let (found, n) = matrix(file, &name, tensor, width, name == "decoder.weight")?;
                if n != features {
                    return Err(bad(format!(
                        "tensor `{name}` has {n} features, the encoder {features}"
                    )));
                }
                Some(found)
            }
            None => None,
        };
        let said = Said::beside(file)?;
        if said.top.is_some_and(|k| k == 0 || k > features) {
            return Err(bad(format!(
                "`k` of cfg.json is {}; it must lie between 1 and the {features} features",
                said.top.unwrap_or(0)
            )));
        }
        Ok(Self {
            width,
            features,
            encoder,
            encoder_bias,
            decoder,
            centred: said
                .centred
                .unwrap_or(decoder_bias.is_some() && threshold.is_none()),
            decoder_bias,
            threshold,
            top: said.top,
            names: match names {
                Some(path) => read_names(path, features)?,
                None => BTreeMap::new(),
            },
        })
    }

    /// Number of features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Name of a feature; empty where it has none.
    pub fn name(&self, feature: u32) -> &str {
        self.names.get(&feature).map_or("", String::as_str)
    }

    /// How the dictionary computes: `relu`, `jump_relu` or `top_k`, and whether
    /// b_dec is subtracted first.
    pub fn kind(&self) -> (&'static str, bool) {
        let kind = match (&self.threshold, self.top) {
            (_, Some(_)) => "top_k",
            (Some(_), None) => "jump_relu",
            _ => "relu",
        };
        (kind, self.centred)
    }

    /// Features of rows (rows x width).
    pub fn encode(&self, rows: &[f32]) -> Result<Features, AuditError> {
        let n = rows.len() / self.width.max(1);
        if rows.len() != n * self.width {
            return Err(AuditError::Internal("rows of another width".into()));
        }
        let centred = self.centred(rows);
        let blocks: Vec<usize> = (0..self.features).step_by(BLOCK).collect();
        let mut blocks: Vec<(usize, Vec<f32>)> = blocks
            .into_par_iter()
            .map(|first| (first, self.block(&centred, n, first)))
            .collect();
        if let Some(k) = self.top {
            keep_top(&mut blocks, n, k);
        }
        let mut active = Vec::new();
        let mut places = Vec::new();
        for (first, values) in &blocks {
            let wide = values.len() / n.max(1);
            for i in 0..wide {
                let column = values.iter().skip(i).step_by(wide);
                if column.clone().any(|v| !v.is_finite()) {
                    return Err(AuditError::Dictionary(format!(
                        "feature {} of the dictionary overflows on these activations",
                        first + i
                    )));
                }
                if column.into_iter().any(|v| *v != 0.0) {
                    active.push((first + i) as u32);
                    places.push((values, wide, i));
                }
            }
        }
        let mut values = Vec::with_capacity(n * active.len());
        for row in 0..n {
            values.extend(
                places
                    .iter()
                    .map(|(block, wide, i)| block.get(row * wide + i).copied().unwrap_or(0.0)),
            );
        }
        Ok(Features {
            values: Layer {
                width: active.len(),
                values,
            },
            active,
        })
    }

    /// Fraction of the rows' variance that the dictionary does not rebuild;
    /// `None` without a decoder or variance.
    pub fn unexplained(&self, rows: &[f32], features: &Features) -> Option<f64> {
        let decoder = self.decoder.as_ref()?;
        let d = self.width;
        let n = rows.len().checked_div(d).filter(|n| *n > 0)?;
        let mut mean = vec![0.0f64; d];
        for row in rows.chunks_exact(d) {
            mean.iter_mut()
                .zip(row)
                .for_each(|(m, x)| *m += f64::from(*x) / n as f64);
        }
        let directions: Vec<Vec<f32>> = features
            .active
            .iter()
            .map(|f| decoder.row(*f as usize, d, self.features))
            .collect();
        let (mut left, mut all) = (0.0f64, 0.0f64);
        let width = features.values.width.max(1);
        for (i, row) in rows.chunks_exact(d).enumerate() {
            let mut rebuilt: Vec<f64> = match &self.decoder_bias {
                Some(bias) => bias.iter().map(|b| f64::from(*b)).collect(),
                None => vec![0.0; d],
            };
            let of_row = features.values.values.get(i * width..(i + 1) * width);
            for (value, direction) in of_row.unwrap_or(&[]).iter().zip(&directions) {
                if *value != 0.0 {
                    rebuilt
                        .iter_mut()
                        .zip(direction)
                        .for_each(|(y, w)| *y += f64::from(*value) * f64::from(*w));
                }
            }
            for ((x, y), m) in row.iter().zip(&rebuilt).zip(&mean) {
                left += (f64::from(*x) - y).powi(2);
                all += (f64::from(*x) - m).powi(2);
            }
        }
        (all > 0.0).then(|| left / all)
    }

    fn centred(&self, rows: &[f32]) -> Vec<f32> {
        let mut out = rows.to_vec();
        if let (true, Some(bias)) = (self.centred, &self.decoder_bias) {
            for row in out.chunks_exact_mut(self.width.max(1)) {
                row.iter_mut().zip(bias).for_each(|(x, b)| *x -= b);
            }
        }
        out
    }

    /// Features `first..` of a block: rows x features of the block.
    fn block(&self, rows: &[f32], n: usize, first: usize) -> Vec<f32> {
        let wide = BLOCK.min(self.features - first);
        let w = self
            .encoder
            .rows(first..first + wide, self.width, self.features);
        let mut out = vec![0.0; n * wide];
        Product {
            x: rows,
            w: &w,
            inputs: self.width,
            outputs: wide,
            stride: wide,
            add: false,
        }
        .run(&mut out, &mut Padding::default());
        let bias = self.encoder_bias.get(first..).unwrap_or(&[]);
        let threshold = self.threshold.as_ref().and_then(|t| t.get(first..));
        for row in out.chunks_exact_mut(wide) {
            for (i, (a, b)) in row.iter_mut().zip(bias).enumerate() {
                *a += b;
                let least = threshold.and_then(|t| t.get(i)).map_or(0.0, |t| t.max(0.0));
                // NaN stays, to be refused.
                if *a <= least {
                    *a = 0.0;
                }
            }
        }
        out
    }
}

/// Tensors that change what an encoder computes.
const REFUSED: [&str; 6] = [
    "W_gate",
    "b_gate",
    "r_mag",
    "b_mag",
    "scaling_factor",
    "log_threshold_scale",
];

/// Leaves the k greatest features of each row; ties go to the lowest index.
fn keep_top(blocks: &mut [(usize, Vec<f32>)], n: usize, k: usize) {
    for row in 0..n {
        let mut firing: Vec<(f32, usize, usize)> = Vec::new();
        for (b, (_, values)) in blocks.iter().enumerate() {
            let wide = values.len() / n;
            let values = values.get(row * wide..(row + 1) * wide).unwrap_or(&[]);
            let here = values.iter().enumerate().filter(|(_, v)| **v != 0.0);
            firing.extend(here.map(|(i, v)| (*v, b, row * wide + i)));
        }
        firing.sort_by(|x, y| y.0.total_cmp(&x.0).then((x.1, x.2).cmp(&(y.1, y.2))));
        for (_, b, at) in firing.into_iter().skip(k) {
            if let Some(value) = blocks.get_mut(b).and_then(|(_, v)| v.get_mut(at)) {
                *value = 0.0;
            }
        }
    }
}

impl Matrix {
    /// Rows of features x width, widened.
    fn rows(&self, rows: std::ops::Range<usize>, width: usize, features: usize) -> Vec<f32> {
        if !self.transposed {
            return self
                .tensor
                .f32(rows.start * width..rows.end * width)
                .into_owned();
        }
        let mut out = vec![0.0; rows.len() * width];
        for i in 0..width {
            let stored = self
                .tensor
                .f32(i * features + rows.start..i * features + rows.end);
            for (row, x) in out.chunks_exact_mut(width).zip(stored.iter()) {
                if let Some(slot) = row.get_mut(i) {
                    *slot = *x;
                }
            }
        }
        out
    }

    fn row(&self, row: usize, width: usize, features: usize) -> Vec<f32> {
        self.rows(row..row + 1, width, features)
    }
}

/// What a `cfg.json` beside the file says.
#[derive(Default)]
struct Said {
    centred: Option<bool>,
    top: Option<usize>,
}

impl Said {
    fn beside(file: &Path) -> Result<Self, AuditError> {
        let path = file.with_file_name("cfg.json");
        if !path.exists() {
            return Ok(Self::default());
        }
        let json = read_json(&path)?;
        let word = |key: &str| json.get(key).and_then(Value::as_str);
        if let Some(how) = word("normalize_activations").filter(|h| *h != "none") {
            return Err(bad(
                &path,
                format!(
                    "field `normalize_activations` is `{}`; only `none` is supported",
                    how.escape_debug()
                ),
            ));
        }
        let kind = word("architecture").or_else(|| word("activation"));
        let top = json.get("k").and_then(Value::as_u64);
        let top = match (kind, top) {
            (None | Some("topk"), Some(k)) => Some(usize::try_from(k).unwrap_or(usize::MAX)),
            (Some("topk"), None) => {
                return Err(bad(
                    &path,
                    "field `k` of a topk dictionary is missing".into(),
                ));
            }
            (None | Some("standard" | "jumprelu"), _) => None,
            (Some(other), _) => {
                return Err(bad(
                    &path,
                    format!(
                        "field `architecture` is `{}`; standard, jumprelu and topk are supported",
                        other.escape_debug()
                    ),
                ));
            }
        };
        Ok(Self {
            centred: json.get("apply_b_dec_to_input").and_then(Value::as_bool),
            top,
        })
    }
}

/// A matrix of the model's width, and its number of features. Where both sizes
/// are the width, `transposed` says how files of that name store it.
fn matrix(
    file: &Path,
    name: &str,
    tensor: Tensor,
    width: usize,
    transposed: bool,
) -> Result<(Matrix, usize), AuditError> {
    let wrong = |shape: &[usize]| {
        bad(
            file,
            format!(
                "tensor `{name}` has shape {shape:?}; one of two sizes must be {width}, the width of the model's residual stream"
            ),
        )
    };
    let (a, b) = match tensor.shape() {
        [a, b] if *a > 0 && *b > 0 => (*a, *b),
        other => return Err(wrong(other)),
    };
    let (transposed, features) = match (a == width, b == width) {
        (true, true) => (transposed, width),
        (true, false) => (true, b),
        (false, true) => (false, a),
        (false, false) => return Err(wrong(&[a, b])),
    };
    if u32::try_from(features).is_err() {
        return Err(wrong(&[a, b]));
    }
    finite(file, name, &tensor)?;
    Ok((Matrix { tensor, transposed }, features))
}

fn vector(file: &Path, name: &str, tensor: &Tensor, len: usize) -> Result<Vec<f32>, AuditError> {
    if tensor.shape() != [len] {
        let shape = tensor.shape();
        return Err(bad(
            file,
            format!("tensor `{name}` has shape {shape:?}, not [{len}]"),
        ));
    }
    finite(file, name, tensor)?;
    Ok(tensor.f32(0..len).into_owned())
}

fn finite(file: &Path, name: &str, tensor: &Tensor) -> Result<(), AuditError> {
    const STEP: usize = 1 << 16;
    let n = tensor.elements();
    for from in (0..n).step_by(STEP) {
        let values = tensor.f32(from..(from + STEP).min(n));
        if values.iter().any(|v| !v.is_finite()) {
            return Err(bad(
                file,
                format!("tensor `{name}` has a value that is NaN or infinite"),
            ));
        }
    }
    Ok(())
}

fn read_names(path: &Path, features: usize) -> Result<BTreeMap<u32, String>, AuditError> {
    let json = read_json(path)?;
    let map = json
        .as_object()
        .ok_or_else(|| bad(path, "is not an object of index and name".into()))?;
    map.iter()
        .map(|(key, name)| {
            let index = key.parse().ok().filter(|i: &u32| (*i as usize) < features);
            let name = name.as_str();
            match (index, name) {
                (Some(index), Some(name)) => Ok((index, name.chars().take(MOST_NAME).collect())),
                _ => Err(bad(
                    path,
                    format!(
                        "entry `{}` is not the index of one of {features} features with its name",
                        key.escape_debug()
                    ),
                )),
            }
        })
        .collect()
}

fn read_json(path: &Path) -> Result<Value, AuditError> {
    let read = |source| PolicyError::Read {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(read)?.len();
    if size > MOST_JSON {
        return Err(bad(
            path,
            format!("has {size} bytes, more than {MOST_JSON}"),
        ));
    }
    let bytes = std::fs::read(path).map_err(read)?;
    serde_json::from_slice(&bytes).map_err(|e| bad(path, format!("is not JSON ({e})")))
}

fn bad(path: &Path, problem: String) -> AuditError {
    AuditError::Policy(PolicyError::bad(
        path,
        problem,
        "give a dictionary that was trained on this model's residual stream",
    ))
}
