//! The fast bootstrap against the plain one on the units written out.

use proptest::prelude::*;

use super::super::*;
use super::close;

const QUANTILES: [f64; 4] = [0.0, 0.5, 0.9, 1.0];
const FRACTIONS: [f64; 4] = [0.001, 0.1, 0.5, 1.0];

/// Units in clusters: value, label, cluster.
fn units() -> impl Strategy<Value = (usize, Vec<(f64, bool, u32)>)> {
    (2usize..7).prop_flat_map(|n_clusters| {
        let value = prop_oneof![Just(0.0), Just(0.5), 0.0..3.0f64];
        let unit = (value, any::<bool>(), 0..n_clusters as u32);
        (Just(n_clusters), prop::collection::vec(unit, 1..200))
    })
}

/// What a plain function gives on the resample written out.
fn naive(units: &[(f64, bool, u32)], counts: &[u32], output: usize) -> Option<f64> {
    let drawn: Vec<&(f64, bool, u32)> = units
        .iter()
        .flat_map(|unit| std::iter::repeat_n(unit, counts[unit.2 as usize] as usize))
        .collect();
    let values: Vec<f64> = drawn.iter().map(|unit| unit.0).collect();
    let labels: Vec<bool> = drawn.iter().map(|unit| unit.1).collect();
    let result = match output {
        0..4 => quantile(&values, QUANTILES[output]),
        4..8 => top_share(&values, FRACTIONS[output - 4]),
        8 => gini(&values),
        9 => auroc(&values, &labels),
        _ => average_precision(&values, &labels),
    };
    result.ok()
}

