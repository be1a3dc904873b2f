//! Findings of an audit that was made: `coverage.*`.

use forkscope_records::types::Finding;
use serde_json::{Value, json};

use super::bounds::{
    Bounded, NewProblems, PositionBounds, new_problem_bounds, position_bounds, problem_bounds,
};
use super::design::{Draw, Drawn};
use super::outcome::{Changed, Outcome};
use super::population::Population;
use crate::AuditError;

/// Positions that were looked at: index in the population and outcome, ascending.
pub type Audited = [(u32, Outcome)];

/// What an audit says about its population and about new problems.
///
/// # Errors
/// An outcome missing for a position of the draw; a level outside (0, 1).
pub fn coverage_findings(
    population: &Population,
    draw: &Draw,
    audited: &Audited,
    rule: Changed,
    level: f64,
) -> Result<Vec<Finding>, AuditError> {
    let find = |index: &u32| {
        let at = audited.binary_search_by_key(index, |(i, _)| *i);
        let found = at.ok().and_then(|at| audited.get(at));
        found.map(|(_, outcome)| *outcome).ok_or_else(|| {
            AuditError::Coverage(format!(
                "position {index} of the plan was not audited; execute the whole plan"
            ))
        })
    };
    let maker = Maker {
        rule,
        level,
        budget: draw.budget,
        population,
    };
    match &draw.drawn {
        Drawn::Positions { certain, sampled } => {
            let all = |list: &[u32]| list.iter().map(find).collect::<Result<Vec<_>, _>>();
            let rest = (population.len() - certain.len()) as u64;
            let bounds = position_bounds(&all(certain)?, &all(sampled)?, rest, level)?;
            Ok(maker.positions(&bounds))
        }
        Drawn::Problems(problems) => {
            let places = audited.iter().map(|(index, outcome)| {
                let position = population.positions.get(*index as usize);
                (
                    position.map_or(usize::MAX, |p| population.problem_of(p)),
                    outcome,
                )
            });
            let means = problem_bounds(places, population.problems);
            let drawn: Option<Vec<_>> = problems
                .iter()
                .map(|p| means.get(*p as usize).copied().flatten())
                .collect();
            let drawn = drawn.ok_or_else(|| {
                AuditError::Coverage(
                    "a problem of the plan was not audited; execute the whole plan".into(),
                )
            })?;
            let listed = new_problem_bounds(&drawn, Some(population.problems as u64), level)?;
            let new = new_problem_bounds(&drawn, None, level)?;
            let positions = drawn.iter().map(|p| p.positions).sum();
            let mut out = maker.problems("listed_problems", &LISTED, &listed, positions);
            out.extend(maker.problems("new_problems", &NEW, &new, positions));
            Ok(out)
        }
    }
}

/// What a diff of every position of problems says about new problems drawn like
/// them. The problems are taken in the order of the population, which must not
/// depend on what was found.
///
/// # Errors
/// No outcome; a level outside (0, 1).
pub fn new_problem_findings(
    population: &Population,
    outcomes: &[Outcome],
    rule: Changed,
    level: f64,
) -> Result<Vec<Finding>, AuditError> {
    let places = population
        .positions
        .iter()
        .map(|p| population.problem_of(p));
    let means: Vec<_> = problem_bounds(places.zip(outcomes), population.problems)
        .into_iter()
        .flatten()
        .collect();
    let new = new_problem_bounds(&means, None, level)?;
    let maker = Maker {
        rule,
        level,
        budget: 1.0,
        population,
    };
    Ok(maker.problems("new_problems", &NEW, &new, outcomes.len() as u64))
}

/// Whom a bound on problems is about.
struct About {
    words: &'static str,
    method: &'static str,
}

const LISTED: About = About {
    words: "over the listed problems",
    method: "betting bound, sampling without replacement, problems as units (Waudby-Smith and Ramdas 2024)",
};

const NEW: About = About {
    words: "over new problems drawn as these were, one rollout drawn as here",
    method: "betting bound, independent problems as units (Waudby-Smith and Ramdas 2024)",
};

struct Maker<'a> {
    rule: Changed,
    level: f64,
    budget: f64,
    population: &'a Population,
}

/// How a bound came about.
const EXACT: &str = "one-sided bounds, exact hypergeometric tail of a simple random sample";
const BETTING: &str = "one-sided betting bound of a simple random sample without replacement (Waudby-Smith and Ramdas 2024)";

