//! Rollouts that nothing can be learned from are refused, each with its remedy.

use forkscope_audit::gates::GatePlan;
use forkscope_records::import::ReferenceRollout;
use forkscope_records::types::{FinishReason, Rollout, Validity};
use forkscope_train::reasonmaxxer::{
    AdvantageControl, Candidate, PoolSettings, from_processed, prepare, prepare_with_signal,
    select_pool,
};

use super::{cases, pool_of};

fn rollout(problem: &str, sample: u32, correct: Option<bool>, completion: usize) -> Candidate {
    Candidate {
        rollout: Rollout {
            problem_id: problem.into(),
            sample,
            token_ids: vec![1; 2 + completion],
            prompt_len: 2,
            finish_reason: FinishReason::Eos,
            text: String::new(),
            correct,
            validity: if completion == 0 {
                Validity::Empty
            } else {
                Validity::Ok
            },
            logprobs: None,
        },
        entropies_nats: (completion > 0).then(|| vec![0.5; completion]),
    }
}

fn refused(candidates: Vec<Candidate>) -> String {
    select_pool(candidates, &PoolSettings::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn what_cannot_be_learned_from_is_said_with_a_remedy() {
    let of = |outcomes: &[(&str, Option<bool>)]| -> Vec<Candidate> {
        let each = outcomes.iter().zip(0..);
        each.map(|((id, correct), i)| rollout(id, i, *correct, 4))
            .collect()
    };
    let (yes, no) = (Some(true), Some(false));
    let easy = refused(of(&[("a", yes), ("a", yes), ("b", yes), ("c", no)]));
    assert!(
        easy.contains("no problem of 3") && easy.contains("2 all right, 1 all wrong"),
        "{easy}"
    );
    assert!(
        easy.contains("too easy") && easy.contains("temperature"),
        "{easy}"
    );
    let hard = refused(of(&[("a", no), ("b", no)]));
    assert!(
        hard.contains("0 all right, 2 all wrong") && hard.contains("too hard"),
        "{hard}"
    );
    let ungraded = refused(of(&[("a", yes), ("a", no), ("key?", None), ("key?", None)]));
    assert!(
        ungraded.contains("\"key?\" has 2 rollouts without `correct`")
            && ungraded.contains("--skip-ungraded"),
        "{ungraded}"
    );
    let skipped = PoolSettings {
        skip_ungraded: true,
        trim_fraction: 1.0,
        ..PoolSettings::default()
    };
    let pool = select_pool(of(&[("a", yes), ("a", no), ("k", None)]), &skipped).unwrap();
    assert_eq!(
        (pool.counts.problems_ungraded, pool.counts.problems_chosen),
        (1, 1)
    );
    let mut cut = of(&[("a", yes), ("a", no)]);
    for c in &mut cut {
        c.rollout.finish_reason = FinishReason::Length;
    }
    let cut = refused(cut);
    assert!(
        cut.contains("every one of the 2 rollouts was cut") && cut.contains("--max-tokens"),
        "{cut}"
    );
    let empty = refused(vec![rollout("a", 0, yes, 0)]);
    assert!(
        empty.contains("none of the 1 rollouts can be trained on"),
        "{empty}"
    );
    let out = PoolSettings {
        min_pass: 0.9,
        ..PoolSettings::default()
    };
    let band = select_pool(of(&[("a", yes), ("a", no)]), &out)
        .unwrap_err()
        .to_string();
    assert!(
        band.contains("1 outside pass rates 0.9 to 1") && band.contains("--min-pass"),
        "{band}"
    );
}

#[test]
fn settings_outside_their_range_are_refused() {
    let base = PoolSettings::default();
    for settings in [
        PoolSettings {
            max_problems: 0,
            ..base.clone()
        },
        PoolSettings {
            min_pass: 0.6,
            max_pass: 0.4,
            ..base.clone()
        },
        PoolSettings {
            max_pass: f64::NAN,
            ..base.clone()
        },
        PoolSettings {
            trim_fraction: 0.0,
            ..base.clone()
        },
        PoolSettings {
            trim_fraction: 1.5,
            ..base.clone()
        },
    ] {
        assert!(settings.check().is_err(), "{settings:?}");
    }
}

#[test]
fn a_gate_that_chooses_nothing_or_all_says_what_there_is() {
    let case = &cases()["recipe"];
    let pool = pool_of(case).rollouts;
    let with = |gate: &str| {
        let gate: GatePlan = gate.parse().unwrap();
        let prepared = prepare(&pool, &gate, AdvantageControl::None, 1);
        prepared.map(|_| ()).map_err(|e| e.to_string())
    };
    let nothing = with("entropy:9").unwrap_err();
    assert!(
        nothing.contains("entropy:9") && nothing.contains("quantiles"),
        "{nothing}"
    );
    let everything = with("entropy:-1").unwrap_err();
    assert!(everything.contains("quantiles"), "{everything}");
    assert_eq!(with("all"), Ok(()));
    let plan: GatePlan = "signal:0.5".parse().unwrap();
    let error = prepare(&pool, &plan, AdvantageControl::None, 1).unwrap_err();
    assert!(error.to_string().contains("signal"), "{error}");
    let signal: Vec<Vec<f64>> = pool
        .iter()
        .map(|c| (0..c.completion_tokens()).map(|i| (i % 2) as f64).collect())
        .collect();
    let prepared = prepare_with_signal(&pool, &signal, &plan, AdvantageControl::None, 1).unwrap();
    for r in &prepared.rollouts {
        let odd = (0..r.completion().len()).filter(|i| i % 2 == 1);
        let expected: Vec<u32> = odd.map(|i| (r.prompt_len + i) as u32).collect();
        assert_eq!(r.decisions, expected);
    }
}

#[test]
fn a_pool_that_cannot_be_prepared_names_the_rollout() {
    let gate: GatePlan = "entropy:0.4".parse().unwrap();
    let said =
        |pool: &[Candidate], control| prepare(pool, &gate, control, 1).unwrap_err().to_string();
    let (yes, no) = (Some(true), Some(false));
    let good = || vec![rollout("a", 0, yes, 3), rollout("a", 1, no, 3)];
    let mut pool = good();
    pool.push(rollout("k", 4, None, 3));
    let missing = said(&pool, AdvantageControl::None);
    assert!(
        missing.contains("sample 4 of problem \"k\"") && missing.contains("answer key"),
        "{missing}"
    );
    let mut pool = good();
    pool[1].entropies_nats = None;
    assert!(said(&pool, AdvantageControl::None).contains("score the rollouts"));
    pool[1].entropies_nats = Some(vec![0.1]);
    assert!(said(&pool, AdvantageControl::None).contains("1 entropies for 3 completion tokens"));
    pool[1].entropies_nats = Some(vec![0.1, f64::NAN, 0.2]);
    assert!(said(&pool, AdvantageControl::None).contains("entropy"));
    let one_sided = vec![rollout("a", 0, yes, 3), rollout("b", 1, no, 3)];
    let said_of = said(&one_sided, AdvantageControl::None);
    assert!(
        said_of.contains("1 are all right and 1 all wrong"),
        "{said_of}"
    );
    // Right rollouts alone are enough where only those are learned from.
    let mut pool = vec![rollout("a", 0, yes, 3), rollout("b", 1, yes, 3)];
    pool[0].entropies_nats = Some(vec![0.1, 0.5, 0.2]);
    assert!(prepare(&pool, &gate, AdvantageControl::PositivesOnly, 1).is_ok());
    // Decisions in rollouts without an advantage teach nothing.
    let mut pool = good();
    pool[0].entropies_nats = Some(vec![0.0; 3]);
    pool[1].entropies_nats = Some(vec![0.0; 3]);
    pool.push(rollout("b", 0, yes, 3));
    let idle = said(&pool, AdvantageControl::None);
    assert!(idle.contains("whose advantage is not 0"), "{idle}");
}

#[test]
fn processed_rollouts_that_say_too_little_are_refused() {
    let whole = |r: ReferenceRollout| ReferenceRollout {
        decisions: Some(vec![3, 2]),
        advantage: Some(0.5),
        ..r
    };
    let start = || whole(rollout("a", 7, Some(true), 3).rollout.into());
    let read = from_processed(vec![start()]).unwrap();
    assert_eq!(
        (read[0].decisions.as_slice(), read[0].correct),
        (&[2, 3][..], true)
    );
    let said = |r: ReferenceRollout| from_processed(vec![r]).unwrap_err().to_string();
    for (r, expected) in [
        (
            ReferenceRollout {
                decisions: None,
                ..start()
            },
            "`decision_positions`",
        ),
        (
            ReferenceRollout {
                decisions: Some(vec![3, 3]),
                ..start()
            },
            "twice",
        ),
        (
            ReferenceRollout {
                advantage: None,
                ..start()
            },
            "`advantage`",
        ),
        (
            ReferenceRollout {
                advantage: Some(f64::INFINITY),
                ..start()
            },
            "`advantage`",
        ),
        (whole(rollout("a", 7, None, 3).rollout.into()), "`correct`"),
    ] {
        let message = said(r);
        assert!(
            message.contains("sample 7 of problem \"a\"") && message.contains(expected),
            "{message}"
        );
    }
    let rewarded = ReferenceRollout {
        reward: Some(0.0),
        ..whole(rollout("a", 7, None, 3).rollout.into())
    };
    assert!(!from_processed(vec![rewarded]).unwrap()[0].correct);
    assert!(from_processed(Vec::new()).is_err());
}
