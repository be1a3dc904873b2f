//! Nothing that is tested has been seen.

use std::collections::HashSet;
use std::error::Error;

use forkscope_metrics::rng::Key;
use forkscope_metrics::stats::auroc;
use proptest::prelude::*;

use super::super::null::{Null, p_value};
use super::super::{Design, Fold, Folding, Kind, Ranked, Split};
use super::{bench, items};

type Outcome = Result<(), Box<dyn Error>>;

fn values(of: &[u32], items: &[u32]) -> HashSet<u32> {
    items.iter().map(|i| of[*i as usize]).collect()
}

#[test]
fn folds_hold_out_what_they_say() -> Outcome {
    let mut all = items([4, 3], &["story", "list"], 3);
    // One problem under both contexts, in sources that are not held out together.
    all[0].cluster = "shared".into();
    let last = all.len() - 1;
    all[last].cluster = "shared".into();
    let design = Design::new(&all)?;
    let folding = Folding::new(&design, 7);
    for split in Split::ALL {
        let folds = folding.folds(&design.evaluation, split, None, None);
        let expected = match split {
            Split::Random => 5,
            Split::Source => 12,
            Split::Format => 2,
            Split::SourceAndFormat => 24,
        };
        assert_eq!(folds.len(), expected, "{split:?}");
        for Fold { train, test } in &folds {
            for side in [train, test] {
                let labels: HashSet<bool> = side
                    .iter()
                    .map(|i| design.evaluation[*i as usize])
                    .collect();
                assert_eq!(labels.len(), 2);
            }
            let apart = |of: &[u32]| values(of, train).is_disjoint(&values(of, test));
            assert!(apart(&design.cluster), "{split:?}");
            if matches!(split, Split::Source | Split::SourceAndFormat) {
                assert!(apart(&design.source), "{split:?}");
            }
            if matches!(split, Split::Format | Split::SourceAndFormat) {
                assert!(apart(&design.format), "{split:?}");
            }
        }
    }
    Ok(())
}

#[test]
fn mixed_sources_are_held_out_by_themselves() -> Outcome {
    let mut all = items([2, 2], &["a"], 4);
    for item in &mut all {
        item.source = item.source.replace(['e', 'd'], "s");
    }
    let design = Design::new(&all)?;
    assert_eq!(design.kinds(&design.evaluation), [Kind::Mixed, Kind::Mixed]);
    let folds = Folding::new(&design, 7).folds(&design.evaluation, Split::Source, None, None);
    assert_eq!(folds.len(), 2);
    assert!(!design.crosses_formats());
    Ok(())
}

#[test]
fn sets_without_contrast_are_refused() {
    let one_context = items([3, 0], &["a"], 3);
    let error = Design::new(&one_context).err().map(|e| e.to_string());
    assert!(
        error.is_some_and(|e| e.contains("0 items with context deployment")),
        "one context"
    );
    let mut one_source = items([2, 2], &["a"], 3);
    one_source.iter_mut().for_each(|i| i.source = "mmlu".into());
    let error = Design::new(&one_source).err().map(|e| e.to_string());
    assert!(
        error.is_some_and(|e| e.contains("have one source (\"mmlu\")")),
        "one source"
    );
    assert!(Design::new(&[]).is_err());
}

#[test]
fn labellings_of_the_null_keep_the_design() -> Outcome {
    let mut all = items([3, 3], &["a", "b"], 2);
    all.extend(items([1, 1], &["a"], 6).into_iter().map(|mut item| {
        item.source = "both".into();
        item.id = format!("both/{}", item.id);
        item.cluster.clone_from(&item.id);
        item
    }));
    let design = Design::new(&all)?;
    let null = Null::new(&design, 3);
    let count = |labels: &[bool]| labels.iter().filter(|l| **l).count();
    let mut seen = HashSet::new();
    for draw in 0..200 {
        let labels = null.labels(draw);
        assert_eq!(count(&labels), count(&design.evaluation));
        // Pure sources stay pure; the mixed one keeps its counts.
        let kinds = design.kinds(&labels);
        let kind = |name: &str| {
            let at = design.sources.iter().position(|s| s == name);
            at.map(|at| kinds[at])
        };
        assert_eq!(kind("both"), Some(Kind::Mixed));
        assert_eq!(kinds.iter().filter(|k| **k == Kind::Evaluation).count(), 3);
        seen.insert(labels);
    }
    assert!(seen.len() > 150, "{} different labellings", seen.len());
    Ok(())
}

