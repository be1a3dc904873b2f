//! The objective against its formula in f64, its gradient against finite
//! differences, and what must not change it.

use forkscope_metrics::reference;

use super::*;
use crate::engine::{Gradients, Network, Pack, Sums, Which};
use crate::objective::testing::{distance, gradients, log_softmax};
use crate::objective::tiny::{adapted, moved};
use crate::run::Source;

const WORDS: [&str; 11] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"];
const VOCAB: u32 = 13;

/// Rollouts of three problems, two of which share nothing, with advantages of
/// both signs and none.
fn pool() -> Vec<PoolRollout> {
    let mut out = Vec::new();
    for (problem, prompt_len) in [("p", 3usize), ("q", 1), ("r", 4)] {
        for sample in 0..4u32 {
            let n = prompt_len + 2 + (sample as usize * 3) % 5;
            let seed = prompt_len as u32 * 7 + sample;
            let id = |i: usize| match i < prompt_len {
                true => (i as u32 * 5 + prompt_len as u32) % VOCAB,
                false => (i as u32 * 3 + seed * 5) % VOCAB,
            };
            let decisions = (prompt_len..n).filter(|t| (t + sample as usize).is_multiple_of(2));
            out.push(PoolRollout {
                problem_id: problem.into(),
                sample,
                token_ids: (0..n).map(id).collect(),
                prompt_len,
                correct: sample % 2 == 0,
                truncated: false,
                advantage: [1.3, -0.7, 0.0, -3.0][sample as usize],
                entropies_nats: Vec::new(),
                decisions: decisions.map(|t| t as u32).collect(),
            });
        }
    }
    out
}

fn network() -> Network {
    moved(adapted(&WORDS))
}

fn source(settings: ReasonMaxxerSettings) -> ReasonMaxxerSource {
    let base = forkscope_policy::Policy::open_files(network().files().clone(), None).unwrap();
    ReasonMaxxerSource::new(pool(), base, settings).unwrap()
}

fn every_objective() -> Vec<ReasonMaxxerSettings> {
    let plain = ReasonMaxxerSettings {
        grad_accum_steps: 5,
        pos_margin: 0.3,
        neg_margin: 0.2,
        beta_neg: 0.6,
        ..ReasonMaxxerSettings::default()
    };
    use DecisionObjective::*;
    let mut all: Vec<ReasonMaxxerSettings> = [AdvCe, DeltaHinge, CorrectSft, ClippedRatio]
        .into_iter()
        .map(|objective| ReasonMaxxerSettings {
            objective,
            ..plain.clone()
        })
        .collect();
    let but = |change: &dyn Fn(&mut ReasonMaxxerSettings)| {
        let mut settings = plain.clone();
        change(&mut settings);
        settings
    };
    all.push(but(&|s| s.variant = Variant::Fullseq));
    all.push(but(&|s| s.kl_on_generated_only = true));
    all.push(but(&|s| s.neg_prob_floor = 0.08));
    all.push(but(&|s| s.kl_decision_weight = 0.4));
    all.push(but(&|s| {
        s.decision_mean = DecisionMean::Completion;
        s.pos_only = true;
    }));
    all.push(but(&|s| s.decision_mean = DecisionMean::Window));
    all.push(but(&|s| {
        s.decision_mean = DecisionMean::Window;
        s.balance_pos_neg = true;
    }));
    all.push(but(&|s| s.anchor_share = 0.4));
    all.push(but(&|s| s.anchor = Anchor::Bucketed));
    all.push(but(&|s| s.max_seq_len = 5));
    all
}

fn step(source: &mut ReasonMaxxerSource, network: &Network, at: u64) -> (Gradients, Sums) {
    let step = source.step(at, network).unwrap();
    gradients(network, &step.shards)
}

/// ln p over the vocabulary at every predicted position, row t - 1 for token t.
fn log_probs(network: &Network, ids: &[u32], which: Which) -> Vec<Vec<f64>> {
    let mut pack = Pack::default();
    pack.add(ids, 1).unwrap();
    let hidden = network.hidden(&pack, which).unwrap();
    let policy = forkscope_policy::Policy::open_files(network.files().clone(), None).unwrap();
    let mut logits = Vec::new();
    policy.logits(&hidden, &mut logits);
    let wide = |row: &[f32]| log_softmax(&row.iter().map(|z| f64::from(*z)).collect::<Vec<_>>());
    logits.chunks(VOCAB as usize).map(wide).collect()
}

