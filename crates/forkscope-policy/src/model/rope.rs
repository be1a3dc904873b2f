//! Rotary position embedding: frequencies of the default, linear, llama3, yarn
//! and dynamic-NTK kinds, and cos/sin tables.
//!
//! Pair `i` of a head turns by `pos * inv_freq[i]`, default
//! `inv_freq[i] = theta^(-2i/d)`; the two members of a pair stand d/2 apart
//! (Hugging Face's "rotate half"). Frequencies are formed in f32 in the order
//! that transformers forms them, so that tables agree to the last bit or two;
//! cos and sin are libm's, the same on every machine.
//! Sources: transformers `modeling_rope_utils`; YaRN arXiv 2309.00071.

use super::config::Fields;
use crate::PolicyError;

/// How positions are stretched beyond the length a model was trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// All frequencies divided by `factor`.
    Linear {
        /// Stretch.
        factor: f64,
    },
    /// Theta grows with the length of the whole sequence once that exceeds the
    /// model's context. Beyond it, a position's numbers depend on tokens after
    /// it: such sequences can be scored, not sampled.
    Dynamic {
        /// Stretch.
        factor: f64,
    },
    /// Long wavelengths divided by `factor`, short ones kept, a ramp between.
    Llama3 {
        /// Stretch.
        factor: f64,
        /// Wavelengths above original / low are divided.
        low: f64,
        /// Wavelengths below original / high are kept.
        high: f64,
        /// Context before stretching.
        original: f64,
    },
    /// NTK by parts with a temperature on cos and sin.
    Yarn {
        /// Stretch.
        factor: f64,
        /// Multiplies cos and sin.
        attention: f64,
        /// Rotations above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is divided.
        beta_slow: f64,
        /// Whether the ramp's ends are rounded to whole dimensions.
        truncate: bool,
        /// Context before stretching.
        original: f64,
    },
}

/// Rotary embedding of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// Base wavelength.
    pub theta: f64,
    /// Stretching.
    pub scaling: RopeScaling,
    head_dim: usize,
    max_positions: usize,
}

/// cos and sin of positions 0..len, `len x head_dim/2` each.
#[derive(Debug, Clone)]
pub struct RopeTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeConfig {
    pub(crate) fn parse(
        f: &Fields<'_>,
        head_dim: usize,
        max_positions: usize,
    ) -> Result<Self, PolicyError> {
        // v5 keeps everything in `rope_parameters`; v4 has `rope_theta` beside `rope_scaling`.
        let section = match f.object("rope_parameters")? {
            Some(section) => Some(section),
            None => f.object("rope_scaling")?,
        };
        let outer_theta = f.positive("rope_theta")?;
        let theta = match &section {
            Some(s) => s.positive("rope_theta")?.or(outer_theta),
            None => outer_theta,
        };
        let partial = match &section {
            Some(s) => s.float("partial_rotary_factor")?,
            None => None,
        };
        if partial
            .or(f.float("partial_rotary_factor")?)
            .is_some_and(|p| p != 1.0)
        {
            return Err(f.bad(
                "field `partial_rotary_factor` is not 1; partial rotary embedding is not supported",
            ));
        }
        let scaling = match &section {
            Some(s) => scaling(s, max_positions)?,
            None => RopeScaling::Default,
        };
        Ok(Self {
            theta: theta.unwrap_or(10_000.0),
            scaling,
            head_dim,
            max_positions,
        })
    }

    /// Whether the numbers of a sequence of `len` tokens depend on `len`
    /// itself, so that no prefix of it may be computed apart from the rest.
    pub fn depends_on_length(&self, len: usize) -> bool {
        matches!(self.scaling, RopeScaling::Dynamic { .. }) && len > self.max_positions
    }

    /// Longest sequence the model takes: `max_position_embeddings`, which some
    /// configurations leave at the length before stretching.
    pub fn context_len(&self) -> usize {
        let stretched = match self.scaling {
            RopeScaling::Default | RopeScaling::Dynamic { .. } => 0.0,
            RopeScaling::Linear { factor } => self.max_positions as f64 * factor,
            RopeScaling::Llama3 {
                factor, original, ..
            }
            | RopeScaling::Yarn {
                factor, original, ..
            } => original * factor,
        };
        self.max_positions.max(stretched as usize)
    }

