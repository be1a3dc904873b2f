//! Findings of an evaluation: how often one policy answers right, with how many
//! tokens, and how many samples were cut or gave no answer.
//!
//! pass@k, maj@k and avg@k are those of [`forkscope_metrics::stats::pass_at_k`]
//! and its neighbours, per problem; over problems the mean is taken. Every
//! interval is the cluster bootstrap over problems. All problems must have the
//! same number of samples. A problem without a reference answer cannot be graded:
//! it is left out of the accuracies, and its samples are counted as invalid
//! there. A truncated or empty sample is a sample: it counts as it was graded,
//! which is wrong unless the answer is there before the cut.

use std::collections::BTreeMap;

use forkscope_metrics::stats::{majority, pass_at_k};
use forkscope_records::types::{Finding, Findings, Validity};
use serde_json::{Value, json};

use super::FindingSettings;
use super::catalogue::{Catalogue, Entry, Estimate, Population};
use super::columns::Validities;
use crate::AuditError;

/// Categories that are reported one by one at most.
const MOST_CATEGORIES: usize = 64;

/// One sample of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampled {
    /// Completion tokens.
    pub tokens: usize,
    /// Validity of the rollout.
    pub validity: Validity,
    /// Whether it is correct; `None` where the problem has no reference answer.
    pub correct: Option<bool>,
    /// The answer, as a number that equal answers of the problem share; `None`
    /// without an answer.
    pub vote: Option<usize>,
}

/// A problem with its samples, in order of sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// A group that is reported separately.
    pub category: Option<String>,
    /// Samples.
    pub samples: Vec<Sampled>,
}

/// The findings of an evaluation at each k of `ks`, and of greedy completions
/// where there are any (one per problem, in the order of the problems).
///
/// # Errors
/// Settings out of range, problems with unequal numbers of samples, a k outside
/// 1 to that number.
pub fn evaluation(
    problems: &[Attempted],
    greedy: Option<&[Attempted]>,
    ks: &[usize],
    settings: &FindingSettings,
) -> Result<Findings, AuditError> {
    settings.check()?;
    let n = problems.first().map_or(0, |p| p.samples.len());
    check(problems, n, ks)?;
    let groups = groups(problems);
    let mut catalogue = Catalogue::new(problems.len());
    for group in &groups {
        for &k in ks {
            accuracies(&mut catalogue, problems, group, n, k)?;
        }
        if let Some(greedy) = greedy {
            let share = |s: &Sampled| s.correct.map(share_of);
            per_sample(&mut catalogue, greedy, group, &GREEDY, &share);
        }
        about_samples(
            &mut catalogue,
            problems,
            group,
            [&TOKENS, &TRUNCATED, &NO_ANSWER],
        );
        if let Some(greedy) = greedy {
            let of = [&GREEDY_TOKENS, &GREEDY_TRUNCATED, &GREEDY_NO_ANSWER];
            about_samples(&mut catalogue, greedy, group, of);
        }
    }
    let mut findings = catalogue.finish(settings)?;
    counts(&mut findings, "rollouts", problems);
    if let Some(greedy) = greedy {
        counts(&mut findings, "greedy_rollouts", greedy);
    }
    Ok(Findings {
        schema: Findings::SCHEMA.to_owned(),
        findings,
    })
}

fn check(problems: &[Attempted], n: usize, ks: &[usize]) -> Result<(), AuditError> {
    let setting = |setting, value: usize, range| {
        Err(AuditError::Setting {
            setting,
            value: value as f64,
            range,
        })
    };
    if let Some(other) = problems.iter().find(|p| p.samples.len() != n) {
        let range = "the same number for every problem";
        return setting("number of samples of a problem", other.samples.len(), range);
    }
    match ks.iter().find(|k| **k == 0 || **k > n.max(1)) {
        Some(&k) => setting("k", k, "[1, number of samples per problem]"),
        None => Ok(()),
    }
}

/// Problems that are reported together: all of them, or one category.
struct Group {
    /// What is added to the ids: nothing, or `.CATEGORY`.
    suffix: String,
    /// The category as the file spells it.
    label: Option<String>,
    members: Vec<u32>,
}

