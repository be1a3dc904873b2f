use super::super::{Gate, GatePlan, ScoreCurve, tau_for_share};
use super::{Owned, chosen, chosen_one, gate, inputs};

#[test]
fn a_threshold_is_strict() {
    let h = [1.4, 1.400_000_1, 0.0, 2.0, 1.39];
    assert_eq!(chosen_one("entropy:1.4", &h), [1, 3]);
    // The signal of `Owned` is 3 - H.
    assert_eq!(chosen_one("signal:1.6", &h), [2, 4]);
}

#[test]
fn the_forks_of_the_ten_position_note_are_found_in_bits_turned_to_nats() {
    // Entropies in bits of the proof of concept's ten distributions.
    let bits = [
        0.2219, 0.5061, 0.7155, 2.0501, 0.5467, 2.1509, 0.3549, 0.6364, 0.4025, 2.2422,
    ];
    let nats = bits.map(|b| b * std::f64::consts::LN_2);
    assert_eq!(chosen_one("entropy:1.4", &nats), [3, 5, 9]);
    assert_eq!(chosen_one("top-k:3", &nats), [3, 5, 9]);
    assert_eq!(chosen_one("share:30%", &nats), [3, 5, 9]);
    assert_eq!(chosen_one("quantile:0.3", &nats), [3, 5, 9]);
    let found = tau_for_share(&nats, 0.3).unwrap();
    assert_eq!((found.tau, found.share, found.selected), (nats[2], 0.3, 3));
}

#[test]
fn ties_go_to_the_earlier_position() {
    let h = [1.0, 2.0, 2.0, 2.0, 0.5, 0.5];
    assert_eq!(chosen_one("top-k:2", &h), [1, 2]);
    assert_eq!(chosen_one("low-entropy@top-k:1", &h), [4]);
    assert_eq!(chosen_one("low-entropy@top-k:3", &h), [0, 4, 5]);
    // A threshold cannot split equals: at most the share is chosen.
    assert_eq!(chosen_one("quantile:0.4", &h), Vec::<u32>::new());
    assert_eq!(chosen_one("quantile:0.5", &h), [1, 2, 3]);
}

#[test]
fn a_share_of_a_rollout_is_rounded_to_nearest_and_at_least_one() {
    let count = |text: &str, len: usize| {
        let h: Vec<f64> = (0..len).map(|i| i as f64 / len as f64).collect();
        chosen_one(text, &h).len()
    };
    assert_eq!(count("share:0.05", 1), 1);
    assert_eq!(count("share:0.05", 10), 1);
    assert_eq!(count("share:0.05", 29), 1);
    assert_eq!(count("share:0.05", 30), 2);
    assert_eq!(count("share:0.05", 100), 5);
    assert_eq!(count("share:0.29", 100), 29);
    assert_eq!(count("share:0.07", 100), 7);
    assert_eq!(count("top-k:8", 3), 3);
}

#[test]
fn a_quantile_is_over_all_rollouts_a_share_within_each() {
    let owned = [
        Owned::new("a", vec![9.0, 8.0, 7.0, 6.0]),
        Owned::new("b", vec![1.0, 2.0, 3.0, 4.0]),
    ];
    assert_eq!(chosen("quantile:0.25", &owned, 0), [vec![0, 1], vec![]]);
    assert_eq!(chosen("share:0.25", &owned, 0), [vec![0], vec![3]]);
}

