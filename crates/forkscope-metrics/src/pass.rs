//! First pass over a row: everything that one policy's metrics need.
//!
//! The maximum is found as the row goes by; sums are kept relative to the
//! maximum so far and rescaled (in f64) by the few chunks that raise it.

use crate::error::MetricsError;
use crate::kernels::{CHUNK, Cpu, LANES, Line, Maxima, exp_f64, maxima, scan};
use crate::logit::Logit;
use crate::pair::Side;
use crate::row::{Normaliser, RowMetrics};
use crate::top::Top;

/// Scratch memory of one thread.
pub(crate) struct Workspace {
    pub(crate) cpu: Cpu,
    pub(crate) wide: [Line; 2],
    pub(crate) weights: Line,
    pub(crate) top: [Top; 2],
}

impl Workspace {
    pub(crate) fn new(cpu: Cpu) -> Box<Self> {
        Box::new(Self {
            cpu,
            wide: [const { Line::new() }; 2],
            weights: Line::new(),
            top: Default::default(),
        })
    }
}

/// Chunk of `row` from `start` on, as f32, its end filled with masked tokens to
/// a whole number of lanes.
#[inline]
pub(crate) fn chunk<'a, L: Logit>(row: &'a [L], start: usize, wide: &'a mut Line) -> &'a [f32] {
    let part = &row[start..row.len().min(start + CHUNK)];
    let whole = part.len().next_multiple_of(LANES);
    if whole == part.len() {
        return L::widen(part, &mut wide.0);
    }
    L::fill(part, &mut wide.0);
    wide.0[part.len()..whole].fill(f32::NEG_INFINITY);
    &wide.0[..whole]
}

/// What a chunk did to the maximum.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// Maxima of the chunk.
    pub(crate) maxima: Maxima,
    /// By how much the sums so far were scaled.
    pub(crate) factor: f64,
}

/// Running sums over one policy's row.
#[derive(Clone, Copy)]
pub(crate) struct Pass {
    pub(crate) max: f32,
    pub(crate) argmax: u32,
    top: u32,
    above: u32,
    rest: f64,
    slope: f64,
}

impl Pass {
    pub(crate) const START: Self = Self {
        max: f32::NEG_INFINITY,
        argmax: 0,
        top: 0,
        above: 0,
        rest: 0.0,
        slope: 0.0,
    };

    /// Sum of e^(z - max) so far.
    #[inline]
    pub(crate) fn total(&self) -> f64 {
        f64::from(self.top) + self.rest
    }

    /// Raises the maximum to the chunk's; `None` where the chunk holds NaN or
    /// +inf.
    #[inline]
    pub(crate) fn raise(&mut self, cpu: Cpu, chunk: &[f32], start: usize) -> Option<Step> {
        let maxima = maxima(cpu, chunk);
        if !maxima.finite {
            return None;
        }
        let chunk_max = maxima.max;
        let mut factor = 1.0;
        if chunk_max > self.max {
            let fall = f64::from(self.max) - f64::from(chunk_max);
            if self.max > f32::NEG_INFINITY {
                factor = exp_f64(fall);
                self.slope = factor * (self.slope + fall * self.total());
                self.rest = factor * self.total();
            }
            self.top = 0;
            self.max = chunk_max;
            let first = chunk.iter().position(|&z| z == chunk_max).unwrap_or(0);
            self.argmax = (start + first) as u32;
        }
        Some(Step { maxima, factor })
    }

    /// Adds the chunk's sums; `weights` then holds e^(z - max).
    #[inline]
    pub(crate) fn add(&mut self, cpu: Cpu, chunk: &[f32], target: f32, weights: &mut Line) {
        if self.max == f32::NEG_INFINITY {
            return;
        }
        let sums = scan(cpu, chunk, self.max, target, weights);
        self.rest += sums.rest;
        self.slope += sums.slope;
        self.top += sums.top;
        self.above += sums.above;
    }

    /// ln of the normaliser; `None` where every token is masked.
    pub(crate) fn normaliser(&self) -> Option<Normaliser> {
        (self.max > f32::NEG_INFINITY).then(|| Normaliser {
            max: self.max,
            ln_sum: libm::log1p(f64::from(self.top) - 1.0 + self.rest),
        })
    }

    /// The metrics of the row.
    pub(crate) fn metrics(&self, target: f32, top: &mut Top) -> Option<RowMetrics> {
        let norm = self.normaliser()?;
        Some(RowMetrics {
            entropy_nats: norm.ln_sum - self.slope / self.total(),
            logprob: norm.logprob(target),
            rank: 1 + self.above,
            argmax: self.argmax,
            ties_at_top: self.top,
            log_normaliser: norm.log_normaliser(),
            topk: top
                .finish()
                .iter()
                .map(|&(z, id)| (id, norm.logprob(z)))
                .collect(),
        })
    }
}

/// The first token of a row that is NaN or +inf, as an error.
pub(crate) fn not_finite<L: Logit>(row: &[L], at: usize, side: Side) -> MetricsError {
    let bad = |z: f32| z.is_nan() || z == f32::INFINITY;
    let token = row.iter().position(|z| bad(z.to_f32())).unwrap_or(0);
    let is_nan = row.get(token).is_some_and(|z| z.to_f32().is_nan());
    MetricsError::NotFinite {
        row: at,
        side,
        token,
        value: if is_nan { "NaN" } else { "+inf" },
    }
}
