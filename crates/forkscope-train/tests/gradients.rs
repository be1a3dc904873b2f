//! Gradients of whole networks against finite differences, and what must not
//! depend on how a pass is cut.

mod common;

use forkscope_train::engine::{Network, PassOptions, SavedDtype, Shard, Trainable, Which};

use common::{CrossEntropy, lora, model, pack_of};

fn loss(network: &Network, shards: &[Box<dyn Shard + Send>]) -> f64 {
    let (_, sums) = network
        .gradients(shards, &PassOptions::default())
        .expect("a pass");
    sums.get("loss")
}

/// The derivative along a random direction within each tensor, by central
/// differences with a step that balances rounding and curvature.
fn check(mut network: Network) {
    let vocab = network.config().vocab_size as u32;
    for (i, p) in network.parameters_mut().iter_mut().enumerate() {
        if p.name.contains("lora_B") {
            for (j, x) in p.values.iter_mut().enumerate() {
                *x = (((i * 31 + j * 17) % 23) as f32 - 11.0) * 0.01;
            }
        }
    }
    let shards: Vec<Box<dyn Shard + Send>> = vec![
        Box::new(CrossEntropy::new(pack_of(&[13, 7], 0, vocab))),
        Box::new(CrossEntropy::new(pack_of(&[80, 3], 5, vocab))),
    ];
    let (gradients, _) = network
        .gradients(&shards, &PassOptions::default())
        .expect("a pass");
    for i in 0..network.parameters().len() {
        let name = network.parameters()[i].name.clone();
        let gradient = gradients.tensors[i].clone();
        let norm = gradient
            .iter()
            .map(|g| f64::from(*g).powi(2))
            .sum::<f64>()
            .sqrt();
        assert!(norm > 0.0, "{name} receives no gradient");
        // Along the gradient itself: the steepest, so the best conditioned.
        let original = network.parameters()[i].values.clone();
        let step = 2e-2 / norm.max(1.0);
        let mut at = |t: f64| {
            for ((x, o), g) in network.parameters_mut()[i]
                .values
                .iter_mut()
                .zip(&original)
                .zip(&gradient)
            {
                *x = (f64::from(*o) + t * f64::from(*g) / norm) as f32;
            }
            loss(&network, &shards)
        };
        let measured = (at(step) - at(-step)) / (2.0 * step);
        at(0.0);
        assert!(
            (measured - norm).abs() < 2e-2 * norm + 2e-4,
            "{name}: {measured} by differences, {norm} by the backward pass"
        );
    }
}

#[test]
fn full_gradients_agree_with_finite_differences() {
    for kind in ["llama", "qwen2", "qwen3", "mistral"] {
        let files = model(kind);
        check(Network::initialised(&files, 3).expect(kind));
    }
}

#[test]
fn adapter_gradients_agree_with_finite_differences() {
    for kind in ["llama", "qwen2", "qwen3", "mistral"] {
        let files = model(kind);
        let base = Network::initialised(&files, 3).expect(kind);
        let saved =
            forkscope_policy::ModelFiles::in_memory("tiny", base.saved_files().expect(kind));
        check(Network::open(&saved, &Trainable::Lora(lora(4)), 9).expect(kind));
    }
}

#[test]
fn a_model_saved_in_bf16_is_half_as_large_and_says_so() {
    let mut network = Network::initialised(&model("qwen2"), 3).expect("a network");
    let whole = network.saved_files().expect("files");
    network.save_as(SavedDtype::Bf16);
    let half = network.saved_files().expect("files");
    let bytes =
        |files: &std::collections::BTreeMap<String, Vec<u8>>| files["model.safetensors"].len();
    assert!(bytes(&half) < bytes(&whole) * 6 / 10);
    for (files, dtype) in [(&whole, "float32"), (&half, "bfloat16")] {
        let config: serde_json::Value =
            serde_json::from_slice(&files["config.json"]).expect("JSON");
        assert_eq!(config["dtype"], dtype);
    }
    // What is sampled while training is the f32 policy whatever is saved.
    let (pack, _) = pack_of(&[5, 4], 1, 41);
    let saved = forkscope_policy::ModelFiles::in_memory("half", half);
    let rounded = Network::open(&saved, &Trainable::Full, 0).expect("a network");
    let exact = network.hidden(&pack, Which::Current).expect("a pass");
    let other = rounded.hidden(&pack, Which::Current).expect("a pass");
    let error = exact
        .iter()
        .zip(&other)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(error > 0.0 && error < 0.1, "{error}");
    assert_eq!(
        rounded.saved_files().expect("files")["config.json"],
        whole["config.json"]
    );
}

#[test]
fn the_last_block_at_announced_rows_alone_gives_the_same_step() {
    for kind in ["llama", "qwen2", "qwen3", "mistral"] {
        let network = Network::initialised(&model(kind), 3).expect(kind);
        for checkpointing in [false, true] {
            let options = PassOptions {
                checkpointing,
                dropout: None,
            };
            let step = |announced| {
                let rows = pack_of(&[40, 9], 2, 41);
                let shard: Box<dyn Shard + Send> = Box::new(CrossEntropy::some(rows, 5, announced));
                network.gradients(&[shard], &options).expect("a pass")
            };
            let ((all, all_sums), (few, few_sums)) = (step(false), step(true));
            assert!((all_sums.get("loss") - few_sums.get("loss")).abs() < 1e-6);
            for (a, b) in all.tensors.iter().zip(&few.tensors) {
                let norm = a.iter().map(|x| x * x).sum::<f32>().sqrt();
                let off = a
                    .iter()
                    .zip(b)
                    .map(|(a, b)| (a - b) * (a - b))
                    .sum::<f32>()
                    .sqrt();
                assert!(norm > 0.0 && off <= 1e-5 * norm, "{kind}: {off} of {norm}");
            }
        }
    }
}
