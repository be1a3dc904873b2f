//! Hand-made tries, and a small policy whose values are known by enumeration.

use forkscope_policy::{Policy, PromptGroup, SamplePrompt};
use forkscope_records::types::{FinishReason, Rollout, Validity};

use super::*;
use crate::objective::{testing, tiny};

fn candidate(problem: &str, sample: u32, prompt: &[u32], ids: &[u32], right: bool) -> Candidate {
    Candidate {
        rollout: Rollout {
            problem_id: problem.into(),
            sample,
            token_ids: [prompt, ids].concat(),
            prompt_len: prompt.len(),
            finish_reason: FinishReason::Eos,
            text: String::new(),
            correct: Some(right),
            validity: Validity::Ok,
            logprobs: None,
        },
        entropies_nats: Some((0..ids.len()).map(|o| 1.0 / (o + 1) as f64).collect()),
    }
}

fn never() -> bool {
    false
}

fn by_prefix(rollouts: &[Candidate], shrinkage: f64, min_count: usize) -> Vec<Vec<f64>> {
    let settings = PivotalitySettings {
        shrinkage,
        min_count,
        probes: None,
    };
    let found = pivotality(rollouts, &settings, None, never).unwrap();
    for (signal, signed) in found.signals.iter().zip(&found.signed) {
        assert!(signal.iter().zip(signed).all(|(a, b)| *a == b.abs()));
    }
    assert_eq!((found.probes.len(), found.cost), (0, ProbeCost::default()));
    found.signed
}

fn near(found: &[Vec<f64>], wanted: &[&[f64]]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(found.len(), wanted.len(), "{found:?} {wanted:?}");
        for (a, b) in found.iter().zip(*wanted) {
            assert!((a - b).abs() < 1e-12, "{found:?} {wanted:?}");
        }
    }
}

/// 5 6 7 right, 5 6 8 wrong, 5 9 right, 5 6 8 3 right.
fn trie() -> Vec<Candidate> {
    let of = |sample, ids: &[u32], right| candidate("p", sample, &[1, 2], ids, right);
    vec![
        of(0, &[5, 6, 7], true),
        of(1, &[5, 6, 8], false),
        of(2, &[5, 9], true),
        of(3, &[5, 6, 8, 3], true),
    ]
}

#[test]
fn plain_means_by_hand() {
    // V: root and 5: 3/4; 5 6: 2/3; 5 9: 1; 5 6 7: 1; 5 6 8: 1/2; 5 6 8 3: 1.
    near(
        &by_prefix(&trie(), 0.0, 2),
        &[
            &[0.0, 2.0 / 3.0 - 0.75, 1.0 / 3.0],
            &[0.0, 2.0 / 3.0 - 0.75, 0.5 - 2.0 / 3.0],
            &[0.0, 0.25],
            &[0.0, 2.0 / 3.0 - 0.75, 0.5 - 2.0 / 3.0, 0.5],
        ],
    );
}

#[test]
fn few_rollouts_move_a_value_little() {
    // kappa 2, so V(5 6) = (2 + 1.5)/5, V(5 9) = (1 + 1.5)/3, V(5 6 7) = (1 + 1.4)/3,
    // V(5 6 8) = (1 + 1.4)/4, V(5 6 8 3) = (1 + 1.2)/3.
    near(
        &by_prefix(&trie(), 2.0, 2),
        &[
            &[0.0, 0.7 - 0.75, 0.8 - 0.7],
            &[0.0, 0.7 - 0.75, 0.6 - 0.7],
            &[0.0, 2.5 / 3.0 - 0.75],
            &[0.0, 0.7 - 0.75, 0.6 - 0.7, 2.2 / 3.0 - 0.6],
        ],
    );
    // Three must begin with s: what follows 5 6 8 is unknown.
    near(
        &by_prefix(&trie(), 0.0, 3)[3..],
        &[&[0.0, 2.0 / 3.0 - 0.75, 0.5 - 2.0 / 3.0, 0.0]],
    );
}

