//! Bounds from samples of a finite population: golden values of scipy 1.17.1
//! (`hypergeom`), mpmath 1.4.1 (40 digits) and a numpy transcription of the
//! betting theorem; identities; how often a bound holds.

use proptest::prelude::*;

use super::super::*;
use super::close;
use crate::rng::Key;

#[test]
fn counts_are_those_of_scipy() {
    // greatest K with hypergeom.cdf(k, N, K, n) > 1 - level, least K with hypergeom.sf(k-1, N, K, n) > 1 - level
    for (found, sample, population, level, upper, lower) in [
        (0, 20, 100, 0.95, 12, 0),
        (3, 20, 100, 0.95, 32, 5),
        (7, 50, 1000, 0.99, 288, 51),
        (0, 59, 1_000_000, 0.95, 49_506, 0),
        (12, 500, 20_000, 0.975, 826, 252),
        (120, 5000, 100_000, 0.95, 2777, 2064),
        (250, 500, 1000, 0.95, 526, 474),
        (1, 1, 2, 0.95, 2, 1),
        (30, 2000, 1_000_000, 0.9, 19_113, 11_635),
    ] {
        let case = (found, sample, population, level);
        assert_eq!(
            hypergeometric_upper(found, sample, population, level),
            Ok(upper),
            "{case:?}"
        );
        assert_eq!(
            hypergeometric_lower(found, sample, population, level),
            Ok(lower),
            "{case:?}"
        );
    }
}

#[test]
fn tails_are_exact_at_any_size() {
    // hypergeom.cdf(k, N, K, n); from N = 10^9 on, mpmath with 40 digits
    for (found, sample, population, marked, want) in [
        (3, 20, 100, 25, 0.19573066146981516),
        (40, 500, 10_000, 1000, 0.0699661961986024),
        (900, 5000, 20_000, 3600, 0.5093816021742297),
        (0, 100_000, 1_000_000, 30, 0.042389109375727235),
        (
            1900,
            1_000_000,
            1_000_000_000,
            2_000_000,
            0.012438687331502213,
        ),
        (
            249_990,
            500_000,
            1_000_000_000,
            500_000_000,
            0.4892790095436596,
        ),
        (
            249_995_000,
            500_000_000,
            1_000_000_000,
            500_000_000,
            0.2635652865181423,
        ),
    ] {
        let got = hypergeometric_cdf(found, marked, sample, population).unwrap();
        assert!(
            (got / want - 1.0).abs() < 1e-10,
            "{found} {sample} {population}: {got} {want}"
        );
    }
}

#[test]
fn the_ends_of_a_population_are_exact() {
    assert_eq!(hypergeometric_upper(0, 0, 10, 0.95), Ok(10));
    assert_eq!(hypergeometric_lower(0, 0, 10, 0.95), Ok(0));
    for found in 0..=10 {
        assert_eq!(hypergeometric_upper(found, 10, 10, 0.95), Ok(found));
        assert_eq!(hypergeometric_lower(found, 10, 10, 0.95), Ok(found));
    }
    let largest = 1_000_000_000;
    assert_eq!(
        hypergeometric_upper(largest / 2, largest / 2, largest, 0.95),
        Ok(largest)
    );
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(hypergeometric_upper(0, 1, 0, 0.95).is_err());
    assert!(hypergeometric_upper(3, 2, 10, 0.95).is_err());
    assert!(hypergeometric_upper(3, 11, 10, 0.95).is_err());
    assert!(hypergeometric_upper(3, 5, 10, 1.0).is_err());
    assert!(hypergeometric_upper(3, 5, 2_000_000_000, 0.9).is_err());
    assert!(hypergeometric_cdf(1, 11, 5, 10).is_err());
    assert!(betting_upper(&[], (0.0, 1.0), None, 0.95).is_err());
    assert!(betting_upper(&[0.5, 1.5], (0.0, 1.0), None, 0.95).is_err());
    assert!(betting_upper(&[0.5, f64::NAN], (0.0, 1.0), None, 0.95).is_err());
    assert!(betting_upper(&[0.5, 0.5], (0.0, 1.0), Some(1), 0.95).is_err());
    assert!(betting_upper(&[0.5], (1.0, 1.0), None, 0.95).is_err());
    assert!(predictable_bernstein_finite(&[0.5; 3], (0.0, 1.0), 2, 0.95).is_err());
}

