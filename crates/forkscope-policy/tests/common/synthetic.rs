//! Rebuilds the full-size layer of `fixtures/synthetic/full-size.json`.
//!
//! value(name, i) = offset + scale · (2k - 255)/256 with
//! k = splitmix64(fnv1a64(name) + i) >> 56: exact in f32, so this and the
//! Python generator agree bit for bit. splitmix64: Steele, Lea, Flood 2014;
//! fnv1a64: Fowler, Noll, Vo.

#![allow(dead_code, reason = "each test binary reads the fields it needs")]

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The golden file: the recipe of the weights and the reference's answers.
#[derive(Deserialize)]
pub struct FullSize {
    /// Content of `config.json`.
    pub config: Value,
    /// Recipe of every tensor.
    pub tensors: Vec<Recipe>,
    /// Token ids that are scored, [T].
    pub input_ids: Vec<u32>,
    /// Argmax of each row, [T].
    pub argmax: Vec<u32>,
    /// Greatest logit of each row, [T].
    pub max: Vec<f64>,
    /// ln Σ exp(logit) of each row, [T].
    pub logsumexp: Vec<f64>,
    /// Ids whose logits are kept, [S].
    pub sample_ids: Vec<u32>,
    /// Logits of `sample_ids`, [T][S].
    pub sample_logits: Vec<Vec<f32>>,
}

/// How one tensor is made.
#[derive(Deserialize)]
pub struct Recipe {
    /// Name in the checkpoint.
    pub name: String,
    /// Shape, row-major.
    pub shape: Vec<usize>,
    /// Added to every value: 0, or 1 for norms.
    pub offset: f32,
    /// A power of two; values lie within ± `scale` of `offset`.
    pub scale: f32,
    /// Sum of k over the tensor.
    pub check: u64,
}

impl FullSize {
    /// Writes `config.json` and `model.safetensors` (f32, 600 MB) into `dir`.
    /// Panics where a tensor's sum of k is not the one the reference saw.
    pub fn write_model(&self, dir: &Path) -> Result<()> {
        std::fs::write(dir.join("config.json"), self.config.to_string())?;
        let mut out =
            BufWriter::with_capacity(1 << 20, File::create(dir.join("model.safetensors"))?);
        let header = self.header();
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for recipe in &self.tensors {
            let sum = recipe.write(&mut out)?;
            assert_eq!(
                sum, recipe.check,
                "{}: not the weights that the reference saw",
                recipe.name
            );
        }
        out.flush()
    }

    fn header(&self) -> String {
        let mut header = Map::new();
        let mut begin = 0;
        for recipe in &self.tensors {
            let end = begin + 4 * recipe.shape.iter().product::<usize>();
            let entry =
                json!({"dtype": "F32", "shape": recipe.shape, "data_offsets": [begin, end]});
            header.insert(recipe.name.clone(), entry);
            begin = end;
        }
        let text = Value::Object(header).to_string();
        // The data starts at a multiple of eight bytes.
        let padded = text.len().next_multiple_of(8);
        format!("{text:padded$}")
    }
}

impl Recipe {
    /// Writes the values and returns the sum of k.
    fn write(&self, out: &mut impl Write) -> Result<u64> {
        let seed = fnv1a64(&self.name);
        let mut sum = 0;
        for i in 0..self.shape.iter().product::<usize>() as u64 {
            let k = splitmix64(seed.wrapping_add(i)) >> 56;
            sum += k;
            let value = self.offset + self.scale * (2.0 * k as f32 - 255.0) / 256.0;
            out.write_all(&value.to_le_bytes())?;
        }
        Ok(sum)
    }
}

fn fnv1a64(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    })
}

fn splitmix64(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