#[test]
fn one_rollout_and_equal_rollouts_say_nothing() {
    let lone = [candidate("p", 0, &[1], &[2, 3, 4], true)];
    near(&by_prefix(&lone, 2.0, 2), &[&[0.0; 3]]);
    let equal = [
        candidate("p", 0, &[1], &[2, 3], true),
        candidate("p", 1, &[1], &[2, 3], false),
    ];
    near(&by_prefix(&equal, 2.0, 2), &[&[0.0; 2], &[0.0; 2]]);
    assert!(by_prefix(&[], 2.0, 2).is_empty());
}

#[test]
fn problems_and_prompts_are_apart() {
    let rollouts = [
        candidate("p", 0, &[1], &[2], true),
        candidate("q", 0, &[1], &[3], false),
        candidate("p", 1, &[9], &[3], false),
        candidate("p", 2, &[1], &[3], false),
    ];
    near(
        &by_prefix(&rollouts, 0.0, 2),
        &[&[0.5], &[0.0], &[0.0], &[-0.5]],
    );
}

#[test]
fn bad_settings_and_rollouts_are_refused() {
    let mut ungraded = trie();
    ungraded[1].rollout.correct = None;
    let default = PivotalitySettings::default();
    assert!(pivotality(&ungraded, &default, None, never).is_err());
    let refused = |settings: PivotalitySettings| {
        assert!(pivotality(&trie(), &settings, None, never).is_err());
    };
    for shrinkage in [f64::NAN, -1.0, f64::INFINITY] {
        refused(PivotalitySettings {
            shrinkage,
            ..default.clone()
        });
    }
    refused(PivotalitySettings {
        min_count: 1,
        ..default.clone()
    });
    let probes = [
        ProbeSettings {
            budget: ProbeBudget::Total(15),
            ..ProbeSettings::default()
        },
        ProbeSettings {
            continuations: 0,
            ..ProbeSettings::default()
        },
        ProbeSettings {
            temperature: -1.0,
            ..ProbeSettings::default()
        },
        ProbeSettings::default(),
    ];
    for probes in probes {
        refused(PivotalitySettings {
            probes: Some(probes),
            ..default.clone()
        });
    }
}

const WORDS: [&str; 3] = ["a", "b", "c"];

fn policy() -> Policy {
    Policy::open_files(tiny::model(&WORDS), None).unwrap()
}

/// Whether the fourth token is `a`, id 2.
fn right(_: &str, completion: &[u32], _: bool) -> bool {
    completion.get(3) == Some(&2)
}

/// P(the fourth token is `a` | prefix), by enumeration.
fn exact(policy: &Policy, prompt: &[u32], prefix: &[u32]) -> f64 {
    if prefix.len() == 4 {
        return f64::from(u8::from(prefix[3] == 2));
    }
    let ids = [prompt, prefix].concat();
    let group = PromptGroup {
        prompt: &ids,
        completions: vec![&[0]],
    };
    let hidden = policy.hidden_rows(&[group]).unwrap();
    let mut logits = Vec::new();
    policy.logits(&hidden.values, &mut logits);
    let z: Vec<f64> = logits.iter().map(|z| f64::from(*z)).collect();
    testing::log_softmax(&z)
        .iter()
        .enumerate()
        .map(|(id, ln_p)| {
            libm::exp(*ln_p) * exact(policy, prompt, &[prefix, &[id as u32]].concat())
        })
        .sum()
}

fn probed(
    rollouts: &[Candidate],
    settings: ProbeSettings,
    interrupted: fn() -> bool,
) -> Result<Pivotality, TrainError> {
    let policy = policy();
    let prompts = [SamplePrompt {
        problem_id: "p".into(),
        ids: Vec::new(),
        stop: Vec::new(),
        eos: Vec::new(),
    }];
    let prober = Prober {
        policy: &policy,
        prompts: &prompts,
        grade: &right,
    };
    let settings = PivotalitySettings {
        probes: Some(settings),
        ..PivotalitySettings::default()
    };
    pivotality(rollouts, &settings, Some(&prober), interrupted)
}