/// The same with the fast passes: 4 quantiles, 4 top shares, Gini, AUROC, AP.
fn fast(n_clusters: usize, units: &[(f64, bool, u32)], settings: BootstrapSettings) -> Replicated {
    let values: Vec<f64> = units.iter().map(|unit| unit.0).collect();
    let labels: Vec<bool> = units.iter().map(|unit| unit.1).collect();
    let clusters: Vec<u32> = units.iter().map(|unit| unit.2).collect();
    let sorted = Descending::new(&values, &clusters).unwrap();
    let ranked = RankedLabels::new(&values, &labels, &clusters).unwrap();
    Resampler::new(n_clusters, settings)
        .unwrap()
        .run(11, |weights, out| {
            sorted.spread(weights, &QUANTILES, &FRACTIONS, &mut out[..9]);
            ranked.auroc_and_precision(weights, &mut out[9..]);
            let mut again = [[0.0; LANES]; 4];
            sorted.quantiles(weights, &QUANTILES, &mut again);
            let bits = |lanes: &[Lanes]| -> Vec<u64> {
                lanes.iter().flatten().map(|v| v.to_bits()).collect()
            };
            assert_eq!(bits(&again), bits(&out[..4]));
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn fast_is_naive((n_clusters, units) in units(), seed in any::<u64>()) {
        let settings = BootstrapSettings { seed, replicates: 21, level: 0.9 };
        let found = fast(n_clusters, &units, settings);
        for output in 0..11 {
            let want = naive(&units, &vec![1; n_clusters], output);
            prop_assert_eq!(found.point[output].is_some(), want.is_some());
            if let (Some(a), Some(b)) = (found.point[output], want) {
                prop_assert!(close(a, b, 1e-12), "{output}: {a} {b}");
            }
            let plain = cluster_bootstrap(n_clusters, &settings, |counts| naive(&units, counts, output));
            match (found.interval(output), plain) {
                (Ok(a), Ok(b)) => {
                    prop_assert_eq!((a.replicates, a.undefined), (b.replicates, b.undefined));
                    prop_assert!(close(a.interval.low, b.interval.low, 1e-12), "{output}: {a:?} {b:?}");
                    prop_assert!(close(a.interval.high, b.interval.high, 1e-12), "{output}: {a:?} {b:?}");
                }
                (a, b) => prop_assert_eq!(a, b),
            }
        }
    }
}

/// 40 clusters of 25 correlated values.
fn clustered() -> (Vec<f64>, Vec<u32>) {
    let key = crate::rng::Key::new(1, "", 0, "test");
    let units = (0..1000u64).map(|i| {
        let cluster = i / 25;
        (
            key.uniform(cluster) + 0.2 * key.uniform(1000 + i),
            cluster as u32,
        )
    });
    units.unzip()
}

#[test]
fn the_interval_of_a_mean_has_the_width_of_its_standard_error() {
    let (values, clusters) = clustered();
    let settings = BootstrapSettings {
        replicates: 4000,
        ..Default::default()
    };
    let mut sums = vec![0.0; 40];
    for (value, cluster) in values.iter().zip(&clusters) {
        sums[*cluster as usize] += value;
    }
    let mean = |counts: &[u32]| {
        Some(
            counts
                .iter()
                .zip(&sums)
                .map(|(w, s)| f64::from(*w) * s)
                .sum::<f64>()
                / 1000.0,
        )
    };
    let found = cluster_bootstrap(40, &settings, mean).unwrap();
    let centre = sums.iter().sum::<f64>() / 1000.0;
    let variance = sums
        .iter()
        .map(|s| (s / 25.0 - centre).powi(2))
        .sum::<f64>()
        / 40.0;
    let half = 1.96 * (variance / 40.0).sqrt();
    assert!(
        close(found.interval.low, centre - half, 0.01),
        "{found:?} {centre} {half}"
    );
    assert!(
        close(found.interval.high, centre + half, 0.01),
        "{found:?} {centre} {half}"
    );
    assert_eq!((found.replicates, found.undefined), (4000, 0));
}

#[test]
fn threads_do_not_change_a_bit() {
    let (values, clusters) = clustered();
    let units: Vec<(f64, bool, u32)> = values
        .iter()
        .zip(&clusters)
        .map(|(v, c)| (*v, *v > 0.7, *c))
        .collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let found = pool.install(|| fast(40, &units, BootstrapSettings::default()));
        (0..11)
            .flat_map(|output| found.replicates(output).to_vec())
            .map(|value| value.map(f64::to_bits))
            .collect::<Vec<_>>()
    };
    let one = run(1);
    assert_eq!(one.len(), 11_000);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn no_interval_where_there_is_none() {
    use StatsError::*;
    let settings = BootstrapSettings::default();
    assert!(matches!(
        cluster_bootstrap(1, &settings, |_| Some(0.0)),
        Err(TooFew { .. })
    ));
    let none = BootstrapSettings {
        replicates: 0,
        ..settings
    };
    assert!(matches!(
        cluster_bootstrap(2, &none, |_| Some(0.0)),
        Err(TooFew { .. })
    ));
    let bad = BootstrapSettings {
        level: 1.0,
        ..settings
    };
    assert!(matches!(
        cluster_bootstrap(2, &bad, |_| Some(0.0)),
        Err(OutOfRange { .. })
    ));
    assert!(matches!(
        cluster_bootstrap(2, &settings, |_| None),
        Err(Undefined {
            undefined: 1000,
            ..
        })
    ));
    assert!(matches!(
        cluster_bootstrap(2, &settings, |_| Some(f64::NAN)),
        Err(Undefined { .. })
    ));
    assert!(Resampler::new(2, bad).is_err());
    // One cluster: the point, no interval.
    let found = fast(1, &[(1.0, true, 0), (2.0, false, 0)], settings);
    assert_eq!(found.point[1], Some(1.5));
    assert!(matches!(found.interval(1), Err(TooFew { .. })));
    // No unit at all: nothing is defined.
    let found = fast(3, &[], settings);
    assert!(found.point.iter().all(Option::is_none));
    assert!(matches!(found.interval(0), Err(Undefined { .. })));
    assert!(found.interval(99).is_err());
}
