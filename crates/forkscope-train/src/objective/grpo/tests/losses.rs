//! GRPO's loss written down again from logits, in f64, with central
//! differences; and what must hold of it.

use proptest::prelude::*;

use crate::engine::{Pack, Sums};
use crate::objective::grpo::loss::{
    Aggregation, Found, Importance, LossSettings, StepCounts, Terms, completion, k3,
};
use crate::objective::grpo::{GrpoShard, Sequence};
use crate::objective::testing::{check_head, log_softmax, values};

const VOCAB: usize = 7;

/// Two completions of one prompt; the second with old log-probs far from those
/// of the policy, so that ratios are clipped.
fn sequences(pack: &mut Pack, s: &LossSettings, masked: bool) -> Vec<Sequence> {
    let completions: [&[u32]; 3] = [&[3, 1, 4, 1], &[5, 2], &[6, 5, 3]];
    let sites = pack.add_group(&[2, 0], &completions).unwrap();
    let step = StepCounts {
        tokens: 9,
        completions: 3,
        max_tokens: 5,
    };
    let parts = sites.into_iter().zip([0.7, -1.3, 0.4]).enumerate();
    parts
        .map(|(i, (sites, advantage))| {
            let n = sites.len();
            let near = |j: usize| values(n, 1.0, 10 + j as u64);
            let advantages = (0..n).map(|t| advantage * (1.0 + 0.1 * t as f64));
            Sequence {
                old: near(i).iter().map(|x| -2.0 + x).collect(),
                reference: near(3 + i).iter().map(|x| f64::from(-2.0 + x)).collect(),
                advantages: advantages.collect(),
                mask: masked.then(|| (0..n).map(|t| (t + i) % 2 == 0).collect()),
                weight: s.weight(n, &step),
                sites,
            }
        })
        .collect()
}

/// The loss of the module's head, from logits.
fn plain(sequences: &[Sequence], s: &LossSettings, logits: &[Vec<f64>]) -> f64 {
    let mut loss = 0.0;
    for q in sequences {
        let n = q.sites.len();
        let l: Vec<f64> = q
            .sites
            .iter()
            .map(|site| log_softmax(&logits[site.row])[site.token as usize])
            .collect();
        let apart: Vec<f64> = (0..n).map(|t| l[t] - f64::from(q.old[t])).collect();
        let whole = apart.iter().sum::<f64>() / n as f64;
        for t in 0..n {
            let rho = match s.importance {
                Importance::Token => apart[t].exp(),
                Importance::Sequence => whole.exp(),
            };
            let (low, high) = (1.0 - s.epsilon_low, 1.0 + s.epsilon_high);
            let a = q.advantages[t];
            let surrogate = -f64::min(rho * a, rho.max(low).min(high) * a);
            let counts = q.mask.as_ref().is_none_or(|mask| mask[t]);
            let d = q.reference.get(t).map_or(0.0, |f| f - l[t]);
            let kl = s.beta * (d.exp() - d - 1.0);
            loss += q.weight * (if counts { surrogate } else { 0.0 } + kl);
        }
    }
    loss
}

#[test]
fn value_and_gradient_are_those_of_the_formula() {
    let mut clipped = 0.0;
    for importance in [Importance::Token, Importance::Sequence] {
        for aggregation in [
            Aggregation::Token,
            Aggregation::Sequence,
            Aggregation::Constant,
        ] {
            for beta in [0.0, 0.3] {
                for masked in [false, true] {
                    let s = LossSettings {
                        epsilon_low: 0.2,
                        epsilon_high: 0.28,
                        beta,
                        importance,
                        aggregation,
                    };
                    let mut pack = Pack::default();
                    let q = sequences(&mut pack, &s, masked);
                    let shard = GrpoShard::new(pack, q.clone(), s).unwrap();
                    let sums = check_head(&shard, 5, VOCAB, |logits| plain(&q, &s, logits));
                    clipped += sums.get("clipped_low") + sums.get("clipped_high");
                    assert!(sums.get("clipped_low") <= sums.get("ratios"));
                    assert_eq!(sums.get("kl_sum") > 0.0, beta > 0.0);
                }
            }
        }
    }
    assert!(clipped > 0.0, "the fixture must clip somewhere");
}

#[test]
fn weights_are_the_divisors_of_each_aggregation() {
    let step = StepCounts {
        tokens: 40,
        completions: 8,
        max_tokens: 10,
    };
    let weight = |aggregation| {
        let s = LossSettings {
            aggregation,
            ..LossSettings::default()
        };
        s.weight(4, &step)
    };
    assert_eq!(weight(Aggregation::Token), 1.0 / 40.0);
    assert_eq!(weight(Aggregation::Sequence), 1.0 / 32.0);
    assert_eq!(weight(Aggregation::Constant), 1.0 / 80.0);
}