fn settings(budget: ProbeBudget, continuations: u32) -> ProbeSettings {
    ProbeSettings {
        budget,
        continuations,
        temperature: 1.0,
        top_p: 1.0,
        max_tokens: 4,
        seed: 7,
    }
}

const PROMPT: [u32; 2] = [3, 4];

fn pool() -> Vec<Candidate> {
    let of = |sample, ids: &[u32]| candidate("p", sample, &PROMPT, ids, right("p", ids, true));
    vec![
        of(0, &[2, 3, 4, 2]),
        of(1, &[2, 3, 4, 3]),
        of(2, &[4, 4, 2, 2]),
    ]
}

#[test]
fn probes_find_the_values_of_a_policy_that_can_be_enumerated() {
    let rollouts = pool();
    let m = 2000;
    let found = probed(
        &rollouts,
        settings(ProbeBudget::Total(24 * u64::from(m)), m),
        never,
    )
    .unwrap();
    let policy = policy();
    // Every position of every rollout.
    assert_eq!(found.probes.len(), 12);
    for probe in &found.probes {
        let rollout = &rollouts[probe.sample as usize].rollout;
        let offset = probe.t as usize - PROMPT.len();
        let value = |len: usize| match len {
            // The pass rate of the three rollouts.
            0 => 2.0 / 3.0,
            len => exact(&policy, &PROMPT, &rollout.completion()[..len]),
        };
        for (found, wanted) in [
            (probe.before, value(offset)),
            (probe.after, value(offset + 1)),
        ] {
            // Five standard errors.
            let error = 5.0 * (wanted * (1.0 - wanted) / f64::from(m)).sqrt() + 1e-12;
            assert!(
                (found - wanted).abs() <= error,
                "{probe:?}: {found} and {wanted}"
            );
        }
        let signed = found.signed[probe.sample as usize][offset];
        assert_eq!(signed, probe.after - probe.before);
    }
    // Rollouts 0 and 1 share 2, 2 3 and 2 3 4; the third has three of its own.
    let cost = found.cost;
    assert_eq!((cost.prefixes, cost.continuations), (6, 6 * u64::from(m)));
    assert_eq!(cost.prefix_tokens, 2 * (3 + 4 + 5));
    assert_eq!(cost.sampled_tokens, 2 * u64::from(m) * (3 + 2 + 1));
    assert!(cost.flops > 0.0);
}

#[test]
fn a_budget_takes_the_positions_of_highest_entropy() {
    let mut rollouts = pool();
    rollouts[0].entropies_nats = Some(vec![0.1, 0.2, 0.9, 0.2]);
    let places = |budget| {
        let found = probed(&rollouts, settings(budget, 4), never).unwrap();
        let place = |p: &Probe| (p.sample, p.t as usize - PROMPT.len());
        (found.probes.iter().map(place).collect::<Vec<_>>(), found)
    };
    let (each, _) = places(ProbeBudget::PerRollout(16));
    assert_eq!(each, [(0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1)]);
    let (all, some) = places(ProbeBudget::Total(31));
    assert_eq!(all, [(0, 2), (1, 0), (2, 0)]);
    // What is not probed has the value of shared prefixes.
    let without = by_prefix(&rollouts, 2.0, 2);
    assert_eq!(some.signed[0][..2], without[0][..2]);
    // A prefix has the same value whatever else is probed.
    let (_, many) = places(ProbeBudget::PerRollout(32));
    let at = |found: &Pivotality| found.signed[0][2];
    assert_eq!(at(&some), at(&many));
}

#[test]
fn probing_stops_when_asked_and_refuses_what_it_cannot_know() {
    let budget = settings(ProbeBudget::PerRollout(8), 2);
    let stopped = probed(&pool(), budget.clone(), || true);
    assert!(matches!(stopped, Err(TrainError::Interrupted)));
    let mut unscored = pool();
    unscored[2].entropies_nats = None;
    assert!(probed(&unscored, budget.clone(), never).is_err());
    let foreign = [candidate("q", 0, &PROMPT, &[2, 3, 4], true)];
    assert!(probed(&foreign, budget, never).is_err());
}
