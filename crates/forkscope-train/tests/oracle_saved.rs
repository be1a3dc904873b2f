//! Models and adapters for `fixtures/make_peft_check.py`, which reads them with
//! transformers and PEFT: trained for a few steps, saved, and their logits beside
//! them. Written where `FORKSCOPE_ORACLE_OUT` says; without it the policy alone
//! reads them.

mod oracle;

use std::collections::BTreeMap;
use std::path::Path;

use forkscope_policy::{Policy, PromptGroup};
use forkscope_train::engine::{Head, Network, Pack, PassOptions, Shard, Which};
use forkscope_train::objective::{Example, SftSettings, SftSource};
use forkscope_train::run::{AdamW, AdamWSettings, Source};
use oracle::compare::worst;
use oracle::fixture::{Gradients, ModelCase};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

fn train(fixture: &Gradients, network: &mut Network) {
    let examples: Vec<Example> = fixture
        .sequences()
        .iter()
        .map(|(prompt, completion)| Example::new(prompt, completion))
        .collect();
    let mut source = SftSource::new(Box::new(examples), SftSettings::default()).unwrap();
    let mut optimiser = AdamW::new(AdamWSettings::default(), network.parameters()).unwrap();
    for step in 0..6 {
        let shards: Vec<Box<dyn Shard + Send>> = source.step(step, network).unwrap().shards;
        let options = PassOptions {
            checkpointing: false,
            dropout: Some((1, step)),
        };
        let (gradients, _) = network.gradients(&shards, &options).unwrap();
        optimiser
            .update(network.parameters_mut(), &gradients, 5e-3, 1.0)
            .unwrap();
    }
}

/// Logits that predict tokens 1.. of every sequence.
fn logits(fixture: &Gradients, network: &Network) -> Vec<f32> {
    let config = network.config();
    let mut out = Vec::new();
    for (prompt, completion) in fixture.sequences() {
        let mut pack = Pack::default();
        let ids = [prompt, completion].concat();
        let sites = pack.add(&ids, 1).unwrap();
        let hidden = network.hidden(&pack, Which::Current).unwrap();
        let weight = network.head_weight();
        let mut head = Head::new(&hidden, config.hidden_size, config.vocab_size, weight, None);
        head.scan(&sites, |_, logits| out.extend_from_slice(logits));
    }
    out
}

fn write(to: &Path, files: &BTreeMap<String, Vec<u8>>) {
    std::fs::create_dir_all(to).unwrap();
    for (name, bytes) in files {
        std::fs::write(to.join(name), bytes).unwrap();
    }
}

fn write_logits(to: &Path, logits: &[f32], vocab: usize) {
    let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    let shape = vec![logits.len() / vocab, vocab];
    let view = TensorView::new(Dtype::F32, shape, &bytes).unwrap();
    let file = safetensors::serialize([("logits", view)], None).unwrap();
    std::fs::write(to.join("logits.safetensors"), file).unwrap();
}

/// The policy's logits of the same sequences.
fn read(fixture: &Gradients, policy: &Policy) -> Vec<f32> {
    let mut out = Vec::new();
    for (prompt, completion) in fixture.sequences() {
        let ids = [prompt, completion].concat();
        let (first, rest) = ids.split_at(1);
        let group = PromptGroup {
            prompt: first,
            completions: vec![rest],
        };
        let hidden = policy.hidden_rows(&[group]).unwrap();
        let mut logits = Vec::new();
        policy.logits(&hidden.values, &mut logits);
        out.extend(logits);
    }
    out
}

fn check(fixture: &Gradients, model: &ModelCase, kind: &str, root: &Path) {
    let mut network = model.network(kind);
    train(fixture, &mut network);
    let logits = logits(fixture, &network);
    let dir = root.join(format!("{}-{kind}", model.name));
    let spec = if kind == "full" {
        write(&dir.join("model"), &network.saved_files().unwrap());
        dir.join("model").display().to_string()
    } else {
        let base = model.network("full").saved_files().unwrap();
        write(&dir.join("base"), &base);
        write(&dir.join("adapter"), &network.saved_files().unwrap());
        format!("{0}/base+{0}/adapter", dir.display())
    };
    write_logits(&dir, &logits, network.config().vocab_size);
    let error = worst(&logits, &read(fixture, &Policy::open(&spec).unwrap()));
    assert!(error < 5e-5, "{}/{kind}: {error:e}", model.name);
}

#[test]
fn what_training_saves_is_what_policies_read() {
    let fixture = Gradients::open();
    let scratch = tempfile::tempdir().unwrap();
    let root = match std::env::var_os("FORKSCOPE_ORACLE_OUT") {
        Some(dir) => Path::new(&dir).to_owned(),
        None => scratch.path().to_owned(),
    };
    for model in &fixture.models {
        check(&fixture, model, "full", &root);
        for kind in model.adapters.keys() {
            check(&fixture, model, kind, &root);
        }
    }
}
