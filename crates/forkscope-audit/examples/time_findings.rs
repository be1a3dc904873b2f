//! Times the findings on made-up rows: `time_findings [rows] [problems]`.

use std::time::Instant;

use forkscope_audit::findings::{FindingInput, FindingSettings, ModelCost, Side, findings};
use forkscope_metrics::rng::Key;
use forkscope_records::types::{DiffRow, FinishReason, Rollout, ShiftClass, TopK, Validity};

/// Completion tokens per rollout.
const LENGTH: u32 = 66;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse::<u64>().ok());
    let rows = arguments.next().unwrap_or(53_000);
    let problems = arguments.next().unwrap_or(40).max(1);
    let rollouts: Vec<Rollout> = (0..rows.div_ceil(LENGTH.into()))
        .map(|i| rollout(i * problems / rows.div_ceil(LENGTH.into()), i as u32))
        .collect();
    let rows: Vec<DiffRow> = rollouts.iter().flat_map(rows_of).collect();
    let cost = ModelCost {
        flops_per_token: 1e7,
        attention_flops_per_token_per_context: 1e4,
    };
    let input = FindingInput {
        rows: &rows,
        rollouts: &rollouts,
        rollouts_by: Some(Side::Base),
        other_rollouts: Some(&rollouts),
        base_cost: Some(cost),
        tuned_cost: Some(cost),
        pieces: &|token| Some(format!("token {token}")),
    };
    for _ in 0..3 {
        let start = Instant::now();
        match findings(&input, &FindingSettings::default()) {
            Ok(found) => println!(
                "{} findings of {} rows, {problems} problems: {:.1} ms",
                found.findings.len(),
                rows.len(),
                start.elapsed().as_secs_f64() * 1e3
            ),
            Err(error) => println!("failed: {error}"),
        }
    }
}

fn rollout(problem: u64, sample: u32) -> Rollout {
    Rollout {
        problem_id: format!("problem-{problem}"),
        sample,
        token_ids: vec![1; 20 + LENGTH as usize],
        prompt_len: 20,
        finish_reason: FinishReason::Eos,
        text: String::new(),
        correct: Some(sample.is_multiple_of(3)),
        validity: Validity::Ok,
        logprobs: None,
    }
}

fn rows_of(rollout: &Rollout) -> Vec<DiffRow> {
    let mut draws = Key::new(1, &rollout.problem_id, rollout.sample, "example").rng_at(0);
    let mut row = |t| {
        let entropy = 4.0 * draws.uniform().powi(6);
        let changed = draws.uniform() < 0.01 + entropy / 20.0;
        let kl = draws.uniform().powi(8) + if changed { draws.uniform() } else { 0.0 };
        let base = draws.below(4000) as u32;
        DiffRow {
            problem_id: rollout.problem_id.clone(),
            sample: rollout.sample,
            t,
            token_id: base,
            validity: Validity::Ok,
            entropy_base_nats: entropy,
            entropy_tuned_nats: entropy / 2.0,
            kl_tuned_base_nats: Some(kl),
            kl_base_tuned_nats: Some(kl * 1.1),
            js_nats: kl / 4.0,
            tv: kl / 5.0,
            ce_base_tuned_nats: Some(kl + entropy),
            delta_logprob: Some(draws.uniform() - 0.5),
            logprob_base: -1.0,
            logprob_tuned: -1.0,
            rank_base: 1,
            rank_tuned: 1,
            argmax_base_id: base,
            argmax_tuned_id: if changed { base / 2 } else { base },
            mass_outside_base: 0.0,
            mass_outside_tuned: 0.0,
            base_rank_of_tuned_argmax: if changed {
                2 + draws.below(5) as u32
            } else {
                1
            },
            class: ShiftClass::Unshifted,
            topk_base: top_k(),
            topk_tuned: top_k(),
        }
    };
    (20..20 + LENGTH).map(&mut row).collect()
}

fn top_k() -> TopK {
    TopK {
        ids: vec![1, 2, 3, 4, 5],
        logprobs: vec![-0.1, -2.0, -3.0, -4.0, -5.0],
    }
}
