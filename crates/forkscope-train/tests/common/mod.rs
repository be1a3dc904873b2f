//! Tiny models and a plain loss for the tests of the engine.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::BTreeMap;

use forkscope_policy::{ModelFiles, Projection};
use forkscope_train::TrainError;
use forkscope_train::engine::{Head, LoraSettings, Pack, Shard, Site, Sums};

/// Configuration of a tiny model of that family.
pub fn model(kind: &str) -> ModelFiles {
    let (name, kind_fields) = match kind {
        "llama" => ("LlamaForCausalLM", r#""tie_word_embeddings": true"#),
        "qwen2" => ("Qwen2ForCausalLM", r#""tie_word_embeddings": false"#),
        "qwen3" => (
            "Qwen3ForCausalLM",
            r#""tie_word_embeddings": false, "head_dim": 16"#,
        ),
        _ => (
            "MistralForCausalLM",
            r#""tie_word_embeddings": false, "sliding_window": 9"#,
        ),
    };
    let config = format!(
        r#"{{"architectures": ["{name}"], "model_type": "{kind}", "vocab_size": 41, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", {kind_fields}}}"#
    );
    ModelFiles::in_memory(
        kind,
        BTreeMap::from([("config.json".to_owned(), config.into_bytes())]),
    )
}

/// An adapter on all projections.
pub fn lora(rank: usize) -> LoraSettings {
    LoraSettings {
        rank,
        alpha: 2.0 * rank as f64,
        dropout: 0.0,
        rslora: false,
        targets: Projection::ALL.to_vec(),
    }
}

/// Pseudo-random ids.
pub fn ids(n: usize, start: usize, vocab: u32) -> Vec<u32> {
    (0..n)
        .map(|i| ((i * 7919 + start * 104_729 + 13) % 1009) as u32 % vocab)
        .collect()
}

/// A shared prompt with two completions, and a sequence of its own.
pub fn pack_of(lens: &[usize; 2], start: usize, vocab: u32) -> (Pack, Vec<Site>) {
    let mut pack = Pack::default();
    let prompt = ids(6, start, vocab);
    let (a, b) = (
        ids(lens[0], start + 1, vocab),
        ids(lens[1], start + 2, vocab),
    );
    let mut sites: Vec<Site> = pack
        .add_group(&prompt, &[&a, &b])
        .expect("a group")
        .concat();
    sites.extend(pack.add(&ids(11, start + 3, vocab), 2).expect("a sequence"));
    (pack, sites)
}

/// Mean cross-entropy of all sites, in f64 from f32 logits.
pub struct CrossEntropy {
    pack: Pack,
    sites: Vec<Site>,
    announced: bool,
}

impl CrossEntropy {
    pub fn new((pack, sites): (Pack, Vec<Site>)) -> Self {
        Self {
            pack,
            sites,
            announced: false,
        }
    }

    /// Every `step`th site alone; `announced` says before which they are.
    pub fn some((pack, sites): (Pack, Vec<Site>), step: usize, announced: bool) -> Self {
        let sites = sites.into_iter().step_by(step).collect();
        Self {
            pack,
            sites,
            announced,
        }
    }
}

impl Shard for CrossEntropy {
    fn pack(&self) -> &Pack {
        &self.pack
    }

    fn sites(&self) -> Option<&[Site]> {
        self.announced.then_some(&self.sites)
    }

    fn loss(&self, head: &mut Head<'_>) -> Result<Sums, TrainError> {
        let weight = 1.0 / self.sites.len() as f64;
        let mut sums = Sums::default();
        head.pull(&self.sites, |i, logits| {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|x| f64::from(x - max).exp()).sum();
            let token = self.sites[i].token as usize;
            sums.add(
                Sums::LOSS,
                weight * (sum.ln() - f64::from(logits[token] - max)),
            );
            for (v, x) in logits.iter_mut().enumerate() {
                let p = f64::from(*x - max).exp() / sum;
                *x = (weight * (p - f64::from(v == token))) as f32;
            }
        });
        Ok(sums)
    }
}