#[test]
fn settings_and_shards_out_of_range_are_refused() {
    let check = |epsilon_low, epsilon_high, beta| {
        LossSettings {
            epsilon_low,
            epsilon_high,
            beta,
            ..LossSettings::default()
        }
        .check()
        .is_ok()
    };
    assert!(check(0.2, 0.28, 0.0) && check(0.0, 0.0, 1.0));
    assert!(!check(1.0, 0.2, 0.0) && !check(-0.1, 0.2, 0.0) && !check(f64::NAN, 0.2, 0.0));
    assert!(!check(0.2, f64::INFINITY, 0.0) && !check(0.2, 0.2, -1.0));
    let s = LossSettings::default();
    let mut pack = Pack::default();
    let mut q = sequences(&mut pack, &s, false);
    q[0].old.pop();
    assert!(GrpoShard::new(pack, q.clone(), s).is_err());
    q.remove(0);
    assert!(GrpoShard::new(Pack::default(), q, s).is_err());
}

/// One completion, no mask, weight 1.
fn alone(s: &LossSettings, current: &[f64], old: &[f32], advantages: &[f64]) -> (Found, Vec<f64>) {
    let terms = Terms {
        current,
        old,
        reference: &[],
        advantages,
        mask: None,
        weight: 1.0,
    };
    let mut coefficients = Vec::new();
    let found = completion(s, &terms, &mut coefficients);
    (found, coefficients)
}

#[test]
fn a_ratio_that_overflows_teaches_nothing_without_an_advantage() {
    let s = LossSettings::default();
    let (found, coefficients) = alone(&s, &[-1.0], &[-1e30], &[0.0]);
    assert_eq!((found.loss, coefficients[0]), (0.0, 0.0));
    // With a positive one it is clipped; with a negative one it stops the run.
    let (found, coefficients) = alone(&s, &[-1.0], &[-1e30], &[2.0]);
    assert_eq!((found.loss, coefficients[0]), (-2.4, 0.0));
    assert!(!alone(&s, &[-1.0], &[-1e30], &[-1.0]).0.loss.is_finite());
}

proptest! {
    #[test]
    fn at_a_ratio_of_one_nothing_is_clipped(
        old in prop::collection::vec(-9.0f32..0.0, 1..9),
        advantage in -3.0f64..3.0,
        low in 0.0f64..0.9,
        high in 0.0f64..2.0,
        whole in any::<bool>(),
    ) {
        let s = LossSettings {
            epsilon_low: low,
            epsilon_high: high,
            importance: if whole { Importance::Sequence } else { Importance::Token },
            ..LossSettings::default()
        };
        let current: Vec<f64> = old.iter().map(|l| f64::from(*l)).collect();
        let advantages = vec![advantage; old.len()];
        let (found, coefficients) = alone(&s, &current, &old, &advantages);
        prop_assert_eq!((found.clipped_low, found.clipped_high), (0.0, 0.0));
        prop_assert!((found.loss + advantage * old.len() as f64).abs() < 1e-9);
        for c in coefficients {
            prop_assert!((c + advantage).abs() < 1e-12);
        }
    }

    #[test]
    fn without_advantages_there_is_no_gradient(
        pairs in prop::collection::vec((-9.0f64..0.0, -9.0f32..0.0), 1..9),
        whole in any::<bool>(),
    ) {
        let s = LossSettings {
            importance: if whole { Importance::Sequence } else { Importance::Token },
            ..LossSettings::default()
        };
        let (current, old): (Vec<f64>, Vec<f32>) = pairs.into_iter().unzip();
        let (found, coefficients) = alone(&s, &current, &old, &vec![0.0; old.len()]);
        prop_assert_eq!(found.loss, 0.0);
        prop_assert!(coefficients.iter().all(|c| *c == 0.0));
    }

    #[test]
    fn k3_is_at_least_zero_and_zero_at_the_reference(a in -20.0f64..0.0, b in -20.0f64..0.0) {
        let (kl, slope) = k3(a, b);
        prop_assert!(kl >= 0.0);
        prop_assert_eq!(k3(a, a), (0.0, 0.0));
        let by_difference = (k3(a + 1e-6, b).0 - k3(a - 1e-6, b).0) / 2e-6;
        prop_assert!((slope - by_difference).abs() < 1e-4 * (1.0 + slope.abs()));
    }
}

#[test]
fn an_infinite_log_prob_stops_the_run() {
    use crate::engine::{Head, HeadWeight, Shard};
    let s = LossSettings::default();
    let mut pack = Pack::default();
    let q = sequences(&mut pack, &s, false);
    let shard = GrpoShard::new(pack, q, s).unwrap();
    let hidden = vec![f32::NAN; shard.pack().len() * 5];
    let weight = values(VOCAB * 5, 1.0, 1);
    let mut head = Head::new(&hidden, 5, VOCAB, HeadWeight::Trained(&weight), None);
    let error = shard.loss(&mut head).map(|sums| sums.get(Sums::LOSS));
    assert!(error.unwrap_err().to_string().contains("ln p of token"));
}