impl Maker<'_> {
    fn positions(&self, b: &PositionBounds) -> Vec<Finding> {
        let rule = self.rule.words();
        let mut out = Vec::new();
        let mut add =
            |id: &str, what: String, unit: &str, bounded: Option<Bounded>, method: &str| {
                out.push(self.finding(
                    (&format!("coverage.{id}"), &what, unit),
                    bounded,
                    method,
                    (b.certain.0 + b.sampled.0, self.population.problems as u64),
                ));
            };
        add(
            "certain.changed_share",
            format!("changed share of the certain stratum, all of which was audited; {rule}"),
            "share",
            (b.certain.0 > 0).then(|| exactly(b.certain.1 as f64 / b.certain.0 as f64)),
            "every position of the stratum was audited; no bound needed",
        );
        add(
            "unaudited.changed_share",
            format!(
                "changed share of the positions that nobody looked at, estimated from the sample; null where there is none; {rule}"
            ),
            "share",
            b.unaudited_changed(),
            EXACT,
        );
        add(
            "all.changed_share",
            format!("changed share of all positions of the population; {rule}"),
            "share",
            Some(b.changed()),
            EXACT,
        );
        add(
            "seen.changed_share",
            format!(
                "share of the changed positions that the audit looked at; null where none may be changed; {rule}"
            ),
            "share",
            b.seen_changed(),
            EXACT,
        );
        for (name, unit, mass) in [("js", "nats", &b.js), ("tv", "probability", &b.tv)] {
            let upper = name.to_uppercase();
            add(
                &format!("unaudited.{name}_mean"),
                format!(
                    "mean {upper} of the positions that nobody looked at, estimated from the sample; null where there is none"
                ),
                unit,
                b.unaudited_mean(mass),
                BETTING,
            );
            add(
                &format!("all.{name}_mean"),
                format!("mean {upper} of all positions of the population"),
                unit,
                Some(b.mean(mass)),
                BETTING,
            );
            add(
                &format!("seen.{name}_share"),
                format!(
                    "share of the summed {upper} that lies where the audit looked; null where there may be none"
                ),
                "share",
                b.seen_mass(mass),
                BETTING,
            );
        }
        let kl = b.certain_kl_share().map(|value| Bounded {
            value,
            low: None,
            high: None,
        });
        add(
            "certain.kl_share",
            format!(
                "share of the summed KL(tuned || base) that lies in the certain stratum, the sample standing for the rest; {} audited positions without a KL are left out",
                b.kl.2
            ),
            "share",
            kl,
            "estimate without a guarantee: KL has no upper end, so one position that nobody looked at could hold any amount",
        );
        out
    }

    fn problems(&self, id: &str, about: &About, b: &NewProblems, positions: u64) -> Vec<Finding> {
        let rule = self.rule.words();
        [
            (
                "changed_share",
                "share",
                "changed share",
                format!("; {rule}"),
                b.changed,
            ),
            ("js_mean", "nats", "mean JS", String::new(), b.js),
            ("tv_mean", "probability", "mean TV", String::new(), b.tv),
        ]
        .into_iter()
        .map(|(name, unit, words, more, bounded)| {
            let definition = format!(
                "mean {} of the {words} of a problem's positions{more}; {positions} positions",
                about.words
            );
            self.finding(
                (&format!("coverage.{id}.{name}"), &definition, unit),
                Some(bounded),
                &format!("one-sided {}", about.method),
                (b.problems, b.problems),
            )
        })
        .collect()
    }

    fn finding(
        &self,
        (id, definition, unit): (&str, &str, &str),
        bounded: Option<Bounded>,
        method: &str,
        (n, clusters): (u64, u64),
    ) -> Finding {
        let bound = bounded.is_some_and(|b| (b.low, b.high) != (None, None));
        let settings: [(&str, Value); 3] = [
            ("budget", json!(self.budget)),
            ("changed", json!(self.rule.to_string())),
            ("population", json!(self.population.len())),
        ];
        Finding {
            id: id.to_owned(),
            definition: definition.to_owned(),
            value: bounded.map(|b| b.value),
            unit: unit.to_owned(),
            low: bounded.and_then(|b| b.low),
            high: bounded.and_then(|b| b.high),
            level: bound.then_some(self.level),
            method: method.to_owned(),
            n,
            n_clusters: clusters,
            n_invalid: self.population.invalid,
            thresholds: settings
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            label: None,
        }
    }
}

/// A value that is known.
fn exactly(value: f64) -> Bounded {
    Bounded {
        value,
        low: None,
        high: None,
    }
}
