//! The engine's gradients against candle's automatic differentiation in f64, on
//! random configurations: architectures, sizes, windows, biases, adapters, and
//! packs in which prompts are shared and sequences stand alone.

mod oracle;

use candle_core::{Device, Tensor};
use forkscope_policy::Projection;
use forkscope_train::engine::{LoraSettings, Network, Pack, PassOptions, Shard, Site, Trainable};
use oracle::compare::relative;
use oracle::hash::{splitmix, tokens};
use oracle::loss::{AtSites, Mixed};
use oracle::models::{fill, in_dtype, of_config};
use oracle::page::section;
use oracle::plain::{Plain, log_softmax};
use safetensors::Dtype;
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-4;
const SEEDS: u64 = 16;

/// Small whole numbers by hash.
struct Draw {
    name: String,
    at: usize,
}

impl Draw {
    fn new(seed: u64) -> Self {
        Self {
            name: format!("configuration/{seed}"),
            at: 0,
        }
    }

    /// From `low` to `high`, both included.
    fn within(&mut self, low: usize, high: usize) -> usize {
        self.at += 1;
        low + (splitmix(&self.name, self.at) % (high - low + 1) as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.within(0, 1) == 1
    }
}

const THETA: f64 = 1000.0;

fn configuration(seed: u64, draw: &mut Draw) -> Value {
    let kv_heads = draw.within(1, 3);
    let heads = kv_heads * draw.within(1, 3);
    let head_dim = 2 * draw.within(1, 9);
    let mut config = json!({
        "vocab_size": draw.within(40, 150), "num_hidden_layers": draw.within(1, 3),
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim,
        "hidden_size": heads * head_dim, "intermediate_size": draw.within(7, 70),
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": THETA,
        "tie_word_embeddings": draw.coin(), "torch_dtype": "float32", "hidden_act": "silu",
    });
    let (kind, class) = [
        ("llama", "LlamaForCausalLM"),
        ("qwen2", "Qwen2ForCausalLM"),
        ("qwen3", "Qwen3ForCausalLM"),
        ("mistral", "MistralForCausalLM"),
    ][(seed % 4) as usize];
    config["model_type"] = json!(kind);
    config["architectures"] = json!([class]);
    match kind {
        "mistral" => config["sliding_window"] = json!(draw.within(2, 9)),
        "llama" => {
            config["attention_bias"] = json!(draw.coin());
            config["mlp_bias"] = json!(draw.coin());
        }
        "qwen3" => config["hidden_size"] = json!(draw.within(5, 40)),
        _ => {
            config["use_sliding_window"] = json!(draw.coin());
            config["sliding_window"] = json!(draw.within(2, 9));
            config["max_window_layers"] = json!(draw.within(0, 2));
        }
    }
    config
}

/// A whole sequence, and of each site its logits' row and its token.
type Sequence = (Vec<u32>, Vec<(usize, u32)>);

/// Sequences in a pack, and by themselves in the order of the pack's sites.
struct Batch {
    pack: Pack,
    sites: Vec<Site>,
    sequences: Vec<Sequence>,
}

fn batch(seed: u64, draw: &mut Draw, vocab: usize) -> Batch {
    let mut out = Batch {
        pack: Pack::default(),
        sites: vec![],
        sequences: vec![],
    };
    let some = |n: usize, what: &str| tokens(&format!("{what}/{seed}/{n}"), n, vocab);
    for part in 0..draw.within(2, 4) {
        let prompt = some(draw.within(1, 12), &format!("prompt {part}"));
        if draw.coin() {
            let ids = [
                prompt.clone(),
                some(draw.within(1, 14), &format!("alone {part}")),
            ]
            .concat();
            let from = draw.within(1, prompt.len());
            out.sites.extend(out.pack.add(&ids, from).unwrap());
            let rows = (from..ids.len()).map(|t| (t - 1, ids[t])).collect();
            out.sequences.push((ids, rows));
            continue;
        }
        let completions: Vec<Vec<u32>> = (0..draw.within(2, 5))
            .map(|c| some(draw.within(1, 14), &format!("completion {part} {c}")))
            .collect();
        let borrowed: Vec<&[u32]> = completions.iter().map(Vec::as_slice).collect();
        let sites = out.pack.add_group(&prompt, &borrowed).unwrap();
        for (completion, sites) in completions.iter().zip(sites) {
            out.sites.extend(sites);
            let rows = completion
                .iter()
                .enumerate()
                .map(|(i, t)| (prompt.len() + i - 1, *t))
                .collect();
            out.sequences
                .push(([prompt.clone(), completion.clone()].concat(), rows));
        }
    }
    out
}

/// The loss of [`Mixed`] by candle.
fn plain_loss(plain: &Plain<'_>, batch: &Batch, mixed: Mixed) -> candle_core::Result<Tensor> {
    let vocab = plain.config.vocab_size;
    let device = Device::Cpu;
    let w: Vec<f64> = (0..vocab).map(|v| mixed.weight(v)).collect();
    let w = Tensor::from_vec(w, (1, vocab), &device)?;
    let mut total = Tensor::new(0.0f64, &device)?;
    let mut site = 0;
    for (ids, rows) in &batch.sequences {
        let logits = plain.logits(ids)?;
        for (row, token) in rows {
            let (a, b) = mixed.at(site);
            let z = logits.narrow(0, *row, 1)?;
            let log_prob = log_softmax(&z)?.narrow(1, *token as usize, 1)?.sum_all()?;
            let squares = z.sqr()?.broadcast_mul(&w)?.sum_all()?;
            total = ((total + (log_prob * a)?)? + (squares * (0.5 * b / vocab as f64))?)?;
            site += 1;
        }
    }
    Ok(total)
}

fn compare(
    what: &str,
    network: &Network,
    plain: &Plain<'_>,
    seed: u64,
    batch: Batch,
    checkpointing: bool,
) -> f64 {
    let mixed = Mixed { seed };
    let loss = plain_loss(plain, &batch, mixed).unwrap();
    let golden = plain.gradients(&loss).unwrap();
    let golden_loss: f64 = loss.to_scalar().unwrap();
    let named: Vec<u32> = batch.sites.iter().map(|s| s.token).collect();
    let options = PassOptions {
        checkpointing,
        dropout: None,
    };
    let shards: Vec<Box<dyn Shard + Send>> = vec![Box::new(AtSites {
        pack: batch.pack,
        sites: batch.sites,
        turn: Box::new(move |i, logits| mixed.turn(i, named[i], logits)),
    })];
    let (gradients, sums) = network.gradients(&shards, &options).unwrap();
    let apart = (sums.get("loss") - golden_loss).abs() / golden_loss.abs().max(0.1);
    assert!(
        apart < TOLERANCE,
        "{what}: loss {} not {golden_loss}",
        sums.get("loss")
    );
    let mut worst: f64 = 0.0;
    for ((parameter, ours), golden) in network
        .parameters()
        .iter()
        .zip(&gradients.tensors)
        .zip(&golden)
    {
        assert!(
            ours.iter().any(|g| *g != 0.0),
            "{what}: {} has no gradient",
            parameter.name
        );
        let error = relative(ours, golden);
        assert!(
            error < TOLERANCE,
            "{what}: {} is off by {error:e}",
            parameter.name
        );
        worst = worst.max(error);
    }
    worst
}

/// Largest relative error of full weights.
fn full_weights() -> f64 {
    let mut worst: f64 = 0.0;
    for seed in 0..SEEDS {
        let mut draw = Draw::new(seed);
        let config = configuration(seed, &mut draw);
        let (_, network) = of_config(&format!("random/{seed}"), &config);
        let plain = Plain::full(network.config(), THETA, network.parameters()).unwrap();
        let what = format!("seed {seed}, {config}");
        let batch = batch(seed, &mut draw, network.config().vocab_size);
        let checkpointing = draw.coin();
        worst = worst.max(compare(&what, &network, &plain, seed, batch, checkpointing));
    }
    worst
}

/// Largest relative error of adapters on random projections.
fn adapters() -> f64 {
    let mut worst: f64 = 0.0;
    for seed in 0..SEEDS {
        let mut draw = Draw::new(1000 + seed);
        let config = configuration(seed, &mut draw);
        let (files, base) = of_config(&format!("random/{seed}"), &config);
        let mut targets: Vec<_> = Projection::ALL
            .into_iter()
            .filter(|_| draw.coin())
            .collect();
        if targets.is_empty() {
            targets.push(Projection::ALL[(seed % 7) as usize]);
        }
        let settings = LoraSettings {
            rank: draw.within(1, 5),
            alpha: draw.within(1, 12) as f64 / 2.0,
            dropout: 0.0,
            rslora: draw.coin(),
            targets,
        };
        let mut network = Network::open(&files, &Trainable::Lora(settings.clone()), seed).unwrap();
        fill(&mut network, &format!("adapter/{seed}"));
        let plain = Plain::new(
            network.config(),
            THETA,
            base.parameters(),
            network.parameters(),
            Some(settings.clone()),
        )
        .unwrap();
        let what = format!("seed {seed}, {settings:?}, {config}");
        let batch = batch(seed, &mut draw, network.config().vocab_size);
        let checkpointing = draw.coin();
        worst = worst.max(compare(&what, &network, &plain, seed, batch, checkpointing));
    }
    worst
}

#[test]
fn gradients_agree_on_random_configurations() {
    let page = format!(
        "Largest relative error of a tensor's gradient in f32 against candle's automatic differentiation in f64, over \
         {SEEDS} random\nconfigurations each (architecture, sizes, windows, biases, tied head, adapters), with shared \
         prompts and sequences by themselves.\nTolerance 1e-4.\n\n| trained | error |\n|---|---|\n\
         | full | {:.1e} |\n| LoRA on random projections | {:.1e} |\n",
        full_weights(),
        adapters()
    );
    println!("{page}");
    section("Random configurations", &page);
}

/// A prompt of 90 tokens that two completions share, and a sequence of 140: over
/// the blocks of 64 queries of the attention and of 256 sites of the head.
fn long_batch(vocab: usize) -> Batch {
    let mut out = Batch {
        pack: Pack::default(),
        sites: vec![],
        sequences: vec![],
    };
    let alone = tokens("long/alone", 140, vocab);
    out.sites.extend(out.pack.add(&alone, 1).unwrap());
    let rows = (1..alone.len()).map(|t| (t - 1, alone[t])).collect();
    out.sequences.push((alone, rows));
    let prompt = tokens("long/prompt", 90, vocab);
    let completions = [100, 66].map(|n| tokens(&format!("long/completion/{n}"), n, vocab));
    let borrowed: Vec<&[u32]> = completions.iter().map(Vec::as_slice).collect();
    let sites = out.pack.add_group(&prompt, &borrowed).unwrap();
    for (completion, sites) in completions.iter().zip(sites) {
        out.sites.extend(sites);
        let row = |(i, t): (usize, &u32)| (prompt.len() + i - 1, *t);
        let rows = completion.iter().enumerate().map(row).collect();
        let ids = [prompt.as_slice(), completion].concat();
        out.sequences.push((ids, rows));
    }
    assert!(out.sites.len() > 256);
    out
}

fn wide(class: &str, kind: &str, vocab: usize, intermediate: usize) -> Value {
    json!({
        "model_type": kind, "architectures": [class], "vocab_size": vocab, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 24,
        "intermediate_size": intermediate, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "rope_theta": THETA, "tie_word_embeddings": false, "hidden_act": "silu", "torch_dtype": "float32",
    })
}

#[test]
fn long_sequences_cross_the_blocks() {
    for window in [None, Some(50), Some(64), Some(71)] {
        let mut config = wide("MistralForCausalLM", "mistral", 50, 30);
        config["sliding_window"] = json!(window);
        let (_, network) = of_config("long", &config);
        assert_eq!(network.config().windows[0], window);
        let plain = Plain::full(network.config(), THETA, network.parameters()).unwrap();
        let what = format!("window {window:?}");
        let error = compare(&what, &network, &plain, 3, long_batch(50), false);
        println!("{what}: {error:.1e}");
    }
}

/// One layer as wide as Qwen2.5-0.5B's (its MLP and vocabulary cut): products of
/// many blocks, seven query heads to a key head.
#[test]
fn a_wide_layer() {
    let mut config = wide("Qwen2ForCausalLM", "qwen2", 600, 1216);
    for (name, value) in [
        ("hidden_size", 896),
        ("num_attention_heads", 14),
        ("num_hidden_layers", 1),
    ] {
        config[name] = json!(value);
    }
    let (files, network) = of_config("wide", &config);
    let plain = Plain::full(network.config(), THETA, network.parameters()).unwrap();
    let short = || batch(3, &mut Draw::new(3), 600);
    let error = compare("full", &network, &plain, 3, short(), false);
    println!("a wide layer, full: {error:.1e}");
    let settings = LoraSettings {
        rank: 32,
        alpha: 64.0,
        dropout: 0.0,
        rslora: false,
        targets: Projection::ALL.to_vec(),
    };
    let mut tuned = Network::open(&files, &Trainable::Lora(settings.clone()), 1).unwrap();
    fill(&mut tuned, "wide/adapter");
    let (frozen, trained) = (network.parameters(), tuned.parameters());
    let plain = Plain::new(tuned.config(), THETA, frozen, trained, Some(settings)).unwrap();
    let error = compare("LoRA", &tuned, &plain, 3, short(), true);
    println!("a wide layer, LoRA: {error:.1e}");
}

/// An adapter on half-precision weights, which are widened by parts: more rows
/// than a part in the MLP (512) and in the head (2048).
#[test]
fn adapters_on_half_precision_weights() {
    for dtype in [Dtype::BF16, Dtype::F16] {
        let config = wide("LlamaForCausalLM", "llama", 2100, 600);
        let (_, single) = of_config("half", &config);
        let files = in_dtype("half", &config, single.parameters(), dtype);
        let base = Network::open(&files, &Trainable::Full, 1).unwrap();
        let settings = LoraSettings {
            rank: 3,
            alpha: 5.0,
            dropout: 0.0,
            rslora: false,
            targets: Projection::ALL.to_vec(),
        };
        let mut network = Network::open(&files, &Trainable::Lora(settings.clone()), 1).unwrap();
        fill(&mut network, "half/adapter");
        let (frozen, trained) = (base.parameters(), network.parameters());
        let plain = Plain::new(network.config(), THETA, frozen, trained, Some(settings)).unwrap();
        let mut draw = Draw::new(77);
        let batch = batch(77, &mut draw, 2100);
        let what = format!("{dtype:?}");
        let error = compare(&what, &network, &plain, 5, batch, true);
        println!("{what}: {error:.1e}");
    }
}
