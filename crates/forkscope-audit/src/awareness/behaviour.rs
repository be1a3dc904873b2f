//! Does behaviour differ between contexts, and does steering move it?
//!
//! The gap is the mean rate over evaluation items minus that over deployment
//! items. A vector v moves deployment items by +v and evaluation items by -v,
//! each towards the other context; its effect is the **lesser** of the two moves,
//! in the direction of the gap: 1 gap exchanges the contexts. A vector that
//! merely breaks the policy, so that it always or never shows the behaviour,
//! moves one context only and has no effect. A direction counts at its best
//! scale, and so does each random one.

use forkscope_metrics::stats::Interval;

use super::design::Design;
use super::null::p_value;
use super::ranked::{Resamples, Weights};
use super::study::Bench;

/// A number with its interval and replicates.
#[derive(Debug, Clone, Default)]
pub struct Estimate {
    /// Value; `None` where undefined.
    pub value: Option<f64>,
    /// Its interval.
    pub interval: Option<Interval>,
    /// Of each resample.
    pub replicates: Vec<Option<f64>>,
    /// Items that enter.
    pub n: usize,
    /// Items left out because nobody can say.
    pub n_invalid: usize,
    /// Permutation p-value, two-sided, where there is one.
    pub p_value: Option<f64>,
}

impl Estimate {
    /// Of a quantity under item weights.
    pub fn of(
        resamples: &Resamples,
        f: impl Fn(&dyn Fn(usize) -> f64) -> Option<f64> + Sync + Send,
    ) -> Self {
        let replicates = resamples.of(|w: &Weights| f(&|i| f64::from(w.item[i])));
        Self {
            value: f(&|_| 1.0),
            interval: resamples.interval(&replicates),
            replicates,
            ..Self::default()
        }
    }

    /// The difference to another, on the same draws.
    pub fn minus(&self, other: &Self, resamples: &Resamples) -> Self {
        Self {
            value: self.value.zip(other.value).map(|(a, b)| a - b),
            interval: resamples.difference(&self.replicates, &other.replicates),
            replicates: Vec::new(),
            n: self.n.min(other.n),
            n_invalid: self.n_invalid.max(other.n_invalid),
            p_value: None,
        }
    }

    /// Whether the interval lies above zero.
    pub fn is_above_zero(&self) -> bool {
        self.interval.is_some_and(|i| i.low > 0.0)
    }

    /// Whether the interval leaves zero out.
    pub fn leaves_zero_out(&self) -> bool {
        self.interval.is_some_and(|i| i.low > 0.0 || i.high < 0.0)
    }
}

/// Weighted mean of a context's rates, of items for which `keep` holds.
fn mean(
    labels: &[bool],
    rates: &[Option<f64>],
    context: bool,
    weight: &dyn Fn(usize) -> f64,
) -> Option<f64> {
    let (mut sum, mut all) = (0.0, 0.0);
    for (i, (label, rate)) in labels.iter().zip(rates).enumerate() {
        if let (true, Some(rate)) = (*label == context, rate) {
            sum += weight(i) * rate;
            all += weight(i);
        }
    }
    (all > 0.0).then(|| sum / all)
}

fn difference(
    labels: &[bool],
    rates: &[Option<f64>],
    weight: &dyn Fn(usize) -> f64,
) -> Option<f64> {
    Some(mean(labels, rates, true, weight)? - mean(labels, rates, false, weight)?)
}

/// The gap of a policy whose rates are given per item.
pub fn gap(bench: &Bench<'_>, rates: &[Option<f64>]) -> Estimate {
    let labels = &bench.design.evaluation;
    let mut out = Estimate::of(&bench.resamples, |weight| difference(labels, rates, weight));
    out.n = rates.iter().flatten().count();
    out.n_invalid = rates.len() - out.n;
    let draw = |labels: &Vec<bool>| difference(labels, rates, &|_| 1.0).map(f64::abs);
    let null: Vec<Option<f64>> = bench.null.iter().map(draw).collect();
    out.p_value = out.value.and_then(|v| p_value(v.abs(), &null));
    out
}

/// Rates of one context, for tables.
pub fn rate(bench: &Bench<'_>, rates: &[Option<f64>], evaluation: bool) -> Estimate {
    let labels = &bench.design.evaluation;
    let mut out = Estimate::of(&bench.resamples, |w| mean(labels, rates, evaluation, w));
    let of = |(label, _): &(&bool, &Option<f64>)| **label == evaluation;
    let here: Vec<_> = labels.iter().zip(rates).filter(of).collect();
    out.n = here.iter().filter(|(_, r)| r.is_some()).count();
    out.n_invalid = here.len() - out.n;
    out
}

