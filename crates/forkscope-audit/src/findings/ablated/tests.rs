use super::*;

fn cell(seed: u64, correct: &[&[u8]]) -> AblationCell {
    let list = |v: &&[u8]| v.iter().map(|c| Some(*c == 1)).collect();
    AblationCell {
        seed,
        samples: correct.iter().map(list).collect(),
        greedy: Vec::new(),
        rollouts: 10,
        steps: 3,
        tokens: 100,
        touched: 5,
        completion_tokens: 50,
    }
}

fn arm(name: &str, cells: Vec<AblationCell>) -> AblationArm {
    AblationArm {
        name: name.into(),
        cells,
    }
}

fn value(found: &Findings, id: &str) -> Option<f64> {
    found
        .get(id)
        .unwrap_or_else(|| panic!("{id} is there"))
        .value
}

/// Two arms, two seeds, three problems, counted by hand.
fn two() -> Vec<AblationArm> {
    vec![
        arm(
            "base",
            vec![
                cell(1, &[&[0, 0], &[1, 0], &[0, 1]]),
                cell(2, &[&[0, 0], &[0, 0], &[1, 1]]),
            ],
        ),
        arm(
            "tuned",
            vec![
                cell(1, &[&[1, 1], &[1, 0], &[1, 1]]),
                cell(2, &[&[1, 0], &[1, 1], &[1, 1]]),
            ],
        ),
    ]
}

#[test]
fn means_differences_and_deviations_are_those_counted_by_hand() {
    let found = ablation(3, &two(), &[0], &FindingSettings::default()).unwrap();
    let near = |id: &str, x: f64| {
        let v = value(&found, id).unwrap();
        assert!((v - x).abs() < 1e-12, "{id} {v}");
    };
    // Base: problems 0, 1/4, 3/4. Tuned: 3/4, 3/4, 1.
    near("pass_at_1.base", 1.0 / 3.0);
    near("pass_at_1.tuned", 2.5 / 3.0);
    near("difference.pass_at_1.tuned.minus.base", 0.5);
    // Seeds: base 1/3 and 1/3, tuned 5/6 and 5/6.
    near("seed_deviation.pass_at_1.base", 0.0);
    // All three differences are positive: 2 of 8 patterns are as extreme.
    near("p_value.pass_at_1.tuned.minus.base", 0.25);
    near("touched_share.tuned", 0.1);
    near("rollouts.base", 10.0);
    assert!(found.get("greedy.base").is_none());
    assert!(found.get("difference.pass_at_1.base.minus.base").is_none());
    let of = found.get("pass_at_1.tuned").unwrap();
    assert_eq!((of.n, of.n_clusters, of.n_invalid), (12, 3, 0));
    assert!(of.low.unwrap() <= of.value.unwrap() && of.value.unwrap() <= of.high.unwrap());
}

#[test]
fn a_problem_nobody_graded_leaves_the_mean() {
    let mut arms = two();
    for arm in &mut arms {
        for cell in &mut arm.cells {
            cell.samples[2] = vec![None, None];
        }
    }
    let found = ablation(3, &arms, &[0], &FindingSettings::default()).unwrap();
    assert_eq!(value(&found, "pass_at_1.base"), Some(0.125));
    let of = found.get("pass_at_1.base").unwrap();
    assert_eq!((of.n_clusters, of.n_invalid), (2, 4));
}

#[test]
fn unequal_seeds_and_problems_are_refused() {
    let mut arms = two();
    arms[1].cells.pop();
    assert!(ablation(3, &arms, &[0], &FindingSettings::default()).is_err());
    let mut arms = two();
    arms[1].cells[0].samples.pop();
    assert!(ablation(3, &arms, &[0], &FindingSettings::default()).is_err());
    assert!(ablation(4, &two(), &[0], &FindingSettings::default()).is_err());
}

#[test]
fn one_seed_has_no_deviation_and_no_training_no_share() {
    let mut arms = two();
    for arm in &mut arms {
        arm.cells.truncate(1);
    }
    arms[0].cells[0].completion_tokens = 0;
    let found = ablation(3, &arms, &[], &FindingSettings::default()).unwrap();
    assert_eq!(value(&found, "seed_deviation.pass_at_1.base"), None);
    assert_eq!(value(&found, "touched_share.base"), None);
}
