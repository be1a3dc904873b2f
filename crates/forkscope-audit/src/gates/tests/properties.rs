use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::matched::position_bin;
use super::super::{Gate, GatePlan, decide, tau_for_share};
use super::{Owned, chosen, gate, inputs};

const PLAIN: [&str; 14] = [
    "entropy:0.8",
    "quantile:0.2",
    "top-k:3",
    "share:0.1",
    "dual:0.5:1.1:4",
    "signal:1.5",
    "signal-quantile:0.3",
    "signal-top-k:2",
    "signal-share:0.25",
    "signal-dual:0.2:1:3",
    "first:2",
    "changed",
    "all",
    "entropy:99",
];
const SAME_COUNT: [&str; 7] = [
    "random",
    "matched-position",
    "matched-random",
    "low-entropy",
    "first",
    "last",
    "stride",
];

/// Rollouts of 0 to 40 positions; entropies with and without ties.
fn rollouts() -> impl Strategy<Value = Vec<Owned>> {
    let entropy = prop_oneof![
        2 => 0.0f64..2.0,
        1 => prop::sample::select(vec![0.0, 0.5, 1.0, 1.5]),
    ];
    let rollout = prop::collection::vec((entropy, -1.0f64..3.0, any::<bool>()), 0..40);
    prop::collection::vec(rollout, 0..7).prop_map(|all| {
        let numbered = (0u32..).zip(all);
        numbered
            .map(|(i, rows)| Owned {
                problem_id: format!("p{}", i / 2),
                sample: i,
                entropies: rows.iter().map(|r| r.0).collect(),
                signal: rows.iter().map(|r| r.1).collect(),
                changed: rows.iter().map(|r| r.2).collect(),
            })
            .collect()
    })
}