#[test]
fn dual_looks_at_the_positions_before() {
    // Means of the two before: -, 1, 1.5, 2, 2.5, 2.5.
    let h = [1.0, 2.0, 2.0, 3.0, 2.0, 5.0];
    assert_eq!(chosen_one("dual:0.5:1:2", &h), [0, 1, 2, 3, 5]);
    assert_eq!(chosen_one("dual:1.5:1:2", &h), [1, 2, 3, 5]);
    assert_eq!(chosen_one("dual:1.5:1.6:2", &h), [1, 5]);
    // Over the whole past: 1, 1.5, 5/3, 2, 2.
    assert_eq!(chosen_one("dual:1.5:1.5:99", &h), [1, 3, 5]);
    assert_eq!(chosen_one("dual:0.5:0:2", &h), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn the_plain_gates_and_the_placed_controls() {
    let h = [0.1, 2.0, 0.2, 2.5, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];
    assert_eq!(chosen_one("all", &h), (0..10).collect::<Vec<u32>>());
    assert_eq!(chosen_one("changed", &h), [1, 3]);
    assert_eq!(chosen_one("first:3", &h), [0, 1, 2]);
    assert_eq!(chosen_one("first:30", &h).len(), 10);
    assert_eq!(chosen_one("first@changed", &h), [0, 1]);
    assert_eq!(chosen_one("last@changed", &h), [8, 9]);
    assert_eq!(chosen_one("low-entropy@changed", &h), [0, 2]);
    // floor((i + 1/2) 10 / n)
    assert_eq!(chosen_one("stride@changed", &h), [2, 7]);
    assert_eq!(chosen_one("stride@top-k:3", &h), [1, 5, 8]);
    assert_eq!(chosen_one("stride@all", &h).len(), 10);
    assert_eq!(chosen_one("stride@entropy:9", &h), Vec::<u32>::new());
}

#[test]
fn right_and_wrong_rollouts_may_have_gates_of_their_own() {
    let owned = [
        Owned::new("a", vec![1.0, 1.5, 2.0]),
        Owned::new("b", vec![1.0, 1.5, 2.0]),
    ];
    let plan: GatePlan = "entropy:1.2/entropy:1.8".parse().unwrap();
    assert_eq!(plan.to_string(), "entropy:1.2/entropy:1.8");
    let chosen = plan.decide(&inputs(&owned), &[true, false], 0).unwrap();
    assert_eq!(chosen, [vec![1, 2], vec![2]]);
    let both: GatePlan = "entropy:1.4/entropy:1.4".parse().unwrap();
    assert_eq!(both, Gate::entropy(1.4).into());
    assert_eq!(both.to_string(), "entropy:1.4");
    assert_eq!(both.single(), Some(&gate("entropy:1.4")));
    assert!(plan.single().is_none());
}

#[test]
fn the_curve_gives_shares_and_quantiles() {
    let curve = ScoreCurve::new([3.0, 1.0, 2.0, 2.0]).unwrap();
    let at = |tau| curve.share_at(tau);
    assert_eq!([at(0.0), at(1.0), at(2.0), at(3.0)], [1.0, 0.75, 0.25, 0.0]);
    let q = |q| curve.quantile(q);
    assert_eq!(
        [q(0.0), q(0.25), q(0.26), q(0.75), q(1.0)],
        [1.0, 1.0, 2.0, 2.0, 3.0]
    );
    assert_eq!(curve.tau_for_share(0.5).unwrap().share, 0.25);
    assert_eq!(curve.tau_for_share(0.1).unwrap().selected, 0);
    let hundred = ScoreCurve::new((1..=100).map(f64::from)).unwrap();
    for percent in 1..100u32 {
        let share = f64::from(percent) / 100.0;
        let found = hundred.tau_for_share(share).unwrap();
        assert_eq!(found.selected, u64::from(percent));
        assert_eq!(hundred.quantile(share), f64::from(percent));
    }
}

#[test]
fn gates_read_back_as_written() {
    for (text, printed) in [
        ("entropy:1.4", "entropy:1.4"),
        (" entropy : 1.40 ", "entropy:1.4"),
        ("quantile:20%", "quantile:0.2"),
        ("share:5%", "share:0.05"),
        ("dual:1:2", "dual:1:2:32"),
        ("signal-dual:1:2:8", "signal-dual:1:2:8"),
        ("signal:-0.5", "signal:-0.5"),
        ("signal-top-k:8", "signal-top-k:8"),
        ("random-high@entropy:1.4", "random-high:0.5@entropy:1.4"),
        ("random-high:1@top-k:3", "random-high:1@top-k:3"),
        ("matched-mass @ changed", "matched-mass@changed"),
    ] {
        let gate = gate(text);
        assert_eq!(gate.to_string(), printed);
        let json = serde_json::to_string(&gate).unwrap();
        assert_eq!(json, format!("{printed:?}"));
        assert_eq!(serde_json::from_str::<Gate>(&json).unwrap(), gate);
    }
}
