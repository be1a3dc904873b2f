use super::super::{GateInput, GatePlan, GateReport};
use super::{Owned, chosen, gate, inputs};
use crate::AuditError;

fn report(text: &str, owned: &[Owned]) -> GateReport {
    let chosen = chosen(text, owned, 42);
    GateReport::of_gate(&gate(text), &inputs(owned), &chosen, 42).unwrap()
}

#[test]
fn counts_means_and_masses() {
    let owned = [
        Owned::new("a", vec![2.0, 0.5, 0.5, 0.5, 1.5]),
        Owned::new("b", vec![0.5, 0.5, 0.5]),
        Owned::new("c", vec![]),
    ];
    let r = report("entropy:1.4", &owned);
    assert_eq!(r.gate, "entropy:1.4");
    assert_eq!((r.rollouts, r.rollouts_without), (3, 2));
    assert_eq!((r.positions, r.selected), (8, 2));
    assert_eq!(r.share, Some(0.25));
    assert_eq!(r.mean_per_rollout, Some(2.0 / 3.0));
    assert_eq!(r.entropy_mean_inside_nats, Some(1.75));
    assert_eq!(r.entropy_mean_outside_nats, Some(0.5));
    assert_eq!(
        (r.entropy_mass_nats, r.entropy_mass_share),
        (3.5, Some(3.5 / 6.5))
    );
    // Signal: 3 - H.
    assert_eq!(
        (r.signal_mass, r.signal_mass_share),
        (Some(2.5), Some(2.5 / 17.5))
    );
    assert_eq!(r.relative_position_mean, Some(0.5));
    assert_eq!(r.per_fifth, [1, 0, 0, 0, 1]);
    assert_eq!(r.entropy_quantiles_nats[0], Some(0.5));
    assert_eq!(r.entropy_quantiles_nats.last(), Some(&Some(2.0)));
    assert_eq!((r.control.as_ref(), r.right), (None, None));
    assert!(r.refuse_extremes().is_ok());
    let json = serde_json::to_string(&r).unwrap();
    assert_eq!(
        serde_json::from_str::<GateReport>(&json).unwrap().selected,
        2
    );
}

#[test]
fn outcomes_are_counted_apart() {
    let owned = [
        Owned::new("a", vec![2.0, 0.5]),
        Owned::new("b", vec![0.5, 1.6, 0.5]),
    ];
    let plan: GatePlan = "entropy:1.4/entropy:1.8".parse().unwrap();
    let marks = [true, false];
    let chosen = plan.decide(&inputs(&owned), &marks, 0).unwrap();
    let r = GateReport::new(&plan, &inputs(&owned), &marks, &chosen, 0).unwrap();
    let (right, wrong) = (r.right.unwrap(), r.wrong.unwrap());
    assert_eq!(
        (right.positions, right.selected, right.share),
        (2, 1, Some(0.5))
    );
    assert_eq!(
        (wrong.positions, wrong.selected, wrong.rollouts_without),
        (3, 0, 1)
    );
}