    /// cos and sin for the positions of a sequence of `len` tokens.
    pub fn table(&self, len: usize) -> RopeTable {
        let (inv_freq, attention) = self.frequencies(len);
        let half = inv_freq.len();
        let mut cos = Vec::with_capacity(len * half);
        let mut sin = Vec::with_capacity(len * half);
        for pos in 0..len {
            for &f in &inv_freq {
                let angle = f64::from(pos as f32 * f);
                cos.push(libm::cos(angle) as f32 * attention);
                sin.push(libm::sin(angle) as f32 * attention);
            }
        }
        RopeTable { half, cos, sin }
    }

    /// Inverse frequencies (head_dim / 2) and the factor on cos and sin.
    fn frequencies(&self, len: usize) -> (Vec<f32>, f32) {
        match self.scaling {
            RopeScaling::Default => (self.plain(self.theta), 1.0),
            RopeScaling::Linear { factor } => (
                self.plain(self.theta)
                    .into_iter()
                    .map(|f| f / factor as f32)
                    .collect(),
                1.0,
            ),
            RopeScaling::Dynamic { factor } => {
                let (max, d) = (self.max_positions as f64, self.head_dim as f64);
                let len = (len as f64).max(max);
                let grown = factor * len / max - (factor - 1.0);
                (
                    self.plain(self.theta * libm::pow(grown, d / (d - 2.0))),
                    1.0,
                )
            }
            RopeScaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => (self.llama3(factor, low, high, original), 1.0),
            RopeScaling::Yarn {
                factor,
                attention,
                beta_fast,
                beta_slow,
                truncate,
                original,
            } => (
                self.yarn(factor, beta_fast, beta_slow, truncate, original),
                attention as f32,
            ),
        }
    }

    fn powers(&self, theta: f64) -> Vec<f32> {
        let d = self.head_dim as f32;
        (0..self.head_dim / 2)
            .map(|i| libm::pow(theta, f64::from(2.0 * i as f32 / d)) as f32)
            .collect()
    }

    fn plain(&self, theta: f64) -> Vec<f32> {
        self.powers(theta).into_iter().map(|p| 1.0 / p).collect()
    }

    fn llama3(&self, factor: f64, low: f64, high: f64, original: f64) -> Vec<f32> {
        let (low_wavelength, high_wavelength) = ((original / low) as f32, (original / high) as f32);
        let one = |f: f32| {
            let wavelength = (2.0 * std::f64::consts::PI) as f32 / f;
            if wavelength > low_wavelength {
                f / factor as f32
            } else if wavelength < high_wavelength {
                f
            } else {
                let smooth = (original as f32 / wavelength - low as f32) / (high - low) as f32;
                (1.0 - smooth) * f / factor as f32 + smooth * f
            }
        };
        self.plain(self.theta).into_iter().map(one).collect()
    }

    fn yarn(
        &self,
        factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        truncate: bool,
        original: f64,
    ) -> Vec<f32> {
        let d = self.head_dim as f64;
        let dimension = |rotations: f64| {
            d * libm::log(original / (rotations * 2.0 * std::f64::consts::PI))
                / (2.0 * libm::log(self.theta))
        };
        let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(d - 1.0));
        if low == high {
            high += 0.001; // a ramp needs some width
        }
        let blend = |(i, p): (usize, f32)| {
            let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let keep = 1.0 - ramp;
            let divided = 1.0 / (factor as f32 * p);
            divided * (1.0 - keep) + (1.0 / p) * keep
        };
        self.powers(self.theta)
            .into_iter()
            .enumerate()
            .map(blend)
            .collect()
    }
}

impl RopeTable {
    /// Number of positions.
    pub fn len(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.cos.is_empty()
    }

