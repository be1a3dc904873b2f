//! Rows of one policy, and of a pair, over teacher-forced rollouts.
//!
//! The base goes first and its hidden states are kept (rows x hidden, small);
//! then the tuned policy; then both heads look at one block of rows at a time,
//! so that neither two models nor a T x V matrix need be in memory at once.

use forkscope_metrics::{
    Class, MetricsError, PairMetrics, RowMetrics, class, pair_rows, score_rows,
};
use forkscope_policy::{HiddenRows, Policy, PromptGroup};
use forkscope_records::types::{DiffRow, Rollout, ScoreRow, ShiftClass, TopK, Validity};

use crate::AuditError;
use crate::windows::{groups, place};

/// What `diff` records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiffSettings {
    /// Base rank up to which a changed argmax counts as reranked.
    pub class_k: u32,
    /// Tokens recorded per policy and position.
    pub record_topk: usize,
}

impl Default for DiffSettings {
    fn default() -> Self {
        Self {
            class_k: 5,
            record_topk: 5,
        }
    }
}

/// One row per completion position of the rollouts, in order.
pub fn score_window(
    policy: &Policy,
    rollouts: &[&Rollout],
    topk: usize,
) -> Result<Vec<ScoreRow>, AuditError> {
    Ok(score_window_keeping(policy, rollouts, topk)?.0)
}

/// The rows of [`score_window`] with the hidden states that they were computed
/// from, one each.
pub fn score_window_keeping(
    policy: &Policy,
    rollouts: &[&Rollout],
    topk: usize,
) -> Result<(Vec<ScoreRow>, HiddenRows), AuditError> {
    let hidden = policy.hidden_rows(&groups(rollouts))?;
    let targets = targets(rollouts);
    let mut logits = Vec::new();
    let mut out = Vec::with_capacity(targets.len());
    let block = policy.block_rows();
    let mut places = Places::new(rollouts);
    for (i, targets) in targets.chunks(block).enumerate() {
        let first = i * block;
        policy.logits(rows_of(&hidden, first, targets.len()), &mut logits);
        let metrics = score_rows(&logits, policy.vocab_size(), targets, topk)
            .map_err(|e| bad_row(e, rollouts, first))?;
        for (m, token_id) in metrics.into_iter().zip(targets) {
            let (rollout, t) = places.next_place()?;
            out.push(score_row(rollout, t, *token_id, m));
        }
    }
    Ok((out, hidden))
}

/// Hidden states that predict all tokens of each prompt but its first, in order.
pub fn prompt_rows(policy: &Policy, prompts: &[&[u32]]) -> Result<HiddenRows, AuditError> {
    let groups: Vec<PromptGroup<'_>> = prompts
        .iter()
        .filter_map(|prompt| prompt.split_at_checked(1))
        .map(|(first, rest)| PromptGroup {
            prompt: first,
            completions: vec![rest],
        })
        .collect();
    Ok(policy.hidden_rows(&groups)?)
}

/// One row per completion position of the rollouts, in order.
pub fn diff_window(
    base: &Policy,
    tuned: &Policy,
    rollouts: &[&Rollout],
    settings: DiffSettings,
) -> Result<Vec<DiffRow>, AuditError> {
    let groups = groups(rollouts);
    let base_hidden = base.hidden_rows(&groups)?;
    let shared = base.shares_weights_with(tuned);
    if !shared {
        base.release();
    }
    let tuned_hidden = tuned.hidden_rows(&groups)?;
    if !shared {
        tuned.release();
    }
    let targets = targets(rollouts);
    let (mut base_logits, mut tuned_logits) = (Vec::new(), Vec::new());
    let mut out = Vec::with_capacity(targets.len());
    let block = base.block_rows().min(tuned.block_rows());
    let mut places = Places::new(rollouts);
    for (i, targets) in targets.chunks(block).enumerate() {
        let first = i * block;
        base.logits(
            rows_of(&base_hidden, first, targets.len()),
            &mut base_logits,
        );
        tuned.logits(
            rows_of(&tuned_hidden, first, targets.len()),
            &mut tuned_logits,
        );
        let metrics = pair_rows(
            &base_logits,
            base.vocab_size(),
            &tuned_logits,
            tuned.vocab_size(),
            targets,
            settings.record_topk,
        )
        .map_err(|e| bad_row(e, rollouts, first))?;
        for (m, token_id) in metrics.into_iter().zip(targets) {
            let (rollout, t) = places.next_place()?;
            out.push(diff_row(rollout, t, *token_id, m, settings.class_k));
        }
    }
    if !shared {
        base.release();
        tuned.release();
    }
    Ok(out)
}

