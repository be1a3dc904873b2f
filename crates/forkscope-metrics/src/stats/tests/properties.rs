//! Identities that hold for every input, and errors for the rest.

use proptest::prelude::*;

use super::super::*;
use super::close;

/// Scores with many ties, and labels.
fn labelled() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
    prop::collection::vec((0u8..12, any::<bool>()), 1..80).prop_map(|units| {
        units
            .into_iter()
            .map(|(s, y)| (f64::from(s) / 3.0, y))
            .unzip()
    })
}

fn amounts() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(prop_oneof![Just(0.0), 0.0..5.0f64, 1e-9..1e-6f64], 1..60)
}

fn is_one_class(error: &StatsError) -> bool {
    matches!(error, StatsError::OneClass { .. })
}

fn is_zero_total(error: &StatsError) -> bool {
    matches!(error, StatsError::ZeroTotal { .. })
}

proptest! {
    #[test]
    fn auroc_is_the_share_of_ordered_pairs((scores, labels) in labelled()) {
        let (mut won, mut pairs) = (0.0, 0.0);
        for (i, &positive) in labels.iter().enumerate() {
            for (j, &other) in labels.iter().enumerate() {
                if positive && !other {
                    pairs += 1.0;
                    won += if scores[i] > scores[j] { 1.0 } else if scores[i] == scores[j] { 0.5 } else { 0.0 };
                }
            }
        }
        match auroc(&scores, &labels) {
            Ok(area) => prop_assert!(close(area, won / pairs, 1e-12)),
            Err(error) => prop_assert!(pairs == 0.0 && is_one_class(&error)),
        }
    }

    #[test]
    fn negating_scores_mirrors_the_auroc((scores, labels) in labelled()) {
        let negated: Vec<f64> = scores.iter().map(|s| -s).collect();
        if let (Ok(a), Ok(b)) = (auroc(&scores, &labels), auroc(&negated, &labels)) {
            prop_assert!(close(a + b, 1.0, 1e-12));
        }
    }

    #[test]
    fn rankings_ignore_the_order_of_the_input((scores, labels) in labelled()) {
        let reversed: (Vec<f64>, Vec<bool>) = scores.iter().copied().zip(labels.iter().copied()).rev().unzip();
        prop_assert_eq!(auroc(&scores, &labels), auroc(&reversed.0, &reversed.1));
        prop_assert_eq!(average_precision(&scores, &labels), average_precision(&reversed.0, &reversed.1));
        if let Ok(ap) = average_precision(&scores, &labels) {
            prop_assert!(ap > 0.0 && ap <= 1.0);
        }
    }

    #[test]
    fn gini_is_the_mean_absolute_difference(values in amounts()) {
        let n = values.len() as f64;
        let total: f64 = values.iter().sum();
        let pairs: f64 = values.iter().flat_map(|a| values.iter().map(move |b| (a - b).abs())).sum();
        match gini(&values) {
            Ok(g) => {
                prop_assert!(close(g, pairs / (2.0 * n * total), 1e-9));
                let area: f64 = lorenz_curve(&values).unwrap().windows(2).map(|w| (w[0].1 + w[1].1) / 2.0 / n).sum();
                prop_assert!(close(g, 1.0 - 2.0 * area, 1e-9));
            }
            Err(error) => prop_assert!(total == 0.0 && is_zero_total(&error)),
        }
    }

    #[test]
    fn coverage_rises_to_one(values in amounts()) {
        if gini(&values).is_ok() {
            let shares: Vec<f64> = (0..=20).map(|i| top_share(&values, f64::from(i) / 20.0).unwrap()).collect();
            prop_assert!(shares[0] == 0.0 && close(shares[20], 1.0, 1e-12));
            prop_assert!(shares.windows(2).all(|w| w[1] >= w[0] - 1e-12));
            prop_assert!(shares.iter().enumerate().all(|(i, s)| *s >= i as f64 / 20.0 - 1e-9));
        }
    }

    #[test]
    fn weights_are_repetitions(
        units in prop::collection::vec((-5.0..5.0f64, 0u32..4), 1..40),
        q in 0.0..=1.0f64,
    ) {
        let (values, weights): (Vec<f64>, Vec<u32>) = units.iter().copied().unzip();
        let written_out: Vec<f64> = units.iter().flat_map(|&(v, w)| std::iter::repeat_n(v, w as usize)).collect();
        match weighted_quantile(&values, &weights, q) {
            Ok(found) => prop_assert_eq!(found, quantile(&written_out, q).unwrap()),
            Err(_) => prop_assert!(written_out.is_empty()),
        }
    }

    #[test]
    fn proportions_lie_in_their_intervals(n in 1u64..5000, share in 0.0..=1.0f64, level in 0.5..0.999f64) {
        let k = (share * n as f64) as u64;
        let p = k as f64 / n as f64;
        for interval in [clopper_pearson(k, n, level).unwrap(), wilson(k, n, level).unwrap()] {
            prop_assert!(0.0 <= interval.low && interval.low <= p && p <= interval.high && interval.high <= 1.0);
        }
        let (a, b) = (clopper_pearson(k, n, level).unwrap(), clopper_pearson(n - k, n, level).unwrap());
        prop_assert!(close(a.low, 1.0 - b.high, 1e-9));
    }

    #[test]
    fn enumeration_matches_a_plain_loop(steps in prop::collection::vec(-4i8..=4, 1..11)) {
        let d: Vec<f64> = steps.iter().map(|&s| f64::from(s) / 10.0).collect();
        let observed: i32 = steps.iter().map(|&s| i32::from(s)).sum();
        let sums: Vec<i32> = (0u32..1 << steps.len())
            .map(|bits| steps.iter().enumerate().map(|(i, &s)| if bits >> i & 1 == 1 { i32::from(s) } else { -i32::from(s) }).sum())
            .collect();
        let share = |hit: &dyn Fn(i32) -> bool| sums.iter().filter(|&&s| hit(s)).count() as f64 / sums.len() as f64;
        for (alternative, want) in [
            (Alternative::TwoSided, share(&|s| s.abs() >= observed.abs())),
            (Alternative::Greater, share(&|s| s >= observed)),
            (Alternative::Less, share(&|s| s <= observed)),
        ] {
            let settings = SignFlipSettings { alternative, ..Default::default() };
            let found = sign_flip_test(&d, &settings).unwrap();
            prop_assert!(close(found.p_value, want, 1e-12), "{alternative:?} {found:?} {want}");
            prop_assert_eq!(found.draws, None);
        }
    }

    #[test]
    fn adjusted_p_values_are_the_step_up_rule(p in prop::collection::vec(0.0..=1.0f64, 1..40), rate in 0.01..0.5f64) {
        let found = benjamini_hochberg(&p, rate).unwrap();
        let mut sorted = p.clone();
        sorted.sort_by(f64::total_cmp);
        let m = p.len() as f64;
        let line = |i: usize| (i + 1) as f64 * rate / m;
        // Where a p-value sits on the line to the last bit, rounding decides.
        prop_assume!(sorted.iter().enumerate().all(|(i, v)| (v - line(i)).abs() > 1e-12));
        let cut = (0..sorted.len()).rev().find(|&i| sorted[i] <= line(i)).map(|i| sorted[i]);
        for (value, rejected) in p.iter().zip(&found.rejected) {
            prop_assert_eq!(*rejected, cut.is_some_and(|cut| *value <= cut));
        }
        prop_assert!(p.iter().zip(&found.adjusted).all(|(p, a)| a >= p && *a <= 1.0));
    }

    #[test]
    fn bernstein_intervals_hold_the_mean(values in prop::collection::vec(-1.0..3.0f64, 2..80)) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let interval = empirical_bernstein(&values, (-1.0, 3.0), 0.9).unwrap();
        prop_assert!(interval.low <= mean && mean <= interval.high);
        let narrower = predictable_bernstein(&values, (-1.0, 3.0), 0.9).unwrap();
        prop_assert!(-1.0 <= narrower.low && narrower.low < narrower.high && narrower.high <= 3.0);
    }
}

