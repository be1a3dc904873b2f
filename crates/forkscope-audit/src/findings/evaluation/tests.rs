use super::*;

fn sample(correct: Option<bool>, vote: Option<usize>, validity: Validity) -> Sampled {
    Sampled {
        tokens: 10,
        validity,
        correct,
        vote,
    }
}

fn problem(category: &str, votes: &[Option<usize>]) -> Attempted {
    Attempted {
        category: Some(category.to_owned()),
        samples: votes
            .iter()
            .map(|v| sample(Some(*v == Some(0)), *v, Validity::Ok))
            .collect(),
    }
}

fn value(found: &Findings, id: &str) -> f64 {
    found
        .get(id)
        .unwrap_or_else(|| panic!("{id}"))
        .value
        .unwrap()
}

#[test]
fn by_hand() {
    let problems = [
        problem("Easy one", &[Some(0), Some(0), Some(1), Some(0)]),
        problem("hard", &[Some(1), Some(0), Some(1), None]),
        problem("hard", &[Some(2), Some(0), None, None]),
    ];
    let ks = [1, 2, 4];
    let found = evaluation(&problems, None, &ks, &FindingSettings::default()).unwrap();
    let is = |id: &str, expected: f64| {
        let value = value(&found, id);
        assert!((value - expected).abs() < 1e-12, "{id}: {value}");
    };
    is("pass_at_1", (0.75 + 0.25 + 0.25) / 3.0);
    is("pass_at_2", (1.0 + 0.5 + 0.5) / 3.0);
    is("pass_at_4", 1.0);
    is("pass_at_4.easy_one", 1.0);
    is("pass_at_1.hard", 0.25);
    is("maj_at_1", 1.0 / 3.0);
    // Ties go to the first: answers 1 and 2 of the hard ones.
    is("maj_at_4", 1.0 / 3.0);
    is("avg_at_2", (1.0 + 0.5 + 0.5) / 3.0);
    is("avg_at_4", value(&found, "pass_at_1"));
    is("no_answer_share", 3.0 / 12.0);
    is("tokens_per_answer", 10.0);
    is("rollouts.total", 12.0);
    let hard = found.get("pass_at_1.hard").unwrap();
    assert_eq!((hard.n, hard.n_clusters, hard.n_invalid), (8, 2, 0));
    assert_eq!(hard.label.as_deref(), Some("hard"));
    let all = found.get("pass_at_1").unwrap();
    assert!(all.low.unwrap() <= 5.0 / 12.0 && all.high.unwrap() >= 5.0 / 12.0);
}

#[test]
fn ungraded_problems_are_left_out_and_counted() {
    let mut problems = vec![problem("a", &[Some(0), Some(1)]); 3];
    problems[1].samples = vec![sample(None, Some(1), Validity::Truncated); 2];
    let greedy: Vec<Attempted> = problems
        .iter()
        .map(|p| Attempted {
            samples: p.samples[..1].to_vec(),
            ..p.clone()
        })
        .collect();
    let settings = FindingSettings::default();
    let found = evaluation(&problems, Some(&greedy), &[1, 2], &settings).unwrap();
    let pass = found.get("pass_at_2").unwrap();
    assert_eq!((pass.n, pass.n_clusters, pass.n_invalid), (4, 2, 2));
    assert_eq!(pass.value, Some(1.0));
    // Nothing varied, so that resampling says nothing.
    assert_eq!(pass.low, None);
    let greedy = found.get("greedy").unwrap();
    assert_eq!((greedy.n, greedy.n_invalid), (2, 1));
    assert_eq!(value(&found, "truncated_share"), 1.0 / 3.0);
    assert_eq!(value(&found, "greedy_rollouts.truncated"), 1.0);
    // Nobody graded: undefined, not zero.
    for p in &mut problems {
        p.samples = vec![sample(None, None, Validity::Empty); 2];
    }
    let found = evaluation(&problems, None, &[1], &settings).unwrap();
    assert_eq!(found.get("pass_at_1").unwrap().value, None);
    assert_eq!(value(&found, "no_answer_share"), 1.0);
}

#[test]
fn what_cannot_be_is_refused() {
    let settings = FindingSettings::default();
    let even = [problem("a", &[Some(0)]), problem("a", &[Some(0)])];
    assert!(evaluation(&even, None, &[2], &settings).is_err());
    assert!(evaluation(&even, None, &[0], &settings).is_err());
    let uneven = [problem("a", &[Some(0)]), problem("a", &[])];
    assert!(evaluation(&uneven, None, &[1], &settings).is_err());
    // No problem at all: every value is undefined.
    let none = evaluation(&[], None, &[1], &settings).unwrap();
    assert_eq!(none.get("pass_at_1").unwrap().value, None);
}

#[test]
fn categories_that_look_alike_keep_apart() {
    let problems = [problem("a b", &[Some(0)]), problem("a_b", &[None])];
    let found = evaluation(&problems, None, &[1], &FindingSettings::default()).unwrap();
    assert_eq!(value(&found, "pass_at_1.a_b"), 1.0);
    assert_eq!(value(&found, "pass_at_1.a_b_"), 0.0);
}