#[test]
fn betting_as_transcribed() {
    let x: Vec<f64> = (0..200).map(|i| f64::from(i * 37 % 101) / 100.0).collect();
    let y: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 50 == 7))).collect();
    let none = vec![0.0; 100];
    let upper = |v: &[f64], n, level| betting_upper(v, (0.0, 1.0), n, level).unwrap();
    let lower = |v: &[f64], n, level| betting_lower(v, (0.0, 1.0), n, level).unwrap();
    for (got, want) in [
        (upper(&x, None, 0.95), 0.5504942587470454),
        (upper(&x, Some(1000), 0.95), 0.5449098202840663),
        (upper(&x, Some(250), 0.99), 0.5301756166240147),
        (lower(&x, None, 0.95), 0.4520830495083321),
        (upper(&y, None, 0.95), 0.04356221541328499),
        (upper(&y, Some(2000), 0.95), 0.04121439105890704),
        (upper(&none, None, 0.95), 0.03636186180059584),
        (upper(&none, Some(10_000), 0.95), 0.03617142983993331),
        (lower(&y, Some(2000), 0.95), 0.00946514493550532),
    ] {
        assert!(close(got, want, 1e-10), "{got} {want}");
    }
    // Another range is another unit.
    let twice: Vec<f64> = x.iter().map(|v| 2.0 * v - 1.0).collect();
    let got = betting_upper(&twice, (-1.0, 1.0), None, 0.95).unwrap();
    assert!(close(got, 2.0 * 0.5504942587470454 - 1.0, 1e-10));
}

#[test]
fn bernstein_without_replacement_as_transcribed() {
    let x: Vec<f64> = (0..200).map(|i| f64::from(i * 37 % 101) / 100.0).collect();
    let got = predictable_bernstein_finite(&x, (0.0, 1.0), 1000, 0.95).unwrap();
    assert!(
        close(got.low, 0.4371319935516447, 1e-12) && close(got.high, 0.5640703361512993, 1e-12)
    );
    let got = predictable_bernstein_finite(&x, (0.0, 1.0), 400, 0.9).unwrap();
    assert!(
        close(got.low, 0.45400829977670926, 1e-12) && close(got.high, 0.5462170417722448, 1e-12)
    );
}

/// A population of `n` values: mostly none, some small, few large.
fn heavy(n: u64, key: &Key) -> Vec<f64> {
    (0..n)
        .map(|i| match key.uniform(i) {
            u if u < 0.7 => 0.0,
            u if u < 0.95 => 0.02 * u,
            u => u * u,
        })
        .collect()
}

#[test]
fn betting_bounds_hold_as_often_as_they_say() {
    let key = Key::new(11, "betting", 0, "test");
    let population = heavy(2000, &key);
    let mean = population.iter().sum::<f64>() / 2000.0;
    let (mut over, mut under, mut independent) = (0, 0, 0);
    for trial in 0..400 {
        let mut order = population.clone();
        let mut draws = Key::new(12, "betting", trial, "test").rng_at(0);
        draws.shuffle(&mut order);
        let sample = &order[..150];
        over += u32::from(mean > betting_upper(sample, (0.0, 1.0), Some(2000), 0.9).unwrap());
        under += u32::from(mean < betting_lower(sample, (0.0, 1.0), Some(2000), 0.9).unwrap());
        let drawn: Vec<f64> = (0..150)
            .map(|_| population[draws.below(2000) as usize])
            .collect();
        independent += u32::from(mean > betting_upper(&drawn, (0.0, 1.0), None, 0.9).unwrap());
    }
    // 40 of 400 may miss; 53 is two standard deviations more.
    assert!(over <= 53 && under <= 53 && independent <= 53);
}

