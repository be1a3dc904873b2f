//! Seconds of every operation of the training engine, forward and backward, as
//! one line of JSON: `cargo run --release -p forkscope-train --example op_bench -- --threads 2 --json`.
//! `benchsuite/run.py train-ops` runs it beside torch. With several threads every
//! thread has its share of the sequences, as in training.

use std::collections::BTreeMap;
use std::time::Instant;

use forkscope_policy::ModelFiles;
use forkscope_train::engine::bench::{Case, OPERATIONS, Sizes};
use forkscope_train::engine::{Gradients, Parameter};
use forkscope_train::run::{AdamW, AdamWSettings};
use rayon::prelude::*;
use serde_json::{Value, json};

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().collect();
    let threads = match args.iter().position(|a| a == "--threads") {
        Some(at) => args
            .get(at + 1)
            .ok_or("--threads needs a number")?
            .parse()?,
        None => 1,
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let organism = Sizes {
        sequences: 16,
        length: 96,
        width: 128,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        inner: 352,
        vocab: 188,
        head_trained: true,
    };
    let large = Sizes {
        sequences: 1,
        length: 512,
        width: 896,
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        inner: 4864,
        vocab: 151_936,
        head_trained: false,
    };
    let mut seconds = BTreeMap::new();
    for (name, sizes, trained) in [
        ("organism", organism, 762_496),
        ("qwen2.5-0.5b", large, 4_325_376),
    ] {
        let mut all: BTreeMap<&str, f64> = BTreeMap::new();
        for operation in OPERATIONS {
            all.insert(operation, timed(operation, sizes, threads)?);
        }
        all.insert("adamw", adamw(trained)?);
        seconds.insert(name, all);
    }
    println!("{}", json!({"seconds": seconds, "threads": threads}));
    Ok(())
}

fn config(sizes: Sizes) -> ModelFiles {
    let config: Value = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": sizes.vocab,
        "hidden_size": sizes.width, "intermediate_size": sizes.inner, "num_hidden_layers": 1,
        "num_attention_heads": sizes.heads, "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim, "max_position_embeddings": sizes.length, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "tie_word_embeddings": true,
    });
    let bytes = config.to_string().into_bytes();
    ModelFiles::in_memory("bench", [("config.json".to_owned(), bytes)].into())
}

/// Median seconds of a pass over all sequences, each thread with its share.
fn timed(operation: &'static str, sizes: Sizes, threads: usize) -> Result<f64, Failed> {
    let parts = threads.min(sizes.sequences);
    let share = Sizes {
        sequences: sizes.sequences / parts,
        ..sizes
    };
    let files = config(sizes);
    let mut cases = (0..parts)
        .map(|_| Case::new(operation, share, &files))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(median(|| cases.par_iter_mut().for_each(Case::run)))
}

fn adamw(n: usize) -> Result<f64, Failed> {
    let mut parameters = vec![Parameter {
        name: "w".into(),
        shape: vec![n, 1],
        values: vec![0.1; n],
    }];
    let gradients = Gradients {
        tensors: vec![vec![1e-3; n]],
    };
    let mut optimiser = AdamW::new(AdamWSettings::default(), &parameters)?;
    let mut failed = None;
    let seconds = median(|| {
        failed = optimiser
            .update(&mut parameters, &gradients, 1e-4, 1.0)
            .err()
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(seconds),
    }
}

/// Median of the runs of about a second, after one that warms up.
fn median(mut run: impl FnMut()) -> f64 {
    run();
    let (began, mut times) = (Instant::now(), Vec::new());
    while times.len() < 5 || (began.elapsed().as_secs_f64() < 1.0 && times.len() < 10_000) {
        let once = Instant::now();
        run();
        times.push(once.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