pub(crate) fn rows_of(hidden: &HiddenRows, first: usize, n: usize) -> &[f32] {
    &hidden.values[first * hidden.width..(first + n) * hidden.width]
}

pub(crate) fn targets(rollouts: &[&Rollout]) -> Vec<u32> {
    rollouts
        .iter()
        .flat_map(|r| r.completion().iter().copied())
        .collect()
}

/// Walks the positions of a window in the order of its rows.
pub(crate) struct Places<'a, 'r> {
    rollouts: &'a [&'r Rollout],
    rollout: usize,
    t: usize,
}

impl<'a, 'r> Places<'a, 'r> {
    pub(crate) fn new(rollouts: &'a [&'r Rollout]) -> Self {
        Self {
            rollouts,
            rollout: 0,
            t: rollouts.first().map_or(0, |r| r.prompt_len),
        }
    }

    pub(crate) fn next_place(&mut self) -> Result<(&'r Rollout, u32), AuditError> {
        loop {
            let Some(rollout) = self.rollouts.get(self.rollout) else {
                return Err(AuditError::Internal("more rows than positions".into()));
            };
            if self.t < rollout.token_ids.len() {
                self.t += 1;
                return Ok((rollout, (self.t - 1) as u32));
            }
            self.rollout += 1;
            self.t = self.rollouts.get(self.rollout).map_or(0, |r| r.prompt_len);
        }
    }
}

/// The row that an error is about.
pub(crate) fn row_of(error: &MetricsError) -> Option<usize> {
    match error {
        MetricsError::NotFinite { row, .. }
        | MetricsError::AllMasked { row, .. }
        | MetricsError::TargetOutside { row, .. } => Some(*row),
        _ => None,
    }
}

pub(crate) fn bad_row(error: MetricsError, rollouts: &[&Rollout], first: usize) -> AuditError {
    match row_of(&error).and_then(|row| place(rollouts, first + row)) {
        Some((rollout, t)) => AuditError::Broken {
            problem_id: rollout.problem_id.clone(),
            sample: rollout.sample,
            t,
            source: error,
        },
        None => AuditError::Metrics(error),
    }
}

fn top(tokens: &[(u32, f64)]) -> TopK {
    TopK {
        ids: tokens.iter().map(|t| t.0).collect(),
        logprobs: tokens.iter().map(|t| t.1 as f32).collect(),
    }
}

fn score_row(rollout: &Rollout, t: u32, token_id: u32, m: RowMetrics) -> ScoreRow {
    ScoreRow {
        problem_id: rollout.problem_id.clone(),
        sample: rollout.sample,
        t,
        token_id,
        validity: Validity::Ok,
        entropy_nats: m.entropy_nats,
        logprob: m.logprob as f32,
        rank: m.rank,
        argmax_id: m.argmax,
        topk: top(&m.topk),
    }
}

pub(crate) fn diff_row(
    rollout: &Rollout,
    t: u32,
    token_id: u32,
    m: PairMetrics,
    class_k: u32,
) -> DiffRow {
    let class = match class(
        m.base.argmax,
        m.tuned.argmax,
        m.base_rank_of_tuned_argmax,
        class_k,
    ) {
        Class::Unshifted => ShiftClass::Unshifted,
        Class::Reranked => ShiftClass::Reranked,
        Class::Shifted => ShiftClass::Shifted,
    };
    DiffRow {
        problem_id: rollout.problem_id.clone(),
        sample: rollout.sample,
        t,
        token_id,
        validity: Validity::Ok,
        entropy_base_nats: m.base.entropy_nats,
        entropy_tuned_nats: m.tuned.entropy_nats,
        kl_tuned_base_nats: m.kl_tuned_base_nats,
        kl_base_tuned_nats: m.kl_base_tuned_nats,
        js_nats: m.js_nats,
        tv: m.tv,
        ce_base_tuned_nats: m.ce_base_tuned_nats,
        delta_logprob: m.delta_logprob,
        logprob_base: m.base.logprob as f32,
        logprob_tuned: m.tuned.logprob as f32,
        rank_base: m.base.rank,
        rank_tuned: m.tuned.rank,
        argmax_base_id: m.base.argmax,
        argmax_tuned_id: m.tuned.argmax,
        base_rank_of_tuned_argmax: m.base_rank_of_tuned_argmax,
        class,
        mass_outside_base: m.mass_outside_base,
        mass_outside_tuned: m.mass_outside_tuned,
        topk_base: top(&m.base.topk),
        topk_tuned: top(&m.tuned.topk),
    }
}