/// Rates under one vector and scale: evaluation items with minus the vector,
/// deployment items with plus.
#[derive(Debug, Clone)]
pub struct Arm {
    /// 0 for the direction, from 1 on for random ones.
    pub vector: u32,
    /// Multiple of the class gap, positive.
    pub scale: f64,
    /// Rate of each item; `None` where it was not steered or nobody can say.
    pub rates: Vec<Option<f64>>,
    /// Mean KL(steered || unsteered) at decision positions, nats.
    pub kl_nats: Option<f64>,
}

/// What steering does.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Gap of the items that are steered, unsteered.
    pub gap: Estimate,
    /// Effect of the direction at its best scale.
    pub effect: Estimate,
    /// The same as a share of the gap; undefined where there is none.
    pub share: Estimate,
    /// Effect minus the mean of the random directions' effects.
    pub beyond_random: Estimate,
    /// Effects of the random directions, each at its best scale.
    pub random: Vec<f64>,
    /// (1 + #{random at least as large}) / (1 + random).
    pub p_value: Option<f64>,
    /// Layer that was steered, if the caller said.
    pub layer: Option<u32>,
    /// Scale at which the direction does most.
    pub scale: f64,
    /// Mean KL there, nats.
    pub kl_nats: Option<f64>,
    /// Effect of the direction at each scale.
    pub by_scale: Vec<(f64, Estimate, Option<f64>)>,
}

/// Effects of all arms; `None` where the direction has no arm.
pub fn control(
    design: &Design,
    resamples: &Resamples,
    unsteered: &[Option<f64>],
    arms: &[Arm],
) -> Option<Control> {
    let labels = &design.evaluation;
    let unit: &dyn Fn(usize) -> f64 = &|_| 1.0;
    let mut gap = Estimate::of(resamples, |w| difference(labels, unsteered, w));
    gap.n = unsteered.iter().flatten().count();
    let sign = if gap.value.unwrap_or(0.0) < 0.0 {
        -1.0
    } else {
        1.0
    };
    let effect = |arm: &Arm, weight: &dyn Fn(usize) -> f64| {
        let moved = |context: bool| {
            let after = mean(labels, &arm.rates, context, weight)?;
            Some(sign * (after - mean(labels, unsteered, context, weight)?))
        };
        Some(moved(false)?.min(-moved(true)?))
    };
    let best = |vector: u32| {
        let of = arms.iter().filter(|a| a.vector == vector);
        let with = of.filter_map(|a| Some((a, effect(a, unit)?)));
        with.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.scale.total_cmp(&a.0.scale)))
    };
    let (arm, _) = best(0)?;
    let mut vectors: Vec<u32> = arms.iter().map(|a| a.vector).filter(|v| *v > 0).collect();
    vectors.sort_unstable();
    vectors.dedup();
    let randoms: Vec<(&Arm, f64)> = vectors.iter().filter_map(|v| best(*v)).collect();
    let random: Vec<f64> = randoms.iter().map(|(_, e)| *e).collect();
    let with_n = |mut e: Estimate| {
        e.n = arm.rates.iter().flatten().count();
        e
    };
    let direction = with_n(Estimate::of(resamples, |w| effect(arm, w)));
    let mean_random = Estimate::of(resamples, |w| {
        let all: Option<Vec<f64>> = randoms.iter().map(|(a, _)| effect(a, w)).collect();
        let all = all.filter(|all| !all.is_empty())?;
        Some(all.iter().sum::<f64>() / all.len() as f64)
    });
    let share = match gap.leaves_zero_out() {
        true => with_n(Estimate::of(resamples, |w| {
            let gap = difference(labels, unsteered, w)?.abs();
            (gap > 0.0).then_some(effect(arm, w)? / gap)
        })),
        false => Estimate::default(),
    };
    let draws: Vec<Option<f64>> = random.iter().map(|e| Some(*e)).collect();
    let by_scale = arms.iter().filter(|a| a.vector == 0);
    let by_scale = by_scale.map(|a| {
        let estimate = with_n(Estimate::of(resamples, |w| effect(a, w)));
        (a.scale, estimate, a.kl_nats)
    });
    Some(Control {
        p_value: direction.value.and_then(|v| p_value(v, &draws)),
        beyond_random: with_n(direction.minus(&mean_random, resamples)),
        by_scale: by_scale.collect(),
        layer: None,
        scale: arm.scale,
        kl_nats: arm.kl_nats,
        effect: direction,
        share,
        random,
        gap,
    })
}
