//! Metrics of one policy at one position, from its full row of logits.
//!
//! p = softmax(z) at T = 1 over the vocabulary, masked tokens (z = -inf) having
//! p = 0:
//! - `entropy_nats` H = -sum p ln p = ln S - sum (z - max) e^(z - max) / S with
//!   S = sum e^(z - max), nats;
//! - `logprob` ln p(x) = (z_x - max) - ln S, nats;
//! - `rank` 1 + number of tokens with strictly greater logit than x;
//! - `argmax` the lowest id among the tokens of greatest logit, `ties_at_top`
//!   how many there are;
//! - `log_normaliser` ln sum e^z, nats.
//!
//! Accuracy against f64: relative 1e-4 or absolute 1e-6, mostly 1e-6 or better;
//! ranks, ids and ties exact. Same bits for any number of rows or threads.

use crate::error::MetricsError;
use crate::kernels::{CHUNK, Cpu, scaled_exp};
use crate::logit::Logit;
use crate::pair::Side;
use crate::pass::{Pass, Workspace, chunk, not_finite};
use rayon::prelude::*;

/// Rows are handed to threads in runs of at least this many logits.
const LOGITS_PER_TASK: usize = 32_768;

/// Metrics of one policy at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct RowMetrics {
    /// H(p), nats.
    pub entropy_nats: f64,
    /// ln p of the target; -inf where it is masked.
    pub logprob: f64,
    /// 1 + number of tokens with strictly greater logit than the target.
    pub rank: u32,
    /// Lowest id among the tokens of greatest logit.
    pub argmax: u32,
    /// Number of tokens of greatest logit.
    pub ties_at_top: u32,
    /// ln sum e^z, nats.
    pub log_normaliser: f64,
    /// The k most probable tokens with their ln p, most probable first, ties by
    /// lowest id; masked tokens are not listed, so it may be shorter than k.
    pub topk: Vec<(u32, f64)>,
}

/// What turns a logit into a log-probability: subtract `max`, then `ln_sum`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normaliser {
    /// Greatest logit.
    pub max: f32,
    /// ln sum e^(z - max), >= 0, nats.
    pub ln_sum: f64,
}

impl Normaliser {
    /// ln p of the token with logit `z`.
    #[inline]
    pub fn logprob(&self, z: f32) -> f64 {
        (f64::from(z) - f64::from(self.max)) - self.ln_sum
    }

    /// ln sum e^z.
    #[inline]
    pub fn log_normaliser(&self) -> f64 {
        f64::from(self.max) + self.ln_sum
    }
}

/// Metrics of each row of `logits` (row-major, `vocab` per row) for the target
/// of the same index, with the `k` most probable tokens.
///
/// Runs on the current rayon pool. The first bad row is the error.
pub fn score_rows<L: Logit>(
    logits: &[L],
    vocab: usize,
    targets: &[u32],
    k: usize,
) -> Result<Vec<RowMetrics>, MetricsError> {
    check_shape(logits.len(), vocab, targets.len(), Side::Scored)?;
    let score = |workspace: &mut Box<Workspace>, row: usize| {
        let logits = &logits[row * vocab..(row + 1) * vocab];
        score_row(workspace, logits, targets[row], k, row)
    };
    map_rows(targets.len(), vocab, score)
}

/// Maps rows in parallel; the error is that of the first bad row.
pub(crate) fn map_rows<T: Send>(
    rows: usize,
    logits_per_row: usize,
    map: impl Fn(&mut Box<Workspace>, usize) -> Result<T, MetricsError> + Sync,
) -> Result<Vec<T>, MetricsError> {
    let cpu = Cpu::detect();
    let run = LOGITS_PER_TASK.div_ceil(logits_per_row.max(1));
    let parallel = (0..rows)
        .into_par_iter()
        .with_min_len(run)
        .map_init(|| Workspace::new(cpu), &map)
        .collect::<Result<Vec<T>, _>>();
    parallel.map_err(|any| {
        // Which error arrives first depends on the threads; look again in order.
        let mut workspace = Workspace::new(cpu);
        let first = (0..rows).find_map(|row| map(&mut workspace, row).err());
        first.unwrap_or(any)
    })
}

