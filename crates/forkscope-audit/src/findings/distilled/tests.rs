use super::*;

fn arm(name: &str, correct: &[usize], kl: Option<f64>) -> SweepArm {
    let answers = correct
        .iter()
        .map(|c| (0..4).map(|i| Some(i < *c)).collect())
        .collect();
    let of = |kl| ProblemDivergence {
        positions: 10,
        undefined: 0,
        kl_sum: 10.0 * kl,
        agree: 9,
    };
    SweepArm {
        name: name.into(),
        answers,
        divergence: kl.map(|kl| vec![of(kl); correct.len()]),
        parameters: name.starts_with("rank").then_some((50, 1000)),
    }
}

fn value(found: &Findings, id: &str) -> Option<f64> {
    found.get(id).unwrap_or_else(|| panic!("{id}")).value
}

#[test]
fn by_hand() {
    let arms = [
        arm("base", &[1, 0, 1, 2, 0, 1], Some(0.4)),
        arm("tuned", &[4, 3, 4, 4, 3, 4], None),
        arm("rank_2", &[3, 2, 3, 3, 2, 3], Some(0.1)),
    ];
    let found = sweep(6, &arms, &FindingSettings::default()).unwrap();
    let near = |id: &str, expected: f64| {
        let value = value(&found, id).unwrap();
        assert!((value - expected).abs() < 1e-12, "{id}: {value}");
    };
    near("accuracy.base", 5.0 / 24.0);
    near("accuracy.tuned", 22.0 / 24.0);
    near("accuracy_difference.tuned_base", 17.0 / 24.0);
    near("recovery.rank_2", 11.0 / 17.0);
    near("kl_tuned_student.base", 0.4);
    near("kl_tuned_student.rank_2", 0.1);
    near("kl_left.rank_2", 0.25);
    near("same_top1.rank_2", 0.9);
    near("parameter_share.rank_2", 0.05);
    assert!(found.get("kl_tuned_student.tuned").is_none());
    let recovery = found.get("recovery.rank_2").unwrap();
    assert!(recovery.low.unwrap() < 11.0 / 17.0 && recovery.high.unwrap() > 11.0 / 17.0);
}

#[test]
fn nothing_is_recovered_where_there_is_no_gap() {
    let same = [2, 1, 3, 2, 0, 1];
    let arms = [
        arm("base", &same, Some(0.1)),
        arm("tuned", &[1, 2, 3, 1, 1, 1], None),
        arm("rank_1", &same, Some(0.1)),
    ];
    let found = sweep(6, &arms, &FindingSettings::default()).unwrap();
    assert_eq!(value(&found, "recovery.rank_1"), None);
    assert!(
        found
            .get("recovery.rank_1")
            .unwrap()
            .method
            .contains("noise")
    );
    // A gap that is the same in every problem is no noise.
    let arms = [
        arm("base", &[1; 6], None),
        arm("tuned", &[3; 6], None),
        arm("rank_1", &[2; 6], None),
    ];
    let found = sweep(6, &arms, &FindingSettings::default()).unwrap();
    assert_eq!(value(&found, "recovery.rank_1"), Some(0.5));
}
