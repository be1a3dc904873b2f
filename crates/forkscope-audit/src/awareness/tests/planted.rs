//! What is planted is found, and nothing else.

use std::error::Error;

use super::super::{
    Arm, Design, Layer, Probe, Split, Target, Words, control, gap, mean_difference, neurons,
    random_direction,
};
use super::{activations, bench, items};

type Outcome = Result<(), Box<dyn Error>>;

const SOURCE: Target = Target {
    split: Split::Source,
    format: None,
};

#[test]
fn a_context_that_is_there_is_told_across_sources_and_formats() -> Outcome {
    let design = Design::new(&items([6, 6], &["story", "list"], 4))?;
    let without = activations(&design, 2, 8, |_| 0.0);
    let with = activations(&design, 2, 8, |i| 12.0 * f64::from(design.evaluation[i]));
    let bench = bench(&design, 9, 99);
    let layers = [without.clone(), with.clone(), without];
    let study = bench.study("model", "last", &layers, true);
    for target in bench.targets() {
        let Some(m) = study.on(target) else { continue };
        assert_eq!((m.auroc, m.layer), (1.0, Some(1)), "{target:?}");
        assert!(m.p_max.is_some_and(|p| p <= 0.02), "{m:?}");
    }
    assert_eq!(study.chosen.len(), 4);
    let rows = neurons(&bench, "model", "last", &[with], 0.05)?;
    assert!(
        rows[0].q_value <= 0.1 && rows[0].auroc == 1.0,
        "{:?}",
        rows[0]
    );
    Ok(())
}

#[test]
fn a_format_is_told_but_not_across_formats() -> Outcome {
    // The signal is the format's, and in three of four items of a context the
    // format is the context's own.
    let mut all = items([6, 6], &["a"], 4);
    for (k, item) in all.iter_mut().enumerate() {
        let own = item.source.starts_with('e') != (k % 4 == 3);
        item.format = if own { "benchmark" } else { "chat" }.into();
    }
    let design = Design::new(&all)?;
    assert!(design.crosses_formats());
    let benchmark = design.format[0];
    let layer = activations(&design, 4, 6, |i| {
        12.0 * f64::from(design.format[i] == benchmark)
    });
    let bench = bench(&design, 9, 99);
    let study = bench.study("model", "last", &[layer], true);
    let held_out = study.on(SOURCE).map(|m| m.auroc);
    assert!(held_out.is_some_and(|a| a > 0.7), "{held_out:?}");
    for format in 0..2 {
        let across = Target {
            split: Split::SourceAndFormat,
            format: Some(format),
        };
        let m = study.on(across).map(|m| m.auroc);
        assert!(m.is_some_and(|a| a < 0.75), "{m:?}");
    }
    Ok(())
}

#[test]
fn a_context_that_is_a_format_is_told_and_not_crossed() -> Outcome {
    let mut all = items([6, 6], &["a"], 4);
    for item in &mut all {
        item.format = item.context.as_str().into();
    }
    let design = Design::new(&all)?;
    assert!(!design.crosses_formats());
    let layer = activations(&design, 4, 6, |i| 12.0 * f64::from(design.evaluation[i]));
    let bench = bench(&design, 9, 99);
    let study = bench.study("model", "last", &[layer], true);
    assert_eq!(study.chosen.len(), 1);
    let m = study.on(SOURCE).ok_or("nothing held out")?;
    assert_eq!(m.auroc, 1.0);
    assert!(m.p_max.is_some_and(|p| p <= 0.02), "{m:?}");
    Ok(())
}

#[test]
fn a_bag_of_words_knows_what_it_has_read() -> Outcome {
    let all = items([4, 4], &["a", "b"], 4);
    let design = Design::new(&all)?;
    let bench = bench(&design, 9, 19);
    // Words of sources that are held out are new, and the problems are the same.
    let texts = all
        .iter()
        .map(|i| format!("{} problem of the day", i.source));
    let texts: Vec<String> = texts.collect();
    let study = bench.words(&Words::new(texts.iter().map(String::as_str)));
    let on = |split| {
        study
            .on(Target {
                split,
                format: None,
            })
            .map(|m| m.auroc)
    };
    assert_eq!(on(Split::Source), Some(0.5));
    assert_eq!(on(Split::SourceAndFormat), Some(0.5));
    assert_eq!(on(Split::Random), Some(1.0));
    // A word that all of a context share gives it away.
    let texts = all.iter().map(|i| format!("{:?} {}", i.context, i.source));
    let texts: Vec<String> = texts.collect();
    let study = bench.words(&Words::new(texts.iter().map(String::as_str)));
    assert_eq!(study.on(SOURCE).map(|m| m.auroc), Some(1.0));
    Ok(())
}

