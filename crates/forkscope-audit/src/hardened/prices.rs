//! Restricted means and shares turned, of both sides.

use std::collections::BTreeMap;

use forkscope_records::types::{
    Finding, Reversion, ReversionControl, ReversionDirection, ReversionMethod,
};
use serde_json::json;

use super::LEVELS;
use super::paired::{Maker, Number, Pairs};
use crate::AuditError;

/// A price: its name, what it is, and the methods of which the least counts.
pub(super) struct Measure {
    name: &'static str,
    what: &'static str,
    methods: &'static [ReversionMethod],
    /// Whether prices are whole numbers, with shares turned by each level.
    levels: bool,
}

pub(super) const MEASURES: &[Measure] = &[
    Measure {
        name: "tokens",
        what: "forced base tokens, the least of the rules of highest JS and of first disagreement",
        methods: &[ReversionMethod::Tokens, ReversionMethod::TokensFirst],
        levels: true,
    },
    Measure {
        name: "prefill",
        what: "leading tokens of the base's own answer",
        methods: &[ReversionMethod::Prefill],
        levels: true,
    },
    Measure {
        name: "alpha",
        what: "weight of the base in ln pi = (1-a) ln p + a ln b + c",
        methods: &[ReversionMethod::Alpha],
        levels: false,
    },
    Measure {
        name: "nats",
        what: "nats of logit shift at forced tokens",
        methods: &[ReversionMethod::Nats],
        levels: false,
    },
];

/// One answer with its price.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Price {
    /// `None`: not reached.
    price: Option<f64>,
}

/// The prices of one side.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Priced {
    by_problem: BTreeMap<String, Vec<Price>>,
    /// Answers without a verdict, on either policy's side.
    invalid: u64,
    /// The largest price tried.
    pub cap: Option<f64>,
    unit: String,
}

/// What rows say about one answer.
#[derive(Default)]
struct Subject {
    own: Option<bool>,
    base: Option<bool>,
    least: Option<f64>,
}

impl Priced {
    /// From rows; those of other directions and of controls are passed over.
    pub fn of(rows: &[Reversion], measure: &Measure) -> Self {
        let mut out = Self::default();
        let mut subjects: BTreeMap<(&str, u32), Subject> = BTreeMap::new();
        let undo = |r: &&Reversion| {
            r.direction == ReversionDirection::Undo && r.control == ReversionControl::None
        };
        for row in rows.iter().filter(undo) {
            let subject = subjects
                .entry((row.problem_id.as_str(), row.sample))
                .or_default();
            match row.method {
                ReversionMethod::Tuned => subject.own = row.behaviour,
                ReversionMethod::Base => subject.base = row.behaviour,
                method if measure.methods.contains(&method) => {
                    out.cap = Some(out.cap.map_or(row.cap, |cap: f64| cap.max(row.cap)));
                    out.unit.clone_from(&row.unit);
                    subject.least = match (subject.least, row.price) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                }
                _ => {}
            }
        }
        for ((problem, _), subject) in subjects {
            let price = match (subject.own, subject.base) {
                (None, _) | (_, None) => {
                    out.invalid += 1;
                    continue;
                }
                // The base behaves so by itself: there is nothing to undo.
                (_, Some(true)) => continue,
                (Some(false), _) => Some(0.0),
                (Some(true), _) => subject.least,
            };
            let of = out.by_problem.entry(problem.to_owned()).or_default();
            of.push(Price { price });
        }
        out
    }

    fn pairs(&self, value: impl Fn(&Price) -> f64) -> Pairs {
        let sum = |prices: &Vec<Price>| {
            let sum: f64 = prices.iter().map(&value).sum();
            (sum, prices.len() as f64)
        };
        Pairs {
            sums: self
                .by_problem
                .iter()
                .map(|(problem, prices)| (problem.clone(), sum(prices)))
                .collect(),
            invalid: self.invalid,
        }
    }

    fn restricted(&self, cap: f64) -> Pairs {
        self.pairs(|p| p.price.map_or(cap, |price| price.min(cap)))
    }

    fn turned(&self, level: f64) -> Pairs {
        self.pairs(|p| f64::from(u8::from(p.price.is_some_and(|price| price <= level))))
    }
}

/// Means, shares turned, ratio and change of one measure.
pub(super) fn findings(
    maker: &Maker<'_>,
    measure: &Measure,
    cap: f64,
    (before, after): &(Priced, Priced),
    out: &mut Vec<Finding>,
) -> Result<(), AuditError> {
    let unit = match before.unit.is_empty() {
        true => after.unit.as_str(),
        false => before.unit.as_str(),
    };
    let number = |when: &str, what: &str, definition: String, unit| {
        let mut thresholds = maker.thresholds();
        thresholds.insert("cap".into(), json!(cap));
        Number {
            id: format!("harden.{when}.{}{what}", measure.name),
            definition,
            unit,
            thresholds,
        }
    };
    let (a, b) = (before.restricted(cap), after.restricted(cap));
    for (when, of) in [("before", &a), ("after", &b)] {
        let said = format!(
            "mean of min(price, {cap}), {when} hardening; price: {}",
            measure.what
        );
        out.push(maker.mean(number(when, ".restricted_mean", said, unit), of));
    }
    if measure.levels {
        for (when, of) in [("before", before), ("after", after)] {
            let levels = std::iter::once(0).chain(LEVELS);
            for level in levels.filter(|k| f64::from(*k) <= cap) {
                let said = format!(
                    "share of answers without the behaviour after {level} forced, {when} hardening; forced: {}",
                    measure.what
                );
                let turned = of.turned(f64::from(level));
                let what = format!(".turned_by.{level}");
                out.push(maker.mean(number(when, &what, said, "share"), &turned));
            }
        }
    }
    let said = format!(
        "restricted mean after hardening over before; price: {}",
        measure.what
    );
    out.push(maker.ratio(number("ratio", ".restricted_mean", said, "ratio"), &a, &b));
    let said = format!(
        "restricted mean after hardening minus before, within problems; price: {}",
        measure.what
    );
    out.push(maker.change(number("change", ".restricted_mean", said, unit), &a, &b)?);
    Ok(())
}
