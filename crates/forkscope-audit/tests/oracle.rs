//! Every pair metric of the embedded pair against an f64 oracle: transformers'
//! logits, numpy's sums (see the fixtures' README).

use std::path::{Path, PathBuf};

use forkscope_audit::{DiffSettings, diff_window};
use forkscope_metrics::{PairMetrics, pair_rows, reference};
use forkscope_policy::{Policy, PromptGroup};
use forkscope_records::types::{DiffRow, FinishReason, Rollout, Validity};
use serde_json::Value;

fn rollouts(golden: &Value) -> Vec<Rollout> {
    let list = golden["rollouts"].as_array().expect("rollouts");
    list.iter()
        .map(|r| Rollout {
            problem_id: r["problem_id"].as_str().expect("id").into(),
            sample: r["sample"].as_u64().expect("sample") as u32,
            token_ids: r["token_ids"]
                .as_array()
                .expect("ids")
                .iter()
                .map(|v| v.as_u64().expect("id") as u32)
                .collect(),
            prompt_len: r["prompt_len"].as_u64().expect("length") as usize,
            finish_reason: FinishReason::Eos,
            text: String::new(),
            correct: None,
            validity: Validity::Ok,
            logprobs: None,
        })
        .collect()
}

/// Relative 1e-4, absolute 1e-6 near zero.
fn close(ours: f64, oracle: f64) -> bool {
    (ours - oracle).abs() <= 1e-6f64.max(1e-4 * oracle.abs())
}

/// The same where the oracle looked at other f32 logits than we did: two f32
/// forward passes differ by some 1e-5 in a logit, so no small difference of
/// log-probs can agree better than that.
fn close_to_other_logits(ours: f64, oracle: f64) -> bool {
    (ours - oracle).abs() <= 2e-5 + 1e-4 * oracle.abs()
}

type Column = (&'static str, fn(&DiffRow) -> f64);

const FLOATS: [Column; 10] = [
    ("entropy_base_nats", |r| r.entropy_base_nats),
    ("entropy_tuned_nats", |r| r.entropy_tuned_nats),
    ("kl_tuned_base_nats", |r| {
        r.kl_tuned_base_nats.unwrap_or(f64::NAN)
    }),
    ("kl_base_tuned_nats", |r| {
        r.kl_base_tuned_nats.unwrap_or(f64::NAN)
    }),
    ("js_nats", |r| r.js_nats),
    ("tv", |r| r.tv),
    ("ce_base_tuned_nats", |r| {
        r.ce_base_tuned_nats.unwrap_or(f64::NAN)
    }),
    ("delta_logprob", |r| r.delta_logprob.unwrap_or(f64::NAN)),
    ("logprob_base", |r| f64::from(r.logprob_base)),
    ("logprob_tuned", |r| f64::from(r.logprob_tuned)),
];

const WHOLE: [Column; 5] = [
    ("rank_base", |r| f64::from(r.rank_base)),
    ("rank_tuned", |r| f64::from(r.rank_tuned)),
    ("argmax_base_id", |r| f64::from(r.argmax_base_id)),
    ("argmax_tuned_id", |r| f64::from(r.argmax_tuned_id)),
    ("base_rank_of_tuned_argmax", |r| {
        f64::from(r.base_rank_of_tuned_argmax)
    }),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../forkscope-policy/tests/fixtures/pair")
}

fn golden() -> Value {
    let bytes = std::fs::read(fixtures().join("pair.json")).expect("golden file");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn pair() -> (Policy, Policy) {
    let organism = Path::new(env!("CARGO_MANIFEST_DIR")).join("../forkscope/assets/organism");
    let base = organism.join("base").display().to_string();
    let tuned = format!("{base}+{}", organism.join("reasoner").display());
    Policy::open_pair(&base, &tuned).expect("the embedded pair")
}

/// The oracle's value of a column for every position, in order.
fn column<'a>(golden: &'a Value, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    let rollouts = golden["rollouts"].as_array().expect("rollouts");
    rollouts
        .iter()
        .flat_map(move |r| r[name].as_array().expect(name))
        .map(move |v| v.as_f64().expect(name))
}

#[test]
fn rows_of_the_pair_agree_with_transformers_and_numpy() {
    let golden = golden();
    let (base, tuned) = pair();
    assert!(base.shares_weights_with(&tuned));
    let rollouts = rollouts(&golden);
    let window: Vec<&Rollout> = rollouts.iter().collect();
    let rows = diff_window(&base, &tuned, &window, DiffSettings::default()).expect("rows");
    assert_eq!(
        rows.len() as u64,
        golden["positions"].as_u64().expect("positions")
    );
    for (name, ours) in FLOATS {
        for (row, oracle) in rows.iter().zip(column(&golden, name)) {
            assert!(
                close_to_other_logits(ours(row), oracle),
                "{name}, t {}: {} against {oracle}",
                row.t,
                ours(row)
            );
        }
    }
    for (name, ours) in WHOLE {
        for (row, oracle) in rows.iter().zip(column(&golden, name)) {
            assert_eq!(ours(row), oracle, "{name}, t {}", row.t);
        }
    }
}

/// The oracle's own logits, so that nothing but the metrics is compared.
#[test]
fn metrics_of_the_oracles_logits_agree_with_numpy() {
    let golden = golden();
    let bytes = std::fs::read(fixtures().join("rows.safetensors")).expect("golden rows");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let floats = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).expect(name).data();
        data.chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    };
    let ids = file.tensor("token_ids").expect("ids");
    let targets: Vec<u32> = ids
        .data()
        .chunks_exact(8)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    let (base, tuned) = (floats("base"), floats("tuned"));
    let vocab = base.len() / targets.len();
    let rows = pair_rows(&base, vocab, &tuned, vocab, &targets, 5).expect("metrics");
    type Metric = (&'static str, fn(&PairMetrics) -> f64);
    let metrics: [Metric; 8] = [
        ("entropy_base_nats", |m| m.base.entropy_nats),
        ("entropy_tuned_nats", |m| m.tuned.entropy_nats),
        ("kl_tuned_base_nats", |m| {
            m.kl_tuned_base_nats.unwrap_or(f64::NAN)
        }),
        ("kl_base_tuned_nats", |m| {
            m.kl_base_tuned_nats.unwrap_or(f64::NAN)
        }),
        ("js_nats", |m| m.js_nats),
        ("tv", |m| m.tv),
        ("ce_base_tuned_nats", |m| {
            m.ce_base_tuned_nats.unwrap_or(f64::NAN)
        }),
        ("delta_logprob", |m| m.delta_logprob.unwrap_or(f64::NAN)),
    ];
    for (name, ours) in metrics {
        for (i, (row, oracle)) in rows.iter().zip(column(&golden, name)).enumerate() {
            assert!(
                close(ours(row), oracle),
                "{name}, row {i}: {} against {oracle}",
                ours(row)
            );
        }
    }
}

