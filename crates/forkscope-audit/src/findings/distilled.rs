//! Findings of a rank sweep: how much of a tuned policy adapters of growing
//! rank recover on held-out problems.
//!
//! Each arm (the base, the tuned policy, the student of each rank) has answers to
//! the same problems, and, on the tuned policy's own held-out rollouts, its
//! divergence from the tuned policy:
//! - accuracy: share of graded answers that are correct, higher is better;
//! - KL(tuned || arm), nats, mean over completion positions, T = 1, whole
//!   vocabulary, lower is nearer; 0 for the tuned policy itself;
//! - recovery = (accuracy - base) / (tuned - base), null where the tuned
//!   policy's accuracy does not differ from the base's beyond noise: where the
//!   interval of the difference holds 0, or there is none.
//!
//! Intervals are cluster bootstraps over problems, with the same draws for all
//! arms. The probe is that of arXiv 2605.06241 (KL-LoRA distillation).

use forkscope_metrics::stats::Lanes;
use forkscope_records::types::{Finding, Findings};
use serde_json::json;

use super::FindingSettings;
use super::catalogue::{Catalogue, Entry, Estimate, Population, Sum};
use crate::AuditError;

/// Divergence from the tuned policy on the rollouts of one problem.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProblemDivergence {
    /// Completion positions with a KL.
    pub positions: u64,
    /// Positions without one: the arm masks a token that the tuned policy allows.
    pub undefined: u64,
    /// Sum of KL(tuned || arm), nats.
    pub kl_sum: f64,
    /// Positions at which both have the same argmax, undefined ones included.
    pub agree: u64,
}

/// A policy of the sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepArm {
    /// `base`, `tuned` or `rank_R`: the end of its findings' ids.
    pub name: String,
    /// Verdicts on its answers, per problem; `None` where nobody graded.
    pub answers: Vec<Vec<Option<bool>>>,
    /// Divergences per problem; `None` for the tuned policy.
    pub divergence: Option<Vec<ProblemDivergence>>,
    /// Trained values, and values of the model.
    pub parameters: Option<(u64, u64)>,
}

/// Sums of an arm in the catalogue.
struct Sums {
    correct: Sum,
    answers: Population,
    kl: Option<(Sum, Population)>,
}

/// The findings of a sweep over arms that all have `problems` problems; the
/// first arm is the base, the second the tuned policy.
///
/// # Errors
/// Settings out of range.
pub fn sweep(
    problems: usize,
    arms: &[SweepArm],
    settings: &FindingSettings,
) -> Result<Findings, AuditError> {
    settings.check()?;
    let mut catalogue = Catalogue::new(problems);
    let mut sums = Vec::new();
    for arm in arms {
        sums.push(one(&mut catalogue, arm));
    }
    let mut recoveries = Vec::new();
    if let [base, tuned, students @ ..] = &sums[..] {
        difference(&mut catalogue, base, tuned);
        for (student, arm) in students.iter().zip(arms.iter().skip(2)) {
            recovery(&mut catalogue, arms, (base, tuned, student), arm);
            recoveries.push(format!("recovery.{}", arm.name));
            kl_left(&mut catalogue, base, student, arm);
        }
    }
    let mut findings = catalogue.finish(settings)?;
    keep_recovery_above_noise(&mut findings, &recoveries);
    findings.extend(arms.iter().flat_map(parameters));
    Ok(Findings {
        schema: Findings::SCHEMA.to_owned(),
        findings,
    })
}

fn one(catalogue: &mut Catalogue, arm: &SweepArm) -> Sums {
    let verdicts = || {
        let problems = (0u32..).zip(&arm.answers);
        problems.flat_map(|(i, answers)| answers.iter().map(move |a| (i, *a)))
    };
    let graded = verdicts().filter_map(|(i, a)| Some((i, f64::from(u8::from(a?)))));
    let graded: Vec<(u32, f64)> = graded.collect();
    let ungraded = verdicts().filter(|(_, a)| a.is_none()).count() as u64;
    let answers = catalogue.population(graded.iter().map(|(i, _)| *i), ungraded);
    let correct = catalogue.sum(graded.into_iter());
    catalogue.push(Entry {
        id: format!("accuracy.{}", arm.name),
        definition: "share of graded answers to held-out problems that are correct".into(),
        unit: "share",
        of: answers,
        estimate: Estimate::Ratio(correct, answers.count),
        thresholds: vec![],
        label: None,
    });
    let kl = arm
        .divergence
        .as_ref()
        .map(|d| divergence(catalogue, arm, d));
    Sums {
        correct,
        answers,
        kl,
    }
}

fn divergence(
    catalogue: &mut Catalogue,
    arm: &SweepArm,
    found: &[ProblemDivergence],
) -> (Sum, Population) {
    let of = |f: fn(&ProblemDivergence) -> f64| -> Vec<(u32, f64)> {
        (0u32..).zip(found).map(|(i, d)| (i, f(d))).collect()
    };
    let undefined: u64 = found.iter().map(|d| d.undefined).sum();
    let count = catalogue.sum(of(|d| d.positions as f64).into_iter());
    let population = catalogue.counted(count, undefined);
    let kl = catalogue.sum(of(|d| d.kl_sum).into_iter());
    catalogue.push(Entry {
        id: format!("kl_tuned_student.{}", arm.name),
        definition: "mean KL(tuned || this policy) over completion positions of the tuned policy's held-out rollouts, T = 1, whole vocabulary".into(),
        unit: "nats",
        of: population,
        estimate: Estimate::Ratio(kl, count),
        thresholds: vec![],
        label: None,
    });
    let all = catalogue.sum(of(|d| (d.positions + d.undefined) as f64).into_iter());
    let agree = catalogue.sum(of(|d| d.agree as f64).into_iter());
    catalogue.push(Entry {
        id: format!("same_top1.{}", arm.name),
        definition:
            "share of those positions at which this policy and the tuned one have the same argmax"
                .into(),
        unit: "share",
        of: catalogue.counted(all, 0),
        estimate: Estimate::Ratio(agree, all),
        thresholds: vec![],
        label: None,
    });
    (kl, population)
}

