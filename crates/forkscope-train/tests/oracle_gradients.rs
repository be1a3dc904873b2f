//! Loss and gradients of every objective against torch in f64, on the fixtures
//! of `fixtures/make_gradients.py`: five models, full weights and adapters.

mod oracle;

use std::collections::BTreeMap;
use std::fmt::Write;

use forkscope_train::engine::{Network, Pack, PassOptions, Sums, Trainable, Which};
use oracle::compare::{probed, relative};
use oracle::fixture::{Case, Goldens, Gradients};
use oracle::page::section;
use oracle::shards::{Inputs, unwrap};

/// Of the loss, and of every tensor's gradient relative to its norm.
const TOLERANCE: f64 = 1e-4;

fn networks(fixture: &Gradients) -> BTreeMap<String, Network> {
    let mut out = BTreeMap::new();
    for case in &fixture.cases {
        let owner = case.owner();
        let network = || fixture.model(&case.model).network(&case.trainable);
        out.entry(owner).or_insert_with(network);
    }
    out
}

/// Largest relative errors of one objective over models.
#[derive(Default)]
struct Found {
    cases: usize,
    tensors: usize,
    loss: f64,
    gradient: f64,
}

#[test]
fn losses_and_gradients_agree_with_torch() {
    let (fixture, goldens) = (Gradients::open(), Goldens::open());
    let networks = networks(&fixture);
    let mut found: BTreeMap<(String, &str), Found> = BTreeMap::new();
    for (at, case) in fixture.cases.iter().enumerate() {
        let what = format!("{}/{}", case.owner(), case.objective);
        let network = &networks[&case.owner()];
        let inputs = Inputs {
            fixture: &fixture,
            goldens: &goldens,
            case,
            network,
            // All in one shard, and cut into several.
            rows: if at % 2 == 0 { 4096 } else { 60 },
        };
        let options = PassOptions {
            checkpointing: at % 3 == 0,
            dropout: None,
        };
        let shards = inputs.shards();
        let (gradients, sums) = unwrap(network.gradients(&shards, &options), &what);
        let loss = (sums.get(Sums::LOSS) - case.loss).abs() / case.loss.abs();
        assert!(
            loss < TOLERANCE,
            "{what}: loss {} not {}",
            sums.get(Sums::LOSS),
            case.loss
        );
        let golden = goldens.values(&what);
        let mut order: Vec<usize> = (0..network.parameters().len()).collect();
        order.sort_by_key(|i| &network.parameters()[*i].name);
        assert_eq!(
            golden.len(),
            order.len() * 9,
            "{what}: other tensors are trained"
        );
        let kind = match case.trainable.as_str() {
            "full" => "full",
            _ => "LoRA",
        };
        let found = found.entry((case.objective.clone(), kind)).or_default();
        found.cases += 1;
        found.loss = found.loss.max(loss);
        for (index, golden) in order.into_iter().zip(golden.chunks(9)) {
            let parameter = &network.parameters()[index];
            let ours = &gradients.tensors[index];
            assert!(
                ours.iter().any(|g| *g != 0.0),
                "{what}: {} has no gradient",
                parameter.name
            );
            let mut error = probed(&parameter.name, ours, golden);
            if what == fixture.kept_whole {
                let whole = goldens.values(&format!("{what}/{}", parameter.name));
                error = error.max(relative(ours, &whole));
            }
            assert!(
                error < TOLERANCE,
                "{what}: {} is off by {error:e}",
                parameter.name
            );
            found.tensors += 1;
            found.gradient = found.gradient.max(error);
        }
    }
    let mut table = String::from(
        "Largest relative error in f32 against torch autograd in f64 over five tiny models (Llama tied, Llama with \
         biases, Qwen2, Qwen3,\nMistral with a sliding window); of a tensor's gradient relative to its norm. \
         Tolerance 1e-4.\n\n| objective | trained | cases | tensors | loss | gradient |\n|---|---|---|---|---|---|\n",
    );
    for ((objective, kind), f) in &found {
        let _ = writeln!(
            table,
            "| {objective} | {kind} | {} | {} | {:.1e} | {:.1e} |",
            f.cases, f.tensors, f.loss, f.gradient
        );
    }
    println!("{table}");
    section("Losses and gradients", &table);
}

