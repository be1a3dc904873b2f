//! On data without a trace of the context, p-values are uniform.

use std::error::Error;

use super::super::null::{Null, p_value};
use super::super::{Design, Folding, Layer, Probe, Ranked, Split, neurons};
use super::{activations, bench, items};

/// Data sets; draws of each.
const SETS: u64 = 300;
const DRAWS: u32 = 39;

/// Kolmogorov-Smirnov distance of p-values on the grid k / (draws + 1) from the
/// uniform distribution on it.
fn distance(p: &[f64]) -> f64 {
    let n = p.len() as f64;
    let grid = f64::from(DRAWS + 1);
    (1..=DRAWS + 1)
        .map(|k| {
            let at = f64::from(k) / grid;
            let share = p.iter().filter(|p| **p <= at + 1e-9).count() as f64 / n;
            (share - at).abs()
        })
        .fold(0.0, f64::max)
}

/// What the distance exceeds once in a thousand sets of sets (Kolmogorov's
/// asymptotic 1.95 / sqrt(n)); it is smaller on a grid.
fn bound() -> f64 {
    1.95 / (SETS as f64).sqrt()
}

fn p_of(design: &Design, layer: &Layer, split: Split, seed: u64) -> f64 {
    let null = Null::new(design, seed);
    let folding = Folding::new(design, seed);
    let auroc = |labels: &[bool]| {
        let folds = folding.folds(labels, split, None, None);
        let score = |f| Probe::MeanDifference.scores(design, labels, layer, f);
        let scores: Vec<Vec<f64>> = folds.iter().map(score).collect();
        Ranked::new(design, &folds, &scores).auroc(labels)
    };
    let draws: Vec<Option<f64>> = (0..DRAWS).map(|d| auroc(&null.labels(d))).collect();
    let observed = auroc(&design.evaluation).unwrap_or(f64::NAN);
    p_value(observed, &draws).unwrap_or(f64::NAN)
}

fn uniform(design: &Design, split: Split) {
    let p: Vec<f64> = (0..SETS)
        .map(|set| {
            let layer = activations(design, 1_000 + set, 4, |_| 0.0);
            p_of(design, &layer, split, 77 + set)
        })
        .collect();
    assert!(
        distance(&p) < bound(),
        "distance {} of {} p-values",
        distance(&p),
        p.len()
    );
}

#[test]
fn of_pure_sources() -> Result<(), Box<dyn Error>> {
    let design = Design::new(&items([5, 5], &["a", "b"], 3))?;
    uniform(&design, Split::Source);
    uniform(&design, Split::SourceAndFormat);
    Ok(())
}

#[test]
fn of_mixed_sources() -> Result<(), Box<dyn Error>> {
    let mut all = items([4, 4], &["a", "b"], 4);
    for item in &mut all {
        item.source = item.source.replace(['e', 'd'], "s");
    }
    uniform(&Design::new(&all)?, Split::SourceAndFormat);
    Ok(())
}

/// Exchanging items instead of sources would not be: the offsets of sources are
/// then taken for the context's.
#[test]
fn exchanging_items_of_pure_sources_would_be_wrong() -> Result<(), Box<dyn Error>> {
    let design = Design::new(&items([5, 5], &["a"], 6))?;
    let mut wrong = design.clone();
    // As if every item were a source of its own.
    wrong.source = (0..design.len() as u32).collect();
    wrong.sources = (0..design.len()).map(|i| i.to_string()).collect();
    let p: Vec<f64> = (0..60)
        .map(|set| {
            let layer = activations(&design, 1_000 + set, 4, |_| 0.0);
            p_of(&wrong, &layer, Split::Random, 77 + set)
        })
        .collect();
    let small = p.iter().filter(|p| **p <= 0.05).count();
    assert!(small > 30, "{small} of 60 at 0.05");
    Ok(())
}

#[test]
fn of_single_dimensions() -> Result<(), Box<dyn Error>> {
    let design = Design::new(&items([6, 6], &["a"], 3))?;
    let mut p = Vec::new();
    for set in 0..SETS {
        let layer = activations(&design, 5_000 + set, 1, |_| 0.0);
        let bench = bench(&design, 13 + set, DRAWS);
        let rows = neurons(&bench, "model", "last", &[layer], 0.05)?;
        p.extend(rows.iter().map(|r| r.p_value));
    }
    assert_eq!(p.len(), SETS as usize);
    assert!(distance(&p) < bound(), "distance {}", distance(&p));
    Ok(())
}
