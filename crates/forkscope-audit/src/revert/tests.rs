//! Choices, mixtures and distributions of prices, against what they must be.

use forkscope_metrics::rng::Key;
use forkscope_metrics::stats::BootstrapSettings;
use forkscope_metrics::{normaliser, reference};
use proptest::prelude::*;

use super::choose::{choose, js_to_certainty, mix, permuted};
use super::curves::{Prices, difference};
use super::{AuditError, RevertSettings};

fn draws() -> BootstrapSettings {
    BootstrapSettings {
        seed: 1,
        replicates: 200,
        level: 0.95,
    }
}

#[test]
fn mixing_is_the_policies_at_its_ends() {
    let (p, b) = ([0.5f32, -1.25, 3.0], [2.0f32, 0.25, -4.0]);
    let at = |alpha: f64| {
        let mut z = p;
        mix(&mut z, &b, alpha);
        z
    };
    assert_eq!(at(0.0), p);
    assert_eq!(at(1.0), b);
    // Beyond the base: ln b + (ln b - ln p).
    assert_eq!(at(2.0), [3.5, 1.75, -11.0]);
    assert_eq!(at(-1.0), [-1.0, -2.75, 10.0]);
}

#[test]
fn what_either_masks_stays_masked() {
    for alpha in [-1.0, 0.0, 0.5, 1.0, 2.0] {
        let mut p = [f32::NEG_INFINITY, 1.0, 0.0];
        mix(&mut p, &[0.0, f32::NEG_INFINITY, 0.0], alpha);
        assert_eq!(p, [f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0]);
    }
}

#[test]
fn a_permuted_shift_is_as_large() {
    let (p, b) = ([0.5f32, -1.25, 3.0, 0.0], [2.0f32, 0.25, -4.0, 0.5]);
    let mut moved = p;
    permuted(&mut moved, &b, 1.0, &Key::new(3, "a", 0, "test"), 5);
    let sorted = |a: &[f32], from: &[f32]| {
        let mut shifts: Vec<f32> = a.iter().zip(from).map(|(a, b)| a - b).collect();
        shifts.sort_by(f32::total_cmp);
        shifts
    };
    let (found, given) = (sorted(&moved, &p), sorted(&b, &p));
    assert!(found.iter().zip(&given).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn greedy_takes_the_lowest_id_of_a_tie() -> Result<(), Box<dyn std::error::Error>> {
    let mut buffer = Vec::new();
    assert_eq!(choose(&[1.0, 2.0, 2.0], 0.0, 0.9, &mut buffer)?, 1);
    assert!(choose(&[f32::NAN, 0.0], 0.0, 0.0, &mut buffer).is_err());
    // In order of id at the inverse of the cumulative distribution.
    let row = [0.0f32, 0.0, 0.0, 0.0];
    for (uniform, token) in [(0.0, 0), (0.3, 1), (0.6, 2), (0.999, 3)] {
        assert_eq!(choose(&row, 1.0, uniform, &mut buffer)?, token);
    }
    Ok(())
}

proptest! {
    #[test]
    fn js_to_a_certainty_is_js(logits in proptest::collection::vec(-6.0f32..6.0, 2..9), at in 0usize..9) {
        let at = at % logits.len();
        let mut certain = vec![-80.0f32; logits.len()];
        certain[at] = 80.0;
        let norm = normaliser(&logits).expect("finite");
        let js = js_to_certainty(norm.logprob(logits[at]));
        let expected = reference::js(
            &reference::log_softmax(&logits),
            &reference::log_softmax(&certain),
        );
        prop_assert!((js - expected).abs() < 1e-6, "{} against {}", js, expected);
    }

    #[test]
    fn a_restricted_mean_is_the_area_above_the_curve(prices in proptest::collection::vec(proptest::option::of(1u32..20), 1..30)) {
        let cap = 16.0;
        let names: Vec<String> = (0..prices.len()).map(|i| format!("p{}", i / 2)).collect();
        let given = names.iter().zip(&prices);
        let all = Prices::new(given.map(|(n, p)| (n.as_str(), p.map(f64::from))));
        let draws = BootstrapSettings { replicates: 0, ..draws() };
        let mean = all.restricted_mean(cap, &draws).value.expect("defined");
        // E min(c, L) = Σ over k < L of P(c > k).
        let survived = |k: u32| 1.0 - all.turned_by(f64::from(k), &draws).value.expect("defined");
        let area: f64 = (0..16).map(survived).sum();
        prop_assert!((mean - area).abs() < 1e-9, "{} against {}", mean, area);
    }
}

#[test]
fn prices_that_are_not_reached_count_the_cap() -> Result<(), AuditError> {
    let all = Prices::new([
        ("a", Some(1.0)),
        ("a", None),
        ("b", Some(3.0)),
        ("c", Some(40.0)),
    ]);
    let mean = all.restricted_mean(16.0, &draws());
    assert_eq!((mean.value, mean.n, mean.n_clusters), (Some(9.0), 4, 3));
    assert!(mean.interval.is_some_and(|i| i.low <= 9.0 && 9.0 <= i.high));
    assert_eq!(all.turned_by(3.0, &draws()).value, Some(0.5));
    assert_eq!(all.quantile(0.5), Some(21.5));
    let few = Prices::new([("a", Some(1.0)), ("b", None), ("c", None)]);
    assert_eq!(few.quantile(0.5), None);
    assert_eq!(
        Prices::default().restricted_mean(16.0, &draws()).value,
        None
    );
    let dearer = Prices::new([("a", Some(2.0)), ("a", None), ("b", Some(4.0)), ("c", None)]);
    let (found, p) = difference(&all, &dearer, 16.0, &draws())?;
    // (1 + 0 + 1 + 0) / 4; two problems differ, so that 2 of 4 patterns are as extreme.
    assert_eq!((found.value, p), (Some(0.5), Some(0.5)));
    Ok(())
}

#[test]
fn settings_that_contradict_are_refused() {
    type Spoil = fn(&mut RevertSettings);
    let wrong: [(&str, Spoil); 7] = [
        ("temperature", |s| s.temperature = -1.0),
        ("samples", |s| s.samples = 2),
        ("token_cap", |s| s.token_cap = 0),
        ("max_tokens", |s| s.max_tokens = 0),
        ("alpha", |s| s.alphas = vec![0.5, 0.5]),
        ("alpha", |s| s.alphas = vec![0.0]),
        ("nats_cap", |s| s.nats_cap = f64::NAN),
    ];
    assert!(RevertSettings::default().check().is_ok());
    for (name, spoil) in wrong {
        let mut settings = RevertSettings::default();
        spoil(&mut settings);
        let said = settings.check().map_err(|e| e.to_string());
        assert!(
            said.as_ref().is_err_and(|e| e.starts_with(name)),
            "{said:?}"
        );
    }
}