#[test]
fn a_whole_population_is_certain_however_it_was_drawn() {
    // The zeros that come first make the capital reject the mean.
    let mut values = vec![0.0; 16];
    values.extend([0.83, 0.98, 0.92]);
    let mean = values.iter().sum::<f64>() / 19.0;
    let interval = betting_interval(&values, (0.0, 1.0), Some(19), 0.95).unwrap();
    assert!((interval.low - mean).abs() < 1e-9 && (interval.high - mean).abs() < 1e-9);
}

proptest! {
    #[test]
    fn counts_contain_what_was_seen(population in 1u64..5000, a in 0.0f64..=1.0, b in 0.0f64..=1.0) {
        let sample = (a * population as f64) as u64;
        let found = (b * sample as f64) as u64;
        let upper = hypergeometric_upper(found, sample, population, 0.95).unwrap();
        let lower = hypergeometric_lower(found, sample, population, 0.95).unwrap();
        prop_assert!(found <= lower && lower <= upper && upper <= population - (sample - found));
        // The bound is kept and the next number is rejected.
        let kept = hypergeometric_cdf(found, upper, sample, population).unwrap();
        prop_assert!(kept > 0.05 - 1e-12);
        if upper < population - (sample - found) {
            prop_assert!(hypergeometric_cdf(found, upper + 1, sample, population).unwrap() <= 0.05 + 1e-12);
        }
        // More found never lowers it, more drawn without a find never raises it.
        if found < sample {
            prop_assert!(hypergeometric_upper(found + 1, sample, population, 0.95).unwrap() >= upper);
        }
        if sample < population {
            prop_assert!(hypergeometric_upper(found, sample + 1, population, 0.95).unwrap() <= upper);
        }
    }

    #[test]
    fn tails_of_all_counts_sum_to_one(population in 2u64..200, a in 0.0f64..=1.0, b in 0.0f64..=1.0) {
        let (sample, marked) = ((a * population as f64) as u64, (b * population as f64) as u64);
        let mut before = 0.0;
        for found in 0..=sample {
            let now = hypergeometric_cdf(found, marked, sample, population).unwrap();
            prop_assert!(now >= before - 1e-13 && now <= 1.0);
            // Marked among drawn is drawn among marked.
            let other = hypergeometric_cdf(found, sample, marked, population).unwrap();
            prop_assert!((now - other).abs() < 1e-12);
            before = now;
        }
        prop_assert!((before - 1.0).abs() < 1e-12);
    }

    #[test]
    fn betting_contains_the_mean_and_ends_exact(values in prop::collection::vec(0.0f64..=1.0, 1..60)) {
        let n = values.len() as u64;
        let mean = values.iter().sum::<f64>() / n as f64;
        let whole = betting_interval(&values, (0.0, 1.0), Some(n), 0.95).unwrap();
        prop_assert!((whole.low - mean).abs() < 1e-9 && (whole.high - mean).abs() < 1e-9);
        let finite = betting_interval(&values, (0.0, 1.0), Some(4 * n), 0.95).unwrap();
        let endless = betting_interval(&values, (0.0, 1.0), None, 0.95).unwrap();
        for interval in [finite, endless] {
            prop_assert!(0.0 <= interval.low && interval.low <= interval.high && interval.high <= 1.0);
        }
        // A stricter level is wider; a mirrored sample has the mirrored interval.
        let strict = betting_interval(&values, (0.0, 1.0), None, 0.99).unwrap();
        prop_assert!(strict.high >= endless.high - 1e-9);
        let mirrored: Vec<f64> = values.iter().map(|v| 1.0 - v).collect();
        let mirrored = betting_interval(&mirrored, (0.0, 1.0), None, 0.95).unwrap();
        prop_assert!((mirrored.low - (1.0 - endless.high)).abs() < 1e-9);
    }
}
