//! Counts come out as the reference's, and where they should.

use super::*;

use super::super::guide::Signal;

fn view(entropy: f64, differs: bool) -> View {
    View {
        tokens: [1, if differs { 2 } else { 1 }],
        argmax: [1, 1],
        entropy,
        js: 0.0,
        kl: 0.0,
        ce: 0.0,
        drop: [0.0; 2],
        top: [(0..20).collect(), (0..20).collect()],
    }
}

/// Thirty positions; every third is uncertain, every fifth differs.
fn views() -> Vec<View> {
    (0..30)
        .map(|o| view(if o % 3 == 0 { 1.0 } else { 0.1 }, o % 5 == 0))
        .collect()
}

const TOUCHED: [u32; 5] = [0, 3, 9, 15, 21];

/// Offsets that a control takes on the reference's own text.
fn taken(versus: &str, seed: u64, guide: Rule) -> Result<Vec<u32>, crate::AuditError> {
    let views = views();
    let trace: Vec<Trace> = views.iter().map(Trace::of).collect();
    let curve = crate::gates::ScoreCurve::new(views.iter().map(|v| v.entropy))?;
    let tenths = EntropyBins::tenths(&curve);
    let mut chosen = Chosen::new(
        &Versus::parse(versus)?,
        Material {
            reference: Reference {
                trace: &trace,
                touched: &TOUCHED,
                changed: 2,
            },
            untouched: &trace,
            generator: 0,
            tenths: &tenths,
            guide,
            seed,
            problem_id: "p",
            sample: 0,
        },
    );
    let all = views.iter().zip(&trace).enumerate();
    let hits = all.filter_map(|(o, (view, trace))| {
        let found = chosen.chooses(view, trace, 0, o);
        found.map(|_| o as u32)
    });
    Ok(hits.collect())
}

#[test]
fn every_count_is_the_references() -> Result<(), crate::AuditError> {
    let views = views();
    let h = |o: &u32| views[*o as usize].entropy;
    let mut mass = 0.0;
    for seed in 0..50 {
        for versus in [
            "random",
            "matched-position",
            "matched-random",
            "random-high",
            "low-entropy",
            "first",
            "last",
            "stride",
        ] {
            assert_eq!(taken(versus, seed, Rule::Never)?.len(), 5, "{versus}");
        }
        assert_eq!(taken("random-changed", seed, Rule::Never)?.len(), 2);
        assert!(
            taken("random-changed", seed, Rule::Never)?
                .iter()
                .all(|o| o % 5 == 0)
        );
        assert!(
            taken("random-high", seed, Rule::Never)?
                .iter()
                .all(|o| h(o) > 0.5)
        );
        // Each fifth has two uncertain positions; the first has both touched, so
        // its two come from the next tenth, the others from the same.
        let matched = taken("matched-random", seed, Rule::Never)?;
        assert_eq!(
            matched.iter().filter(|o| h(o) > 0.5).count(),
            3,
            "{matched:?}"
        );
        let taken = taken("matched-mass", seed, Rule::Never)?;
        mass += taken.iter().map(h).sum::<f64>() / 50.0;
    }
    assert!((mass - 5.0).abs() < 1.0, "{mass}");
    assert_eq!(taken("first", 0, Rule::Never)?, [0, 1, 2, 3, 4]);
    assert_eq!(taken("last", 0, Rule::Never)?, [25, 26, 27, 28, 29]);
    assert_eq!(taken("stride", 0, Rule::Never)?, [3, 9, 15, 21, 27]);
    assert_eq!(taken("low-entropy", 0, Rule::Never)?, [1, 2, 4, 5, 7]);
    Ok(())
}

#[test]
fn matched_positions_are_others_while_there_are_some() -> Result<(), crate::AuditError> {
    for seed in 0..50 {
        let high = || Rule::Above {
            signal: Signal::Entropy,
            tau: 0.5,
            left: None,
        };
        for versus in ["matched-position", "matched-random", "matched-mass"] {
            let found = taken(versus, seed, high())?;
            assert!(found.iter().all(|o| o % 3 != 0), "{versus}: {found:?}");
        }
        assert_eq!(taken("matched-position", seed, high())?.len(), 5);
    }
    Ok(())
}

#[test]
fn random_positions_are_uniform() -> Result<(), crate::AuditError> {
    let mut counts = [0u32; 30];
    for seed in 0..3000 {
        for o in taken("random", seed, Rule::Never)? {
            counts[o as usize] += 1;
        }
    }
    // 500 each on average, deviation about 20.
    assert!(counts.iter().all(|c| (390..610).contains(c)), "{counts:?}");
    Ok(())
}

#[test]
fn a_random_token_is_one_of_the_generators_twenty_but_its_own() -> Result<(), crate::AuditError> {
    let key = Key::new(1, "p", 0, "test");
    let mut seen = std::collections::BTreeSet::new();
    for o in 0..2000 {
        seen.extend(random_token(&view(1.0, true), 0, &key, o));
    }
    assert_eq!(seen.len(), 19);
    assert!(!seen.contains(&1));
    Ok(())
}
