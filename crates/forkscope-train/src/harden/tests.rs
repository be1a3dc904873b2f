//! The loss against f64 and finite differences, lessons of a small pair, and the
//! source.

use std::collections::BTreeSet;

use forkscope_metrics::reference;
use forkscope_policy::{ModelFiles, Policy, SamplePrompt};

use super::shard::{Learned, sums};
use super::*;
use crate::TrainError;
use crate::engine::{Network, Pack, Sums};
use crate::objective::testing::{check_head, gradients, log_softmax, network, values};
use crate::run::Source;

const VOCAB: usize = 13;

/// The end token of the small policies.
const EOS: u32 = 1;

type Tested = Result<(), Box<dyn std::error::Error>>;

/// A small network with weights moved by its own noise.
fn moved(stream: u64) -> Network {
    let mut network = network(VOCAB);
    let matrices = network.parameters_mut().iter_mut();
    for p in matrices.filter(|p| p.is_matrix()) {
        let noise = values(p.values.len(), 0.2, stream);
        p.values.iter_mut().zip(noise).for_each(|(x, n)| *x += n);
    }
    network
}

fn policy(name: &str, stream: u64) -> Result<Policy, TrainError> {
    let files = ModelFiles::in_memory(name, moved(stream).saved_files()?);
    Ok(Policy::open_files(files, None)?)
}

fn prompts(from: u32, n: u32) -> Vec<SamplePrompt> {
    (from..from + n)
        .map(|i| SamplePrompt {
            problem_id: format!("p{i}"),
            ids: vec![2, 3 + i % 10, 2 + i / 10],
            stop: Vec::new(),
            eos: vec![EOS],
        })
        .collect()
}

fn settings() -> HardenSettings {
    HardenSettings {
        recoveries: 6,
        depth: 5,
        samples: 3,
        max_tokens: 12,
        batch: 3,
        anchor_batch: 2,
        seed: 4,
        ..HardenSettings::default()
    }
}

/// An answer behaves if its first token has an even id.
fn even(_: usize, ids: &[u32]) -> Result<Option<bool>, TrainError> {
    Ok(ids.first().map(|id| id % 2 == 0))
}

fn lessons(base: &Policy, tuned: &Policy) -> Result<Lessons, TrainError> {
    let (guarded, kept) = (prompts(0, 40), prompts(60, 8));
    let pair = Pair {
        base,
        tuned,
        guarded: &guarded,
        kept: &kept,
        behaves: &even,
        interrupted: || false,
    };
    make(&pair, &settings())
}

#[test]
fn cross_entropy_and_margins_have_the_gradient_of_their_formula() -> Tested {
    let mut pack = Pack::default();
    let first = pack.add(&[4, 5, 6, 7, 8], 2)?;
    let second = pack.add(&[9, 10, 11], 1)?;
    // One margin that is short by far, one reached by far, and one in between.
    let decisions = [Some((3, 0.7)), None, Some((12, 0.3)), Some((2, 0.5)), None];
    let learned: Vec<Learned> = first
        .into_iter()
        .chain(second)
        .zip(decisions)
        .enumerate()
        .map(|(i, (site, decision))| Learned {
            site,
            weight: 0.1 + 0.2 * i as f64,
            decision,
        })
        .collect();
    for (m, short) in [(50.0, 3.0), (-50.0, 0.0), (0.4, f64::NAN)] {
        let shard = RecoveryShard::new(pack.clone(), learned.clone(), m)?;
        let found = check_head(&shard, 7, VOCAB, |logits| {
            learned
                .iter()
                .map(|l| {
                    let logp = log_softmax(&logits[l.site.row]);
                    let own = logp[l.site.token as usize];
                    let margin = l.decision.map_or(0.0, |(rival, v)| {
                        v * (m - (own - logp[rival as usize])).max(0.0)
                    });
                    margin - l.weight * own
                })
                .sum()
        });
        assert_eq!(found.get(sums::TOKENS), 5.0);
        assert_eq!(found.get(sums::DECISIONS), 3.0);
        assert!(short.is_nan() || found.get(sums::SHORT) == short);
    }
    Ok(())
}

