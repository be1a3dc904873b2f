//! Identities that the metrics obey whatever the logits, the rules for what is
//! no logit, and bits that do not depend on threads or on the split of rows.

use forkscope_metrics::rng::Key;
use forkscope_metrics::{
    Class, MetricsError, PairMetrics, Side, class, normaliser, pair_rows, probabilities, score_rows,
};
use proptest::prelude::*;
use std::f64::consts::LN_2;

fn one(base: &[f32], tuned: &[f32]) -> PairMetrics {
    pair_rows(base, base.len(), tuned, tuned.len(), &[0], 3)
        .unwrap()
        .remove(0)
}

fn two_rows() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    let z = prop_oneof![5 => -15.0f32..15.0, 1 => -200.0f32..200.0];
    (
        prop::collection::vec((z.clone(), z, -0.01f32..0.01), 1..400),
        any::<bool>(),
    )
        .prop_map(|(rows, near)| {
            let base = rows.iter().map(|(b, _, _)| *b).collect();
            let tuned = rows
                .iter()
                .map(|(b, t, noise)| if near { b + noise } else { *t })
                .collect();
            (base, tuned)
        })
}

proptest! {
    #[test]
    fn divergences_are_divergences((base, tuned) in two_rows()) {
        let pair = one(&base, &tuned);
        let back = one(&tuned, &base);
        let (kl, lk) = (pair.kl_tuned_base_nats.unwrap(), pair.kl_base_tuned_nats.unwrap());
        prop_assert!(kl >= 0.0 && lk >= 0.0);
        prop_assert!((0.0..=LN_2 * (1.0 + 1e-6)).contains(&pair.js_nats));
        prop_assert!((0.0..=1.0 + 1e-6).contains(&pair.tv));
        // JS and TV are symmetric, the two KLs swap.
        let same = |a: f64, b: f64| (a - b).abs() <= 1e-6 + 1e-5 * a.abs();
        prop_assert!(same(pair.js_nats, back.js_nats));
        prop_assert!(same(pair.tv, back.tv));
        prop_assert!(same(kl, back.kl_base_tuned_nats.unwrap()));
        // CE = H + KL, and it is what the definition says.
        let ce = pair.ce_base_tuned_nats.unwrap();
        prop_assert!(same(ce, pair.base.entropy_nats + lk));
        // Pinsker, and JS between TV^2/2 and TV ln 2.
        prop_assert!(pair.tv * pair.tv <= 0.5 * kl.min(lk) * (1.0 + 1e-5) + 1e-12);
        prop_assert!(0.5 * pair.tv * pair.tv <= pair.js_nats * (1.0 + 1e-5) + 1e-12);
        prop_assert!(pair.js_nats <= pair.tv * LN_2 * (1.0 + 1e-5) + 1e-12);
        // H in [0, ln V].
        let bound = (base.len() as f64).ln() + 1e-6;
        prop_assert!((0.0..=bound).contains(&pair.base.entropy_nats));
        // The difference of log-probs, to their rounding.
        let difference = pair.tuned.logprob - pair.base.logprob;
        prop_assert!(same(pair.delta_logprob.unwrap(), difference));
    }

    #[test]
    fn a_constant_added_to_the_logits_changes_nothing((base, tuned) in two_rows(), shift in -8i8..8) {
        // Logits on a grid, so that the shifted ones are exact.
        let grid = |z: &f32| (z * 256.0).round() / 256.0;
        let base: Vec<f32> = base.iter().map(grid).collect();
        let tuned: Vec<f32> = tuned.iter().map(grid).collect();
        let shifted: Vec<f32> = tuned.iter().map(|z| z + f32::from(shift)).collect();
        let (plain, moved) = (one(&base, &tuned), one(&base, &shifted));
        prop_assert_eq!(plain.tuned.entropy_nats, moved.tuned.entropy_nats);
        prop_assert_eq!(plain.tuned.logprob, moved.tuned.logprob);
        prop_assert_eq!(plain.base_rank_of_tuned_argmax, moved.base_rank_of_tuned_argmax);
        let same = |a: f64, b: f64| (a - b).abs() <= 1e-6 * a.abs() + 1e-12;
        prop_assert!(same(plain.kl_tuned_base_nats.unwrap(), moved.kl_tuned_base_nats.unwrap()));
        prop_assert!(same(plain.js_nats, moved.js_nats));
    }
}

#[test]
fn identical_policies_do_not_differ() {
    for vocab in [1, 5, 16, 188, 700] {
        let key = Key::new(3, "same", 0, "test");
        let row: Vec<f32> = (0..vocab).map(|i| (key.uniform(i) * 20.0) as f32).collect();
        let pair = one(&row, &row);
        let zeros = [
            pair.kl_tuned_base_nats.unwrap(),
            pair.kl_base_tuned_nats.unwrap(),
            pair.js_nats,
            pair.tv,
            pair.delta_logprob.unwrap(),
        ];
        assert_eq!(zeros, [0.0; 5]);
        assert_eq!(pair.base, pair.tuned);
        assert_eq!(pair.base_rank_of_tuned_argmax, 1);
    }
}