/// All problems first, then each category in order of its name.
fn groups(problems: &[Attempted]) -> Vec<Group> {
    let mut all = vec![Group {
        suffix: String::new(),
        label: None,
        members: (0..problems.len() as u32).collect(),
    }];
    let mut named: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (i, problem) in problems.iter().enumerate() {
        if let Some(category) = &problem.category {
            named.entry(category).or_default().push(i as u32);
        }
    }
    if named.len() > MOST_CATEGORIES {
        return all;
    }
    let mut taken: Vec<String> = Vec::new();
    for (label, members) in named {
        let mut suffix = format!(".{}", slug(label));
        while taken.contains(&suffix) {
            suffix.push('_');
        }
        taken.push(suffix.clone());
        all.push(Group {
            suffix,
            label: Some(label.to_owned()),
            members,
        });
    }
    all
}

/// A category as part of an id: letters, digits and `-` kept, the rest `_`.
fn slug(category: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || c == '-';
    category
        .chars()
        .take(64)
        .map(|c| if kept(c) { c.to_ascii_lowercase() } else { '_' })
        .collect()
}

/// pass@k, maj@k and avg@k of a group.
fn accuracies(
    catalogue: &mut Catalogue,
    problems: &[Attempted],
    group: &Group,
    n: usize,
    k: usize,
) -> Result<(), AuditError> {
    let mut units: [Vec<(u32, f64)>; 3] = Default::default();
    let mut ungraded = 0;
    for &i in &group.members {
        let samples = &problems[i as usize].samples;
        let graded: Option<Vec<bool>> = samples.iter().map(|s| s.correct).collect();
        let Some(graded) = graded.filter(|g| !g.is_empty()) else {
            ungraded += 1;
            continue;
        };
        let correct = |of: &[bool]| of.iter().filter(|c| **c).count();
        let first = graded.get(..k).unwrap_or(&graded);
        let votes: Vec<Option<usize>> = samples.iter().take(k).map(|s| s.vote).collect();
        let winner = majority(&votes).and_then(|sample| graded.get(sample).copied());
        let values = [
            pass_at_k(n as u64, correct(&graded) as u64, k as u64)?,
            share_of(winner == Some(true)),
            correct(first) as f64 / first.len() as f64,
        ];
        for (units, value) in units.iter_mut().zip(values) {
            units.push((i, value));
        }
    }
    let named = [
        (
            "pass",
            n,
            "chance that k samples drawn without replacement from the n of a problem hold a correct one, 1 - C(n-c, k) / C(n, k) with c correct (arXiv 2107.03374), mean over problems",
        ),
        (
            "maj",
            k,
            "share of problems where the answer that most of the first k samples give is correct; a tie goes to the answer that came earliest, samples without an answer do not vote",
        ),
        (
            "avg",
            k,
            "share of the first k samples of a problem that are correct, mean over problems",
        ),
    ];
    for ((name, used, definition), units) in named.into_iter().zip(units) {
        let count = catalogue.sum(units.iter().map(|(i, _)| (*i, 1.0)));
        let of = Population {
            n: (units.len() * used) as u64,
            n_invalid: (ungraded * used) as u64,
            ..catalogue.counted(count, 0)
        };
        let sum = catalogue.sum(units.into_iter());
        catalogue.push(Entry {
            id: format!("{name}_at_{k}{}", group.suffix),
            definition: definition.to_owned(),
            unit: "share",
            of,
            estimate: Estimate::Ratio(sum, of.count),
            thresholds: vec![("k", json!(k)), ("samples_per_problem", json!(n))],
            label: group.label.clone(),
        });
    }
    Ok(())
}

/// A mean over samples.
struct Quantity {
    id: &'static str,
    definition: &'static str,
    unit: &'static str,
}

const fn quantity(id: &'static str, definition: &'static str, unit: &'static str) -> Quantity {
    Quantity {
        id,
        definition,
        unit,
    }
}

