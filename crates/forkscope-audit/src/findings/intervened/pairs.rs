//! Arms in pairs: what changed between them, and whether by chance.

use std::collections::HashMap;

use forkscope_metrics::stats::{
    SignFlipSettings, benjamini_hochberg, mcnemar_exact, sign_flip_test,
};
use forkscope_records::types::Finding;
use serde_json::json;

use super::{Cell, OneTable};

/// False-discovery rate over the guided arms of a table.
const FALSE_DISCOVERIES: f64 = 0.05;

impl OneTable<'_> {
    /// Pairs that changed, and the p-value of the difference.
    pub(super) fn of_pairs(&self, a: &Cell<'_>, b: &Cell<'_>, name: &str) -> Vec<Finding> {
        if std::ptr::eq(a, b) {
            return Vec::new();
        }
        let test = self.test(a, b);
        let id = format!("{}.minus.{name}", a.id);
        let of =
            |kind: &str, definition: &str, unit: &str, value: Option<f64>, method: &str| Finding {
                id: format!("intervene.{kind}.{id}"),
                definition: definition.into(),
                value,
                unit: unit.into(),
                low: None,
                high: None,
                level: None,
                method: method.into(),
                n: test.pairs,
                n_clusters: a.of.n_clusters,
                n_invalid: a.of.n_invalid,
                thresholds: Default::default(),
                label: None,
            };
        let count = |n: u64| Some(n as f64);
        vec![
            of(
                "p_value",
                "probability of a difference at least as large, of either sign, if the two arms were exchangeable within every problem",
                "probability",
                test.p,
                &test.method,
            ),
            of(
                "wrong_to_right",
                "rollouts that are wrong (or do not show the behaviour) under the second arm and right under the first",
                "count",
                count(test.gained),
                "count over pairs",
            ),
            of(
                "right_to_wrong",
                "rollouts that are right (or show the behaviour) under the second arm and wrong under the first",
                "count",
                count(test.lost),
                "count over pairs",
            ),
        ]
    }

    /// First arm against second, paired.
    pub(super) fn test(&self, a: &Cell<'_>, b: &Cell<'_>) -> Test {
        let mut sums: HashMap<u32, (f64, u32)> = HashMap::new();
        let mut test = Test::default();
        for (x, y) in a.units.iter().zip(&b.units) {
            let (Some(x_hit), Some(y_hit)) = (x.value, y.value) else {
                continue;
            };
            test.pairs += 1;
            test.gained += u64::from(x_hit && !y_hit);
            test.lost += u64::from(!x_hit && y_hit);
            let slot = sums.entry(x.problem).or_default();
            slot.0 += f64::from(i8::from(x_hit) - i8::from(y_hit));
            slot.1 += 1;
        }
        if sums.values().all(|(_, n)| *n == 1) {
            test.p = mcnemar_exact(test.gained, test.lost)
                .ok()
                .filter(|_| test.pairs > 0);
            test.method = "exact McNemar test, two-sided: one sample per problem".into();
            return test;
        }
        let mut problems: Vec<(u32, f64)> = sums
            .iter()
            .map(|(problem, (sum, n))| (*problem, sum / f64::from(*n)))
            .collect();
        problems.sort_unstable_by_key(|(problem, _)| *problem);
        let differences: Vec<f64> = problems.into_iter().map(|(_, d)| d).collect();
        let how = SignFlipSettings {
            seed: self.settings.seed,
            ..SignFlipSettings::default()
        };
        match sign_flip_test(&differences, &how) {
            Ok(found) => {
                test.p = Some(found.p_value);
                test.method = match found.draws {
                    None => "two-sided sign-flip test over problems, all patterns".into(),
                    Some(n) => format!("two-sided sign-flip test over problems, {n} draws"),
                };
            }
            Err(error) => test.method = format!("undefined: {error}"),
        }
        test
    }

    /// How many guided arms go further towards the other policy than random
    /// positions of the same number, and how many less far.
    pub(super) fn verdict(
        &self,
        tests: &[(&Cell<'_>, f64, Option<f64>)],
        way: f64,
    ) -> Vec<Finding> {
        let defined: Vec<(bool, f64)> = tests
            .iter()
            .filter(|(cell, ..)| !cell.arm.is_identity(self.temperature.1))
            .filter_map(|(_, difference, p)| Some((*difference * way > 0.0, (*p)?)))
            .collect();
        let p_values: Vec<f64> = defined.iter().map(|(_, p)| *p).collect();
        let Ok(found) = benjamini_hochberg(&p_values, FALSE_DISCOVERIES) else {
            return Vec::new();
        };
        let count = |further: bool| {
            let both = defined.iter().zip(&found.rejected);
            both.filter(|((f, _), rejected)| *f == further && **rejected)
                .count()
        };
        let units = tests.first().map_or(0, |(cell, ..)| cell.of.n_clusters);
        [("guided_further", true), ("guided_less_far", false)]
            .into_iter()
            .map(|(name, further)| Finding {
                id: format!("intervene.{name}.{}", self.id("random")),
                definition: format!(
                    "guided arms whose rate lies {} the other policy's than that of as many random positions, at a false-discovery rate of {FALSE_DISCOVERIES} (Benjamini-Hochberg); n counts guided arms, identities left out",
                    if further { "nearer to" } else { "farther from" }
                ),
                value: Some(count(further) as f64),
                unit: "count".into(),
                low: None,
                high: None,
                level: None,
                method: "count".into(),
                n: defined.len() as u64,
                n_clusters: units,
                n_invalid: 0,
                thresholds: [("false_discovery_rate".to_owned(), json!(FALSE_DISCOVERIES))].into(),
                label: None,
            })
            .collect()
    }
}

/// A paired comparison.
#[derive(Default)]
pub(super) struct Test {
    pub(super) p: Option<f64>,
    method: String,
    gained: u64,
    lost: u64,
    pairs: u64,
}

/// Rate of the first - rate of the second.
pub(super) fn mean_difference(a: &Cell<'_>, b: &Cell<'_>) -> f64 {
    let rate = |c: &Cell<'_>| {
        let known: Vec<bool> = c.units.iter().filter_map(|u| u.value).collect();
        known.iter().filter(|v| **v).count() as f64 / known.len().max(1) as f64
    };
    rate(a) - rate(b)
}