/// Why KL is summed as p g(x): the textbook sum goes negative for policies that
/// hardly differ, and so does the sum of p ln(p/b) - p + b.
#[test]
fn naive_sums_go_negative() {
    let key = Key::new(4, "naive", 0, "test");
    let (mut naive, mut corrected) = (0u32, 0u32);
    for row in 0..200u64 {
        let mut draws = key.rng_at(row);
        let base: Vec<f32> = (0..188).map(|_| (draws.uniform() * 0.01) as f32).collect();
        let tuned: Vec<f32> = base
            .iter()
            .map(|z| z + (draws.uniform() * 4e-9) as f32)
            .collect();
        let logp = forkscope_metrics::reference::log_softmax(&tuned);
        let logb = forkscope_metrics::reference::log_softmax(&base);
        let terms = || {
            logp.iter()
                .zip(&logb)
                .map(|(p, b)| (p.exp(), b.exp(), p - b))
        };
        let sum: f64 = terms().map(|(p, _, x)| p * x).sum();
        naive += u32::from(sum < 0.0);
        let sum: f64 = terms().map(|(p, b, x)| p * x - p + b).sum();
        corrected += u32::from(sum < 0.0);
        let pair = one(&base, &tuned);
        let kl = pair.kl_tuned_base_nats.unwrap();
        let want = forkscope_metrics::reference::kl(&logp, &logb);
        assert!(
            kl >= 0.0 && (kl - want).abs() <= 1e-4 * want,
            "{kl:e} is not {want:e}"
        );
    }
    assert!(
        naive > 10,
        "the textbook sum went negative in {naive} of 200 rows"
    );
    assert!(
        corrected > 10,
        "the corrected sum went negative in {corrected} of 200 rows"
    );
}

#[test]
fn what_is_no_logit_is_named() {
    let good = vec![0.5f32; 1000];
    for (bad, value) in [(f32::NAN, "NaN"), (f32::INFINITY, "+inf")] {
        for token in [0, 511, 512, 999] {
            let mut rows = [good.clone(), good.clone(), good.clone()].concat();
            rows[2000 + token] = bad;
            rows[1000 + token] = bad;
            let targets = [0, 1, 2];
            let error = |side| {
                Err(MetricsError::NotFinite {
                    row: 1,
                    side,
                    token,
                    value,
                })
            };
            let plain = [good.clone(), good.clone(), good.clone()].concat();
            let found = score_rows(&rows, 1000, &targets, 5);
            assert_eq!(found.map(|_| ()), error(Side::Scored));
            let found = pair_rows(&rows, 1000, &plain, 1000, &targets, 5);
            assert_eq!(found.map(|_| ()), error(Side::Base));
            let found = pair_rows(&plain, 1000, &rows, 1000, &targets, 5);
            assert_eq!(found.map(|_| ()), error(Side::Tuned));
            // Also beyond the shared vocabulary.
            let short: Vec<f32> = plain
                .chunks(1000)
                .flat_map(|row| &row[..10])
                .copied()
                .collect();
            if token >= 10 {
                let found = pair_rows(&short, 10, &rows, 1000, &targets, 5);
                assert_eq!(found.map(|_| ()), error(Side::Tuned));
            }
        }
    }
    let masked = vec![f32::NEG_INFINITY; 1000];
    let side = Side::Tuned;
    assert_eq!(
        pair_rows(&good, 1000, &masked, 1000, &[3], 5).map(|_| ()),
        Err(MetricsError::AllMasked { row: 0, side })
    );
    assert!(normaliser(&masked).is_err());
    assert!(normaliser(&[]).is_err());
}

#[test]
fn wrong_shapes_are_refused() {
    let z = vec![0.0f32; 12];
    assert!(matches!(
        score_rows(&z, 5, &[0, 0], 1),
        Err(MetricsError::Shape { .. })
    ));
    assert!(matches!(
        score_rows(&z, 0, &[], 1),
        Err(MetricsError::EmptyVocabulary(_))
    ));
    let huge = usize::MAX;
    assert!(matches!(
        score_rows(&z, huge, &[0, 0], 1),
        Err(MetricsError::VocabularyTooLarge { .. })
    ));
    let outside = MetricsError::TargetOutside {
        row: 1,
        target: 6,
        vocab: 6,
    };
    assert_eq!(score_rows(&z, 6, &[5, 6], 1), Err(outside.clone()));
    assert_eq!(
        outside.to_string(),
        "row 1: target token 6 is outside the shared vocabulary of 6 tokens"
    );
    assert!(matches!(
        pair_rows(&z, 6, &z, 4, &[0, 4], 1),
        Err(MetricsError::Shape { .. })
    ));
    assert_eq!(score_rows::<f32>(&[], 6, &[], 1), Ok(vec![]));
}

