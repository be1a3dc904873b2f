//! Findings of an ablation: arms that learnt from equal sampling budgets, each
//! with several seeds, measured on the same problems.
//!
//! With c_{s,p} the share of correct samples of problem p under seed s,
//! - accuracy of an arm = mean over problems of mean over seeds of c_{s,p},
//!   higher is better; its interval is the cluster bootstrap over problems, with
//!   the same draws for all arms. It holds for the seeds that were run: how much
//!   seeds differ is the finding beside it,
//! - seed deviation = sample standard deviation over seeds of the accuracy,
//!   `per_seed` in its thresholds,
//! - difference of two arms = mean over problems of the difference of the
//!   per-problem means, its interval from the same bootstrap, and p of a two-sided
//!   sign-flip test over problems; seeds of both arms are paired,
//! - touched share = completion tokens at which the objective pushed the policy,
//!   over completion tokens of the rollouts that were trained on.
//!
//! Problems are the unit of inference: samples and seeds of one are not
//! independent.

use forkscope_metrics::stats::{SignFlipSettings, sign_flip_test};
use forkscope_records::types::{Finding, Findings};
use serde_json::{Value, json};

use super::FindingSettings;
use super::catalogue::{Catalogue, Entry, Estimate, Population, Sum};
use crate::AuditError;

/// What an arm cost and gave under one seed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AblationCell {
    /// The seed.
    pub seed: u64,
    /// Verdicts on the samples of each problem; `None` where nobody graded.
    pub samples: Vec<Vec<Option<bool>>>,
    /// Verdicts on greedy completions, one list per problem; empty where none
    /// were made.
    pub greedy: Vec<Vec<Option<bool>>>,
    /// Rollouts that were sampled to learn from.
    pub rollouts: u64,
    /// Optimiser steps.
    pub steps: u64,
    /// Tokens of the sequences that were trained on, prompts included, as often
    /// as they were.
    pub tokens: u64,
    /// Completion tokens that the objective pushed.
    pub touched: u64,
    /// Completion tokens of the rollouts that were trained on.
    pub completion_tokens: u64,
}

/// An arm with its seeds, in the order in which they were run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AblationArm {
    /// The end of its findings' ids.
    pub name: String,
    /// One per seed.
    pub cells: Vec<AblationCell>,
}

/// Which completions a finding is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Samples,
    Greedy,
}

impl Kind {
    fn id(self) -> &'static str {
        match self {
            Self::Samples => "pass_at_1",
            Self::Greedy => "greedy",
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Greedy => "greedy completions",
        }
    }

    fn of(self, cell: &AblationCell) -> &[Vec<Option<bool>>] {
        match self {
            Self::Samples => &cell.samples,
            Self::Greedy => &cell.greedy,
        }
    }
}

/// An arm's sums in the catalogue.
struct Sums {
    share: Sum,
    problems: Sum,
    of: Population,
}

/// The findings of arms that all have `problems` problems and the same seeds.
/// Every arm is compared with those at the places `compare_with`.
///
/// # Errors
/// Settings out of range, arms of unequal problems or seeds.
pub fn ablation(
    problems: usize,
    arms: &[AblationArm],
    compare_with: &[usize],
    settings: &FindingSettings,
) -> Result<Findings, AuditError> {
    settings.check()?;
    check(problems, arms)?;
    let mut findings = Vec::new();
    for kind in [Kind::Samples, Kind::Greedy] {
        let there = |arm: &AblationArm| arm.cells.iter().all(|c| !kind.of(c).is_empty());
        if problems > 0 && !arms.is_empty() && arms.iter().all(there) {
            findings.extend(accuracies(problems, arms, compare_with, kind, settings)?);
        }
    }
    findings.extend(arms.iter().flat_map(costs));
    Ok(Findings {
        schema: Findings::SCHEMA.to_owned(),
        findings,
    })
}

fn check(problems: usize, arms: &[AblationArm]) -> Result<(), AuditError> {
    let setting = |setting, value: usize, range| AuditError::Setting {
        setting,
        value: value as f64,
        range,
    };
    let seeds = |arm: &AblationArm| arm.cells.iter().map(|c| c.seed).collect::<Vec<_>>();
    let first = arms.first().map(seeds).unwrap_or_default();
    for arm in arms {
        if seeds(arm) != first || first.is_empty() {
            let found = arm.cells.len();
            return Err(setting("seeds of an arm", found, "the same for every arm"));
        }
        for cell in &arm.cells {
            for verdicts in [&cell.samples, &cell.greedy] {
                if !verdicts.is_empty() && verdicts.len() != problems {
                    let found = verdicts.len();
                    return Err(setting("problems of a cell", found, "the same for all"));
                }
            }
        }
    }
    Ok(())
}

