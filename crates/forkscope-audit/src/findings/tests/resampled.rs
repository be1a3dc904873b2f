//! The intervals against resamples written out row by row, and what holds for
//! every input.

use std::collections::HashMap;
use std::sync::Mutex;

use forkscope_metrics::stats::{BootstrapSettings, cluster_bootstrap};
use proptest::prelude::*;

use super::*;

/// Value by id.
type Values = HashMap<String, Option<f64>>;

/// Rollouts and rows with every problem as often as it was drawn; copies are
/// further samples of the problem.
fn written_out(
    rollouts: &[Rollout],
    rows: &[DiffRow],
    counts: &[u32],
) -> (Vec<Rollout>, Vec<DiffRow>) {
    let times = |name: &str| counts[name[1..].parse::<usize>().unwrap()];
    let (mut all_rollouts, mut all_rows) = (Vec::new(), Vec::new());
    for rollout in rollouts {
        for copy in 0..times(&rollout.problem_id) {
            let mut own = rollout.clone();
            own.sample += 100 * copy;
            let rows = rows.iter().filter(|row| {
                (&row.problem_id, row.sample) == (&rollout.problem_id, rollout.sample)
            });
            all_rows.extend(rows.map(|row| DiffRow {
                sample: own.sample,
                ..row.clone()
            }));
            all_rollouts.push(own);
        }
    }
    (all_rollouts, all_rows)
}

/// All values on the resample, and the net share of each token named.
fn plain(
    base: (&[Rollout], &[DiffRow]),
    tuned: &[Rollout],
    counts: &[u32],
    tokens: &[(String, u32, f64)],
) -> Values {
    let (rollouts, rows) = written_out(base.0, base.1, counts);
    let (tuned, _) = written_out(tuned, &[], counts);
    let input = FindingInput {
        other_rollouts: Some(&tuned),
        ..input(&rollouts, &rows)
    };
    let settings = FindingSettings {
        replicates: 0,
        ..FindingSettings::default()
    };
    let found = findings(&input, &settings).unwrap();
    let mut values: Values = found
        .findings
        .into_iter()
        .map(|f| (f.id, f.value))
        .collect();
    for (id, token, sign) in tokens {
        let changed = rows.iter().filter(|row| {
            row.validity == Validity::Ok && row.argmax_base_id != row.argmax_tuned_id
        });
        let (mut net, mut n) = (0.0, 0.0);
        for row in changed {
            n += 1.0;
            net += sign * f64::from(u8::from(row.argmax_tuned_id == *token));
            net -= sign * f64::from(u8::from(row.argmax_base_id == *token));
        }
        values.insert(id.clone(), (n > 0.0).then(|| net / n));
    }
    values
}

#[test]
fn every_interval_is_that_of_a_plain_bootstrap() {
    for seed in 0..6 {
        let problems = 5;
        let (base, rows) = synthetic(seed, problems, 2);
        let (tuned, _) = synthetic(seed + 100, problems, 3);
        let input = FindingInput {
            other_rollouts: Some(&tuned),
            ..input(&base, &rows)
        };
        let settings = FindingSettings {
            seed,
            replicates: 30,
            level: 0.8,
            ..Default::default()
        };
        let found = findings(&input, &settings).unwrap();
        let tokens: Vec<(String, u32, f64)> = found
            .findings
            .iter()
            .filter_map(|f| {
                let sign = if f.id.starts_with("promoted") {
                    1.0
                } else {
                    -1.0
                };
                Some((
                    f.id.clone(),
                    f.thresholds.get("token_id")?.as_u64()? as u32,
                    sign,
                ))
            })
            .collect();
        assert!(tokens.len() >= 2);
        let cache: Mutex<HashMap<Vec<u32>, Values>> = Mutex::default();
        let bootstrap = BootstrapSettings {
            seed,
            replicates: 30,
            level: 0.8,
        };
        let mut intervals = 0;
        for finding in found.findings.iter().filter(|f| f.method != "count") {
            if finding.id == "answer.accuracy.p_value" {
                continue;
            }
            let want = cluster_bootstrap(problems as usize, &bootstrap, |counts| {
                let mut cache = cache.lock().unwrap();
                let values = cache
                    .entry(counts.to_vec())
                    .or_insert_with(|| plain((&base, &rows), &tuned, counts, &tokens));
                values.get(&finding.id).copied().flatten()
            });
            let none = finding.method.starts_with("no interval") || finding.value.is_none();
            if let (Ok(want), false) = (want, none) {
                intervals += 1;
                let close =
                    |a: Option<f64>, b: f64| (a.unwrap() - b).abs() <= 1e-9 * b.abs().max(1.0);
                assert!(
                    close(finding.low, want.interval.low),
                    "{finding:?} {want:?}"
                );
                assert!(
                    close(finding.high, want.interval.high),
                    "{finding:?} {want:?}"
                );
                assert_eq!(finding.method.contains("left out"), want.undefined > 0);
            } else {
                assert_eq!(finding.low, None, "{finding:?}");
            }
        }
        assert!(intervals > 100, "{intervals}");
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let (rollouts, rows) = synthetic(1, 30, 8);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| findings(&input(&rollouts, &rows), &FindingSettings::default()).unwrap())
    };
    let one = serde_json::to_string(&run(1)).unwrap();
    assert_eq!(one, serde_json::to_string(&run(2)).unwrap());
    assert_eq!(one, serde_json::to_string(&run(3)).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn shares_add_up_and_coverage_rises(seed in any::<u64>(), problems in 1u64..6, k in 1u32..9) {
        let (rollouts, rows) = synthetic(seed, problems, 3);
        let settings = FindingSettings { replicates: 40, top_k: k, ..Default::default() };
        let found = findings(&input(&rollouts, &rows), &settings).unwrap();
        let value = |id: &str| found.get(id).unwrap().value;
        for family in ["share", "share.urial"] {
            let middle = if family == "share" { "reranked" } else { "marginal" };
            let parts = ["unshifted", middle, "shifted"].map(|c| value(&format!("{family}.{c}")));
            if let [Some(a), Some(b), Some(c)] = parts {
                prop_assert!((a + b + c - 1.0).abs() < 1e-12);
            }
        }
        prop_assert_eq!(value("share.unshifted"), value("same_top1"));
        for name in ["kl", "js"] {
            let prefix = format!("coverage.{name}.");
            let curve: Vec<f64> = found.findings.iter()
                .filter(|f| f.id.starts_with(&prefix)).filter_map(|f| f.value).collect();
            prop_assert!(curve.is_empty() || curve.len() == 8);
            prop_assert!(curve.windows(2).all(|w| w[0] <= w[1] + 1e-12));
            prop_assert!(curve.iter().all(|c| (0.0..=1.0 + 1e-12).contains(c)));
        }
        for finding in &found.findings {
            for number in [finding.value, finding.low, finding.high].into_iter().flatten() {
                prop_assert!(number.is_finite(), "{finding:?}");
            }
            if let (Some(low), Some(high)) = (finding.low, finding.high) {
                prop_assert!(low <= high && finding.n_clusters > 1);
            }
            let shares = finding.unit == "share" && !finding.id.contains("moted");
            prop_assert!(!shares || finding.value.is_none_or(|v| (0.0..=1.0 + 1e-12).contains(&v)));
        }
        let rows_in = found.get("rows.used").unwrap();
        prop_assert_eq!(rows_in.value, Some(found.get("share.unshifted").unwrap().n as f64));
    }
}
