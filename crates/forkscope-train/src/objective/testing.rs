//! What the tests of objectives share: small networks, and a head in f64.

use std::collections::BTreeMap;

use forkscope_metrics::rng::Key;
use forkscope_policy::ModelFiles;

use super::examples::Example;
use crate::engine::{Gradients, Head, HeadWeight, Network, PassOptions, Shard, Sums};

/// A decoder of one block with random weights of some size.
pub(crate) fn network(vocab: usize) -> Network {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": vocab, "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false
    });
    let files = BTreeMap::from([("config.json".to_owned(), config.to_string().into_bytes())]);
    let mut network = Network::initialised(&ModelFiles::in_memory("tiny", files), 3).unwrap();
    for parameter in network.parameters_mut() {
        if parameter.is_matrix() {
            parameter.values.iter_mut().for_each(|x| *x *= 10.0);
        }
    }
    network
}

/// Examples of random ids and lengths.
pub(crate) fn examples(n: usize, vocab: usize) -> Vec<Example> {
    let mut draws = Key::new(1, "examples", 0, "test").rng_at(0);
    let mut ids =
        |n: usize| -> Vec<u32> { (0..n).map(|_| draws.below(vocab as u64) as u32).collect() };
    (0..n)
        .map(|i| {
            let (prompt, completion) = (ids(1 + i % 5), ids(1 + i * 7 % 11));
            Example::new(&prompt, &completion)
        })
        .collect()
}

/// Normal-ish random values.
pub(crate) fn values(n: usize, scale: f64, stream: u64) -> Vec<f32> {
    let mut draws = Key::new(2, "values", 0, "test").rng_at(stream);
    (0..n)
        .map(|_| (scale * (draws.uniform() + draws.uniform() + draws.uniform() - 1.5)) as f32)
        .collect()
}

/// A shard's loss and gradients through a head of its own, and the same from
/// `loss` (f64 logits of each row -> loss) by central differences.
pub(crate) fn check_head(
    shard: &dyn Shard,
    width: usize,
    vocab: usize,
    loss: impl Fn(&[Vec<f64>]) -> f64,
) -> Sums {
    let rows = shard.pack().len();
    let hidden = values(rows * width, 1.0, 0);
    let weight = values(vocab * width, 1.0, 1);
    let mut d_weight = vec![0.0; weight.len()];
    let mut head = Head::new(
        &hidden,
        width,
        vocab,
        HeadWeight::Trained(&weight),
        Some(&mut d_weight),
    );
    let sums = shard.loss(&mut head).unwrap();
    let d_hidden = head.into_gradient();
    let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() };
    let (hidden, weight) = (wide(&hidden), wide(&weight));
    let of = |hidden: &[f64], weight: &[f64]| {
        let logits: Vec<Vec<f64>> = hidden
            .chunks(width)
            .map(|h| {
                let dot = |w: &[f64]| w.iter().zip(h).map(|(a, b)| a * b).sum();
                weight.chunks(width).map(dot).collect()
            })
            .collect();
        loss(&logits)
    };
    let exact = of(&hidden, &weight);
    assert!(
        (sums.get(Sums::LOSS) - exact).abs() <= 1e-5 * exact.abs() + 1e-7,
        "loss {} {exact}",
        sums.get(Sums::LOSS)
    );
    let check = |found: &[f32], at: &dyn Fn(usize, f64) -> f64, what: &str| {
        for (i, found) in found.iter().enumerate() {
            let exact = (at(i, 1e-5) - at(i, -1e-5)) / 2e-5;
            let error = (f64::from(*found) - exact).abs();
            assert!(
                error <= 1e-4 * exact.abs() + 1e-6,
                "{what} {i}: {found} {exact}"
            );
        }
    };
    let moved = |x: &[f64], i: usize, by: f64| {
        let mut x = x.to_vec();
        x[i] += by;
        x
    };
    check(
        &d_hidden,
        &|i, by| of(&moved(&hidden, i, by), &weight),
        "hidden",
    );
    check(
        &d_weight,
        &|i, by| of(&hidden, &moved(&weight, i, by)),
        "weight",
    );
    sums
}

/// Loss and gradients of a step.
pub(crate) fn gradients(network: &Network, shards: &[Box<dyn Shard + Send>]) -> (Gradients, Sums) {
    network.gradients(shards, &PassOptions::default()).unwrap()
}

/// ln softmax in f64.
pub(crate) fn log_softmax(z: &[f64]) -> Vec<f64> {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ln_sum = libm::log(z.iter().map(|z| libm::exp(z - max)).sum());
    z.iter().map(|z| z - max - ln_sum).collect()
}

/// Greatest distance of two gradients, relative to the norm of the first.
pub(crate) fn distance(a: &Gradients, b: &Gradients) -> f64 {
    let pairs = a.tensors.iter().flatten().zip(b.tensors.iter().flatten());
    let worst = pairs
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, f64::max);
    worst / a.norm()
}
