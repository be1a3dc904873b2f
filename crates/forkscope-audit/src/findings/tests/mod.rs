//! Tests of the findings: by hand, against a plain bootstrap, hostile input.

mod by_hand;
mod hostile;
mod resampled;

use forkscope_metrics::rng::Key;
use forkscope_records::types::{DiffRow, FinishReason, Rollout, ShiftClass, TopK, Validity};

use super::*;

fn rollout(problem_id: &str, sample: u32, prompt_len: usize, completion: usize) -> Rollout {
    Rollout {
        problem_id: problem_id.into(),
        sample,
        token_ids: vec![0; prompt_len + completion],
        prompt_len,
        finish_reason: FinishReason::Eos,
        text: String::new(),
        correct: None,
        validity: Validity::Ok,
        logprobs: None,
    }
}

/// A row at which nothing differs.
fn row(problem_id: &str, sample: u32, t: u32) -> DiffRow {
    DiffRow {
        problem_id: problem_id.into(),
        sample,
        t,
        token_id: 0,
        validity: Validity::Ok,
        entropy_base_nats: 0.0,
        entropy_tuned_nats: 0.0,
        kl_tuned_base_nats: Some(0.0),
        kl_base_tuned_nats: Some(0.0),
        js_nats: 0.0,
        tv: 0.0,
        ce_base_tuned_nats: Some(0.0),
        delta_logprob: Some(0.0),
        logprob_base: 0.0,
        logprob_tuned: 0.0,
        rank_base: 1,
        rank_tuned: 1,
        argmax_base_id: 0,
        argmax_tuned_id: 0,
        mass_outside_base: 0.0,
        mass_outside_tuned: 0.0,
        base_rank_of_tuned_argmax: 1,
        class: ShiftClass::Unshifted,
        topk_base: TopK::default(),
        topk_tuned: TopK::default(),
    }
}

/// Rollouts and rows of a pair that differs here and there, with ties, nulls
/// and rows left out.
fn synthetic(seed: u64, problems: u64, samples: u32) -> (Vec<Rollout>, Vec<DiffRow>) {
    let (mut rollouts, mut rows) = (Vec::new(), Vec::new());
    for problem in 0..problems {
        for sample in 0..samples {
            let name = format!("p{problem}");
            let mut draws = Key::new(seed, &name, sample, "test").rng_at(0);
            let length = 1 + draws.below(12) as usize;
            let mut own = rollout(&name, sample, 3, length);
            own.correct = (draws.below(5) > 0).then(|| draws.coin());
            own.validity = match draws.below(6) {
                0 => Validity::Truncated,
                _ => Validity::Ok,
            };
            rollouts.push(own);
            rows.extend((0..length as u32).map(|i| drawn_row(&mut draws, &name, sample, 3 + i)));
        }
    }
    (rollouts, rows)
}

fn drawn_row(
    draws: &mut forkscope_metrics::rng::Draws,
    name: &str,
    sample: u32,
    t: u32,
) -> DiffRow {
    let entropy = draws.below(6) as f64 / 2.0;
    let changed = draws.uniform() < 0.1 + entropy / 6.0;
    let kl = if changed {
        draws.uniform()
    } else {
        0.2 * draws.uniform().powi(3)
    };
    let base = draws.below(4) as u32;
    DiffRow {
        token_id: draws.below(6) as u32,
        validity: if draws.below(15) == 0 {
            Validity::NonFinite
        } else {
            Validity::Ok
        },
        entropy_base_nats: entropy,
        entropy_tuned_nats: draws.uniform(),
        kl_tuned_base_nats: (draws.below(10) > 0).then_some(kl),
        kl_base_tuned_nats: Some(2.0 * kl),
        js_nats: kl / 4.0,
        tv: kl / 2.0,
        ce_base_tuned_nats: (draws.below(10) > 0).then_some(kl + entropy),
        delta_logprob: (draws.below(10) > 0).then_some(draws.uniform() - 0.5),
        argmax_base_id: base,
        argmax_tuned_id: if changed { base + 1 } else { base },
        mass_outside_base: 0.0,
        mass_outside_tuned: 0.0,
        base_rank_of_tuned_argmax: if changed {
            1 + draws.below(8) as u32
        } else {
            1
        },
        ..row(name, sample, t)
    }
}

fn no_text(_: u32) -> Option<String> {
    None
}

/// The input without costs and other rollouts.
fn input<'a>(rollouts: &'a [Rollout], rows: &'a [DiffRow]) -> FindingInput<'a> {
    FindingInput {
        rows,
        rollouts,
        rollouts_by: Some(Side::Base),
        other_rollouts: None,
        base_cost: Some(ModelCost {
            flops_per_token: 10.0,
            attention_flops_per_token_per_context: 2.0,
        }),
        tuned_cost: Some(ModelCost {
            flops_per_token: 10.0,
            attention_flops_per_token_per_context: 2.0,
        }),
        pieces: &no_text,
    }
}