#[test]
fn lessons_are_what_they_say_and_say_it_in_a_file() -> Tested {
    let (base, tuned) = (policy("base", 9)?, policy("tuned", 10)?);
    let made = lessons(&base, &tuned)?;
    let counts = made.made;
    let used = 40 - counts.without_behaviour - counts.without_alternative;
    assert!(used > 5, "{counts:?}");
    assert_eq!(made.recoveries.len() as u64, 6 * used);
    assert_eq!(made.anchors.len(), 16);
    let kinds: BTreeSet<String> = made
        .recoveries
        .iter()
        .map(|r| format!("{:?}", r.forced))
        .collect();
    assert!(kinds.len() >= 3, "{kinds:?}");
    for recovery in &made.recoveries {
        let learned = recovery.ids.get(recovery.from..).unwrap_or(&[]);
        assert_eq!(even(0, learned)?, Some(true));
        assert_eq!(learned.last(), Some(&EOS));
        let forced = recovery.ids.get(recovery.prompt_len..recovery.from);
        let forced = forced.unwrap_or(&[]);
        assert!(!forced.contains(&EOS));
        assert_eq!(forced.is_empty(), recovery.forced == Forced::Nothing);
        assert!(recovery.depth() <= 5 + 5 / 2 + 12);
        // The first learned token always decides, and no rival is the token.
        assert_eq!(recovery.decisions.first().map(|d| d.t), Some(recovery.from));
        for d in &recovery.decisions {
            assert_ne!(recovery.ids.get(d.t), Some(&d.rival));
        }
    }
    let text = made.to_jsonl()?;
    assert_eq!(Lessons::from_jsonl(&text)?, made);
    assert_eq!(lessons(&base, &tuned)?, made);
    for broken in ["", "{}", "{\"lesson\":\"recovery\"}"] {
        assert!(Lessons::from_jsonl(broken).is_err(), "{broken}");
    }
    Ok(())
}

#[test]
fn the_rival_is_the_bases_best_other_token() -> Tested {
    let (base, tuned) = (policy("base", 9)?, policy("tuned", 10)?);
    let made = lessons(&base, &tuned)?;
    let mut logits = Vec::new();
    for recovery in made.recoveries.iter().take(20) {
        for d in &recovery.decisions {
            let (before, _) = recovery.ids.split_at(d.t);
            let mut sequences = base.sequences();
            let ids = sequences.open(&[before])?;
            sequences.logits(&ids, &mut logits)?;
            let own = recovery.ids.get(d.t).copied();
            let rival = logits.get(d.rival as usize).copied();
            let better = (0u32..)
                .zip(&logits)
                .filter(|(id, z)| Some(*id) != own && Some(**z) > rival);
            assert_eq!(better.count(), 0);
        }
    }
    Ok(())
}

#[test]
fn a_step_is_the_mean_of_each_kind_wherever_it_is_cut() -> Tested {
    let (base, tuned) = (policy("base", 9)?, policy("tuned", 10)?);
    let network = moved(11);
    let all = lessons(&base, &tuned)?;
    let run = |shard_rows: usize| -> Result<_, TrainError> {
        let settings = HardenSettings {
            shard_rows,
            ..settings()
        };
        let mut source = HardenSource::new(all.clone(), tuned.clone(), settings)?;
        let step = source.step(3, &network)?;
        let n = step.shards.len();
        let (gradient, sums) = gradients(&network, &step.shards);
        Ok((n, gradient.norm(), source.after(&sums), sums))
    };
    let (few, many) = (run(1000)?, run(1)?);
    assert!(few.0 < many.0);
    assert!((few.1 - many.1).abs() <= 1e-5 * few.1);
    let log = |name: &str| {
        let found = few.2.iter().find(|(n, _)| n == name);
        found.map_or(f64::NAN, |(_, v)| *v)
    };
    let s = settings();
    let expected = s.recovery_weight * log("recovery_nll")
        + s.margin_weight * log("margin_hinge")
        + s.anchor_weight * log("anchor_kl");
    let loss = few.3.get(Sums::LOSS);
    assert!((loss - expected).abs() <= 1e-6 * loss, "{loss} {expected}");
    Ok(())
}

