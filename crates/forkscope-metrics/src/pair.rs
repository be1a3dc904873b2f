//! Metrics of a pair of policies at one position, from full rows of logits.
//!
//! p = tuned, b = base, same prefix, T = 1; formulas in [`crate::divergence`]
//! and [`crate::row`]. Two passes over both rows, chunk by chunk: the first
//! gives what each policy has by itself (the same bits as
//! [`crate::score_rows`]) and the level of the logit difference, the second the
//! divergences.
//!
//! Where the vocabularies are of unequal size (padding of the embedding), both
//! rows are cut to the shared id prefix and renormalised, and everything is
//! computed there; `mass_outside` says what was cut.

use crate::divergence::level;
use crate::error::MetricsError;
use crate::kernels::{CHUNK, LevelTerms, PairSums, moments, pair};
use crate::logit::Logit;
use crate::pass::{Pass, Workspace, chunk, not_finite};
use crate::row::{RowMetrics, check_shape, map_rows, target_logit, whole_pass};
use std::fmt;

/// Whose logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The one policy that is scored.
    Scored,
    /// The base policy of a pair.
    Base,
    /// The tuned policy of a pair.
    Tuned,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scored => "scored",
            Self::Base => "base",
            Self::Tuned => "tuned",
        })
    }
}

/// Metrics of two policies at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct PairMetrics {
    /// The base by itself.
    pub base: RowMetrics,
    /// The tuned policy by itself.
    pub tuned: RowMetrics,
    /// KL(p||b), nats; `None` where only the base masks a token.
    pub kl_tuned_base_nats: Option<f64>,
    /// KL(b||p), nats; `None` where only the tuned policy masks a token.
    pub kl_base_tuned_nats: Option<f64>,
    /// Number of tokens that only the base masks.
    pub only_base_masks: u32,
    /// Number of tokens that only the tuned policy masks.
    pub only_tuned_masks: u32,
    /// Jensen-Shannon divergence, nats, in [0, ln 2].
    pub js_nats: f64,
    /// Total variation, in [0, 1].
    pub tv: f64,
    /// -sum b ln p = H(b) + KL(b||p), nats; `None` where infinite.
    pub ce_base_tuned_nats: Option<f64>,
    /// ln p - ln b of the target, nats; `None` where either masks it. Good to
    /// about 1e-7 relative even where the two log-probs agree to their last
    /// digit, so it may differ from their difference by that digit.
    pub delta_logprob: Option<f64>,
    /// 1 + number of tokens with greater base logit than the tuned argmax.
    pub base_rank_of_tuned_argmax: u32,
    /// Base probability of ids that the tuned policy's vocabulary lacks.
    pub mass_outside_base: f64,
    /// Tuned probability of ids that the base's vocabulary lacks.
    pub mass_outside_tuned: f64,
}

/// Metrics of each pair of rows (row-major) for the target of the same index,
/// with the `k` most probable tokens of both.
///
/// Runs on the current rayon pool. The first bad row is the error.
pub fn pair_rows<B: Logit, T: Logit>(
    base: &[B],
    base_vocab: usize,
    tuned: &[T],
    tuned_vocab: usize,
    targets: &[u32],
    k: usize,
) -> Result<Vec<PairMetrics>, MetricsError> {
    check_shape(base.len(), base_vocab, targets.len(), Side::Base)?;
    check_shape(tuned.len(), tuned_vocab, targets.len(), Side::Tuned)?;
    let compare = |workspace: &mut Box<Workspace>, row: usize| {
        let base = &base[row * base_vocab..(row + 1) * base_vocab];
        let tuned = &tuned[row * tuned_vocab..(row + 1) * tuned_vocab];
        pair_row(workspace, base, tuned, targets[row], k, row)
    };
    map_rows(targets.len(), base_vocab + tuned_vocab, compare)
}

/// What the first pass leaves.
struct First {
    base: Pass,
    tuned: Pass,
    /// f32(max of tuned - max of base) of the prefix so far.
    shift: f32,
    /// Sum of e^(z_b - max_b) d, d = z_p - z_b - shift.
    mean: f64,
    /// Sum of e^(z_b - max_b) d^2.
    square: f64,
}

impl First {
    const START: Self = Self {
        base: Pass::START,
        tuned: Pass::START,
        shift: 0.0,
        mean: 0.0,
        square: 0.0,
    };

    /// Moves the moments so far to new maxima. `weight` is the sum of the
    /// base's weights so far, already at its new maximum.
    fn recentre(&mut self, factor: f64, weight: f64) {
        self.mean *= factor;
        self.square *= factor;
        let shift = self.tuned.max - self.base.max;
        if shift != self.shift && shift.is_finite() {
            let by = f64::from(shift) - f64::from(self.shift);
            self.square += by * (by * weight - 2.0 * self.mean);
            self.mean -= by * weight;
            self.shift = shift;
        }
    }

    /// Difference of the log-normalisers beyond `shift`.
    fn level(&self) -> Option<f64> {
        let (base, tuned) = (self.base.normaliser()?, self.tuned.normaliser()?);
        let maxima = f64::from(self.tuned.max) - f64::from(self.base.max);
        let direct = (maxima - f64::from(self.shift)) + (tuned.ln_sum - base.ln_sum);
        let weight = self.base.total();
        Some(level(direct, self.mean / weight, self.square / weight))
    }
}