    /// Turns rows of `width` values to their positions.
    pub fn rotate_rows(&self, rows: &mut [f32], width: usize, positions: &[u32]) {
        for (row, pos) in rows.chunks_exact_mut(width).zip(positions) {
            self.rotate(row, *pos as usize);
        }
    }

    /// Turns them back: the gradient of [`RopeTable::rotate_rows`], which is a
    /// rotation (times cos's factor) and so its own transpose.
    pub fn rotate_rows_back(&self, rows: &mut [f32], width: usize, positions: &[u32]) {
        for (row, pos) in rows.chunks_exact_mut(width).zip(positions) {
            let at = *pos as usize * self.half;
            turn(
                row,
                &self.cos[at..at + self.half],
                &self.sin[at..at + self.half],
                -1.0,
            );
        }
    }

    /// Turns every head of `row` (heads x head size) to position `pos`.
    pub fn rotate(&self, row: &mut [f32], pos: usize) {
        let at = pos * self.half;
        turn(
            row,
            &self.cos[at..at + self.half],
            &self.sin[at..at + self.half],
            1.0,
        );
    }
}

/// Turns each head by the angles, or back with `sign` -1. Multiplying by a sign
/// is exact.
#[inline(always)]
fn turn(row: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = cos.len();
    for head in row.chunks_exact_mut(2 * half) {
        let (first, second) = head.split_at_mut(half);
        for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            let (x, y, s) = (*a, *b, s * sign);
            *a = x * c - y * s;
            *b = y * c + x * s;
        }
    }
}

fn scaling(s: &Fields<'_>, max_positions: usize) -> Result<RopeScaling, PolicyError> {
    let kind = match s.text("rope_type")? {
        Some(kind) => kind,
        None => s.text("type")?.unwrap_or("default"),
    };
    if kind == "default" {
        return Ok(RopeScaling::Default);
    }
    let need = |key: &str| {
        s.positive(key)?.ok_or_else(|| {
            s.bad(format!(
                "rope of kind `{}` needs `{key}`",
                kind.escape_debug()
            ))
        })
    };
    let original = s
        .size("original_max_position_embeddings")?
        .unwrap_or(max_positions) as f64;
    Ok(match kind {
        "linear" => RopeScaling::Linear {
            factor: need("factor")?,
        },
        "dynamic" => RopeScaling::Dynamic {
            factor: need("factor")?,
        },
        "llama3" => {
            let (low, high) = (need("low_freq_factor")?, need("high_freq_factor")?);
            if high <= low {
                return Err(s.bad(format!(
                    "`high_freq_factor` {high} is not above `low_freq_factor` {low}"
                )));
            }
            RopeScaling::Llama3 {
                factor: need("factor")?,
                low,
                high,
                original,
            }
        }
        "yarn" => yarn_scaling(s, max_positions as f64, original)?,
        other => {
            return Err(s.bad(format!(
                "rope kind `{}` is not supported; supported are default, linear, dynamic, llama3 and yarn",
                other.escape_debug()
            )));
        }
    })
}

fn yarn_scaling(
    s: &Fields<'_>,
    max_positions: f64,
    original: f64,
) -> Result<RopeScaling, PolicyError> {
    let factor = s.positive("factor")?.unwrap_or(max_positions / original);
    let mscale = |scale: f64, m: f64| {
        if scale <= 1.0 {
            1.0
        } else {
            0.1 * m * libm::log(scale) + 1.0
        }
    };
    let given = (
        s.float("mscale")?.filter(|m| *m != 0.0),
        s.float("mscale_all_dim")?.filter(|m| *m != 0.0),
    );
    let attention = match (s.positive("attention_factor")?, given) {
        (Some(a), _) => a,
        (None, (Some(m), Some(all))) => mscale(factor, m) / mscale(factor, all),
        (None, _) => mscale(factor, 1.0),
    };
    Ok(RopeScaling::Yarn {
        factor,
        attention,
        beta_fast: s.positive("beta_fast")?.unwrap_or(32.0),
        beta_slow: s.positive("beta_slow")?.unwrap_or(1.0),
        truncate: s.flag("truncate")?.unwrap_or(true),
        original,
    })
}
