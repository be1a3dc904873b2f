//! Answers: how long, how costly and how often right, base against tuned.
//!
//! An answer of a rollout with P prompt and C completion tokens takes
//! T = P + C - 1 tokens through the model (the last one is not fed back) and
//! costs `flops_per_token T + attention_flops_per_token_per_context T (T+1)/2`.

use std::collections::HashMap;

use forkscope_metrics::stats::{SignFlipSettings, sign_flip_test};
use forkscope_records::types::{Finding, Rollout, Validity};
use serde_json::{Value, json};

use super::catalogue::{Catalogue, Entry, Estimate, Population, Sum};
use super::columns::in_use;
use super::{FindingInput, FindingSettings, ModelCost, Side};
use crate::AuditError;

/// A quantity per answer: the numerator, over these answers.
#[derive(Clone, Copy)]
struct Mean {
    sum: Sum,
    of: Population,
}

/// One policy's rollouts.
struct Arm<'a> {
    side: Side,
    cost: Option<ModelCost>,
    /// Problem and rollout, of the rollouts in use.
    answers: Vec<(u32, &'a Rollout)>,
    invalid: u64,
}

/// What is asked of each arm.
struct Quantity {
    id: &'static str,
    definition: &'static str,
    unit: &'static str,
}

const TOKENS: Quantity = Quantity {
    id: "tokens",
    definition: "completion tokens per answer; an answer cut by the token limit counts as far as it goes",
    unit: "tokens",
};
const FLOPS: Quantity = Quantity {
    id: "flops",
    definition: "floating-point operations per answer: f T + a T(T+1)/2 with T = prompt + completion - 1 tokens",
    unit: "flops",
};
const ACCURACY: Quantity = Quantity {
    id: "accuracy",
    definition: "share of graded answers that are correct",
    unit: "share",
};
const TRUNCATED: Quantity = Quantity {
    id: "truncated",
    definition: "share of answers cut by the token limit",
    unit: "share",
};

/// The findings about answers; none if nobody knows whose rollouts these are.
pub(super) fn findings(
    input: &FindingInput<'_>,
    settings: &FindingSettings,
) -> Result<Vec<Finding>, AuditError> {
    let Some(side) = input.rollouts_by else {
        return Ok(Vec::new());
    };
    let mut clusters = HashMap::new();
    let mut arms = vec![Arm::new(side, input, input.rollouts, &mut clusters)];
    if let Some(other) = input.other_rollouts {
        arms.push(Arm::new(side.other(), input, other, &mut clusters));
    }
    arms.sort_by_key(|arm| arm.side == Side::Tuned);
    let mut catalogue = Catalogue::new(clusters.len());
    add(&mut catalogue, &arms, &TOKENS, |_, r| {
        Some(r.completion().len() as f64)
    });
    add(&mut catalogue, &arms, &FLOPS, |arm, r| {
        Some(flops(arm.cost?, r))
    });
    add(&mut catalogue, &arms, &ACCURACY, |_, r| {
        r.correct.map(|c| f64::from(u8::from(c)))
    });
    add(&mut catalogue, &arms, &TRUNCATED, |_, r| {
        Some(f64::from(u8::from(r.validity == Validity::Truncated)))
    });
    let mut all = catalogue.finish(settings)?;
    all.extend(accuracy_test(&arms, settings)?);
    Ok(all)
}

impl<'a> Arm<'a> {
    fn new(
        side: Side,
        input: &FindingInput<'a>,
        rollouts: &'a [Rollout],
        clusters: &mut HashMap<&'a str, u32>,
    ) -> Self {
        let mut arm = Self {
            side,
            cost: match side {
                Side::Base => input.base_cost,
                Side::Tuned => input.tuned_cost,
            },
            answers: Vec::new(),
            invalid: 0,
        };
        for rollout in rollouts {
            if in_use(rollout.validity) {
                let next = clusters.len() as u32;
                let cluster = *clusters.entry(&rollout.problem_id).or_insert(next);
                arm.answers.push((cluster, rollout));
            } else {
                arm.invalid += 1;
            }
        }
        arm
    }
}

fn flops(cost: ModelCost, rollout: &Rollout) -> f64 {
    let fed = rollout.token_ids.len().saturating_sub(1) as f64;
    cost.flops_per_token * fed
        + cost.attention_flops_per_token_per_context * fed * (fed + 1.0) / 2.0
}