#[test]
fn monte_carlo_comes_near_the_exact_p_value() {
    // 31 differences of the same size: the sum is 2 X - 31, X ~ Binomial(31, 1/2).
    let d: Vec<f64> = (0..31).map(|i| if i < 21 { 0.1 } else { -0.1 }).collect();
    let found = sign_flip_test(&d, &SignFlipSettings::default()).unwrap();
    assert_eq!(found.draws, Some(10_000));
    // 2*scipy.stats.binom.cdf(10, 31, .5); four standard errors.
    assert!(
        (found.p_value - 0.07075554598122835).abs() < 0.011,
        "{found:?}"
    );
    let again = sign_flip_test(&d, &SignFlipSettings::default()).unwrap();
    assert_eq!(found, again);
}

#[test]
fn bernstein_covers() {
    // Means of 40 skewed values in [0, 1]: both intervals must cover at least 90 %.
    let (mut covered, mut narrower) = (0, 0);
    for trial in 0..400 {
        let mut draws = crate::rng::Key::new(trial, "", 0, "test").rng_at(0);
        let x: Vec<f64> = (0..40).map(|_| draws.uniform().powi(3)).collect();
        let holds = |interval: Interval| usize::from(interval.low <= 0.25 && 0.25 <= interval.high);
        covered += holds(empirical_bernstein(&x, (0.0, 1.0), 0.9).unwrap());
        narrower += holds(predictable_bernstein(&x, (0.0, 1.0), 0.9).unwrap());
    }
    assert!(covered >= 360 && narrower >= 360, "{covered} {narrower}");
}

