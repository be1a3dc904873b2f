//! Losses, gradients and logged values of TRL's own trainers on made-up logits
//! (`tests/fixtures/make_trl.py`).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::dpo::{DpoSettings, DpoShard, DpoSource};
use super::grpo::advantage::AdvantageSettings;
use super::grpo::loss::{Aggregation, Importance, LossSettings, StepCounts};
use super::grpo::select::entropy_threshold;
use super::grpo::{GrpoShard, Sequence};
use super::pairs::Pair;
use super::{BatchSettings, rows};
use crate::engine::{Head, HeadWeight, Pack, Shard, Sums};
use crate::run::Source;

#[derive(Deserialize)]
struct Fixture {
    vocab: usize,
    max_tokens: u64,
    lengths: Vec<usize>,
    ids: Vec<Vec<u32>>,
    logits: Vec<Vec<Vec<f32>>>,
    old: Vec<Vec<f32>>,
    reference: Vec<Vec<f64>>,
    rewards: Vec<f64>,
    advantages: Vec<f64>,
    grpo: Vec<GrpoCase>,
    dpo_logits: Vec<Vec<Vec<f32>>>,
    dpo_references: Vec<f64>,
    dpo: Vec<DpoCase>,
}

#[derive(Deserialize)]
struct GrpoCase {
    loss_type: String,
    beta: f64,
    importance: String,
    top_entropy_quantile: f64,
    loss: f64,
    gradient: Vec<Vec<Vec<f64>>>,
    logged: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct DpoCase {
    beta: f64,
    loss: f64,
    gradient: Vec<Vec<Vec<f64>>>,
    logged: BTreeMap<String, f64>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../../tests/fixtures/trl.json")).unwrap()
}

/// A shard's sums, and d loss / d logits of each row: the head is the identity,
/// so that hidden states are logits.
fn run(shard: &dyn Shard, logits: &[f32], vocab: usize) -> (Sums, Vec<f32>) {
    let mut identity = vec![0.0; vocab * vocab];
    identity
        .iter_mut()
        .step_by(vocab + 1)
        .for_each(|x| *x = 1.0);
    let weight = HeadWeight::Trained(&identity);
    let mut head = Head::new(logits, vocab, vocab, weight, None);
    let sums = shard.loss(&mut head).unwrap();
    (sums, head.into_gradient())
}

fn close(found: f64, expected: f64, what: &str) {
    let error = (found - expected).abs();
    assert!(
        error <= 1e-5 * expected.abs() + 1e-7,
        "{what}: {found} {expected}"
    );
}

/// One row of logits per completion token, sequence after sequence.
fn flat<'a, T: Copy + 'a>(f: &Fixture, order: &[usize], rows: &'a [Vec<Vec<T>>]) -> Vec<T> {
    order
        .iter()
        .flat_map(|s| rows[*s][..f.lengths[*s]].iter().flatten().copied())
        .collect()
}

fn grpo_shard(f: &Fixture, case: &GrpoCase) -> GrpoShard {
    let settings = LossSettings {
        epsilon_low: 0.2,
        epsilon_high: 0.28,
        beta: case.beta,
        importance: match case.importance.as_str() {
            "sequence" => Importance::Sequence,
            _ => Importance::Token,
        },
        aggregation: match case.loss_type.as_str() {
            "dapo" => Aggregation::Token,
            "grpo" => Aggregation::Sequence,
            _ => Aggregation::Constant,
        },
    };
    let step = StepCounts {
        tokens: f.lengths.iter().sum::<usize>() as u64,
        completions: f.lengths.len() as u64,
        max_tokens: f.max_tokens,
    };
    let entropies: Vec<Vec<f64>> = (0..f.lengths.len())
        .map(|s| {
            f.logits[s][..f.lengths[s]]
                .iter()
                .map(|z| rows::entropy(z))
                .collect()
        })
        .collect();
    let least = entropy_threshold(&entropies.concat(), case.top_entropy_quantile).unwrap();
    let masked = case.top_entropy_quantile < 1.0;
    let mut pack = Pack::default();
    let mut sequences = Vec::new();
    for (s, n) in f.lengths.iter().enumerate() {
        let ids = &f.ids[s][..*n];
        let sites = pack.add_group(&[0], &[ids]).unwrap().remove(0);
        sequences.push(Sequence {
            sites,
            old: f.old[s][..*n].to_vec(),
            reference: f.reference[s][..*n].to_vec(),
            advantages: vec![f.advantages[s]; *n],
            mask: masked.then(|| entropies[s].iter().map(|h| *h >= least).collect()),
            weight: settings.weight(*n, &step),
        });
    }
    GrpoShard::new(pack, sequences, settings).unwrap()
}

#[test]
fn grpo_is_that_of_trl() {
    let f = fixture();
    let order: Vec<usize> = (0..f.lengths.len()).collect();
    let logits = flat(&f, &order, &f.logits);
    for case in &f.grpo {
        let what = format!("{} beta {} {}", case.loss_type, case.beta, case.importance);
        let (sums, gradient) = run(&grpo_shard(&f, case), &logits, f.vocab);
        close(sums.get(Sums::LOSS), case.loss, &what);
        let expected = flat(&f, &order, &case.gradient);
        for (found, expected) in gradient.iter().zip(expected) {
            close(f64::from(*found), expected, &what);
        }
        if case.beta > 0.0 {
            close(
                sums.get("kl_sum") / sums.get("sites"),
                case.logged["kl"],
                &what,
            );
        }
        if case.top_entropy_quantile == 1.0 {
            let n = sums.get("sites");
            close(sums.get("entropy_sum") / n, case.logged["entropy"], &what);
            let of = |name| sums.get(name) / sums.get("ratios");
            close(of("clipped_low"), case.logged["clip_ratio/low_mean"], &what);
            close(
                of("clipped_high"),
                case.logged["clip_ratio/high_mean"],
                &what,
            );
        }
    }
    assert_eq!(f.grpo.len(), 11);
}

#[test]
fn advantages_are_those_of_trl() {
    let f = fixture();
    let groups = [("a", &f.rewards[..2]), ("b", &f.rewards[2..])];
    let found = AdvantageSettings::default().of(&groups).unwrap();
    let found = found.into_iter().flatten().flatten();
    for (found, expected) in found.zip(&f.advantages) {
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }
}

#[test]
fn dpo_is_that_of_trl() {
    let f = fixture();
    let ids = |s: usize| f.ids[s][..f.lengths[s]].to_vec();
    let pairs: Vec<Pair> = (0..2)
        .map(|s| Pair {
            id: s.to_string(),
            prompt: vec![0],
            chosen: ids(s),
            rejected: ids(2 + s),
            reference: Some((f.dpo_references[s], f.dpo_references[2 + s])),
        })
        .collect();
    // The prompt's row, then the rows of the chosen and the rejected completion.
    let places: Vec<(usize, usize)> = (0..2)
        .flat_map(|s| {
            let own = |s: usize| (1..f.lengths[s]).map(move |t| (s, t));
            [(s, 0)]
                .into_iter()
                .chain(own(s))
                .chain(own(2 + s))
                .collect::<Vec<_>>()
        })
        .collect();
    let logits: Vec<f32> = places
        .iter()
        .flat_map(|(s, t)| f.dpo_logits[*s][*t].iter().copied())
        .collect();
    for case in &f.dpo {
        let settings = DpoSettings {
            beta: case.beta,
            ..DpoSettings::default()
        };
        let references: Vec<_> = pairs.iter().filter_map(|p| p.reference).collect();
        let all: Vec<&Pair> = pairs.iter().collect();
        let shard = DpoShard::new(&all, &references, 2, settings).unwrap();
        let (sums, gradient) = run(&shard, &logits, f.vocab);
        close(sums.get(Sums::LOSS), case.loss, "loss");
        for ((s, t), found) in places.iter().zip(gradient.chunks(f.vocab)) {
            for (v, found) in found.iter().enumerate() {
                let shared = if *t == 0 {
                    case.gradient[2 + s][0][v]
                } else {
                    0.0
                };
                let expected = case.gradient[*s][*t][v] + shared;
                close(f64::from(*found), expected, "gradient");
            }
        }
        let batches = BatchSettings::default();
        let mut source = DpoSource::new(pairs.clone(), settings, batches).unwrap();
        let log: BTreeMap<String, f64> = source.after(&sums).into_iter().collect();
        for (name, expected) in &case.logged {
            close(log[name], *expected, name);
        }
        assert_eq!(case.logged.len(), 6);
    }
}