/// Both populations together, for what compares them.
fn both(a: &Population, b: &Population) -> Population {
    Population {
        n: a.n + b.n,
        n_clusters: a.n_clusters.max(b.n_clusters),
        n_invalid: a.n_invalid + b.n_invalid,
        ..*a
    }
}

const DIFFERENCE: &str = "accuracy_difference.tuned_base";

fn difference(catalogue: &mut Catalogue, base: &Sums, tuned: &Sums) {
    catalogue.push(Entry {
        id: DIFFERENCE.into(),
        definition:
            "accuracy of the tuned policy - accuracy of the base; n counts the answers of both"
                .into(),
        unit: "difference",
        of: both(&base.answers, &tuned.answers),
        estimate: Estimate::Difference([
            tuned.correct,
            tuned.answers.count,
            base.correct,
            base.answers.count,
        ]),
        thresholds: vec![],
        label: None,
    });
}

fn recovery(
    catalogue: &mut Catalogue,
    arms: &[SweepArm],
    (base, tuned, student): (&Sums, &Sums, &Sums),
    arm: &SweepArm,
) {
    let counts = [arms.first(), arms.get(1), Some(arm)].map(|arm| graded_counts(arm));
    let pass = move |weights: &[Lanes], out: &mut [Lanes]| {
        let accuracy = |counts: &[(f64, f64)], lane: usize| {
            let (mut correct, mut graded) = (0.0, 0.0);
            for (weight, (c, g)) in weights.iter().zip(counts) {
                correct += weight[lane] * c;
                graded += weight[lane] * g;
            }
            correct / graded
        };
        let [base, tuned, student] = &counts;
        for (lane, value) in out.iter_mut().flatten().enumerate() {
            let from = accuracy(base, lane);
            let gap = accuracy(tuned, lane) - from;
            *value = match gap == 0.0 {
                true => f64::NAN,
                false => (accuracy(student, lane) - from) / gap,
            };
        }
    };
    let outputs = catalogue.pass(1, Box::new(pass));
    let of = both(&both(&base.answers, &tuned.answers), &student.answers);
    for output in outputs {
        catalogue.push(Entry {
            id: format!("recovery.{}", arm.name),
            definition: "(accuracy of the student - base) / (tuned - base); null where tuned - base is within noise; n counts the answers of all three".into(),
            unit: "share",
            of,
            estimate: Estimate::Pass(output),
            thresholds: vec![],
            label: None,
        });
    }
}

/// Correct and graded answers of each problem.
fn graded_counts(arm: Option<&SweepArm>) -> Vec<(f64, f64)> {
    let counts = |answers: &Vec<Option<bool>>| {
        let correct = answers.iter().filter(|a| **a == Some(true)).count();
        (correct as f64, answers.iter().flatten().count() as f64)
    };
    arm.map_or(&[][..], |a| &a.answers)
        .iter()
        .map(counts)
        .collect()
}

fn kl_left(catalogue: &mut Catalogue, base: &Sums, student: &Sums, arm: &SweepArm) {
    let (Some((kl, of)), Some((kl_base, of_base))) = (&student.kl, &base.kl) else {
        return;
    };
    catalogue.push(Entry {
        id: format!("kl_left.{}", arm.name),
        definition: "KL(tuned || student) / KL(tuned || base), means over the same positions"
            .into(),
        unit: "share",
        of: *of,
        estimate: Estimate::RatioOfRatios([*kl, of.count, *kl_base, of_base.count]),
        thresholds: vec![],
        label: None,
    });
}

/// Makes recoveries null where there is nothing to recover beyond noise.
fn keep_recovery_above_noise(findings: &mut [Finding], recoveries: &[String]) {
    let gap = findings.iter().find(|f| f.id == DIFFERENCE);
    let beyond = gap.is_some_and(|f| match (f.low, f.high) {
        (Some(low), Some(high)) => low > 0.0 || high < 0.0,
        // What never varied in any replicate, and is not 0.
        _ => {
            f.n_clusters > 1 && f.value.is_some_and(|v| v != 0.0) && f.method.contains("same value")
        }
    });
    if beyond {
        return;
    }
    for finding in findings.iter_mut().filter(|f| recoveries.contains(&f.id)) {
        finding.value = None;
        finding.low = None;
        finding.high = None;
        finding.level = None;
        finding.method =
            "undefined: the tuned policy's accuracy differs from the base's within noise only"
                .into();
    }
}

/// How large an arm's adapter is.
fn parameters(arm: &SweepArm) -> Vec<Finding> {
    let Some((trained, all)) = arm.parameters else {
        return Vec::new();
    };
    let count = |id: &str, definition: &str, value: f64, unit: &str| Finding {
        id: format!("{id}.{}", arm.name),
        definition: definition.into(),
        value: Some(value),
        unit: unit.into(),
        low: None,
        high: None,
        level: None,
        method: "count".into(),
        n: all,
        n_clusters: 0,
        n_invalid: 0,
        thresholds: [("trained_parameters".to_owned(), json!(trained))].into(),
        label: None,
    };
    let share = trained as f64 / all.max(1) as f64;
    vec![
        count(
            "parameters",
            "values of the adapter",
            trained as f64,
            "count",
        ),
        count(
            "parameter_share",
            "values of the adapter / values of the model",
            share,
            "share",
        ),
    ]
}

#[cfg(test)]
mod tests;