fn first_pass<B: Logit, T: Logit>(
    workspace: &mut Workspace,
    base: &[B],
    tuned: &[T],
    targets: [f32; 2],
    row: usize,
) -> Result<First, MetricsError> {
    let Workspace {
        cpu,
        wide: [wide_base, wide_tuned],
        weights,
        top: [top_base, top_tuned],
    } = workspace;
    let cpu = *cpu;
    let mut first = First::START;
    for start in (0..base.len()).step_by(CHUNK) {
        let b = chunk(base, start, wide_base);
        let t = chunk(tuned, start, wide_tuned);
        let step_base = first
            .base
            .raise(cpu, b, start)
            .ok_or_else(|| not_finite(base, row, Side::Base))?;
        let step_tuned = first
            .tuned
            .raise(cpu, t, start)
            .ok_or_else(|| not_finite(tuned, row, Side::Tuned))?;
        first.recentre(step_base.factor, first.base.total());
        first.tuned.add(cpu, t, targets[1], weights);
        // The base last: its weights stay for the moments.
        first.base.add(cpu, b, targets[0], weights);
        if first.base.max > f32::NEG_INFINITY {
            let (mean, square) = moments(cpu, b, t, &weights.0, first.shift);
            first.mean += mean;
            first.square += square;
        }
        top_base.absorb(cpu, b, &step_base.maxima, start);
        top_tuned.absorb(cpu, t, &step_tuned.maxima, start);
    }
    Ok(first)
}

fn second_pass<B: Logit, T: Logit>(
    workspace: &mut Workspace,
    base: &[B],
    tuned: &[T],
    at: &LevelTerms,
) -> PairSums {
    let Workspace {
        cpu,
        wide: [wide_base, wide_tuned],
        ..
    } = workspace;
    let mut sums = PairSums::default();
    for start in (0..base.len()).step_by(CHUNK) {
        let b = chunk(base, start, wide_base);
        let t = chunk(tuned, start, wide_tuned);
        sums += pair(*cpu, b, t, at);
    }
    sums
}

pub(crate) fn pair_row<B: Logit, T: Logit>(
    workspace: &mut Workspace,
    base_row: &[B],
    tuned_row: &[T],
    target: u32,
    k: usize,
    row: usize,
) -> Result<PairMetrics, MetricsError> {
    let shared = base_row.len().min(tuned_row.len());
    let (base, tuned) = (&base_row[..shared], &tuned_row[..shared]);
    let targets = [
        target_logit(base, target, row)?,
        target_logit(tuned, target, row)?,
    ];
    workspace.top.iter_mut().for_each(|top| top.start(k));
    let first = first_pass(workspace, base, tuned, targets, row)?;
    let masked = |side| MetricsError::AllMasked { row, side };
    let [top_base, top_tuned] = &mut workspace.top;
    let metrics_base = first
        .base
        .metrics(targets[0], top_base)
        .ok_or(masked(Side::Base))?;
    let metrics_tuned = first
        .tuned
        .metrics(targets[1], top_tuned)
        .ok_or(masked(Side::Tuned))?;
    let level = first.level().ok_or(masked(Side::Base))?;
    let at = LevelTerms {
        max_base: first.base.max,
        max_tuned: first.tuned.max,
        scale_base: (1.0 / first.base.total()) as f32,
        scale_tuned: (1.0 / first.tuned.total()) as f32,
        shift: first.shift,
        level: level as f32,
        threshold: target_logit(base, metrics_tuned.argmax, row)?,
    };
    let sums = second_pass(workspace, base, tuned, &at);
    let kl_base_tuned_nats = (sums.only_tuned_masks == 0).then_some(sums.kl_base_tuned);
    let delta = (f64::from(targets[1]) - f64::from(targets[0])) - (f64::from(at.shift) + level);
    Ok(PairMetrics {
        kl_tuned_base_nats: (sums.only_base_masks == 0).then_some(sums.kl_tuned_base),
        kl_base_tuned_nats,
        only_base_masks: sums.only_base_masks,
        only_tuned_masks: sums.only_tuned_masks,
        js_nats: sums.js,
        tv: 0.5 * sums.tv2,
        ce_base_tuned_nats: kl_base_tuned_nats.map(|kl| metrics_base.entropy_nats + kl),
        delta_logprob: delta.is_finite().then_some(delta),
        base_rank_of_tuned_argmax: 1 + sums.above,
        mass_outside_base: mass_outside(workspace, base_row, shared, &first.base)
            .ok_or_else(|| not_finite(base_row, row, Side::Base))?,
        mass_outside_tuned: mass_outside(workspace, tuned_row, shared, &first.tuned)
            .ok_or_else(|| not_finite(tuned_row, row, Side::Tuned))?,
        base: metrics_base,
        tuned: metrics_tuned,
    })
}

/// Share of the whole row's mass that lies beyond the shared prefix; `None`
/// where a logit there is NaN or +inf.
fn mass_outside<L: Logit>(
    workspace: &mut Workspace,
    whole: &[L],
    shared: usize,
    inside: &Pass,
) -> Option<f64> {
    let outside = &whole[shared..];
    if outside.is_empty() {
        return Some(0.0);
    }
    let pass = whole_pass(workspace, outside)?;
    let (Some(outside), Some(inside)) = (pass.normaliser(), inside.normaliser()) else {
        return Some(0.0);
    };
    // 1 / (1 + e^(inside - outside)).
    let gap = inside.log_normaliser() - outside.log_normaliser();
    Some(1.0 / (1.0 + libm::exp(gap)))
}