/// Mean over seeds of the share of correct completions of each problem; `None`
/// where a seed has no graded one.
fn per_problem(arm: &AblationArm, kind: Kind, problems: usize) -> Vec<Option<f64>> {
    let one = |problem: usize| {
        let shares = arm.cells.iter().map(|c| share(kind.of(c).get(problem)?));
        let shares = shares.collect::<Option<Vec<f64>>>()?;
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    };
    (0..problems).map(one).collect()
}

fn share(verdicts: &[Option<bool>]) -> Option<f64> {
    let graded: Vec<bool> = verdicts.iter().flatten().copied().collect();
    let correct = graded.iter().filter(|c| **c).count();
    (!graded.is_empty()).then(|| correct as f64 / graded.len() as f64)
}

fn accuracies(
    problems: usize,
    arms: &[AblationArm],
    compare_with: &[usize],
    kind: Kind,
    settings: &FindingSettings,
) -> Result<Vec<Finding>, AuditError> {
    let mut catalogue = Catalogue::new(problems);
    let means: Vec<Vec<Option<f64>>> = arms
        .iter()
        .map(|arm| per_problem(arm, kind, problems))
        .collect();
    let mut sums = Vec::new();
    for (arm, means) in arms.iter().zip(&means) {
        sums.push(accuracy(&mut catalogue, arm, means, kind));
    }
    let mut tests = Vec::new();
    for (i, arm) in arms.iter().enumerate() {
        for &j in compare_with.iter().filter(|j| **j != i) {
            let (Some(other), Some(theirs)) = (arms.get(j), sums.get(j)) else {
                continue;
            };
            let id = format!("difference.{}.{}.minus.{}", kind.id(), arm.name, other.name);
            difference(&mut catalogue, id.clone(), &sums[i], theirs, kind);
            tests.push((id, i, j));
        }
    }
    let mut found = catalogue.finish(settings)?;
    for (id, i, j) in tests {
        let differences: Vec<f64> = means[i]
            .iter()
            .zip(&means[j])
            .filter_map(|(a, b)| Some(((*a)?) - ((*b)?)))
            .collect();
        let at = found.iter().position(|f| f.id == id);
        let Some(at) = at else { continue };
        let p = p_value(&found[at], &differences, settings);
        found.insert(at + 1, p);
    }
    for arm in arms {
        found.push(deviation(arm, kind));
    }
    Ok(found)
}

fn accuracy(
    catalogue: &mut Catalogue,
    arm: &AblationArm,
    means: &[Option<f64>],
    kind: Kind,
) -> Sums {
    let verdicts = || {
        arm.cells
            .iter()
            .flat_map(move |c| (0u32..).zip(kind.of(c)))
            .flat_map(|(i, list)| list.iter().map(move |v| (i, *v)))
    };
    let ungraded = verdicts().filter(|(_, v)| v.is_none()).count() as u64;
    let graded = verdicts().filter(|(_, v)| v.is_some()).map(|(i, _)| i);
    let of = catalogue.population(graded, ungraded);
    let defined = || (0u32..).zip(means).filter_map(|(i, m)| Some((i, (*m)?)));
    let share = catalogue.sum(defined());
    let problems = catalogue.sum(defined().map(|(i, _)| (i, 1.0)));
    catalogue.push(Entry {
        id: format!("{}.{}", kind.id(), arm.name),
        definition: format!(
            "mean over problems and seeds of the share of {} that are correct; n counts completions",
            kind.what()
        ),
        unit: "share",
        of,
        estimate: Estimate::Ratio(share, problems),
        thresholds: vec![("seeds", json!(seeds(arm)))],
        label: None,
    });
    Sums {
        share,
        problems,
        of,
    }
}

fn seeds(arm: &AblationArm) -> Vec<u64> {
    arm.cells.iter().map(|c| c.seed).collect()
}

fn difference(catalogue: &mut Catalogue, id: String, own: &Sums, other: &Sums, kind: Kind) {
    catalogue.push(Entry {
        id,
        definition: format!(
            "{} of the first arm - {} of the second, paired by problem and seed; n counts the completions of both",
            kind.id(),
            kind.id()
        ),
        unit: "difference",
        of: Population {
            n: own.of.n + other.of.n,
            n_clusters: own.of.n_clusters.max(other.of.n_clusters),
            n_invalid: own.of.n_invalid + other.of.n_invalid,
            ..own.of
        },
        estimate: Estimate::Difference([own.share, own.problems, other.share, other.problems]),
        thresholds: vec![],
        label: None,
    });
}