#[test]
fn the_p_value_counts_itself() {
    let draws: Vec<Option<f64>> = (0..99).map(|i| Some(f64::from(i))).collect();
    assert_eq!(p_value(98.5, &draws), Some(0.01));
    assert_eq!(p_value(98.0, &draws), Some(0.02));
    assert_eq!(p_value(-1.0, &draws), Some(1.0));
    assert_eq!(p_value(1.0, &[]), None);
    assert_eq!(p_value(1.0, &[None]), Some(1.0));
}

proptest! {
    /// Over one fold the AUROC is the usual one; over several it is the share of
    /// pairs within folds.
    #[test]
    fn auroc_over_folds_counts_pairs_within(seed in 0u64..500, grid in 2u32..9) {
        let design = Design::new(&items([3, 2], &["a"], 5)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let key = Key::new(seed, "", 0, "test");
        let draw = |at: usize| (key.uniform(at as u64) * f64::from(grid)).floor();
        let all: Vec<u32> = (0..design.len() as u32).collect();
        let fold = |test: Vec<u32>| Fold { train: Vec::new(), test };
        let scores: Vec<f64> = all.iter().map(|i| draw(*i as usize)).collect();
        let one = Ranked::new(&design, &[fold(all.clone())], std::slice::from_ref(&scores));
        let usual = auroc(&scores, &design.evaluation).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let found = one.auroc(&design.evaluation).unwrap_or(f64::NAN);
        prop_assert!((found - usual).abs() < 1e-12);
        // A shift of one fold changes nothing.
        let (even, odd): (Vec<u32>, Vec<u32>) = all.iter().partition(|i| *i % 2 == 0);
        let of = |items: &[u32], shift: f64| -> Vec<f64> {
            items.iter().map(|i| scores[*i as usize] + shift).collect()
        };
        let folds = [fold(even.clone()), fold(odd.clone())];
        let a = Ranked::new(&design, &folds, &[of(&even, 0.0), of(&odd, 0.0)]);
        let b = Ranked::new(&design, &folds, &[of(&even, 1e3), of(&odd, -7.0)]);
        prop_assert_eq!(a.auroc(&design.evaluation), b.auroc(&design.evaluation));
        let (mut twice, mut pairs) = (0.0, 0.0);
        for side in [&even, &odd] {
            for p in side.iter().filter(|i| design.evaluation[**i as usize]) {
                for n in side.iter().filter(|i| !design.evaluation[**i as usize]) {
                    let (p, n) = (scores[*p as usize], scores[*n as usize]);
                    twice += if p > n { 2.0 } else if p == n { 1.0 } else { 0.0 };
                    pairs += 2.0;
                }
            }
        }
        let found = a.auroc(&design.evaluation).unwrap_or(f64::NAN);
        prop_assert!((found - twice / pairs).abs() < 1e-12);
    }
}

#[test]
fn intervals_hold_the_point_and_repeat() -> Outcome {
    let design = Design::new(&items([5, 5], &["a", "b"], 4))?;
    let layer = super::activations(&design, 5, 6, |i| f64::from(design.evaluation[i]));
    let measure = || {
        let bench = bench(&design, 11, 19);
        let study = bench.study("model", "last", std::slice::from_ref(&layer), true);
        study.rows
    };
    let rows = measure();
    assert_eq!(rows, measure());
    for row in rows {
        if let (Some(auroc), Some(low), Some(high)) = (row.auroc, row.low, row.high) {
            assert!(low <= auroc + 0.05 && auroc <= high + 0.05, "{row:?}");
        }
    }
    Ok(())
}
