//! One layer of full size (hidden 896, vocabulary 151,936) against
//! transformers, rebuilt from its recipe.

mod common;
#[path = "common/synthetic.rs"]
mod synthetic;

use common::*;
use forkscope_policy::Policy;

#[test]
fn a_full_size_layer_agrees_with_transformers() {
    let golden: synthetic::FullSize =
        serde_json::from_value(json(&fixtures().join("synthetic/full-size.json"))).unwrap();
    let dir = tempfile::tempdir().unwrap();
    golden.write_model(dir.path()).unwrap();
    let policy = Policy::open(dir.path().to_str().unwrap()).unwrap();
    let logits = teacher_forced(&policy, &golden.input_ids);
    let vocab = policy.vocab_size();
    let mut worst = 0.0f32;
    for (t, row) in logits.chunks(vocab).enumerate() {
        assert_eq!(argmax(row), golden.argmax[t], "row {t}");
        let max = f64::from(row[golden.argmax[t] as usize]);
        let sum: f64 = row.iter().map(|z| (f64::from(*z) - max).exp()).sum();
        assert!(
            (max + sum.ln() - golden.logsumexp[t]).abs() <= 2e-4,
            "row {t}"
        );
        for (id, expected) in golden.sample_ids.iter().zip(&golden.sample_logits[t]) {
            worst = worst.max((row[*id as usize] - expected).abs());
        }
    }
    assert!(worst <= 2e-4, "{worst:e}");
}