/// The sign-flip test that belongs to a difference.
fn p_value(of: &Finding, differences: &[f64], settings: &FindingSettings) -> Finding {
    let how = SignFlipSettings {
        seed: settings.seed,
        ..SignFlipSettings::default()
    };
    let test = sign_flip_test(differences, &how);
    Finding {
        id: of.id.replacen("difference.", "p_value.", 1),
        definition:
            "probability of a difference at least as large, of either sign, if the two arms were exchangeable within every problem"
                .into(),
        value: test.as_ref().ok().map(|t| t.p_value),
        unit: "probability".into(),
        low: None,
        high: None,
        level: None,
        method: match &test {
            Ok(t) => match t.draws {
                None => "two-sided sign-flip test over problems, all patterns".into(),
                Some(n) => format!("two-sided sign-flip test over problems, {n} draws"),
            },
            Err(error) => format!("undefined: {error}"),
        },
        ..of.clone()
    }
}

/// How much the accuracy differs between seeds.
fn deviation(arm: &AblationArm, kind: Kind) -> Finding {
    let mean = |cell: &AblationCell| {
        let shares: Vec<f64> = kind.of(cell).iter().filter_map(|v| share(v)).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    };
    let per_seed: Vec<Option<f64>> = arm.cells.iter().map(mean).collect();
    let defined: Vec<f64> = per_seed.iter().flatten().copied().collect();
    let n = defined.len();
    let centre = defined.iter().sum::<f64>() / n.max(1) as f64;
    let squares: f64 = defined.iter().map(|x| (x - centre) * (x - centre)).sum();
    let value = (n > 1).then(|| (squares / (n as f64 - 1.0)).sqrt());
    let thresholds: [(&str, Value); 2] =
        [("seeds", json!(seeds(arm))), ("per_seed", json!(per_seed))];
    Finding {
        id: format!("seed_deviation.{}.{}", kind.id(), arm.name),
        definition: format!(
            "standard deviation over seeds (n - 1) of {}; per_seed lists its values",
            kind.id()
        ),
        value,
        unit: "share".into(),
        low: None,
        high: None,
        level: None,
        method: match value {
            Some(_) => "over seeds; no interval".into(),
            None => "undefined: fewer than two seeds".into(),
        },
        n: n as u64,
        n_clusters: 0,
        n_invalid: (arm.cells.len() - n) as u64,
        thresholds: thresholds.map(|(k, v)| (k.to_owned(), v)).into(),
        label: None,
    }
}

/// What an arm cost, means over seeds.
fn costs(arm: &AblationArm) -> Vec<Finding> {
    let seeds = arm.cells.len().max(1) as f64;
    let mean =
        |of: fn(&AblationCell) -> u64| arm.cells.iter().map(|c| of(c) as f64).sum::<f64>() / seeds;
    let finding = |id: &str, definition: &str, unit: &str, value: Option<f64>, n: u64| Finding {
        id: format!("{id}.{}", arm.name),
        definition: definition.into(),
        value,
        unit: unit.into(),
        low: None,
        high: None,
        level: None,
        method: match value {
            Some(_) => "count, mean over seeds".into(),
            None => "undefined: nothing was trained on".into(),
        },
        n,
        n_clusters: 0,
        n_invalid: 0,
        thresholds: Default::default(),
        label: None,
    };
    let completion: u64 = arm.cells.iter().map(|c| c.completion_tokens).sum();
    let touched: u64 = arm.cells.iter().map(|c| c.touched).sum();
    let share = (completion > 0).then(|| touched as f64 / completion as f64);
    let cells = arm.cells.len() as u64;
    vec![
        finding(
            "rollouts",
            "rollouts sampled to learn from, per seed",
            "count",
            Some(mean(|c| c.rollouts)),
            cells,
        ),
        finding(
            "optimizer_steps",
            "optimiser steps per seed",
            "count",
            Some(mean(|c| c.steps)),
            cells,
        ),
        finding(
            "tokens_trained",
            "tokens of the sequences trained on per seed, prompts included, as often as they were",
            "tokens",
            Some(mean(|c| c.tokens)),
            cells,
        ),
        finding(
            "touched_share",
            "completion tokens that the objective pushed / completion tokens of the rollouts trained on; n counts the latter",
            "share",
            share,
            completion,
        ),
    ]
}

#[cfg(test)]
mod tests;