/// Adds a quantity for each arm that has it, and for two arms how they compare.
fn add(
    catalogue: &mut Catalogue,
    arms: &[Arm<'_>],
    quantity: &Quantity,
    value: impl Fn(&Arm<'_>, &Rollout) -> Option<f64>,
) {
    let mut means = Vec::new();
    for arm in arms {
        let units: Vec<(u32, f64)> = arm
            .answers
            .iter()
            .filter_map(|(c, rollout)| Some((*c, value(arm, rollout)?)))
            .collect();
        if units.is_empty() {
            continue;
        }
        let left_out = arm.invalid + (arm.answers.len() - units.len()) as u64;
        let of = catalogue.population(units.iter().map(|(c, _)| *c), left_out);
        let sum = catalogue.sum(units.into_iter());
        means.push(Mean { sum, of });
        catalogue.push(Entry {
            id: format!("answer.{}.{}", quantity.id, arm.side.word()),
            definition: format!("{} policy: {}", arm.side.word(), mean_of(quantity)),
            unit: quantity.unit,
            of,
            estimate: Estimate::Ratio(sum, of.count),
            thresholds: thresholds(quantity, arm),
            label: None,
        });
    }
    if let [base, tuned] = means[..] {
        compare(catalogue, quantity, base, tuned);
    }
}

fn mean_of(quantity: &Quantity) -> String {
    match quantity.unit {
        "share" => quantity.definition.to_owned(),
        _ => format!("mean {}", quantity.definition),
    }
}

fn thresholds(quantity: &Quantity, arm: &Arm<'_>) -> Vec<(&'static str, Value)> {
    match arm.cost {
        Some(cost) if quantity.id == FLOPS.id => vec![
            ("flops_per_token", json!(cost.flops_per_token)),
            (
                "attention_flops_per_token_per_context",
                json!(cost.attention_flops_per_token_per_context),
            ),
        ],
        _ => vec![],
    }
}

/// Shares are subtracted, amounts divided.
fn compare(catalogue: &mut Catalogue, quantity: &Quantity, base: Mean, tuned: Mean) {
    let of = Population {
        n: base.of.n + tuned.of.n,
        n_clusters: base.of.n_clusters.max(tuned.of.n_clusters),
        n_invalid: base.of.n_invalid + tuned.of.n_invalid,
        ..base.of
    };
    let parts = [tuned.sum, tuned.of.count, base.sum, base.of.count];
    let (name, rule, unit, estimate) = match quantity.unit {
        "share" => (
            "difference",
            "tuned - base",
            "difference",
            Estimate::Difference(parts),
        ),
        _ => (
            "ratio",
            "tuned / base",
            "ratio",
            Estimate::RatioOfRatios(parts),
        ),
    };
    catalogue.push(Entry {
        id: format!("answer.{}.{name}", quantity.id),
        definition: format!(
            "{rule} of: {}; n counts the answers of both",
            mean_of(quantity)
        ),
        unit,
        of,
        estimate,
        thresholds: vec![],
        label: None,
    });
}

/// Sign-flip test of the accuracies over the problems graded in both arms.
fn accuracy_test(
    arms: &[Arm<'_>],
    settings: &FindingSettings,
) -> Result<Option<Finding>, AuditError> {
    let [base, tuned] = arms else { return Ok(None) };
    let (base, tuned) = (accuracies(base), accuracies(tuned));
    let mut problems: Vec<u32> = base
        .keys()
        .copied()
        .filter(|c| tuned.contains_key(c))
        .collect();
    problems.sort_unstable();
    let differences: Vec<f64> = problems.iter().map(|c| tuned[c] - base[c]).collect();
    if differences.is_empty() {
        return Ok(None);
    }
    let test = SignFlipSettings {
        seed: settings.seed,
        ..SignFlipSettings::default()
    };
    let found = sign_flip_test(&differences, &test)?;
    let n = differences.len() as u64;
    Ok(Some(Finding {
        id: "answer.accuracy.p_value".into(),
        definition: "two-sided p-value for no difference in accuracy: share of sign patterns of the per-problem differences (tuned - base) whose sum is at least as far from 0".into(),
        value: Some(found.p_value),
        unit: "p_value".into(),
        low: None,
        high: None,
        level: None,
        method: match found.draws {
            None => "paired sign-flip test over problems, all patterns".into(),
            Some(draws) => format!(
                "paired sign-flip test over problems, {draws} random patterns, seed {}",
                settings.seed
            ),
        },
        n,
        n_clusters: n,
        n_invalid: 0,
        thresholds: Default::default(),
        label: None,
    }))
}

/// Accuracy of each problem with a graded answer.
fn accuracies(arm: &Arm<'_>) -> HashMap<u32, f64> {
    let mut counts: HashMap<u32, (u32, u32)> = HashMap::new();
    for (cluster, rollout) in &arm.answers {
        if let Some(correct) = rollout.correct {
            let entry = counts.entry(*cluster).or_default();
            entry.0 += u32::from(correct);
            entry.1 += 1;
        }
    }
    let shares = counts.into_iter();
    shares
        .map(|(c, (right, all))| (c, f64::from(right) / f64::from(all)))
        .collect()
}
