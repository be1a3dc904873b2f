use forkscope_metrics::rng::Key;

use super::{Owned, chosen};

fn spread(len: usize, at: impl Fn(usize) -> f64) -> Vec<Owned> {
    vec![Owned::new("p", (0..len).map(at).collect())]
}

/// How often each position is chosen over 4,000 seeds.
fn frequencies(text: &str, owned: &[Owned]) -> Vec<f64> {
    let mut counts = vec![0u32; owned[0].entropies.len()];
    for seed in 0..4_000 {
        for at in &chosen(text, owned, seed)[0] {
            counts[*at as usize] += 1u32;
        }
    }
    let share = |count| f64::from(count) / 4_000.0;
    counts.into_iter().map(share).collect()
}

/// Within six standard errors of a share p of 4,000.
fn near(seen: f64, p: f64) -> bool {
    (seen - p).abs() <= 6.0 * (p * (1.0 - p) / 4_000.0).sqrt()
}

#[test]
fn random_draws_every_position_alike_and_is_pinned() {
    let owned = spread(10, |i| if i < 3 { 2.0 } else { 0.1 * i as f64 });
    let seen = frequencies("random@entropy:1.4", &owned);
    assert!(seen.iter().all(|f| near(*f, 0.3)), "{seen:?}");
    // By definition: the three lowest words of the rollout's sequence.
    let key = Key::new(42, "p", 0, "gate/random");
    let mut words: Vec<(u64, u32)> = (0..10u32)
        .map(|at| (key.rng_at(u64::from(at)).next_u64(), at))
        .collect();
    words.sort_unstable();
    let mut lowest: Vec<u32> = words.iter().take(3).map(|w| w.1).collect();
    lowest.sort_unstable();
    assert_eq!(chosen("random@entropy:1.4", &owned, 42)[0], lowest);
}

#[test]
fn random_high_draws_alike_above_its_threshold_and_says_when_it_runs_out() {
    let owned = spread(10, |i| {
        [0.1, 0.5, 0.6, 0.9, 1.3, 1.5, 1.6, 0.2, 0.3, 0.4][i]
    });
    let seen = frequencies("random-high@entropy:1.4", &owned);
    for (at, f) in seen.iter().enumerate() {
        // Positions 2 to 6 have H > 0.5; two of five are drawn.
        let expected = if (2..=6).contains(&at) { 0.4 } else { 0.0 };
        assert!(near(*f, expected), "{seen:?}");
    }
    assert_eq!(chosen("random-high:1.4@top-k:4", &owned, 1)[0], [5, 6]);
}

#[test]
fn matched_position_draws_alike_from_the_others_of_the_same_fifth() {
    // Fifths of four; the reference has 1, 0, 2, 0, 1.
    let high = [1, 8, 11, 16];
    let owned = spread(20, |i| {
        if high.contains(&i) {
            2.0
        } else {
            0.01 * i as f64
        }
    });
    let seen = frequencies("matched-position@entropy:1.4", &owned);
    for (at, f) in seen.iter().enumerate() {
        let expected = match at {
            _ if high.contains(&at) => 0.0,
            0..=3 | 16..=19 => 1.0 / 3.0,
            8..=11 => 1.0,
            _ => 0.0,
        };
        assert!(near(*f, expected), "{at} {seen:?}");
    }
}

#[test]
fn a_cell_that_runs_out_is_filled_from_its_neighbours() {
    // The reference is all of the last fifth; its twin is the fourth.
    let owned = spread(20, |i| if i >= 16 { 2.0 } else { 0.5 });
    let drawn = chosen("matched-position@entropy:1.4", &owned, 3).remove(0);
    assert_eq!(drawn, [12, 13, 14, 15]);
    // Middle fifth: the earlier neighbour first.
    let owned = spread(20, |i| if (8..12).contains(&i) { 2.0 } else { 0.5 });
    let drawn = chosen("matched-position@entropy:1.4", &owned, 3).remove(0);
    assert_eq!(drawn, [4, 5, 6, 7]);
    // More than half: the others all, then the reference's own.
    let owned = spread(10, |i| if i < 7 { 2.0 } else { 0.5 });
    let drawn = chosen("matched-position@entropy:1.4", &owned, 3).remove(0);
    assert_eq!(drawn.len(), 7);
    assert!(drawn.ends_with(&[7, 8, 9]));
}

