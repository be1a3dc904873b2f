//! The source on a tiny model: rollouts, shards, logs, resumes and refusals.

use forkscope_policy::SamplePrompt;
use forkscope_records::types::{Problem, ProblemPrompt};
use serde_json::Value;

use crate::TrainError;
use crate::engine::{Gradients, Network, Sums, Trainable};
use crate::objective::grpo::loss::{Importance, LossSettings};
use crate::objective::grpo::select::DivergenceWeights;
use crate::objective::grpo::{
    GrpoProblem, GrpoSettings, GrpoSource, Reward, SoftOverlong, VerifierReward, WeightedReward,
};
use crate::objective::testing::{distance, gradients};
use crate::objective::tiny::{adapted, model, moved};
use crate::run::Source;

const WORDS: [&str; 9] = ["0", "1", "2", "3", "4", "5", "6", "7", "8"];

/// How many words are an even number: many levels, so few flat groups.
struct Even;

impl Reward for Even {
    fn name(&self) -> &str {
        "even"
    }

    fn reward(&self, text: &str, _ended: bool, _problem: &Problem) -> f64 {
        let digits = text.bytes().filter(u8::is_ascii_digit);
        digits.filter(|d| d % 2 == 0).count() as f64
    }
}

/// The same for everything, or not a number.
struct Always(f64);

impl Reward for Always {
    fn name(&self) -> &str {
        "always"
    }

    fn reward(&self, _text: &str, _ended: bool, _problem: &Problem) -> f64 {
        self.0
    }
}

fn problems() -> Vec<GrpoProblem> {
    (0..5u32)
        .map(|i| GrpoProblem {
            problem: Problem {
                id: format!("p{i}"),
                prompt: ProblemPrompt::Text(i.to_string()),
                answer: None,
                category: None,
            },
            prompt: SamplePrompt {
                problem_id: format!("p{i}"),
                ids: vec![2 + i, 3],
                stop: Vec::new(),
                eos: vec![1],
            },
        })
        .collect()
}

fn settings() -> GrpoSettings {
    GrpoSettings {
        problems: 2,
        samples: 6,
        max_tokens: 7,
        seed: 9,
        ..GrpoSettings::default()
    }
}

fn source(settings: GrpoSettings) -> GrpoSource {
    GrpoSource::new(problems(), vec![WeightedReward::once(Even)], settings).unwrap()
}

/// A step's log, inspection, gradients and sums, and the log after it.
type Outcome = (Vec<(String, f64)>, Value, Gradients, Sums);

fn run(source: &mut GrpoSource, step: u64, network: &Network) -> Outcome {
    let made = source.step(step, network).unwrap();
    let (gradients, sums) = gradients(network, &made.shards);
    let mut log = made.log;
    log.extend(source.after(&sums));
    (log, made.inspect, gradients, sums)
}

fn get(log: &[(String, f64)], name: &str) -> f64 {
    let found = log.iter().find(|(n, _)| n == name);
    found.unwrap_or_else(|| panic!("{name} in {log:?}")).1
}

#[test]
fn a_first_step_is_on_policy_and_logs_what_trl_logs() {
    let network = adapted(&WORDS);
    let (log, inspect, gradients, sums) = run(&mut source(settings()), 0, &network);
    assert!(gradients.norm() > 0.0);
    assert_eq!(get(&log, "clip_ratio/region_mean"), 0.0);
    assert!(get(&log, "reward_std") > 0.0 && get(&log, "entropy") > 0.0);
    assert!(get(&log, "completions/mean_length") <= 7.0);
    assert_eq!(get(&log, "rewards/even/mean"), get(&log, "reward"));
    let groups = inspect["groups"].as_array().unwrap();
    let tokens: usize = groups
        .iter()
        .flat_map(|g| g["completions"].as_array().unwrap())
        .map(|c| c["ids"].as_array().unwrap().len())
        .sum();
    let made = source(settings()).step(0, &network).unwrap();
    assert_eq!(made.tokens, (tokens + 2 * 12) as u64);
    // Ratios of one: the loss is -sum of A over tokens, over tokens.
    let mut expected = 0.0;
    for group in groups {
        let completions = group["completions"].as_array().unwrap();
        for (c, a) in completions
            .iter()
            .zip(group["advantages"].as_array().unwrap())
        {
            let n = c["ids"].as_array().unwrap().len() as f64;
            expected -= a.as_f64().unwrap() * n / tokens as f64;
        }
    }
    assert!((sums.get(Sums::LOSS) - expected).abs() < 1e-4, "{sums:?}");
}

