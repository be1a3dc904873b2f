//! What fails a gate: `ID[.low|.high] OP NUMBER[%]`, e.g. `share.shifted > 0.1%`.
//!
//! OP is one of `>`, `>=`, `<`, `<=`, `==`, `!=`. A percentage compares shares and
//! other numbers without a unit of their own. A finding without the number (undefined,
//! no interval) fails the gate: what nobody knows passes nothing.

use std::fmt;
use std::str::FromStr;

use forkscope_records::types::{Finding, Findings};
use serde::Serialize;

/// Units in which a percentage means something.
const SHARES: [&str; 8] = [
    "share",
    "probability",
    "ratio",
    "difference",
    "recovery",
    "rate",
    "auroc",
    "average_precision",
];

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    Unequal,
}

/// Longer ones first: `>=` is no `>`.
const COMPARISONS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

impl Comparison {
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Above => value > bound,
            Self::AtLeast => value >= bound,
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Equal => value == bound,
            Self::Unequal => value != bound,
        }
    }
}

/// A condition under which the gate fails.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    text: String,
    name: String,
    comparison: Comparison,
    bound: f64,
    percent: bool,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |said: &str| format!("{said}; write e.g. 'share.shifted > 0.1%'");
        let found = COMPARISONS
            .iter()
            .filter_map(|(sign, c)| Some((text.find(sign)?, sign, *c)))
            .min_by_key(|(at, sign, _)| (*at, std::cmp::Reverse(sign.len())));
        let Some((at, sign, comparison)) = found else {
            return Err(wrong("there is no comparison (>, >=, <, <=, ==, !=)"));
        };
        let (name, rest) = text.split_at(at);
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong(
                "what stands before the comparison is no finding's id",
            ));
        }
        let number = rest.get(sign.len()..).unwrap_or_default().trim();
        let (digits, percent) = match number.strip_suffix('%') {
            Some(digits) => (digits.trim_end(), true),
            None => (number, false),
        };
        let value: f64 = digits
            .parse()
            .ok()
            .filter(|v: &f64| !v.is_nan())
            .ok_or_else(|| wrong("what stands after the comparison is no number"))?;
        Ok(Self {
            text: format!("{name} {sign} {number}"),
            name: name.to_owned(),
            comparison,
            bound: if percent { value / 100.0 } else { value },
            percent,
        })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Which number of a finding is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Value,
    Low,
    High,
}

impl Number {
    fn of(self, finding: &Finding) -> Option<f64> {
        match self {
            Self::Value => finding.value,
            Self::Low => finding.low,
            Self::High => finding.high,
        }
        .filter(|v| !v.is_nan())
    }

    fn word(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Low => "low",
            Self::High => "high",
        }
    }
}

/// What became of a rule.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The rule.
    pub rule: String,
    /// Id of the finding.
    pub id: String,
    /// `value`, `low` or `high`.
    pub number: &'static str,
    /// The number; null where the finding has none.
    #[serde(with = "forkscope_records::types::float")]
    pub value: Option<f64>,
    /// What it was compared with.
    #[serde(with = "forkscope_records::types::float")]
    pub bound: Option<f64>,
    /// Unit of both.
    pub unit: String,
    /// Whether it fails the gate.
    pub failed: bool,
    /// Why, in words.
    pub reason: String,
}

impl Rule {
    /// Holds the findings against the rule: one verdict per finding of that id.
    /// An id that no finding has is an error that names near ones.
    pub fn judge(&self, findings: &Findings) -> Result<Vec<Verdict>, String> {
        let named = |name: &str| -> Vec<&Finding> {
            findings.findings.iter().filter(|f| f.id == name).collect()
        };
        let mut number = Number::Value;
        let mut found = named(&self.name);
        for (suffix, of) in [
            (".low", Number::Low),
            (".high", Number::High),
            (".value", Number::Value),
        ] {
            if let (true, Some(name)) = (found.is_empty(), self.name.strip_suffix(suffix)) {
                (number, found) = (of, named(name));
            }
        }
        if found.is_empty() {
            return Err(self.unknown(findings));
        }
        found.into_iter().map(|f| self.verdict(f, number)).collect()
    }

    fn verdict(&self, finding: &Finding, number: Number) -> Result<Verdict, String> {
        if self.percent && !SHARES.contains(&finding.unit.as_str()) {
            return Err(format!(
                "'{}': {} is in {}, and a percentage compares shares; give the bound in {}",
                self.text, finding.id, finding.unit, finding.unit
            ));
        }
        let value = number.of(finding);
        let failed = value.is_none_or(|v| self.comparison.holds(v, self.bound));
        let reason = match (value, failed) {
            (Some(v), true) => format!("{} is {}", self.name, shown(v, &finding.unit)),
            (Some(v), false) => {
                format!("{} is {}, which passes", self.name, shown(v, &finding.unit))
            }
            (None, _) => format!("{} is not known ({})", self.name, finding.method),
        };
        Ok(Verdict {
            rule: self.text.clone(),
            id: finding.id.clone(),
            number: number.word(),
            value,
            bound: Some(self.bound),
            unit: finding.unit.clone(),
            failed,
            reason,
        })
    }