/// The reference's loss of one rollout, written out.
fn published(network: &Network, rollout: &PoolRollout, beta: f64) -> (f64, f64) {
    let ids = &rollout.token_ids;
    let (student, base) = (
        log_probs(network, ids, Which::Current),
        log_probs(network, ids, Which::Reference),
    );
    let a = rollout.advantage.clamp(-2.5, 2.5);
    let a = if a < 0.0 { a * beta } else { a };
    let decides = |t: usize| a != 0.0 && rollout.decisions.contains(&(t as u32));
    let (mut decision, mut n, mut kl, mut m) = (0.0, 0.0f64, 0.0, 0.0f64);
    for t in 1..ids.len() {
        if decides(t) {
            decision -= a * student[t - 1][ids[t] as usize];
            n += 1.0;
        } else {
            kl += reference::kl(&base[t - 1], &student[t - 1]);
            m += 1.0;
        }
    }
    (decision / n.max(1.0), kl / m.max(1.0))
}

#[test]
fn the_loss_is_the_published_one() {
    let network = network();
    let settings = ReasonMaxxerSettings {
        grad_accum_steps: 5,
        beta_neg: 0.6,
        ..ReasonMaxxerSettings::default()
    };
    let mut source = source(settings);
    for at in 0..source.steps_per_epoch() {
        let (_, sums) = step(&mut source, &network, at);
        let mut total = 0.0;
        for found in source.last_window() {
            let named =
                |r: &&PoolRollout| (&r.problem_id, r.sample) == (&found.problem_id, found.sample);
            let rollout = source.rollouts().iter().find(named).unwrap();
            let (decision, kl) = published(&network, rollout, 0.6);
            let close = |a: f64, b: f64| (a - b).abs() < 1e-5 * (1.0 + b.abs());
            assert!(close(found.decision_loss, decision), "{found:?} {decision}");
            assert!(close(found.kl_loss, kl), "{found:?} {kl}");
            assert_eq!(found.loss, found.decision_loss + 0.2 * found.kl_loss);
            let predicted = rollout.token_ids.len() as u64 - 1;
            assert_eq!(found.decision_tokens + found.anchor_tokens, predicted);
            total += found.loss / 5.0;
        }
        assert!((total - sums.get(Sums::LOSS)).abs() < 1e-12);
    }
}

#[test]
fn gradients_are_finite_differences() {
    for settings in every_objective() {
        let mut network = network();
        let mut source = source(settings.clone());
        let (found, _) = step(&mut source, &network, 1);
        let mut checked = 0;
        for tensor in 0..network.parameters().len() {
            let n = network.parameters()[tensor].values.len();
            for i in (0..n).step_by(n / 3 + 1) {
                let mut loss = |by: f32| {
                    network.parameters_mut()[tensor].values[i] += by;
                    let (_, sums) = step(&mut source, &network, 1);
                    network.parameters_mut()[tensor].values[i] -= by;
                    sums.get(Sums::LOSS)
                };
                let h = 4e-3;
                let exact = (loss(h) - loss(-h)) / (2.0 * f64::from(h));
                let got = f64::from(found.tensors[tensor][i]);
                let error = (got - exact).abs();
                assert!(
                    error < 0.02 * exact.abs() + 4e-4,
                    "{settings:?} tensor {tensor} value {i}: {got} and {exact}"
                );
                checked += 1;
            }
        }
        assert!(checked > 8);
    }
}