#[test]
fn the_anchor_is_the_kl_of_the_policy_that_was_and_the_one_that_is() -> Tested {
    let (base, tuned) = (policy("base", 9)?, policy("tuned", 10)?);
    let mut source = HardenSource::new(lessons(&base, &tuned)?, tuned.clone(), settings())?;
    // The policy itself: nothing to pull.
    let same = moved(10);
    let step = source.step(0, &same)?;
    let (_, found) = gradients(&same, &step.shards);
    let kl = |log: Vec<(String, f64)>| {
        let found = log.into_iter().find(|(n, _)| n == "anchor_kl");
        found.map_or(f64::NAN, |(_, v)| v)
    };
    assert!(kl(source.after(&found)).abs() < 1e-9);
    // Another one: the KL of the two at the anchors of the step.
    let other = moved(11);
    let step = source.step(0, &other)?;
    let anchors: Vec<u64> = serde_json::from_value(step.inspect["anchors"].clone())?;
    let (_, found) = gradients(&other, &step.shards);
    let student = other.policy()?;
    let all = lessons(&base, &tuned)?;
    let (mut sum, mut n) = (0.0, 0.0);
    for i in anchors {
        let anchor = &all.anchors[i as usize];
        for t in anchor.prompt_len..anchor.ids.len() {
            let row = |policy: &Policy| -> Result<Vec<f64>, Box<dyn std::error::Error>> {
                let mut sequences = policy.sequences();
                let ids = sequences.open(&[&anchor.ids[..t]])?;
                let mut logits = Vec::new();
                sequences.logits(&ids, &mut logits)?;
                let wide: Vec<f64> = logits.iter().map(|z| f64::from(*z)).collect();
                Ok(log_softmax(&wide))
            };
            sum += reference::kl(&row(&tuned)?, &row(&student)?);
            n += 1.0;
        }
    }
    let logged = kl(source.after(&found));
    assert!(
        (logged - sum / n).abs() <= 1e-4 * logged,
        "{logged} {}",
        sum / n
    );
    Ok(())
}

#[test]
fn what_cannot_be_learned_from_is_refused() -> Tested {
    let (base, tuned) = (policy("base", 9)?, policy("tuned", 10)?);
    for broken in [
        HardenSettings {
            margin: f64::NAN,
            ..settings()
        },
        HardenSettings {
            recovery_weight: 0.0,
            margin_weight: 0.0,
            ..settings()
        },
        HardenSettings {
            depth: 0,
            ..settings()
        },
        HardenSettings {
            recoveries: u32::MAX,
            ..settings()
        },
    ] {
        assert!(broken.check().is_err(), "{broken:?}");
    }
    let guarded = prompts(0, 4);
    let never = |_: usize, _: &[u32]| Ok(Some(false));
    let always = |_: usize, _: &[u32]| Ok(Some(true));
    type Judge<'j> = &'j (dyn Fn(usize, &[u32]) -> Result<Option<bool>, TrainError> + Sync);
    for judge in [&never as Judge<'_>, &always] {
        let pair = Pair {
            base: &base,
            tuned: &tuned,
            guarded: &guarded,
            kept: &[],
            behaves: judge,
            interrupted: || false,
        };
        let made = make(&pair, &settings())?;
        let refused = HardenSource::new(made, tuned.clone(), settings());
        let said = refused.err().map_or(String::new(), |e| e.to_string());
        assert!(said.contains("no recovery could be made"), "{said}");
    }
    let failing = |_: usize, _: &[u32]| Err(TrainError::Setting("the judge is gone".into()));
    let pair = Pair {
        base: &base,
        tuned: &tuned,
        guarded: &guarded,
        kept: &[],
        behaves: &failing,
        interrupted: || false,
    };
    assert!(make(&pair, &settings()).is_err());
    Ok(())
}