fn every_gate() -> impl Strategy<Value = Gate> {
    let plain = prop::sample::select(PLAIN.to_vec());
    let mut controls = SAME_COUNT.to_vec();
    controls.extend(["matched-mass", "random-high:0.7"]);
    (plain, prop::option::of(prop::sample::select(controls))).prop_map(|(plain, control)| {
        match control {
            Some(control) => gate(&format!("{control}@{plain}")),
            None => gate(plain),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn chosen_positions_ascend_within_the_rollout_and_read_back(owned in rollouts(), gate in every_gate(), seed: u64) {
        let chosen = decide(&gate, &inputs(&owned), seed).unwrap();
        prop_assert_eq!(chosen.len(), owned.len());
        for (set, rollout) in chosen.iter().zip(&owned) {
            prop_assert!(set.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(set.last().is_none_or(|at| (*at as usize) < rollout.entropies.len()));
        }
        prop_assert_eq!(&gate.to_string().parse::<Gate>().unwrap(), &gate);
    }

    #[test]
    fn neither_order_nor_threads_matter(owned in rollouts(), gate in every_gate(), seed: u64, turn in 0usize..7) {
        let straight = decide(&gate, &inputs(&owned), seed).unwrap();
        let mut turned = owned.clone();
        turned.rotate_left(turn.min(owned.len()));
        let turned_inputs = inputs(&turned);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1 + turn % 3).build().unwrap();
        let mut back = pool.install(|| decide(&gate, &turned_inputs, seed)).unwrap();
        back.rotate_right(turn.min(owned.len()));
        prop_assert_eq!(&straight, &back);
        if !gate.is_global() {
            for (rollout, set) in owned.iter().zip(&straight) {
                let alone = decide(&gate, &[rollout.input()], seed).unwrap();
                prop_assert_eq!(&alone[0], set);
            }
        }
        if !gate.is_random() {
            prop_assert_eq!(&decide(&gate, &inputs(&owned), seed ^ 1).unwrap(), &straight);
        }
    }

    #[test]
    fn controls_choose_as_many(owned in rollouts(), plain in prop::sample::select(PLAIN.to_vec()), seed: u64) {
        let reference = chosen(plain, &owned, seed);
        for control in SAME_COUNT {
            let drawn = chosen(&format!("{control}@{plain}"), &owned, seed);
            for (a, b) in drawn.iter().zip(&reference) {
                prop_assert_eq!(a.len(), b.len(), "{}", control);
            }
        }
        let high = chosen(&format!("random-high:0.7@{plain}"), &owned, seed);
        for ((drawn, wanted), rollout) in high.iter().zip(&reference).zip(&owned) {
            let there_are = rollout.entropies.iter().filter(|h| **h > 0.7).count();
            prop_assert_eq!(drawn.len(), wanted.len().min(there_are));
        }
    }

    #[test]
    fn matched_draws_avoid_the_reference_and_keep_the_fifths(owned in rollouts(), plain in prop::sample::select(PLAIN.to_vec()), seed: u64) {
        let reference = chosen(plain, &owned, seed);
        for control in ["matched-position", "matched-random"] {
            let drawn = chosen(&format!("{control}@{plain}"), &owned, seed);
            for ((drawn, reference), rollout) in drawn.iter().zip(&reference).zip(&owned) {
                let len = rollout.entropies.len();
                let common = drawn.iter().filter(|at| reference.contains(at)).count();
                prop_assert_eq!(common, (2 * reference.len()).saturating_sub(len));
                let fifths = |set: &mut dyn Iterator<Item = u32>| {
                    let mut counts = BTreeMap::new();
                    set.for_each(|at| *counts.entry(position_bin(at, len)).or_insert(0) += 1);
                    counts
                };
                let wanted = fifths(&mut reference.iter().copied());
                let others = fifths(&mut (0..len as u32).filter(|at| !reference.contains(at)));
                if wanted.iter().all(|(bin, n)| others.get(bin) >= Some(n)) {
                    prop_assert_eq!(fifths(&mut drawn.iter().copied()), wanted);
                }
            }
        }
    }

    #[test]
    fn matched_mass_is_within_one_position_or_takes_all_others(owned in rollouts(), plain in prop::sample::select(PLAIN.to_vec()), seed: u64) {
        let reference = chosen(plain, &owned, seed);
        let drawn = chosen(&format!("matched-mass@{plain}"), &owned, seed);
        for ((drawn, reference), rollout) in drawn.iter().zip(&reference).zip(&owned) {
            let mass = |set: &[u32]| set.iter().map(|at| rollout.entropies[*at as usize]).sum::<f64>();
            let highest = rollout.entropies.iter().copied().fold(0.0, f64::max);
            let gap = mass(drawn) - mass(reference);
            prop_assert!(drawn.iter().all(|at| !reference.contains(at)));
            let all_others = drawn.len() + reference.len() == rollout.entropies.len();
            prop_assert!(gap.abs() <= highest + 1e-9 || (gap < 0.0 && all_others), "{}", gap);
        }
    }

    #[test]
    fn a_calibrated_threshold_is_the_least_within_the_share(values in prop::collection::vec(prop_oneof![0.0f64..2.0, Just(1.0)], 1..60), share in 0.001f64..0.999) {
        let found = tau_for_share(&values, share).unwrap();
        let share_at = |tau: f64| values.iter().filter(|x| **x > tau).count() as f64 / values.len() as f64;
        prop_assert_eq!(found.share, share_at(found.tau));
        prop_assert!(found.share <= share);
        for lower in values.iter().filter(|x| **x < found.tau) {
            prop_assert!(share_at(*lower) > share);
        }
        let owned = [Owned::new("p", values)];
        let quantile = decide(&gate(&format!("quantile:{share}")), &inputs(&owned), 0).unwrap();
        prop_assert_eq!(quantile, decide(&Gate::entropy(found.tau), &inputs(&owned), 0).unwrap());
    }

    #[test]
    fn a_plan_gives_every_rollout_its_gate(owned in rollouts(), right in every_gate(), wrong in every_gate(), seed: u64, marks in prop::collection::vec(any::<bool>(), 7)) {
        let inputs = inputs(&owned);
        let marks = &marks[..owned.len()];
        let plan = GatePlan { right: right.clone(), wrong: wrong.clone() };
        prop_assert_eq!(&plan.to_string().parse::<GatePlan>().unwrap(), &plan);
        let chosen = plan.decide(&inputs, marks, seed).unwrap();
        let of_right = decide(&right, &inputs, seed).unwrap();
        let of_wrong = decide(&wrong, &inputs, seed).unwrap();
        for (i, set) in chosen.iter().enumerate() {
            prop_assert_eq!(set, if marks[i] { &of_right[i] } else { &of_wrong[i] });
        }
    }
}
