//! Ways of computing the same step that must agree: accumulated or at once,
//! packed or not, prompts shared or repeated, one thread or two, checkpointed or
//! kept, adapter on the fly or merged, before saving or after.

mod oracle;

use std::collections::BTreeMap;
use std::fmt::Write;

use forkscope_policy::{ModelFiles, Policy, PromptGroup};
use forkscope_train::engine::{
    Gradients, HeadWeight, Network, Pack, PassOptions, Shard, Site, Sums, Trainable, Which,
};
use oracle::compare::{relative, worst};
use oracle::fixture::{self, Group};
use oracle::loss::{AtSites, Mixed};
use oracle::models::model_files;
use oracle::page::section;

type Shards = Vec<Box<dyn Shard + Send>>;

/// Relative distance of gradients that differ by the order of sums alone.
const ORDER: f64 = 1e-5;

/// Every model with full weights and with an adapter on all projections.
fn networks() -> Vec<(String, Network)> {
    let fixture = fixture::Gradients::open();
    let both = |m: &fixture::ModelCase| {
        ["full", "seven"].map(|kind| (format!("{}/{kind}", m.name), m.network(kind)))
    };
    fixture.models.iter().flat_map(both).collect()
}

fn batch() -> Vec<Group> {
    fixture::Gradients::open().batch
}

/// A shard of the mixed loss at those sites; `numbers` are the sites' numbers in
/// the whole batch.
fn shard(pack: Pack, sites: Vec<Site>, numbers: Vec<usize>) -> Box<dyn Shard + Send> {
    let tokens: Vec<u32> = sites.iter().map(|s| s.token).collect();
    let mixed = Mixed { seed: 7 };
    Box::new(AtSites {
        pack,
        sites,
        turn: Box::new(move |i, logits| mixed.turn(numbers[i], tokens[i], logits)),
    })
}

/// The batch's sequences, prompts repeated, `per` of them in a shard.
fn repeated(batch: &[Group], per: usize) -> Shards {
    let sequences: Vec<(Vec<u32>, usize)> = batch
        .iter()
        .flat_map(|g| {
            let join = |c: &Vec<u32>| ([g.prompt.as_slice(), c].concat(), g.prompt.len());
            g.completions.iter().map(join)
        })
        .collect();
    let mut number = 0;
    sequences
        .chunks(per)
        .map(|part| {
            let (mut pack, mut sites) = (Pack::default(), Vec::new());
            for (ids, prompt) in part {
                sites.extend(pack.add(ids, *prompt).unwrap());
            }
            let numbers = (number..number + sites.len()).collect();
            number += sites.len();
            shard(pack, sites, numbers)
        })
        .collect()
}

/// The batch's groups, each prompt once; all in one shard or one shard each.
fn shared(batch: &[Group], together: bool) -> Shards {
    let mut number = 0;
    let parts: Vec<&[Group]> = match together {
        true => vec![batch],
        false => batch.chunks(1).collect(),
    };
    parts
        .into_iter()
        .map(|groups| {
            let (mut pack, mut sites) = (Pack::default(), Vec::new());
            for g in groups {
                let ids: Vec<&[u32]> = g.completions.iter().map(Vec::as_slice).collect();
                sites.extend(pack.add_group(&g.prompt, &ids).unwrap().concat());
            }
            let numbers = (number..number + sites.len()).collect();
            number += sites.len();
            shard(pack, sites, numbers)
        })
        .collect()
}

fn run(network: &Network, shards: &Shards, checkpointing: bool) -> (Gradients, f64) {
    let options = PassOptions {
        checkpointing,
        dropout: None,
    };
    let (gradients, sums) = network.gradients(shards, &options).unwrap();
    (gradients, sums.get(Sums::LOSS))
}

/// Largest relative distance of loss and gradients.
fn apart(a: &(Gradients, f64), b: &(Gradients, f64)) -> f64 {
    let tensors = a.0.tensors.iter().zip(&b.0.tensors);
    tensors
        .map(|(a, b)| relative(a, &b.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()))
        .fold((a.1 - b.1).abs() / b.1.abs(), f64::max)
}