/// One row per target, and a vocabulary that ids can name.
pub(crate) fn check_shape(
    got: usize,
    vocab: usize,
    rows: usize,
    side: Side,
) -> Result<(), MetricsError> {
    if vocab == 0 {
        return Err(MetricsError::EmptyVocabulary(side));
    }
    if u32::try_from(vocab).is_err() {
        return Err(MetricsError::VocabularyTooLarge { side, vocab });
    }
    if rows.checked_mul(vocab) != Some(got) {
        return Err(MetricsError::Shape {
            side,
            got,
            rows,
            vocab,
        });
    }
    Ok(())
}

/// Logit of the target.
pub(crate) fn target_logit<L: Logit>(
    logits: &[L],
    target: u32,
    row: usize,
) -> Result<f32, MetricsError> {
    let outside = MetricsError::TargetOutside {
        row,
        target,
        vocab: logits.len(),
    };
    let logit = logits.get(target as usize).ok_or(outside)?;
    Ok(logit.to_f32())
}

fn score_row<L: Logit>(
    workspace: &mut Workspace,
    logits: &[L],
    target: u32,
    k: usize,
    row: usize,
) -> Result<RowMetrics, MetricsError> {
    let target = target_logit(logits, target, row)?;
    let [top, _] = &mut workspace.top;
    top.start(k);
    let mut pass = Pass::START;
    for start in (0..logits.len()).step_by(CHUNK) {
        let z = chunk(logits, start, &mut workspace.wide[0]);
        let step = pass
            .raise(workspace.cpu, z, start)
            .ok_or_else(|| not_finite(logits, row, Side::Scored))?;
        pass.add(workspace.cpu, z, target, &mut workspace.weights);
        top.absorb(workspace.cpu, z, &step.maxima, start);
    }
    let side = Side::Scored;
    pass.metrics(target, top)
        .ok_or(MetricsError::AllMasked { row, side })
}

/// Normaliser of one row, with the bits that [`score_rows`] uses.
pub fn normaliser(row: &[f32]) -> Result<Normaliser, MetricsError> {
    check_shape(row.len(), row.len(), 1, Side::Scored)?;
    let mut workspace = Workspace::new(Cpu::detect());
    let side = Side::Scored;
    whole_pass(&mut workspace, row)
        .ok_or_else(|| not_finite(row, 0, side))?
        .normaliser()
        .ok_or(MetricsError::AllMasked { row: 0, side })
}

/// First pass over a row without target or top-k; `None` where a logit is NaN
/// or +inf.
pub(crate) fn whole_pass<L: Logit>(workspace: &mut Workspace, logits: &[L]) -> Option<Pass> {
    let mut pass = Pass::START;
    for start in (0..logits.len()).step_by(CHUNK) {
        let z = chunk(logits, start, &mut workspace.wide[0]);
        pass.raise(workspace.cpu, z, start)?;
        pass.add(workspace.cpu, z, f32::INFINITY, &mut workspace.weights);
    }
    Some(pass)
}

/// Sampling probabilities at a temperature: softmax(z / T), given
/// 1/T >= 0, into `out` (as long as `row`); sums to 1 within rounding.
///
/// In f64 with an exponential of this crate's own, summed in order: the same
/// bits on every machine.
pub fn probabilities(
    row: &[f32],
    norm: &Normaliser,
    inverse_temperature: f64,
    out: &mut Vec<f64>,
) -> Result<(), MetricsError> {
    if !(0.0..f64::INFINITY).contains(&inverse_temperature) {
        return Err(MetricsError::Temperature(inverse_temperature));
    }
    out.clear();
    out.resize(row.len(), 0.0);
    scaled_exp(Cpu::detect(), row, norm.max, inverse_temperature, out);
    let total = ordered_sum(out);
    for p in out.iter_mut() {
        *p /= total;
    }
    Ok(())
}

/// Sum in eight interleaved lanes, added in order: fixed, and free to
/// vectorise.
fn ordered_sum(values: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    for group in values.chunks(8) {
        for (lane, value) in lanes.iter_mut().zip(group) {
            *lane += value;
        }
    }
    lanes.iter().sum()
}
