//! The adapter's dropout: a function of its seed, unbiased, the same in the
//! forward and the backward pass, and absent where it is not asked for.

mod oracle;

use forkscope_train::engine::{
    Gradients, LoraSettings, Network, Pack, PassOptions, Shard, Sums, Trainable, Which,
};
use oracle::compare::relative;
use oracle::fixture;
use oracle::loss::{AtSites, Mixed};
use oracle::models::fill;

fn network(dropout: f64) -> Network {
    let fixture = fixture::Gradients::open();
    let model = fixture.model("qwen2-bias");
    let settings = LoraSettings {
        dropout,
        ..model.adapters["seven"].settings()
    };
    let mut network = Network::open(&model.files(), &Trainable::Lora(settings), 1).unwrap();
    fill(&mut network, "dropout");
    network
}

fn shards(n: usize) -> Vec<Box<dyn Shard + Send>> {
    let batch = fixture::Gradients::open().batch;
    let one = || {
        let (mut pack, mut sites) = (Pack::default(), Vec::new());
        for g in &batch[..2] {
            let ids: Vec<&[u32]> = g.completions.iter().map(Vec::as_slice).collect();
            sites.extend(pack.add_group(&g.prompt, &ids).unwrap().concat());
        }
        let tokens: Vec<u32> = sites.iter().map(|s| s.token).collect();
        let mixed = Mixed { seed: 1 };
        Box::new(AtSites {
            pack,
            sites,
            turn: Box::new(move |i, logits| mixed.turn(i, tokens[i], logits)),
        }) as Box<dyn Shard + Send>
    };
    (0..n).map(|_| one()).collect()
}

fn run(
    network: &Network,
    n: usize,
    dropout: Option<(u64, u64)>,
    checkpointing: bool,
) -> (f64, Gradients) {
    let options = PassOptions {
        checkpointing,
        dropout,
    };
    let (gradients, sums) = network.gradients(&shards(n), &options).unwrap();
    (sums.get(Sums::LOSS), gradients)
}

#[test]
fn masks_are_a_function_of_seed_step_and_shard() {
    let network = network(0.3);
    let one = run(&network, 1, Some((5, 2)), false);
    assert!(one == run(&network, 1, Some((5, 2)), false));
    // A recomputed block draws the same masks.
    assert!(one == run(&network, 1, Some((5, 2)), true));
    let plain = run(&network, 1, None, false);
    for other in [Some((6, 2)), Some((5, 3)), None] {
        assert_ne!(one.0, run(&network, 1, other, false).0, "{other:?}");
    }
    let two = run(&network, 2, Some((5, 2)), false);
    assert_ne!(two.0, 2.0 * one.0, "two shards share their masks");
    let without = self::network(0.0);
    assert!(plain == run(&without, 1, Some((5, 2)), false));
    assert!(plain == run(&without, 1, None, false));
}

/// Where B is zero the forward pass does not feel the mask, and the gradient of
/// B is linear in it: its mean over masks is the gradient without dropout.
#[test]
fn dropout_is_unbiased() {
    const N: usize = 400;
    let mut network = network(0.5);
    for p in network.parameters_mut().iter_mut() {
        if p.name.contains("lora_B") {
            p.values.fill(0.0);
        }
    }
    let (_, plain) = run(&network, 1, None, false);
    let (_, mut many) = run(&network, N, Some((1, 1)), false);
    many.scale(1.0 / N as f32);
    for ((p, a), b) in network
        .parameters()
        .iter()
        .zip(&many.tensors)
        .zip(&plain.tensors)
    {
        if p.name.contains("lora_B") {
            let golden: Vec<f64> = b.iter().map(|x| f64::from(*x)).collect();
            let error = relative(a, &golden);
            // Without the factor 1 / (1 - p) it would be a half.
            assert!(error < 0.2, "{}: {error}", p.name);
        }
    }
}

/// With a fixed mask the loss is a smooth function: along the gradient it
/// changes by the gradient's norm.
#[test]
fn the_backward_pass_uses_the_forward_masks() {
    const STEP: f32 = 2e-2;
    let mut network = network(0.4);
    let mask = Some((9, 4));
    let (_, g) = run(&network, 1, mask, false);
    let norm = g.norm();
    let start: Vec<Vec<f32>> = network
        .parameters()
        .iter()
        .map(|p| p.values.clone())
        .collect();
    let mut at = |step: f32| {
        for ((p, start), g) in network
            .parameters_mut()
            .iter_mut()
            .zip(&start)
            .zip(&g.tensors)
        {
            for ((w, s), g) in p.values.iter_mut().zip(start).zip(g) {
                *w = s + step * g / norm as f32;
            }
        }
        run(&network, 1, mask, false).0
    };
    let slope = (at(STEP) - at(-STEP)) / (2.0 * f64::from(STEP));
    assert!((slope / norm - 1.0).abs() < 5e-3, "{slope} not {norm}");
}

#[test]
fn a_new_adapter_changes_nothing_and_can_learn() {
    let fixture = fixture::Gradients::open();
    let shards = shards(1);
    for model in &fixture.models {
        let settings = model.adapters["seven"].settings();
        let network = Network::open(&model.files(), &Trainable::Lora(settings), 1).unwrap();
        let pack = shards[0].pack();
        let now = network.hidden(pack, Which::Current).unwrap();
        assert_eq!(
            now,
            network.hidden(pack, Which::Reference).unwrap(),
            "{}",
            model.name
        );
        let options = PassOptions::default();
        let (gradients, _) = network.gradients(&shards, &options).unwrap();
        for (p, g) in network.parameters().iter().zip(&gradients.tensors) {
            let moves = g.iter().any(|x| *x != 0.0);
            assert_eq!(
                moves,
                p.name.contains("lora_B"),
                "{} {}",
                model.name,
                p.name
            );
        }
    }
}

/// Every tensor of a model with freshly drawn weights receives a gradient.
#[test]
fn fresh_weights_can_learn() {
    let shards = shards(1);
    for model in &fixture::Gradients::open().models {
        let network = Network::initialised(&model.files(), 3).unwrap();
        assert_eq!(network.parameters().len(), model.weights.len());
        let options = PassOptions::default();
        let (gradients, _) = network.gradients(&shards, &options).unwrap();
        for (p, g) in network.parameters().iter().zip(&gradients.tensors) {
            assert!(g.iter().any(|x| *x != 0.0), "{} {}", model.name, p.name);
        }
    }
}