#[test]
fn shards_packs_and_shared_prompts_change_the_order_of_sums_alone() {
    let batch = batch();
    let mut worst: BTreeMap<&str, f64> = BTreeMap::new();
    for (name, network) in networks() {
        let whole = run(&network, &repeated(&batch, 16), false);
        for (way, shards) in [
            ("accumulated, one sequence to a shard", repeated(&batch, 1)),
            ("accumulated, two sequences to a shard", repeated(&batch, 2)),
            ("prompts shared, one shard", shared(&batch, true)),
            (
                "prompts shared, one shard to a group",
                shared(&batch, false),
            ),
        ] {
            let error = apart(&run(&network, &shards, false), &whole);
            assert!(error < ORDER, "{name}: {way}: {error:e}");
            let worst = worst.entry(way).or_default();
            *worst = worst.max(error);
        }
    }
    let mut table = String::from(
        "The same step computed in several ways, full weights and LoRA on five models: largest relative difference of \
         the loss and of a\ntensor's gradient (tolerance 1e-5) from all sixteen sequences in one pack, prompts \
         repeated. Threads, checkpointing and repetition\nchange no bit.\n\n| way | difference |\n|---|---|\n",
    );
    for (way, error) in &worst {
        let _ = writeln!(table, "| {way} | {error:.1e} |");
    }
    println!("{table}");
    section("Ways of computing a step", &table);
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

fn bits(gradients: &Gradients) -> Vec<u32> {
    let values = gradients.tensors.iter().flatten();
    values.map(|x| x.to_bits()).collect()
}

#[test]
fn threads_change_no_bit() {
    let batch = batch();
    for (name, network) in networks() {
        let run = |threads| {
            on_threads(threads, || {
                let many = run(&network, &repeated(&batch, 3), true);
                let one = run(&network, &shared(&batch, true), false);
                (
                    many.1.to_bits(),
                    bits(&many.0),
                    one.1.to_bits(),
                    bits(&one.0),
                )
            })
        };
        let one = run(1);
        for threads in [2, 5] {
            assert!(one == run(threads), "{name}: {threads} threads change bits");
        }
        assert!(one == run(1), "{name}: a second run changes bits");
    }
}

#[test]
fn checkpointing_changes_no_bit() {
    let batch = batch();
    for (name, network) in networks() {
        let kept = run(&network, &shared(&batch, false), false);
        let again = run(&network, &shared(&batch, false), true);
        assert_eq!(kept.1.to_bits(), again.1.to_bits(), "{name}");
        assert!(
            bits(&kept.0) == bits(&again.0),
            "{name}: checkpointing changes bits"
        );
    }
}

/// W + scale B A of every adapted projection, in f64, as a model of its own.
fn merged(base: &fixture::ModelCase, kind: &str, adapter: &Network) -> Network {
    let settings = base.adapters[kind].settings();
    let scale = settings.scale();
    let values = |name: &str| -> Option<(&[f32], &[usize])> {
        let found = adapter.parameters().iter().find(|p| p.name == name)?;
        Some((&found.values, &found.shape))
    };
    let tensors: Vec<_> = base
        .weights
        .iter()
        .map(|recipe| {
            let mut w = recipe.values(&base.name);
            let module = recipe.0.trim_end_matches(".weight");
            let name = |side| format!("base_model.model.{module}.lora_{side}.weight");
            if let (Some((a, _)), Some((b, b_shape))) = (values(&name("A")), values(&name("B"))) {
                let (rank, inputs) = (b_shape[1], recipe.1[1]);
                for (i, w) in w.iter_mut().enumerate() {
                    let (row, column) = (i / inputs, i % inputs);
                    let product =
                        |r: usize| f64::from(b[row * rank + r]) * f64::from(a[r * inputs + column]);
                    *w = (f64::from(*w) + scale * (0..rank).map(product).sum::<f64>()) as f32;
                }
            }
            (recipe.0.clone(), recipe.1.clone(), w)
        })
        .collect();
    let files = model_files("merged", &base.config, &tensors);
    Network::open(&files, &Trainable::Full, 1).unwrap()
}

fn pack(batch: &[Group]) -> Pack {
    let mut pack = Pack::default();
    for g in batch {
        let ids: Vec<&[u32]> = g.completions.iter().map(Vec::as_slice).collect();
        pack.add_group(&g.prompt, &ids).unwrap();
    }
    pack
}

#[test]
fn an_adapter_on_the_fly_is_the_merged_model() {
    let (fixture, pack) = (fixture::Gradients::open(), pack(&batch()));
    for model in &fixture.models {
        for kind in model.adapters.keys() {
            let network = model.network(kind);
            let fly = network.hidden(&pack, Which::Current).unwrap();
            let whole = merged(model, kind, &network);
            let hidden = whole.hidden(&pack, Which::Current).unwrap();
            let error = worst(&fly, &hidden);
            assert!(error < 5e-5, "{}/{kind}: {error:e}", model.name);
            let plain = network.hidden(&pack, Which::Reference).unwrap();
            assert!(
                worst(&fly, &plain) > 0.05,
                "{}/{kind} changes nothing",
                model.name
            );
            let base = model.network("full");
            let base = base.hidden(&pack, Which::Current).unwrap();
            assert!(
                worst(&plain, &base) < 1e-6,
                "{}/{kind}: another reference",
                model.name
            );
        }
    }
}

/// Rows of a pack that predict completion tokens, in the order of the groups.
fn predicting(batch: &[Group], network: &Network) -> Vec<f32> {
    let width = network.config().hidden_size;
    let (mut pack, mut sites) = (Pack::default(), Vec::new());
    for g in batch {
        let ids: Vec<&[u32]> = g.completions.iter().map(Vec::as_slice).collect();
        sites.extend(pack.add_group(&g.prompt, &ids).unwrap().concat());
    }
    let hidden = network.hidden(&pack, Which::Current).unwrap();
    let row = |s: &Site| hidden[s.row * width..][..width].to_vec();
    sites.iter().flat_map(row).collect()
}

/// What training saves is what sampling and scoring read: the adapter's files
/// beside the base, the full model's files by themselves, and [`Network::policy`].
#[test]
fn saved_files_give_the_same_policy() {
    let (fixture, batch) = (fixture::Gradients::open(), batch());
    let groups: Vec<PromptGroup<'_>> = batch
        .iter()
        .map(|g| PromptGroup {
            prompt: &g.prompt,
            completions: g.completions.iter().map(Vec::as_slice).collect(),
        })
        .collect();
    let mut largest: f32 = 0.0;
    for model in &fixture.models {
        for kind in ["full", "seven", "qv"] {
            let network = model.network(kind);
            let ours = predicting(&batch, &network);
            let saved = ModelFiles::in_memory("saved", network.saved_files().unwrap());
            let opened = match kind {
                "full" => Policy::open_files(saved, None),
                _ => Policy::open_files(model.files(), Some(saved)),
            };
            for policy in [opened.unwrap(), network.policy().unwrap()] {
                let theirs = policy.hidden_rows(&groups).unwrap().values;
                let error = worst(&ours, &theirs);
                assert!(error < 2e-5, "{}/{kind}: {error:e}", model.name);
                largest = largest.max(error);
            }
        }
    }
    println!("largest |hidden state - policy's| {largest:e}");
}

#[test]
fn the_head_is_the_one_that_is_trained() {
    let fixture = fixture::Gradients::open();
    for model in &fixture.models {
        let full = model.network("full");
        assert!(
            matches!(full.head_weight(), HeadWeight::Trained(_)),
            "{}",
            model.name
        );
        let adapter = model.network("seven");
        assert!(
            matches!(adapter.head_weight(), HeadWeight::Frozen(_)),
            "{}",
            model.name
        );
    }
}