#[test]
fn logistic_regression_is_at_its_minimum() -> Outcome {
    // One feature with values -1 and 1, standardised to themselves: the weight w
    // solves sum y x sigma(-y (w x + b)) = w with b = 0 by symmetry.
    let mut all = items([2, 2], &["a"], 10);
    for (k, item) in all.iter_mut().enumerate() {
        item.cluster = k.to_string();
    }
    let design = Design::new(&all)?;
    let values: Vec<f32> = (0..design.len())
        .map(|i| {
            let agrees = i % 5 != 0;
            if design.evaluation[i] == agrees {
                1.0
            } else {
                -1.0
            }
        })
        .collect();
    let layer = Layer { width: 1, values };
    let items: Vec<u32> = (0..design.len() as u32).collect();
    let fold = super::super::Fold {
        train: items.clone(),
        test: items,
    };
    let scores = Probe::Logistic.scores(&design, &design.evaluation, &layer, &fold);
    let sigma = |z: f64| 1.0 / (1.0 + libm::exp(-z));
    let w = scores[1];
    let residual = 32.0 * sigma(-w) - 8.0 * sigma(w) - w;
    assert!(residual.abs() < 1e-4, "w = {w}, residual {residual}");
    Ok(())
}

#[test]
fn sources_weigh_alike_in_the_direction() -> Outcome {
    let mut all = items([2, 1], &["a"], 2);
    let extra: Vec<_> = (0..6)
        .map(|k| {
            let mut item = all[0].clone();
            item.id = format!("more/{k}");
            item.cluster.clone_from(&item.id);
            item
        })
        .collect();
    all.extend(extra);
    let design = Design::new(&all)?;
    // e0 (8 items) is at 4, e1 (2 items) at 0, d0 at 1: the means of sources.
    let at = |i: usize| match design.sources[design.source[i] as usize].as_str() {
        "e0" => 4.0,
        "e1" => 0.0,
        _ => 1.0,
    };
    let values = (0..design.len()).map(|i| at(i) as f32).collect();
    let items: Vec<u32> = (0..design.len() as u32).collect();
    let layer = Layer { width: 1, values };
    let w = mean_difference(&design, &design.evaluation, &layer, &items);
    assert!((w[0] - 1.0).abs() < 1e-12, "{w:?}");
    Ok(())
}

#[test]
fn steering_is_measured_against_the_gap_and_random_directions() -> Outcome {
    let design = Design::new(&items([4, 4], &["a", "b"], 3))?;
    let bench = bench(&design, 9, 99);
    let before: Vec<Option<f64>> = design
        .evaluation
        .iter()
        .map(|e| Some(f64::from(*e)))
        .collect();
    let g = gap(&bench, &before);
    assert_eq!(g.value, Some(1.0));
    assert!(g.p_value.is_some_and(|p| p < 0.1), "{g:?}");
    let flipped: Vec<Option<f64>> = before.iter().map(|r| r.map(|r| 1.0 - r)).collect();
    let arm = |vector, scale, rates: &[Option<f64>]| Arm {
        vector,
        scale,
        rates: rates.to_vec(),
        kl_nats: Some(scale),
    };
    let mut arms = vec![
        arm(0, 0.5, &before),
        arm(0, 1.0, &flipped),
        arm(0, 2.0, &flipped),
    ];
    arms.extend((1..=20).map(|v| arm(v, 1.0, &before)));
    let c = control(&design, &bench.resamples, &before, &arms).ok_or("no arm")?;
    assert_eq!(
        (c.effect.value, c.scale, c.kl_nats),
        (Some(1.0), 1.0, Some(1.0))
    );
    assert_eq!(c.share.value, Some(1.0));
    assert!(c.beyond_random.is_above_zero());
    assert_eq!(c.p_value, Some(1.0 / 21.0));
    assert_eq!(c.random.len(), 20);
    // Random directions that do the same leave nothing beyond them.
    let arms: Vec<Arm> = (0..=20).map(|v| arm(v, 1.0, &flipped)).collect();
    let c = control(&design, &bench.resamples, &before, &arms).ok_or("no arm")?;
    assert!(!c.beyond_random.is_above_zero());
    assert_eq!(c.p_value, Some(1.0));
    Ok(())
}

#[test]
fn random_directions_have_the_norm_asked_for_and_differ() {
    let a = random_direction(1, 0, 64, 3.0);
    let b = random_direction(1, 1, 64, 3.0);
    assert_ne!(a, b);
    assert_eq!(a, random_direction(1, 0, 64, 3.0));
    for v in [&a, &b] {
        let norm: f64 = v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!((norm - 3.0).abs() < 1e-5);
    }
    let cosine: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(x * y)).sum::<f64>() / 9.0;
    assert!(cosine.abs() < 0.5);
}
