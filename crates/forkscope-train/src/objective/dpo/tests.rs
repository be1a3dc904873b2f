//! DPO's loss written down again from logits, in f64; and pairs on a tiny
//! model.

use proptest::prelude::*;

use super::{DpoSettings, DpoShard, DpoSource, Score};
use crate::engine::{Network, Shard, Sums, Which};
use crate::objective::pairs::Pair;
use crate::objective::testing::{check_head, distance, gradients, log_softmax, network};
use crate::objective::{BatchSettings, Order};
use crate::run::Source;

const VOCAB: usize = 7;

fn pair(id: u32, chosen: &[u32], rejected: &[u32]) -> Pair {
    Pair {
        id: id.to_string(),
        prompt: vec![id % 3, 2],
        chosen: chosen.to_vec(),
        rejected: rejected.to_vec(),
        reference: None,
    }
}

fn pairs() -> Vec<Pair> {
    vec![
        pair(0, &[3, 1, 4], &[1, 5]),
        pair(1, &[2], &[2, 6, 5, 3]),
        pair(2, &[5, 5], &[5, 4]),
        pair(3, &[6, 1, 1, 2], &[0]),
    ]
}

/// The mean over pairs of the formula in the module's head.
fn plain(s: &DpoSettings, pairs: &[Pair], references: &[(f64, f64)], logits: &[Vec<f64>]) -> f64 {
    let (mut row, mut loss) = (0, 0.0);
    for (pair, (f_c, f_r)) in pairs.iter().zip(references) {
        let last = row + pair.prompt.len() - 1;
        row = last + 1;
        let mut sum = |ids: &[u32]| {
            let mut at = last;
            let mut l = 0.0;
            for (t, id) in ids.iter().enumerate() {
                l += log_softmax(&logits[at])[*id as usize];
                at = row;
                row += usize::from(t + 1 < ids.len());
            }
            l
        };
        let (l_c, l_r) = (sum(&pair.chosen), sum(&pair.rejected));
        let z = s.beta * ((l_c - f_c) - (l_r - f_r));
        let ln_sigmoid = |z: f64| -(1.0 + (-z).exp()).ln();
        loss -= (1.0 - s.label_smoothing) * ln_sigmoid(z) + s.label_smoothing * ln_sigmoid(-z);
        loss -= s.nll_weight * l_c / pair.chosen.len() as f64;
    }
    loss / pairs.len() as f64
}

