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
mod tests {
    use super::*;

    fn sample(correct: Option<bool>, vote: Option<usize>, validity: Validity) -> Sampled {
        Sampled {
            tokens: 10,
            validity,
            correct,
            vote,
        }
    }

    fn problem(category: &str, votes: &[Option<usize>]) -> Attempted {
        Attempted {
            category: Some(category.to_owned()),
            samples: votes
                .iter()
                .map(|v| sample(Some(*v == Some(0)), *v, Validity::Ok))
                .collect(),
        }
    }

    fn value(found: &Findings, id: &str) -> f64 {
        found
            .get(id)
            .unwrap_or_else(|| panic!("{id}"))
            .value
            .unwrap()
    }

    #[test]
    fn by_hand() {
        let problems = [
            problem("Easy one", &[Some(0), Some(0), Some(1), Some(0)]),
            problem("hard", &[Some(1), Some(0), Some(1), None]),
            problem("hard", &[Some(2), Some(0), None, None]),
        ];
        let ks = [1, 2, 4];
        let found = evaluation(&problems, None, &ks, &FindingSettings::default()).unwrap();
        let is = |id: &str, expected: f64| {
            let value = value(&found, id);
            assert!((value - expected).abs() < 1e-12, "{id}: {value}");
        };
        is("pass_at_1", (0.75 + 0.25 + 0.25) / 3.0);
        is("pass_at_2", (1.0 + 0.5 + 0.5) / 3.0);
        is("pass_at_4", 1.0);
        is("pass_at_4.easy_one", 1.0);
        is("pass_at_1.hard", 0.25);
        is("maj_at_1", 1.0 / 3.0);
        // Ties go to the first: answers 1 and 2 of the hard ones.
        is("maj_at_4", 1.0 / 3.0);
        is("avg_at_2", (1.0 + 0.5 + 0.5) / 3.0);
        is("avg_at_4", value(&found, "pass_at_1"));
        is("no_answer_share", 3.0 / 12.0);
        is("tokens_per_answer", 10.0);
        is("rollouts.total", 12.0);
        let hard = found.get("pass_at_1.hard").unwrap();
        assert_eq!((hard.n, hard.n_clusters, hard.n_invalid), (8, 2, 0));
        assert_eq!(hard.label.as_deref(), Some("hard"));
        let all = found.get("pass_at_1").unwrap();
        assert!(all.low.unwrap() <= 5.0 / 12.0 && all.high.unwrap() >= 5.0 / 12.0);
    }

    #[test]
    fn ungraded_problems_are_left_out_and_counted() {
        let mut problems = vec![problem("a", &[Some(0), Some(1)]); 3];
        problems[1].samples = vec![sample(None, Some(1), Validity::Truncated); 2];
        let greedy: Vec<Attempted> = problems
            .iter()
            .map(|p| Attempted {
                samples: p.samples[..1].to_vec(),
                ..p.clone()
            })
            .collect();
        let settings = FindingSettings::default();
        let found = evaluation(&problems, Some(&greedy), &[1, 2], &settings).unwrap();
        let pass = found.get("pass_at_2").unwrap();
        assert_eq!((pass.n, pass.n_clusters, pass.n_invalid), (4, 2, 2));
        assert_eq!(pass.value, Some(1.0));
        // Nothing varied, so that resampling says nothing.
        assert_eq!(pass.low, None);
        let greedy = found.get("greedy").unwrap();
        assert_eq!((greedy.n, greedy.n_invalid), (2, 1));
        assert_eq!(value(&found, "truncated_share"), 1.0 / 3.0);
        assert_eq!(value(&found, "greedy_rollouts.truncated"), 1.0);
        // Nobody graded: undefined, not zero.
        for p in &mut problems {
            p.samples = vec![sample(None, None, Validity::Empty); 2];
        }
        let found = evaluation(&problems, None, &[1], &settings).unwrap();
        assert_eq!(found.get("pass_at_1").unwrap().value, None);
        assert_eq!(value(&found, "no_answer_share"), 1.0);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let settings = FindingSettings::default();
        let even = [problem("a", &[Some(0)]), problem("a", &[Some(0)])];
        assert!(evaluation(&even, None, &[2], &settings).is_err());
        assert!(evaluation(&even, None, &[0], &settings).is_err());
        let uneven = [problem("a", &[Some(0)]), problem("a", &[])];
        assert!(evaluation(&uneven, None, &[1], &settings).is_err());
        // No problem at all: every value is undefined.
        let none = evaluation(&[], None, &[1], &settings).unwrap();
        assert_eq!(none.get("pass_at_1").unwrap().value, None);
    }

    #[test]
    fn categories_that_look_alike_keep_apart() {
        let problems = [problem("a b", &[Some(0)]), problem("a_b", &[None])];
        let found = evaluation(&problems, None, &[1], &FindingSettings::default()).unwrap();
        assert_eq!(value(&found, "pass_at_1.a_b"), 1.0);
        assert_eq!(value(&found, "pass_at_1.a_b_"), 0.0);
    }
}