#[test]
fn a_mask_on_one_side_leaves_one_direction() {
    let base = [0.0f32, 1.0, 2.0, f32::NEG_INFINITY];
    let tuned = [0.0f32, 1.0, f32::NEG_INFINITY, f32::NEG_INFINITY];
    let pair = one(&base, &tuned);
    assert_eq!((pair.only_base_masks, pair.only_tuned_masks), (0, 1));
    assert_eq!(
        (pair.kl_base_tuned_nats, pair.ce_base_tuned_nats),
        (None, None)
    );
    // p is b without the token: KL(p||b) = -ln(1 - b_2).
    let b2 = 2f64.exp() / (1.0 + 1f64.exp() + 2f64.exp());
    assert!((pair.kl_tuned_base_nats.unwrap() + (1.0 - b2).ln()).abs() < 1e-6);
    assert!((pair.tv - b2).abs() < 1e-6);
    assert_eq!(pair.base.topk.len(), 3);
    let back = one(&tuned, &base);
    assert_eq!((back.only_base_masks, back.only_tuned_masks), (1, 0));
    assert_eq!(back.kl_tuned_base_nats, None);
    assert!(back.kl_base_tuned_nats.is_some());
    // Both masked everything else: the policies agree on one token.
    let alone = [1.0f32, f32::NEG_INFINITY];
    assert_eq!(one(&alone, &alone).base.entropy_nats, 0.0);
    // Disjoint supports: the greatest JS and TV.
    let other = [f32::NEG_INFINITY, 1.0];
    let apart = pair_rows(&alone, 2, &other, 2, &[0], 1).unwrap().remove(0);
    assert!((apart.js_nats - LN_2).abs() < 1e-6 && (apart.tv - 1.0).abs() < 1e-6);
    assert_eq!(apart.delta_logprob, None);
    assert_eq!(apart.tuned.logprob, f64::NEG_INFINITY);
}

#[test]
fn bits_do_not_depend_on_threads_or_split() {
    let (rows, vocab) = (400usize, 331usize);
    let key = Key::new(5, "threads", 0, "test");
    let mut draws = key.rng_at(0);
    let mut matrix = || -> Vec<f32> {
        (0..rows * vocab)
            .map(|_| (draws.uniform() * 12.0) as f32)
            .collect()
    };
    let (base, tuned) = (matrix(), matrix());
    let targets: Vec<u32> = (0..rows as u32).map(|row| row % vocab as u32).collect();
    let run = |threads: usize, split: usize| -> Vec<PairMetrics> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let part = |from: usize| {
                let to = rows.min(from + split);
                let cells = from * vocab..to * vocab;
                pair_rows(
                    &base[cells.clone()],
                    vocab,
                    &tuned[cells],
                    vocab,
                    &targets[from..to],
                    5,
                )
            };
            (0..rows)
                .step_by(split)
                .flat_map(|from| part(from).unwrap())
                .collect()
        })
    };
    let whole = run(1, rows);
    for (threads, split) in [(2, rows), (2, 1), (1, 7), (3, 64)] {
        assert_eq!(run(threads, split), whole);
    }
}

#[test]
fn the_cheap_normaliser_gives_the_same_log_probs() {
    for vocab in [1u32, 16, 188, 1000, 5000] {
        let key = Key::new(6, "normaliser", 0, "test");
        let row: Vec<f32> = (0..vocab)
            .map(|i| (key.uniform(u64::from(i)) * 30.0) as f32)
            .collect();
        let target = vocab / 2;
        let norm = normaliser(&row).unwrap();
        let scored = &score_rows(&row, row.len(), &[target], 1).unwrap()[0];
        assert_eq!(
            norm.logprob(row[target as usize]).to_bits(),
            scored.logprob.to_bits()
        );
        assert_eq!(norm.log_normaliser(), scored.log_normaliser);
        let mut p = Vec::new();
        probabilities(&row, &norm, 1.0, &mut p).unwrap();
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!((p[target as usize].ln() - scored.logprob).abs() < 1e-6);
    }
}

#[test]
fn temperatures() {
    let row = [1.0f32, 3.0, f32::NEG_INFINITY, 2.0];
    let norm = normaliser(&row).unwrap();
    let mut p = vec![9.0; 2];
    probabilities(&row, &norm, 0.0, &mut p).unwrap();
    assert_eq!(p, [1.0 / 3.0, 1.0 / 3.0, 0.0, 1.0 / 3.0]);
    probabilities(&row, &norm, 1e6, &mut p).unwrap();
    assert_eq!(p, [0.0, 1.0, 0.0, 0.0]);
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        assert!(probabilities(&row, &norm, bad, &mut p).is_err());
    }
    // The pinned exponential, bit for bit.
    probabilities(&row, &norm, 1.0 / 0.6, &mut p).unwrap();
    let bits: Vec<u64> = p.iter().map(|p| p.to_bits()).collect();
    assert_eq!(
        bits,
        [
            4_584_054_046_292_730_515,
            4_605_530_739_715_960_943,
            0,
            4_594_725_133_516_222_967
        ]
    );
}

#[test]
fn classes() {
    assert_eq!(class(3, 3, 1, 5), Class::Unshifted);
    assert_eq!(class(3, 4, 5, 5), Class::Reranked);
    assert_eq!(class(3, 4, 6, 5), Class::Shifted);
    assert_eq!(class(3, 4, 1, 5), Class::Reranked);
    assert_eq!(class(3, 4, 2, 1), Class::Shifted);
}