    fn unknown(&self, findings: &Findings) -> String {
        let name = ["low", "high", "value"]
            .iter()
            .find_map(|s| self.name.strip_suffix(s)?.strip_suffix('.'))
            .unwrap_or(&self.name);
        let mut near: Vec<(usize, &str)> = findings
            .findings
            .iter()
            .map(|f| (distance(name, &f.id), f.id.as_str()))
            .collect();
        near.sort_unstable();
        near.dedup_by_key(|(_, id)| *id);
        let near: Vec<&str> = near.into_iter().take(5).map(|(_, id)| id).collect();
        format!(
            "'{}': there is no finding {name}; near ones are {}",
            self.text,
            near.join(", ")
        )
    }
}

/// A number with its unit, shares as a rule writes them.
fn shown(value: f64, unit: &str) -> String {
    match unit {
        "share" => format!("{}%", value * 100.0),
        unit => format!("{value} {unit}"),
    }
}

/// Edits between two ids; a part that both have brings them nearer.
fn distance(a: &str, b: &str) -> usize {
    let shared = a
        .split('.')
        .filter(|part| b.split('.').any(|other| other == *part))
        .count();
    let (a, b): (Vec<char>, Vec<char>) =
        (a.chars().take(80).collect(), b.chars().take(80).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = i;
        let mut left = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or(usize::MAX);
            let cost = (corner + usize::from(x != y)).min(above + 1).min(left + 1);
            if let Some(slot) = row.get_mut(j) {
                *slot = left;
            }
            (corner, left) = (above, cost);
        }
        if let Some(slot) = row.last_mut() {
            *slot = left;
        }
    }
    row.last().copied().unwrap_or(0).saturating_sub(4 * shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn findings() -> Result<Findings, serde_json::Error> {
        let finding = |id: &str, unit: &str, value: Option<f64>, high: Option<f64>| {
            json!({"id": id, "definition": "", "value": value, "unit": unit, "low": null,
                "high": high, "level": 0.95, "method": "m", "n": 1, "n_clusters": 1, "n_invalid": 0})
        };
        serde_json::from_value(json!({"schema": "forkscope/findings/1", "findings": [
            finding("share.shifted", "share", Some(0.0012), Some(0.002)),
            finding("share.reranked", "share", Some(0.02), None),
            finding("js.mean", "nats", Some(0.5), Some(0.6)),
            finding("recovery.low", "share", None, None),
        ]}))
    }

    fn judged(rule: &str) -> Result<bool, String> {
        let findings = findings().map_err(|e| e.to_string())?;
        let verdicts = rule.parse::<Rule>()?.judge(&findings)?;
        Ok(verdicts.iter().any(|v| v.failed))
    }

    #[test]
    fn numbers_are_compared_as_written() {
        for (rule, fails) in [
            ("share.shifted > 0.1%", true),
            ("share.shifted>0.12%", false),
            ("share.shifted >= 0.0012", true),
            ("share.shifted < 1e-3", false),
            ("share.shifted <= 0.0012", true),
            ("share.shifted == 0.0012", true),
            ("share.shifted != 0.0012", false),
            ("share.shifted.high > 0.15 %", true),
            ("share.shifted.value > 0.15%", false),
            ("js.mean > inf", false),
            ("js.mean.high > 0.55", true),
        ] {
            assert_eq!(judged(rule), Ok(fails), "{rule}");
        }
    }

    #[test]
    fn what_is_not_known_fails() {
        for rule in [
            "share.reranked.high > 5%",
            "share.shifted.low < 1",
            "recovery.low > 0.5",
            "recovery.low.high > 0.5",
        ] {
            assert_eq!(judged(rule), Ok(true), "{rule}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_way_out() {
        for (rule, says) in [
            ("share.shift > 0.1%", "near ones are share.shifted"),
            ("shifted.high > 0.1%", "share.shifted"),
            ("js.mean > 5%", "is in nats"),
            ("share.shifted", "no comparison"),
            ("> 3", "no finding's id"),
            ("share shifted > 3", "no finding's id"),
            ("share.shifted > ", "no number"),
            ("share.shifted > NaN", "no number"),
            ("share.shifted > 1%%", "no number"),
            ("share.shifted >> 1", "no number"),
        ] {
            let said = judged(rule).err().unwrap_or_default();
            assert!(said.contains(says), "{rule}: {said}");
        }
    }
}
