//! Findings about prices, from the rows of `reversions.parquet` alone.
//!
//! Ids are `revert.DIRECTION.METHOD[.CONTROL].WHAT`, and without a method
//! `revert.DIRECTION.WHAT`. The unit of inference is the problem. Subjects without
//! a price are counted under `revert.DIRECTION.answers.*` and enter nothing else;
//! answers without a verdict count as not turned and are given as invalid.

mod links;
mod methods;

use std::collections::BTreeMap;

use forkscope_metrics::stats::BootstrapSettings;
use forkscope_records::types::{
    Finding, Reversion, ReversionDirection, ReversionMethod, ReversionStatus,
};
use serde_json::Value;

use super::curves::{Estimated, mean};
use crate::AuditError;
use crate::findings::FindingSettings;

/// What findings say beside the numbers of the rows.
pub struct Described<'a> {
    /// The behaviour, as the user wrote it.
    pub behaviour: &'a str,
    /// Text of a token, for reading.
    pub piece: &'a dyn Fn(u32) -> Option<String>,
}

/// The findings of all directions in these rows.
///
/// # Errors
/// A statistic that cannot be computed from them.
pub fn findings(
    rows: &[Reversion],
    described: &Described<'_>,
    settings: &FindingSettings,
) -> Result<Vec<Finding>, AuditError> {
    let mut all = Vec::new();
    for direction in ReversionDirection::ALL {
        let rows: Vec<&Reversion> = rows.iter().filter(|r| r.direction == *direction).collect();
        if rows.is_empty() {
            continue;
        }
        let maker = Maker {
            direction: *direction,
            described,
            draws: BootstrapSettings {
                seed: settings.seed,
                replicates: settings.replicates,
                level: settings.level,
            },
        };
        let subjects = group(&rows);
        all.extend(standing(&maker, &subjects));
        let eligible: Vec<&Group<'_>> = subjects.iter().filter(|s| s.rows.len() > 2).collect();
        all.extend(methods::findings(&maker, &eligible)?);
        all.extend(links::findings(&maker, &eligible));
    }
    Ok(all)
}

/// The rows of one subject.
struct Group<'r> {
    /// Index of its problem.
    cluster: usize,
    rows: Vec<&'r Reversion>,
}

impl Group<'_> {
    fn own(&self) -> Option<&Reversion> {
        self.rows.first().copied()
    }

    fn behaves(&self, method: ReversionMethod) -> Option<bool> {
        self.rows.iter().find(|r| r.method == method)?.behaviour
    }
}

fn group<'r>(rows: &[&'r Reversion]) -> Vec<Group<'r>> {
    let mut clusters: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<Group<'r>> = Vec::new();
    for row in rows {
        if row.method == ReversionMethod::Tuned {
            let next = clusters.len();
            groups.push(Group {
                cluster: *clusters.entry(&row.problem_id).or_insert(next),
                rows: Vec::new(),
            });
        }
        if let Some(group) = groups.last_mut() {
            group.rows.push(row);
        }
    }
    groups
}

/// How many subjects have a price, and why the others have none.
fn standing(maker: &Maker<'_>, subjects: &[Group<'_>]) -> Vec<Finding> {
    use ReversionMethod as M;
    let target = maker.direction == ReversionDirection::Induce;
    let count = |is: &dyn Fn(&Group<'_>) -> bool| subjects.iter().filter(|s| is(s)).count();
    let eligible = |s: &Group<'_>| s.rows.len() > 2;
    let undecided = |s: &Group<'_>| s.behaves(M::Tuned).is_none();
    let nothing = |s: &Group<'_>| s.behaves(M::Tuned) == Some(target);
    let rest = |s: &Group<'_>| !eligible(s) && !undecided(s) && !nothing(s);
    let base_undecided = |s: &Group<'_>| rest(s) && s.behaves(M::Base).is_none();
    let (own, from, to) = match target {
        false => ("shows", "the base's does not", "the base's shows it too"),
        true => (
            "does not show",
            "the donor's does",
            "the base's does not either",
        ),
    };
    let behaviour = maker.described.behaviour;
    let counted: [(&str, String, usize); 4] = [
        (
            "eligible",
            format!("answers with a price: the tuned policy's {own} the behaviour `{behaviour}`, {from}"),
            count(&eligible),
        ),
        (
            "nothing_to_turn",
            format!("answers without a price, because the tuned policy's own does already what it would be brought to (behaviour `{behaviour}`)"),
            count(&nothing),
        ),
        (
            "base_agrees",
            format!("answers without a price, because {to}, so that there is nothing to bring it back to"),
            count(&|s| rest(s) && !base_undecided(s)),
        ),
        (
            "undecided",
            "answers without a price, because there is no verdict on the tuned policy's or the base's own".to_owned(),
            count(&|s| undecided(s) || base_undecided(s)),
        ),
    ];
    let mut all = Vec::new();
    for (what, definition, count) in counted {
        all.push(maker.counted(
            &format!("answers.{what}"),
            definition,
            count,
            subjects.len(),
        ));
    }
    for (what, method) in [("tuned", M::Tuned), ("base", M::Base)] {
        let decided = subjects
            .iter()
            .filter_map(|s| Some((s.cluster, f64::from(u8::from(s.behaves(method)?)))));
        let estimated = mean(decided, &maker.draws);
        let invalid = subjects.len() - estimated.n;
        all.push(maker.finding(
            &format!("behaviour.{what}"),
            format!(
                "share of the {what} policy's own answers that show the behaviour `{behaviour}`"
            ),
            "share",
            estimated,
            invalid,
            &[],
        ));
    }
    all
}

/// Makes findings of one direction.
struct Maker<'a> {
    direction: ReversionDirection,
    described: &'a Described<'a>,
    draws: BootstrapSettings,
}

impl Maker<'_> {
    fn id(&self, what: &str) -> String {
        format!("revert.{}.{what}", self.direction.as_str())
    }

    fn finding(
        &self,
        what: &str,
        definition: String,
        unit: &str,
        estimated: Estimated,
        invalid: usize,
        thresholds: &[(&str, Value)],
    ) -> Finding {
        let interval = estimated.interval;
        let method = match (interval, estimated.value) {
            (Some(_), _) => format!(
                "cluster bootstrap over problems, {} replicates, percentile",
                self.draws.replicates
            ),
            (None, Some(_)) => "no interval: it takes two problems and a bootstrap".to_owned(),
            (None, None) => "undefined: no answer has such a price".to_owned(),
        };
        Finding {
            id: self.id(what),
            definition,
            value: estimated.value,
            unit: unit.to_owned(),
            low: interval.map(|i| i.low),
            high: interval.map(|i| i.high),
            level: interval.map(|i| i.level),
            method,
            n: estimated.n as u64,
            n_clusters: estimated.n_clusters as u64,
            n_invalid: invalid as u64,
            thresholds: thresholds
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            label: None,
        }
    }

    fn counted(&self, what: &str, definition: String, count: usize, of: usize) -> Finding {
        Finding {
            id: self.id(what),
            definition,
            value: Some(count as f64),
            unit: "rollouts".to_owned(),
            low: None,
            high: None,
            level: None,
            method: "counted".to_owned(),
            n: of as u64,
            n_clusters: 0,
            n_invalid: 0,
            thresholds: BTreeMap::new(),
            label: None,
        }
    }
}

/// Attempts of a row that have no verdict.
fn undecided(row: &Reversion) -> bool {
    row.behaviour.is_none() && row.status != ReversionStatus::Reached
}