#[test]
fn how_a_window_is_cut_changes_rounding_alone() {
    for settings in every_objective() {
        let network = network();
        let whole = step(&mut source(settings.clone()), &network, 0);
        let cut = ReasonMaxxerSettings {
            shard_rows: 4,
            keep_bytes: 0,
            ..settings
        };
        let mut cut = source(cut);
        step(&mut cut, &network, 1);
        let parts = step(&mut cut, &network, 0);
        assert!(distance(&whole.0, &parts.0) < 1e-5);
        let (a, b) = (whole.1.get(Sums::LOSS), parts.1.get(Sums::LOSS));
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn a_drawn_anchor_estimates_the_mean_without_bias() {
    let network = network();
    let with = |anchor_share: f64, order| {
        source(ReasonMaxxerSettings {
            anchor_share,
            order,
            grad_accum_steps: 12,
            ..ReasonMaxxerSettings::default()
        })
    };
    let mut all = with(1.0, Order::Key);
    step(&mut all, &network, 0);
    let exact = all.last_window();
    let mut drawn = with(0.3, Order::Key);
    let epochs = 600;
    let mut means = vec![0.0; exact.len()];
    let mut squares = vec![0.0; exact.len()];
    for epoch in 0..epochs {
        step(&mut drawn, &network, epoch);
        for (i, found) in drawn.last_window().iter().enumerate() {
            means[i] += found.kl_loss / epochs as f64;
            squares[i] += found.kl_loss * found.kl_loss / epochs as f64;
        }
    }
    for ((mean, square), exact) in means.iter().zip(&squares).zip(&exact) {
        let error = ((square - mean * mean).max(0.0) / epochs as f64).sqrt();
        assert!((mean - exact.kl_loss).abs() <= 4.5 * error + 1e-9);
    }
}

#[test]
fn a_bucketed_anchor_is_a_lower_bound() {
    let network = network();
    let with = |anchor| {
        let mut source = source(ReasonMaxxerSettings {
            anchor,
            ..ReasonMaxxerSettings::default()
        });
        step(&mut source, &network, 0);
        source.last_window()
    };
    let (exact, bucketed) = (with(Anchor::Exact), with(Anchor::Bucketed));
    for (exact, bucketed) in exact.iter().zip(&bucketed) {
        // Every token of so small a vocabulary is listed.
        assert!((bucketed.kl_loss - exact.kl_loss).abs() < 1e-6);
        assert_eq!(bucketed.decision_loss, exact.decision_loss);
    }
}

#[test]
fn an_epoch_below_the_threshold_is_the_last() {
    let network = network();
    let mut source = source(ReasonMaxxerSettings {
        early_stop_delta_logp_pos: Some(1e9),
        grad_accum_steps: 6,
        log_every: 4,
        ..ReasonMaxxerSettings::default()
    });
    let mut stopped = Vec::new();
    for at in 0..2 {
        let (_, sums) = step(&mut source, &network, at);
        let log = source.after(&sums);
        assert!(log.iter().any(|(name, _)| name == "delta_logp_pos"));
        assert!(source.logged());
        stopped.push(source.finished());
    }
    assert_eq!(stopped, [false, true]);
    let state = source.state();
    let mut other = self::source(ReasonMaxxerSettings::default());
    other.restore(&state).unwrap();
    assert!(other.finished());
    assert!(other.restore(&serde_json::json!({"round": 3})).is_err());
}

#[test]
fn beta_follows_the_trend() {
    let mut network = network();
    let mut source = source(ReasonMaxxerSettings {
        adaptive_beta: Some(AdaptiveBeta::default()),
        grad_accum_steps: 1,
        log_every: 1,
        order: Order::Key,
        ..ReasonMaxxerSettings::default()
    });
    let beta = |source: &mut ReasonMaxxerSource, network: &Network, at| {
        let (_, sums) = step(source, network, at);
        let log = source.after(&sums);
        log.iter().find(|(name, _)| name == "beta_neg").unwrap().1
    };
    assert_eq!(beta(&mut source, &network, 0), 1.0);
    // The second rollout is wrong: D over right decisions counts as 0, as published.
    let first = source.last_window()[0].clone();
    let fell = first.delta_logp_pos_sum > 0.0;
    beta(&mut source, &network, 1);
    network.parameters_mut()[0].values[0] += 0.1;
    let after = beta(&mut source, &network, 2);
    assert_eq!(after, if fell { 0.7 } else { 1.0 });
}

#[test]
fn broken_rollouts_are_refused_by_name() {
    let base = || forkscope_policy::Policy::open_files(network().files().clone(), None).unwrap();
    let refused = |change: &dyn Fn(&mut PoolRollout)| {
        let mut pool = pool();
        change(&mut pool[5]);
        let settings = ReasonMaxxerSettings::default();
        let error = ReasonMaxxerSource::new(pool, base(), settings).unwrap_err();
        error.to_string()
    };
    for said in [
        refused(&|r| r.token_ids[2] = 99),
        refused(&|r| r.decisions = vec![0]),
        refused(&|r| r.decisions = vec![2, 2]),
        refused(&|r| r.prompt_len = 0),
        refused(&|r| r.advantage = f64::NAN),
        refused(&|r| r.token_ids = vec![1; 400]),
    ] {
        assert!(said.contains("problem `q`, sample 1"), "{said}");
    }
    let settings = ReasonMaxxerSettings::default();
    assert!(ReasonMaxxerSource::new(Vec::new(), base(), settings.clone()).is_err());
    let mut undecided = pool();
    undecided.iter_mut().for_each(|r| r.decisions.clear());
    let said = ReasonMaxxerSource::new(undecided, base(), settings).unwrap_err();
    assert!(
        said.to_string().contains("none of the 12 rollouts"),
        "{said}"
    );
}

#[test]
fn an_adapter_that_changes_nothing_is_at_no_distance() {
    let network = adapted(&WORDS);
    let mut source = source(ReasonMaxxerSettings::default());
    step(&mut source, &network, 0);
    for found in source.last_window() {
        let moved = found.delta_logp_pos_sum.abs() + found.delta_logp_neg_sum.abs();
        assert!(found.kl_loss < 1e-12 && moved < 1e-6, "{found:?}");
        println!("{} {}", found.kl_loss, moved);
    }
}