#[test]
fn shards_may_be_cut_anywhere() {
    let network = moved(adapted(&WORDS));
    let of = |shard_rows| {
        let settings = GrpoSettings {
            shard_rows,
            loss: LossSettings {
                beta: 0.1,
                ..LossSettings::default()
            },
            ..settings()
        };
        run(&mut source(settings), 0, &network)
    };
    let (whole, cut) = (of(10_000), of(1));
    assert!(distance(&whole.2, &cut.2) < 1e-5);
    assert!((whole.3.get(Sums::LOSS) - cut.3.get(Sums::LOSS)).abs() < 1e-5);
    assert!(get(&whole.0, "kl") > 1e-3);
}

#[test]
fn a_step_is_a_function_of_the_seed_and_the_parameters() {
    let network = adapted(&WORDS);
    let mut first = source(settings());
    let all: Vec<Outcome> = (0..4).map(|step| run(&mut first, step, &network)).collect();
    assert_eq!(first.steps_per_epoch(), 2);
    assert_ne!(all[0].1, all[2].1);
    // Resumed after two steps.
    let mut stopped = source(settings());
    run(&mut stopped, 0, &network);
    run(&mut stopped, 1, &network);
    let state: Value = serde_json::from_str(&stopped.state().to_string()).unwrap();
    let mut resumed = source(settings());
    resumed.restore(&state).unwrap();
    for step in [2, 3] {
        assert!(run(&mut resumed, step, &network) == all[step as usize]);
    }
}

#[test]
fn later_iterations_learn_from_the_same_completions_also_after_a_resume() {
    let settings = || GrpoSettings {
        iterations: 3,
        ..settings()
    };
    let (before, after) = (adapted(&WORDS), moved(adapted(&WORDS)));
    let mut source = source(settings());
    let first = run(&mut source, 0, &before);
    let state: Value = serde_json::from_str(&source.state().to_string()).unwrap();
    let second = run(&mut source, 1, &after);
    assert_eq!(first.1, second.1);
    assert!(get(&second.0, "clip_ratio/region_mean") > 0.0);
    let mut resumed = self::source(settings());
    assert!(resumed.step(1, &after).is_err(), "nothing to learn from");
    resumed.restore(&state).unwrap();
    assert!(run(&mut resumed, 1, &after) == second);
    run(&mut resumed, 2, &after);
    assert!(resumed.state()["round"].is_null(), "used up");
    for bad in [
        serde_json::json!({}),
        serde_json::json!({"round": {"round": 0}}),
        serde_json::json!({"round": {"round": 0, "groups": [
            {"problem": 99, "rollouts": []}
        ]}}),
    ] {
        assert!(resumed.restore(&bad).is_err(), "{bad}");
    }
}

#[test]
fn groups_of_equal_rewards_are_skipped_and_counted() {
    let network = adapted(&WORDS);
    let rewards = vec![WeightedReward::once(Always(0.3))];
    let mut source = GrpoSource::new(problems(), rewards, settings()).unwrap();
    let step = source.step(0, &network).unwrap();
    assert!(step.shards.is_empty());
    assert_eq!(get(&step.log, "frac_reward_zero_std"), 1.0);
    assert_eq!(get(&step.log, "skipped_groups"), 2.0);
    assert!(source.after(&Sums::default()).is_empty());
}

#[test]
fn broken_rewards_and_settings_are_refused_by_name() {
    let network = adapted(&WORDS);
    let new =
        |reward: WeightedReward, settings| GrpoSource::new(problems(), vec![reward], settings);
    let mut nan = new(WeightedReward::once(Always(f64::NAN)), settings()).unwrap();
    let error = nan.step(0, &network).err().unwrap().to_string();
    assert!(error.contains("sample 0 of problem `p"), "{error}");
    let unanswered = new(WeightedReward::once(VerifierReward::default()), settings());
    assert!(
        unanswered
            .unwrap_err()
            .to_string()
            .contains("`p0` has no answer")
    );
    let even = || WeightedReward::once(Even);
    for broken in [
        GrpoSettings {
            problems: 6,
            ..settings()
        },
        GrpoSettings {
            problems: 0,
            ..settings()
        },
        GrpoSettings {
            samples: 1,
            ..settings()
        },
        GrpoSettings {
            iterations: 0,
            ..settings()
        },
        GrpoSettings {
            top_entropy_quantile: 0.0,
            ..settings()
        },
        GrpoSettings {
            overlong: Some(SoftOverlong { max: 1, cache: 2 }),
            ..settings()
        },
        GrpoSettings {
            divergence: Some(DivergenceWeights {
                strength: 3.0,
                alpha: 1.0,
            }),
            ..settings()
        },
    ] {
        assert!(new(even(), broken).is_err());
    }
    assert!(GrpoSource::new(problems(), Vec::new(), settings()).is_err());
    let mut stopped = source(GrpoSettings {
        interrupted: || true,
        ..settings()
    });
    assert!(matches!(
        stopped.step(0, &network),
        Err(TrainError::Interrupted)
    ));
    let mut long = source(GrpoSettings {
        max_len: 2,
        ..settings()
    });
    assert!(
        long.step(0, &network)
            .err()
            .unwrap()
            .to_string()
            .contains("has room for 2")
    );
}