#[test]
fn matched_random_takes_the_same_entropy_where_there_is_some() {
    // Every tenth of H has positions that changed and others that did not, in
    // every fifth: entropy, position and so nearly the mass are matched.
    let mut owned = spread(500, |i| (i % 50) as f64 / 25.0);
    owned[0].changed = (0..500).map(|i| i % 3 == 0 && i % 50 < 30).collect();
    let reference = chosen("changed", &owned, 0).remove(0);
    let mass = |set: &[u32]| -> f64 { set.iter().map(|at| owned[0].entropies[*at as usize]).sum() };
    for seed in 0..20 {
        let drawn = chosen("matched-random@changed", &owned, seed).remove(0);
        assert_eq!(drawn.len(), reference.len());
        assert!(drawn.iter().all(|at| !owned[0].changed[*at as usize]));
        let ratio = mass(&drawn) / mass(&reference);
        assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
        let only_position = chosen("matched-position@changed", &owned, seed).remove(0);
        assert!(mass(&only_position) / mass(&reference) > 1.4);
    }
    // Beside an entropy gate they are the next lower entropies: 20 of 30 from
    // the rest of the highest tenth, the others from the tenth above 1.56.
    let drawn = chosen("matched-random@entropy:1.85", &owned, 0).remove(0);
    let lowest = drawn.iter().map(|at| owned[0].entropies[*at as usize]);
    assert!(lowest.fold(f64::INFINITY, f64::min) > 1.56);
}

#[test]
fn matched_mass_stops_at_the_reference_mass() {
    let owned = spread(200, |i| {
        if i % 20 == 0 {
            2.0
        } else {
            0.3 + (i % 7) as f64 * 0.05
        }
    });
    for seed in 0..50 {
        let drawn = chosen("matched-mass@entropy:1.4", &owned, seed).remove(0);
        let mass: f64 = drawn
            .iter()
            .map(|at| owned[0].entropies[*at as usize])
            .sum();
        assert!((mass - 20.0).abs() <= 0.35, "{mass}");
        assert!(drawn.len() > 30);
        assert!(drawn.iter().all(|at| at % 20 != 0));
        let per_fifth = |f: u32| drawn.iter().filter(|at| **at / 40 == f).count();
        assert!((0..5).all(|f| (7..=13).contains(&per_fifth(f))));
    }
    // Positions without entropy do not stop the draw.
    let owned = spread(50, |i| [0.0, 0.0, 0.0, 0.0, 1.0][i % 5]);
    let owned_mass = chosen("matched-mass@first:5", &owned, 9).remove(0);
    let mass: f64 = owned_mass
        .iter()
        .map(|at| owned[0].entropies[*at as usize])
        .sum();
    assert_eq!(mass, 1.0);
    // Where the others have less, all of them are taken.
    let owned = spread(10, |i| if i < 5 { 2.0 } else { 0.1 });
    assert_eq!(
        chosen("matched-mass@entropy:1.4", &owned, 1)[0],
        [5, 6, 7, 8, 9]
    );
}

#[test]
fn a_larger_budget_draws_a_superset() {
    let owned = spread(60, |i| ((i * 37) % 60) as f64 / 20.0);
    for control in ["random", "random-high:0.5"] {
        let mut last: Vec<u32> = Vec::new();
        for k in 1..=20 {
            let now = chosen(&format!("{control}@top-k:{k}"), &owned, 11).remove(0);
            assert_eq!(now.len(), k);
            assert!(last.iter().all(|at| now.contains(at)));
            last = now;
        }
    }
}
