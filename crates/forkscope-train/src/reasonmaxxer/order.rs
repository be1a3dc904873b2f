//! In which order rollouts are learned from, and which make up a window.
//!
//! An epoch is an order of all rollouts; windows are its consecutive stretches
//! of `grad_accum_steps`, the last of them perhaps shorter.

use std::cmp::Reverse;
use std::ops::Range;

use forkscope_metrics::rng::Key;

use super::rollout::PoolRollout;
use super::settings::{AccumPattern, BalancedWindows, Order, ReasonMaxxerSettings};
use crate::TrainError;

/// The windows of a run.
#[derive(Debug)]
pub(super) struct Windows {
    /// Rollouts in their order, before shuffling.
    sorted: Vec<usize>,
    accum: usize,
    shuffle: Option<u64>,
    epoch: Option<(u64, Vec<usize>)>,
}

impl Windows {
    /// Windows over those rollouts.
    pub fn new(
        rollouts: &[PoolRollout],
        settings: &ReasonMaxxerSettings,
    ) -> Result<Self, TrainError> {
        if rollouts.is_empty() {
            return Err(TrainError::Setting(
                "there is no rollout to learn from; check the pool".into(),
            ));
        }
        let mut sorted: Vec<usize> = (0..rollouts.len()).collect();
        match settings.order {
            Order::SignalClarity => sorted.sort_by(|a, b| by_clarity(&rollouts[*a], &rollouts[*b])),
            Order::Key => sorted.sort_by_key(|i| key(&rollouts[*i])),
            Order::Shuffle => {}
        }
        let mut shuffle = (settings.order == Order::Shuffle).then_some(settings.seed);
        if let Some(balanced) = settings.balanced {
            // As published: cycling through the two kinds in the order above.
            sorted = balance(&sorted, rollouts, balanced)?;
            shuffle = None;
        }
        Ok(Self {
            sorted,
            accum: settings.grad_accum_steps,
            shuffle,
            epoch: None,
        })
    }

    /// Optimiser steps of an epoch.
    pub fn per_epoch(&self) -> u64 {
        self.sorted.len().div_ceil(self.accum) as u64
    }

    /// Epoch and place in it of an optimiser step.
    pub fn place(&self, step: u64) -> (u64, u64) {
        (step / self.per_epoch(), step % self.per_epoch())
    }

    /// Rollouts of an optimiser step, in order.
    pub fn at(&mut self, step: u64) -> Vec<usize> {
        let (epoch, window) = self.place(step);
        let range = self.range(window);
        let Some(seed) = self.shuffle else {
            return self.sorted.get(range).unwrap_or(&[]).to_vec();
        };
        if self.epoch.as_ref().is_none_or(|(e, _)| *e != epoch) {
            let mut order = self.sorted.clone();
            Key::new(seed, "rollouts", 0, "epoch order")
                .rng_at(epoch)
                .shuffle(&mut order);
            self.epoch = Some((epoch, order));
        }
        let order = self.epoch.as_ref().map_or(&[][..], |(_, order)| order);
        order.get(range).unwrap_or(&[]).to_vec()
    }

    /// Micro-batches that have been taken when step `step` begins.
    pub fn taken_before(&self, step: u64) -> u64 {
        let (epoch, window) = self.place(step);
        epoch * self.sorted.len() as u64 + self.range(window).start as u64
    }

    fn range(&self, window: u64) -> Range<usize> {
        let from = (window as usize).saturating_mul(self.accum);
        from.min(self.sorted.len())..(from + self.accum).min(self.sorted.len())
    }
}

/// Problem id as text, and sample.
fn key(r: &PoolRollout) -> (String, u32) {
    (r.problem_id.clone(), r.sample)
}

fn by_clarity(a: &PoolRollout, b: &PoolRollout) -> std::cmp::Ordering {
    let falling = |x: f64, y: f64| y.total_cmp(&x);
    falling(a.signal_clarity(), b.signal_clarity())
        .then(falling(a.advantage.abs(), b.advantage.abs()))
        .then(Reverse(a.decisions.len()).cmp(&Reverse(b.decisions.len())))
        .then_with(|| (&a.problem_id, a.sample).cmp(&(&b.problem_id, b.sample)))
}

