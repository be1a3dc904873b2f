//! Named f32 tensors as a safetensors file, written and read without a second
//! copy of the whole.
//!
//! Layout: length of the header (u64, little endian), the header (JSON: name ->
//! `{dtype, shape, data_offsets}`, padded with spaces to a multiple of 8), the
//! values, little endian, one tensor after the other in the order given.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use crate::TrainError;

/// Values that are turned into bytes at a time.
const BLOCK: usize = 1 << 14;

/// A tensor to be written.
pub(super) struct Named<'a> {
    pub name: String,
    pub shape: &'a [usize],
    pub values: &'a [f32],
}

/// Writes the tensors.
pub(super) fn write(to: &mut dyn Write, tensors: &[Named<'_>]) -> io::Result<()> {
    let mut header = Map::new();
    let mut at = 0;
    for tensor in tensors {
        let end = at + 4 * tensor.values.len();
        let entry = json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [at, end]});
        header.insert(tensor.name.clone(), entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    let mut bytes = Vec::with_capacity(4 * BLOCK);
    for block in tensors.iter().flat_map(|t| t.values.chunks(BLOCK)) {
        bytes.clear();
        bytes.extend(block.iter().flat_map(|x| x.to_le_bytes()));
        to.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads the tensors of those names and shapes, in that order, and no others.
pub(super) fn read<'a>(
    file: &File,
    path: &Path,
    expected: impl Iterator<Item = (String, &'a [usize])>,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let other = |problem: String| {
        let remedy = "resume with the model and the settings that the run was started with";
        TrainError::bad(path, problem, remedy)
    };
    // SAFETY: the map is only read. A file that another process truncates
    // meanwhile ends this one with a signal, as for every mapped file.
    let map = unsafe { Mmap::map(file) }.map_err(|e| TrainError::read(path, e))?;
    let tensors = SafeTensors::deserialize(&map)
        .map_err(|e| other(format!("not a whole safetensors file ({e})")))?;
    let mut all = Vec::new();
    for (name, shape) in expected {
        let view = tensors
            .tensor(&name)
            .map_err(|_| other(format!("tensor `{name}` is missing")))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            return Err(other(format!(
                "tensor `{name}` is {:?} of shape {:?}, the network's is F32 of shape {shape:?}",
                view.dtype(),
                view.shape()
            )));
        }
        let (values, _) = view.data().as_chunks::<4>();
        all.push(values.iter().map(|b| f32::from_le_bytes(*b)).collect());
    }
    if tensors.len() != all.len() {
        return Err(other(format!(
            "it holds {} tensors, the network has {}",
            tensors.len(),
            all.len()
        )));
    }
    Ok(all)
}