#[test]
fn degenerate_input_is_an_error() {
    use StatsError::*;
    assert!(matches!(auroc(&[], &[]), Err(TooFew { .. })));
    assert!(matches!(auroc(&[1.0], &[]), Err(Length { .. })));
    assert!(matches!(auroc(&[1.0], &[true]), Err(OneClass { .. })));
    assert!(matches!(
        auroc(&[f64::NAN, 1.0], &[true, false]),
        Err(NotFinite { index: 0, .. })
    ));
    assert!(matches!(
        average_precision(&[1.0], &[false]),
        Err(OneClass { .. })
    ));
    assert!(matches!(gini(&[]), Err(TooFew { .. })));
    assert!(matches!(gini(&[0.0, 0.0]), Err(ZeroTotal { .. })));
    assert!(matches!(gini(&[1.0, -1.0]), Err(OutOfRange { .. })));
    assert!(matches!(
        gini(&[f64::MAX, f64::MAX]),
        Err(OutOfRange { .. })
    ));
    assert!(matches!(top_share(&[1.0], 1.5), Err(OutOfRange { .. })));
    assert!(matches!(quantile(&[], 0.5), Err(TooFew { .. })));
    assert!(matches!(quantile(&[1.0], f64::NAN), Err(OutOfRange { .. })));
    assert!(quantile(&[f64::MAX, -f64::MAX], 0.0).unwrap().is_finite());
    assert!(quantile(&[f64::MAX, -f64::MAX], 0.5).unwrap().is_finite());
    assert!(matches!(
        weighted_quantile(&[1.0], &[0], 0.5),
        Err(ZeroTotal { .. })
    ));
    assert!(matches!(
        weighted_quantile(&[1.0], &[], 0.5),
        Err(Length { .. })
    ));
    assert!(matches!(clopper_pearson(0, 0, 0.95), Err(TooFew { .. })));
    assert!(matches!(
        clopper_pearson(2, 1, 0.95),
        Err(OutOfRange { .. })
    ));
    assert!(matches!(wilson(1, 1, 1.0), Err(OutOfRange { .. })));
    assert!(matches!(benjamini_hochberg(&[], 0.1), Err(TooFew { .. })));
    assert!(matches!(
        benjamini_hochberg(&[1.5], 0.1),
        Err(OutOfRange { .. })
    ));
    assert!(matches!(
        sign_flip_test(&[], &SignFlipSettings::default()),
        Err(TooFew { .. })
    ));
    let no_draws = SignFlipSettings {
        draws: 0,
        ..Default::default()
    };
    assert!(matches!(
        sign_flip_test(&[1.0; 31], &no_draws),
        Err(TooFew { .. })
    ));
    assert_eq!(sign_flip_test(&[0.0, 0.0], &no_draws).unwrap().p_value, 1.0);
    assert!(matches!(
        empirical_bernstein(&[0.5], (0.0, 1.0), 0.9),
        Err(TooFew { .. })
    ));
    assert!(matches!(
        empirical_bernstein(&[0.5, 2.0], (0.0, 1.0), 0.9),
        Err(OutOfRange { .. })
    ));
    assert!(matches!(
        predictable_bernstein(&[0.5], (1.0, 0.0), 0.9),
        Err(OutOfRange { .. })
    ));
    assert!(matches!(mcnemar_exact(u64::MAX, 1), Err(OutOfRange { .. })));
    assert!(matches!(wilson(1, u64::MAX, 0.9), Err(OutOfRange { .. })));
}