/// The models are the ones that torch saw, and forward passes agree: log-probs
/// of every completion token under the policy and under the reference.
#[test]
fn log_probs_agree_with_torch() {
    let (fixture, goldens) = (Gradients::open(), Goldens::open());
    for (owner, network) in networks(&fixture) {
        let mut pack = Pack::default();
        let mut sites = Vec::new();
        for group in &fixture.batch {
            let ids: Vec<&[u32]> = group.completions.iter().map(Vec::as_slice).collect();
            sites.extend(pack.add_group(&group.prompt, &ids).unwrap().concat());
        }
        let check = |which: Which, name: &str| {
            let ours = network.log_probs(&pack, &sites, which).unwrap();
            let golden = goldens.values(&format!("{owner}/{name}"));
            assert_eq!(ours.len(), golden.len());
            for (a, b) in ours.iter().zip(&golden) {
                assert!((a - b).abs() < 2e-5, "{owner}, {name}: {a} not {b}");
            }
        };
        check(Which::Current, "log_probs");
        if !owner.ends_with("/full") {
            check(Which::Reference, "reference");
        }
    }
}

/// What is compared is not so coarse that a fault would pass: small changes of a
/// gradient, of the adapter's scale and of a clipping edge are seen.
#[test]
fn the_comparison_can_fail() {
    let (fixture, goldens) = (Gradients::open(), Goldens::open());
    let case = |kind: &str, objective: &str| {
        let of =
            |c: &&Case| c.model == "qwen3-norms" && c.trainable == kind && c.objective == objective;
        fixture.cases.iter().find(of).unwrap()
    };
    // Least and greatest error of a tensor.
    let errors = |case: &Case, network: &Network, change: f32| -> (f64, f64) {
        let inputs = Inputs {
            fixture: &fixture,
            goldens: &goldens,
            case,
            network,
            rows: 4096,
        };
        let (mut gradients, _) = network
            .gradients(&inputs.shards(), &PassOptions::default())
            .unwrap();
        let golden = goldens.values(&format!("{}/{}", case.owner(), case.objective));
        let mut named: Vec<_> = network
            .parameters()
            .iter()
            .zip(&mut gradients.tensors)
            .collect();
        named.sort_by_key(|(p, _)| &p.name);
        let errors = named
            .into_iter()
            .zip(golden.chunks(9))
            .map(|((p, g), golden)| {
                if change != 0.0 {
                    let at = g.len() / 2;
                    g[at] += change * golden[0] as f32;
                }
                probed(&p.name, g, golden)
            });
        errors.fold((f64::INFINITY, 0.0), |(a, b), e| (a.min(e), b.max(e)))
    };
    let model = fixture.model("qwen3-norms");
    let network = model.network("seven");
    let sft = case("seven", "sft-completion");
    assert!(errors(sft, &network, 0.0).1 < TOLERANCE);
    // One element of every tensor, by a thousandth of its norm.
    assert!(errors(sft, &network, 1e-3).0 > TOLERANCE);
    let mut settings = model.adapters["seven"].settings();
    settings.alpha *= 1.01;
    let mut other = Network::open(&model.files(), &Trainable::Lora(settings), 1).unwrap();
    other.parameters_mut().clone_from(network.parameters());
    assert!(errors(sft, &other, 0.0).0 > TOLERANCE);
    let mut clipped = case("seven", "grpo-token").clone();
    assert!(errors(&clipped, &network, 0.0).1 < TOLERANCE);
    clipped.settings["eps_high"] = 0.2.into();
    let found = errors(&clipped, &network, 0.0);
    assert!(found.1 > TOLERANCE, "{found:?}");
}