/// As many micro-batches as there are rollouts, in windows of fixed numbers of
/// A >= 0 and A < 0; either kind begins again when it is used up, so that the
/// commoner kind is not seen whole.
fn balance(
    sorted: &[usize],
    rollouts: &[PoolRollout],
    balanced: BalancedWindows,
) -> Result<Vec<usize>, TrainError> {
    let (pos, neg): (Vec<usize>, Vec<usize>) =
        sorted.iter().partition(|i| rollouts[**i].advantage >= 0.0);
    if pos.is_empty() || neg.is_empty() {
        return Err(TrainError::Setting(format!(
            "balanced windows need rollouts with advantages of both signs; there are {} of at \
             least 0 and {} below; leave --accum-window-pos and --accum-window-neg out",
            pos.len(),
            neg.len()
        )));
    }
    let mut right = pos.iter().copied().cycle();
    let mut wrong = neg.iter().copied().cycle();
    let mut order = Vec::with_capacity(sorted.len());
    while order.len() < sorted.len() {
        let p: Vec<usize> = right.by_ref().take(balanced.pos).collect();
        let n: Vec<usize> = wrong.by_ref().take(balanced.neg).collect();
        match balanced.pattern {
            AccumPattern::GroupedPosFirst => order.extend(p.into_iter().chain(n)),
            AccumPattern::GroupedNegFirst => order.extend(n.into_iter().chain(p)),
            AccumPattern::AlternatingPosFirst => order.extend(alternating(p, n)),
            AccumPattern::AlternatingNegFirst => order.extend(alternating(n, p)),
        }
    }
    order.truncate(sorted.len());
    Ok(order)
}

/// One of each in turn; what is left over of the longer kind comes last (the
/// published trainer drops it).
fn alternating(first: Vec<usize>, second: Vec<usize>) -> Vec<usize> {
    let both = first.len().min(second.len());
    let pairs = first.iter().zip(&second).flat_map(|(a, b)| [*a, *b]);
    let rest = first[both..].iter().chain(&second[both..]).copied();
    pairs.chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(problem: &str, sample: u32, advantage: f64, decisions: u32) -> PoolRollout {
        PoolRollout {
            problem_id: problem.into(),
            sample,
            token_ids: vec![1; 12],
            prompt_len: 2,
            correct: advantage > 0.0,
            truncated: false,
            advantage,
            entropies_nats: Vec::new(),
            decisions: (2..2 + decisions).collect(),
        }
    }

    fn pool() -> Vec<PoolRollout> {
        vec![
            rollout("b", 1, 1.0, 2),
            rollout("a", 0, -2.0, 1),
            rollout("b", 0, -1.0, 2),
            rollout("c", 0, 0.0, 5),
            rollout("10", 3, 2.5, 4),
        ]
    }

    fn epoch(windows: &mut Windows, epoch: u64) -> Vec<usize> {
        let per = windows.per_epoch();
        (0..per).flat_map(|w| windows.at(epoch * per + w)).collect()
    }

    #[test]
    fn orders_of_the_reference() {
        let settings = |order| ReasonMaxxerSettings {
            order,
            grad_accum_steps: 2,
            ..ReasonMaxxerSettings::default()
        };
        let mut w = Windows::new(&pool(), &settings(Order::SignalClarity)).unwrap();
        // .25 x 4; then .2 each: |A| of 2 first, and "b" 0 before "b" 1; 0 last.
        assert_eq!(epoch(&mut w, 0), [4, 1, 2, 0, 3]);
        assert_eq!(epoch(&mut w, 1), epoch(&mut w, 0));
        assert_eq!((w.per_epoch(), w.at(2)), (3, vec![3]));
        assert_eq!((w.taken_before(2), w.taken_before(4)), (4, 7));
        let mut w = Windows::new(&pool(), &settings(Order::Key)).unwrap();
        assert_eq!(epoch(&mut w, 0), [4, 1, 2, 0, 3]);
        let mut w = Windows::new(&pool(), &settings(Order::Shuffle)).unwrap();
        let (first, second) = (epoch(&mut w, 0), epoch(&mut w, 1));
        assert_ne!(first, second);
        assert_eq!(epoch(&mut w, 0), first);
        let sorted = |mut v: Vec<usize>| {
            v.sort_unstable();
            v
        };
        assert_eq!(sorted(first), sorted(second));
    }

    #[test]
    fn balanced_windows_cycle() {
        let settings = |pattern, pos, neg| ReasonMaxxerSettings {
            order: Order::Key,
            grad_accum_steps: pos + neg,
            balanced: Some(BalancedWindows { pos, neg, pattern }),
            ..ReasonMaxxerSettings::default()
        };
        // Key order: 4 1 2 0 3; A >= 0: 4 0 3, A < 0: 1 2.
        let order = |pattern, pos, neg| {
            let mut w = Windows::new(&pool(), &settings(pattern, pos, neg)).unwrap();
            epoch(&mut w, 0)
        };
        use AccumPattern::*;
        assert_eq!(order(AlternatingPosFirst, 1, 1), [4, 1, 0, 2, 3]);
        assert_eq!(order(AlternatingNegFirst, 1, 1), [1, 4, 2, 0, 1]);
        assert_eq!(order(GroupedPosFirst, 2, 1), [4, 0, 1, 3, 4]);
        assert_eq!(order(GroupedNegFirst, 2, 1), [1, 4, 0, 2, 3]);
        let one_sign: Vec<PoolRollout> = pool().into_iter().filter(|r| r.advantage > 0.0).collect();
        assert!(Windows::new(&one_sign, &settings(GroupedPosFirst, 1, 1)).is_err());
    }
}