const TOKENS: Quantity = quantity(
    "tokens_per_answer",
    "mean number of completion tokens; a completion cut by the token limit counts as far as it goes",
    "tokens",
);
const TRUNCATED: Quantity = quantity(
    "truncated_share",
    "share of samples cut by the token limit or the end of the context",
    "share",
);
const NO_ANSWER: Quantity = quantity(
    "no_answer_share",
    "share of samples in which no answer was found",
    "share",
);
const GREEDY: Quantity = quantity(
    "greedy",
    "share of problems whose greedy completion (T = 0) is correct",
    "share",
);
const GREEDY_TOKENS: Quantity = quantity(
    "greedy.tokens_per_answer",
    "mean number of tokens of the greedy completions; a cut one counts as far as it goes",
    "tokens",
);
const GREEDY_TRUNCATED: Quantity = quantity(
    "greedy.truncated_share",
    "share of greedy completions cut by the token limit or the end of the context",
    "share",
);
const GREEDY_NO_ANSWER: Quantity = quantity(
    "greedy.no_answer_share",
    "share of greedy completions in which no answer was found",
    "share",
);

fn about_samples(
    catalogue: &mut Catalogue,
    problems: &[Attempted],
    group: &Group,
    [tokens, truncated, no_answer]: [&Quantity; 3],
) {
    per_sample(catalogue, problems, group, tokens, &|s| {
        Some(s.tokens as f64)
    });
    per_sample(catalogue, problems, group, truncated, &|s| {
        Some(share_of(s.validity == Validity::Truncated))
    });
    per_sample(catalogue, problems, group, no_answer, &|s| {
        Some(share_of(s.vote.is_none()))
    });
}

fn per_sample(
    catalogue: &mut Catalogue,
    problems: &[Attempted],
    group: &Group,
    quantity: &Quantity,
    value: &dyn Fn(&Sampled) -> Option<f64>,
) {
    let mut units = Vec::new();
    let mut left_out = 0;
    for &i in &group.members {
        let samples = problems.get(i as usize).map_or(&[][..], |p| &p.samples);
        for sample in samples {
            match value(sample) {
                Some(value) => units.push((i, value)),
                None => left_out += 1,
            }
        }
    }
    let of = catalogue.population(units.iter().map(|(i, _)| *i), left_out);
    let sum = catalogue.sum(units.into_iter());
    let none: Vec<(&str, Value)> = Vec::new();
    catalogue.push(Entry {
        id: format!("{}{}", quantity.id, group.suffix),
        definition: quantity.definition.to_owned(),
        unit: quantity.unit,
        of,
        estimate: Estimate::Ratio(sum, of.count),
        thresholds: none,
        label: group.label.clone(),
    });
}

/// Samples by validity; all of them enter the numbers.
fn counts(findings: &mut Vec<Finding>, name: &str, problems: &[Attempted]) {
    let mut validities = Validities::default();
    for sample in problems.iter().flat_map(|p| &p.samples) {
        validities.add(sample.validity);
    }
    let (total, clusters) = (validities.total(), problems.len() as u64);
    let mut push = |id: String, definition: String, value: u64| {
        findings.push(Finding {
            id,
            definition,
            value: Some(value as f64),
            unit: "rollouts".into(),
            low: None,
            high: None,
            level: None,
            method: "count".into(),
            n: total,
            n_clusters: clusters,
            n_invalid: 0,
            thresholds: BTreeMap::new(),
            label: None,
        });
    };
    push(
        format!("{name}.total"),
        "number of samples; all of them enter the numbers".into(),
        total,
    );
    for validity in Validities::ALL {
        let found = validities.of(validity);
        // What sampling yields is shown even where there is none of it.
        if found > 0
            || matches!(
                validity,
                Validity::Ok | Validity::Truncated | Validity::Empty
            )
        {
            let word = validity.as_str();
            push(
                format!("{name}.{word}"),
                format!("number of samples whose validity is {word}"),
                found,
            );
        }
    }
}

fn share_of(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[cfg(test)]
mod tests;