#[test]
fn a_run_of_all_weights_has_no_reference() {
    let network = Network::open(&model(&WORDS), &Trainable::Full, 1).unwrap();
    run(&mut source(settings()), 0, &network);
    let beta = LossSettings {
        beta: 0.1,
        ..LossSettings::default()
    };
    let mut source = source(GrpoSettings {
        loss: beta,
        ..settings()
    });
    let error = source.step(0, &network).err().unwrap().to_string();
    assert!(error.contains("train an adapter"), "{error}");
}

#[test]
fn the_entropy_mask_keeps_its_share_and_leaves_the_rest_alone() {
    let network = moved(adapted(&WORDS));
    let of = |top_entropy_quantile, importance| {
        let loss = LossSettings {
            importance,
            ..LossSettings::default()
        };
        let settings = GrpoSettings {
            top_entropy_quantile,
            loss,
            ..settings()
        };
        run(&mut source(settings), 0, &network)
    };
    for importance in [Importance::Token, Importance::Sequence] {
        let (all, top) = (of(1.0, importance), of(0.2, importance));
        let kept = get(&top.0, "top_entropy/kept");
        assert!((0.1..0.35).contains(&kept), "{kept}");
        assert!(get(&top.0, "top_entropy/threshold") > get(&top.0, "entropy"));
        assert!(distance(&all.2, &top.2) > 1e-3);
    }
    let token = of(0.2, Importance::Token);
    assert!(token.3.get("sites") < 0.5 * of(1.0, Importance::Token).3.get("sites"));
}

#[test]
fn divergence_weights_are_one_at_the_reference_only() {
    let weights = Some(DivergenceWeights {
        strength: 1.0,
        alpha: 10.0,
    });
    let of = |divergence, network: &Network| {
        run(
            &mut source(GrpoSettings {
                divergence,
                ..settings()
            }),
            0,
            network,
        )
    };
    let fresh = adapted(&WORDS);
    let (plain, weighted) = (of(None, &fresh), of(weights, &fresh));
    assert!(get(&weighted.0, "divergence").abs() < 1e-9);
    assert!(distance(&plain.2, &weighted.2) < 1e-6);
    let far = moved(fresh);
    let (plain, weighted) = (of(None, &far), of(weights, &far));
    assert!(get(&weighted.0, "divergence") > 1e-3);
    assert!(distance(&plain.2, &weighted.2) > 1e-3);
}

#[test]
fn truncated_completions_can_be_left_out_and_long_ones_punished() {
    let network = adapted(&WORDS);
    let masked = GrpoSettings {
        mask_truncated: true,
        ..settings()
    };
    let (plain, masked) = (
        run(&mut source(settings()), 0, &network),
        run(&mut source(masked), 0, &network),
    );
    let cut = get(&plain.0, "completions/clipped_ratio");
    assert!(cut > 0.0 && cut == get(&masked.0, "completions/clipped_ratio"));
    assert!(masked.3.get("sites") < plain.3.get("sites"));
    assert_eq!(get(&plain.0, "reward"), get(&masked.0, "reward"));
    let overlong = Some(SoftOverlong { max: 7, cache: 6 });
    let punished = run(
        &mut source(GrpoSettings {
            overlong,
            ..settings()
        }),
        0,
        &network,
    );
    assert!(get(&punished.0, "reward") < get(&plain.0, "reward"));
    assert!(get(&punished.0, "rewards/soft_overlong_punishment/mean") < 0.0);
}
