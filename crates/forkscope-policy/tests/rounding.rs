//! A policy in bf16: what changes, how far, and what does not.

mod common;

use common::*;
use forkscope_policy::{Policy, Rounding};

const MODELS: [&str; 4] = [
    "models/llama-default",
    "models/mistral",
    "models/qwen3",
    "models/qwen2",
];

fn open(name: &str) -> (Policy, Vec<u32>) {
    let dir = fixtures().join(name);
    let policy = Policy::open(dir.to_str().unwrap()).unwrap();
    (policy, ids(&json(&dir.join("golden.json"))["input_ids"]))
}

fn bits(rows: &[f32]) -> Vec<u32> {
    rows.iter().map(|x| x.to_bits()).collect()
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn rounding_moves_logits_a_little_and_leaves_the_policy_alone() {
    for name in MODELS {
        let (policy, ids) = open(name);
        let plain = teacher_forced(&policy, &ids);
        let largest = plain.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        for rounding in [Rounding::Weights, Rounding::Activations] {
            let rounded = policy.rounded(rounding);
            let logits = teacher_forced(&rounded, &ids);
            let far = farthest(&plain, &logits);
            assert!(
                far > 0.0 && far < 0.1 * largest,
                "{name} {rounding:?}: {far} of {largest}"
            );
            assert_eq!(bits(&plain), bits(&teacher_forced(&policy, &ids)), "{name}");
            // However the prefix is cut.
            let (cut, vocab) = (ids.len() / 2, policy.vocab_size());
            let part = logits_after(&rounded, &ids[..cut], &ids[cut..]);
            assert_eq!(bits(&part), bits(&logits[(cut - 1) * vocab..]), "{name}");
        }
    }
}

#[test]
fn rounded_activations_end_in_bf16_and_rounding_twice_is_rounding_once() {
    let (policy, ids) = open(MODELS[0]);
    let activations = policy.rounded(Rounding::Activations);
    let logits = teacher_forced(&activations, &ids);
    assert!(logits.iter().all(|x| x.to_bits() & 0xffff == 0));
    let again = activations.rounded(Rounding::Activations);
    assert_eq!(bits(&logits), bits(&teacher_forced(&again, &ids)));
    let weights = policy.rounded(Rounding::Weights);
    let twice = weights.rounded(Rounding::Weights);
    assert_eq!(
        bits(&teacher_forced(&weights, &ids)),
        bits(&teacher_forced(&twice, &ids))
    );
    assert_eq!(weights.files().place(), policy.files().place());
}

#[test]
fn rounded_weights_are_those_that_torch_rounds() {
    // AutoModelForCausalLM.from_pretrained(dir, torch_dtype=torch.bfloat16).to(torch.float32),
    // logits that predict the last id, transformers 5 on torch 2
    for (name, want) in [
        (
            "models/qwen3",
            [1.7300688, -5.4083486, 1.1692961, -1.1395487],
        ),
        (
            "models/qwen2",
            [-1.3070307, 1.8254174, 0.42431095, 2.957141],
        ),
    ] {
        let (policy, ids) = open(name);
        let logits = teacher_forced(&policy.rounded(Rounding::Weights), &ids);
        let last = &logits[logits.len() - policy.vocab_size()..][..4];
        assert!(farthest(last, &want) < 2e-5, "{name}: {last:?} {want:?}");
    }
}

#[test]
fn an_adapter_is_rounded_with_the_weights() {
    let case = &cases("adapters")[0];
    let model = fixtures().join(text(case, "base"));
    let adapter = fixtures().join(text(case, "dir"));
    let spec = format!("{}+{}", model.display(), adapter.display());
    let policy = Policy::open(&spec).unwrap();
    let ids = ids(&json(&model.join("golden.json"))["input_ids"]);
    let plain = teacher_forced(&policy, &ids);
    let rounded = teacher_forced(&policy.rounded(Rounding::Weights), &ids);
    assert!(farthest(&plain, &rounded) > 0.0);
}