#[test]
fn a_control_is_held_to_its_reference() {
    let h = vec![2.0, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 1.0];
    let owned = [Owned::new("a", h)];
    let c = report("last@entropy:1.4", &owned).control.unwrap();
    assert_eq!(c.reference, "entropy:1.4");
    assert_eq!((c.reference_selected, c.selected, c.eligible), (1, 1, 10));
    assert_eq!((c.overlap, c.count_residual), (0, 0));
    assert_eq!((c.reference_mass_nats, c.mass_nats), (2.0, 1.0));
    assert_eq!(
        (c.mass_ratio, c.mass_residual_per_rollout_nats),
        (Some(0.5), Some(1.0))
    );
    assert_eq!((c.position_residual, c.entropy_residual), (1, 1));
    let c = report("first@entropy:1.4", &owned).control.unwrap();
    assert_eq!(
        (c.overlap, c.position_residual, c.mass_ratio),
        (1, 0, Some(1.0))
    );
    let c = report("matched-position@entropy:1.4", &owned)
        .control
        .unwrap();
    assert_eq!(
        (c.eligible, c.position_residual, c.mass_ratio),
        (9, 0, Some(0.1))
    );
    assert_eq!(c.entropy_residual, 1);
    let c = report("random-high:0.9@top-k:3", &owned).control.unwrap();
    assert_eq!((c.selected, c.eligible, c.count_residual), (2, 2, 1));
    // Only one side is a control.
    let plan: GatePlan = "entropy:1.4/random@entropy:1.4".parse().unwrap();
    let two = [
        Owned::new("a", vec![2.0, 0.1]),
        Owned::new("b", vec![2.0, 0.1, 2.0]),
    ];
    let marks = [true, false];
    let chosen = plan.decide(&inputs(&two), &marks, 7).unwrap();
    let r = GateReport::new(&plan, &inputs(&two), &marks, &chosen, 7).unwrap();
    let c = r.control.unwrap();
    assert_eq!(
        (c.reference.as_str(), c.selected, c.reference_selected),
        ("-/entropy:1.4", 2, 2)
    );
}

#[test]
fn gates_that_suit_nothing_or_everything_say_which_would() {
    let owned = [Owned::new(
        "a",
        (0..100).map(|i| f64::from(i) / 50.0).collect(),
    )];
    let refusal = |text: &str| {
        report(text, &owned)
            .refuse_extremes()
            .unwrap_err()
            .to_string()
    };
    let nothing = refusal("entropy:5");
    assert_eq!(
        nothing,
        "gate entropy:5 chooses none of the 100 completion positions; quantiles of the entropy in nats: \
         50 % 0.9800, 80 % 1.5800, 90 % 1.7800, 95 % 1.8800, 98 % 1.9400, 99 % 1.9600, greatest 1.9800; \
         give a lower threshold, or a share such as quantile:0.05"
    );
    let everything = refusal("entropy:-1");
    assert!(
        everything.starts_with("gate entropy:-1 chooses every one of the 100"),
        "{everything}"
    );
    assert!(
        everything.contains("give a higher threshold"),
        "{everything}"
    );
    assert!(refusal("signal:9").contains("quantiles of the signal: 50 %"));
    assert!(refusal("random@entropy:5").contains("give a lower threshold"));
    assert!(refusal("random@entropy:-1").contains("give a higher threshold"));
    assert!(refusal("matched-mass@all").contains("its reference leaves nothing"));
    for fine in ["all", "first:200", "entropy:1", "stride@all"] {
        assert!(report(fine, &owned).refuse_extremes().is_ok(), "{fine}");
    }
    let empty = [Owned::new("a", vec![])];
    let error = report("entropy:1", &empty).refuse_extremes().unwrap_err();
    assert!(
        error.to_string().contains("the completions are empty"),
        "{error}"
    );
    assert!(!error.is_internal());
}

#[test]
fn positions_of_another_decision_are_refused() {
    let h = [0.5, 1.5];
    let input = [GateInput::new("p", 4, &h)];
    for wrong in [vec![2], vec![1, 0], vec![1, 1]] {
        let error = GateReport::of_gate(&gate("all"), &input, &[wrong], 0).unwrap_err();
        assert!(
            matches!(error, AuditError::Rollout { sample: 4, .. }),
            "{error}"
        );
    }
    assert!(
        GateReport::of_gate(&gate("all"), &input, &[], 0)
            .unwrap_err()
            .is_internal()
    );
    let infinite = [f64::INFINITY, 1.0];
    let input = [GateInput {
        signal: Some(&infinite),
        ..input[0]
    }];
    let r = GateReport::of_gate(&gate("signal:1"), &input, &[vec![0]], 0).unwrap();
    assert_eq!((r.signal_mass, r.signal_mass_share), (None, None));
    let json = serde_json::to_string(&r).unwrap();
    assert!(serde_json::from_str::<GateReport>(&json).is_ok());
}