/// All rows of both real models, fast path against f64 on the same logits.
#[test]
fn the_fast_path_agrees_with_the_f64_reference_on_real_logits() {
    let golden = golden();
    let (base, tuned) = pair();
    for r in &rollouts(&golden) {
        let (prompt, completion) = r.token_ids.split_at(r.prompt_len);
        let logits = |policy: &Policy| {
            let hidden = policy
                .hidden_rows(&[PromptGroup {
                    prompt,
                    completions: vec![completion],
                }])
                .expect("hidden states");
            let mut out = Vec::new();
            policy.logits(&hidden.values, &mut out);
            out
        };
        let (b, t, v) = (logits(&base), logits(&tuned), base.vocab_size());
        for (i, fast) in pair_rows(&b, v, &t, v, completion, 5)
            .expect("metrics")
            .iter()
            .enumerate()
        {
            let row = i * v..(i + 1) * v;
            let exact =
                reference::pair_row(&b[row.clone()], &t[row], completion[i], 5).expect("reference");
            let pairs = [
                (fast.base.entropy_nats, exact.base.entropy_nats),
                (fast.tuned.entropy_nats, exact.tuned.entropy_nats),
                (
                    fast.kl_tuned_base_nats.expect("finite"),
                    exact.kl_tuned_base_nats.expect("finite"),
                ),
                (
                    fast.kl_base_tuned_nats.expect("finite"),
                    exact.kl_base_tuned_nats.expect("finite"),
                ),
                (fast.js_nats, exact.js_nats),
                (fast.tv, exact.tv),
                (
                    fast.ce_base_tuned_nats.expect("finite"),
                    exact.ce_base_tuned_nats.expect("finite"),
                ),
                (
                    fast.delta_logprob.expect("finite"),
                    exact.delta_logprob.expect("finite"),
                ),
            ];
            assert!(
                pairs.iter().all(|(a, b)| close(*a, *b)),
                "row {i}: {pairs:?}"
            );
            assert_eq!(
                (fast.base.rank, fast.tuned.rank),
                (exact.base.rank, exact.tuned.rank)
            );
            assert_eq!(
                (fast.base.argmax, fast.tuned.argmax),
                (exact.base.argmax, exact.tuned.argmax)
            );
            assert_eq!(
                fast.base_rank_of_tuned_argmax,
                exact.base_rank_of_tuned_argmax
            );
            assert!(
                fast.kl_tuned_base_nats >= Some(0.0)
                    && fast.kl_base_tuned_nats >= Some(0.0)
                    && fast.js_nats >= 0.0
            );
        }
    }
}

#[test]
fn a_policy_against_itself_differs_nowhere() {
    let (policy, _) = pair();
    let rollouts = rollouts(&golden());
    let window: Vec<&Rollout> = rollouts.iter().collect();
    for row in diff_window(&policy, &policy, &window, DiffSettings::default()).expect("rows") {
        let difference = (
            row.kl_tuned_base_nats,
            row.js_nats,
            row.tv,
            row.delta_logprob,
        );
        assert_eq!(difference, (Some(0.0), 0.0, 0.0, Some(0.0)));
    }
}