#[test]
fn value_and_gradient_are_those_of_the_formula() {
    let references = [(-3.0, -2.5), (-1.0, -6.0), (-2.0, -9.0), (-8.0, -1.5)];
    for (label_smoothing, nll_weight) in [(0.0, 0.0), (0.1, 0.0), (0.0, 0.7), (0.2, 1.0)] {
        let s = DpoSettings {
            beta: 0.5,
            label_smoothing,
            nll_weight,
        };
        let pairs = pairs();
        let all: Vec<&Pair> = pairs.iter().collect();
        let shard = DpoShard::new(&all, &references, 4, s).unwrap();
        let sums = check_head(&shard, 5, VOCAB, |z| plain(&s, &pairs, &references, z));
        assert_eq!(sums.get("pairs"), 4.0);
        let (c, f) = (sums.get("logp_chosen_sum"), -14.0);
        assert!((sums.get("reward_chosen_sum") - 0.5 * (c - f)).abs() < 1e-9);
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let check = |beta, label_smoothing, nll_weight| {
        DpoSettings {
            beta,
            label_smoothing,
            nll_weight,
        }
        .check()
        .is_ok()
    };
    assert!(check(0.1, 0.0, 0.0) && check(1.0, 0.49, 2.0));
    assert!(!check(0.0, 0.0, 0.0) && !check(f64::NAN, 0.0, 0.0) && !check(0.1, 0.5, 0.0));
    assert!(!check(0.1, -0.1, 0.0) && !check(0.1, 0.0, f64::INFINITY));
}

proptest! {
    #[test]
    fn the_loss_has_its_derivatives_and_never_overflows(
        l_c in -900.0f64..0.0, l_r in -900.0f64..0.0, beta in 0.01f64..5.0,
        label_smoothing in 0.0f64..0.5, nll_weight in 0.0f64..2.0,
    ) {
        let s = DpoSettings { beta, label_smoothing, nll_weight };
        let of = |l_c: f64, l_r: f64| {
            let score = |current, reference| Score { current, reference, tokens: 3 };
            s.pair(score(l_c, -400.0), score(l_r, -390.0))
        };
        let found = of(l_c, l_r);
        prop_assert!(found.loss.is_finite() && found.loss >= 0.0);
        let h = 1e-4;
        let c = (of(l_c + h, l_r).loss - of(l_c - h, l_r).loss) / (2.0 * h);
        let r = (of(l_c, l_r + h).loss - of(l_c, l_r - h).loss) / (2.0 * h);
        prop_assert!((found.chosen - c).abs() < 1e-5, "{} {c}", found.chosen);
        prop_assert!((found.rejected - r).abs() < 1e-5, "{} {r}", found.rejected);
    }

    #[test]
    fn at_the_reference_the_loss_is_ln_2(l_c in -50.0f64..0.0, l_r in -50.0f64..0.0) {
        let score = |l| Score { current: l, reference: l, tokens: 2 };
        let found = DpoSettings::default().pair(score(l_c), score(l_r));
        prop_assert!((found.loss - std::f64::consts::LN_2).abs() < 1e-15);
        prop_assert_eq!((found.reward_chosen, found.reward_rejected), (0.0, 0.0));
        prop_assert!((found.chosen + 0.05).abs() < 1e-15 && found.chosen == -found.rejected);
    }
}

fn batch(batch: usize, shard_rows: usize) -> BatchSettings {
    BatchSettings {
        batch,
        order: Order::Shuffled,
        keep_last: true,
        seed: 5,
        shard_rows,
    }
}

fn source(settings: BatchSettings) -> DpoSource {
    DpoSource::new(pairs(), DpoSettings::default(), settings).unwrap()
}

fn logged(log: &[(String, f64)], name: &str) -> f64 {
    log.iter().find(|(n, _)| n == name).unwrap().1
}

fn move_on(network: &mut Network) {
    for parameter in network.parameters_mut() {
        parameter.values.iter_mut().for_each(|x| *x *= 1.05);
    }
}

#[test]
fn the_first_step_starts_at_ln_2_and_shards_do_not_change_it() {
    let network = network(VOCAB);
    let (mut whole, mut cut) = (source(batch(4, 1000)), source(batch(4, 1)));
    let (a, b) = (
        whole.step(0, &network).unwrap(),
        cut.step(0, &network).unwrap(),
    );
    assert_eq!((a.shards.len(), b.shards.len()), (1, 4));
    let (a, b) = (
        gradients(&network, &a.shards),
        gradients(&network, &b.shards),
    );
    assert!((a.1.get(Sums::LOSS) - std::f64::consts::LN_2).abs() < 1e-6);
    assert!(distance(&a.0, &b.0) < 1e-6);
    let log = whole.after(&a.1);
    assert!(logged(&log, "rewards/margins").abs() < 1e-6);
    assert!(logged(&log, "logps/chosen") < 0.0);
    assert!(whole.after(&Sums::default()).is_empty());
}

#[test]
fn a_full_run_keeps_the_first_reference_and_resumes_with_it() {
    let mut network = network(VOCAB);
    let mut source = source(batch(2, 8));
    source.step(0, &network).unwrap();
    let pair = &pairs()[0];
    let mut pack = crate::engine::Pack::default();
    let sites = pack.add_group(&pair.prompt, &[&pair.chosen]).unwrap();
    let before: f64 = network
        .log_probs(&pack, &sites[0], Which::Reference)
        .unwrap()
        .iter()
        .sum();
    assert!((source.references[0].unwrap().0 - before).abs() < 1e-5);
    move_on(&mut network);
    let state: serde_json::Value = serde_json::from_str(&source.state().to_string()).unwrap();
    let mut resumed = self::source(batch(2, 8));
    assert!(resumed.step(1, &network).is_err(), "the reference is gone");
    resumed.restore(&state).unwrap();
    let of = |source: &mut DpoSource| {
        let step = source.step(1, &network).unwrap();
        let (gradients, sums) = gradients(&network, &step.shards);
        (step.log, step.inspect, gradients, sums)
    };
    let (a, b) = (of(&mut source), of(&mut resumed));
    assert!(a == b);
    for bad in [
        serde_json::json!({}),
        serde_json::json!({"references": [[1.0, 2.0]]}),
        serde_json::json!({"references": "x"}),
    ] {
        assert!(resumed.restore(&bad).is_err(), "{bad}");
    }
}

#[test]
fn recorded_references_are_taken_and_bad_pairs_named() {
    let network = network(VOCAB);
    let mut given = pairs();
    given[1].reference = Some((-1.25, -2.5));
    let mut source = DpoSource::new(given, DpoSettings::default(), batch(4, 64)).unwrap();
    source.step(0, &network).unwrap();
    assert_eq!(source.references[1], Some((-1.25, -2.5)));
    for (broken, word) in [
        (pair(9, &[99], &[1]), "outside the vocabulary"),
        (pair(9, &[], &[1]), "empty chosen"),
        (pair(9, &[1; 80], &[1]), "context"),
    ] {
        let mut source =
            DpoSource::new(vec![broken], DpoSettings::default(), batch(1, 64)).unwrap();
        let error = source.step(0, &network).err().unwrap().to_string();
        assert!(error.contains("`9`") && error.contains(word), "{error}");
    }
    assert!(DpoSource::new(Vec::new(), DpoSettings::default(), batch(1, 64)).is_err());
}

#[test]
fn a_shard_refuses_what_does_not_fit() {
    let pairs = pairs();
    let all: Vec<&Pair> = pairs.iter().collect();
    let new = |references: &[(f64, f64)], step| {
        DpoShard::new(&all, references, step, DpoSettings::default())
    };
    assert!(new(&[(0.0, 0.0); 3], 4).is_err() && new(&[(0.0, 0.0); 4], 3).is_err());
    let shard = new(&[(-1.0, -1.0); 4], 8).unwrap();
    assert_eq!(
        shard.pack().len(),
        pairs.iter().map(Pair::rows).sum::<usize>()
    );
}
