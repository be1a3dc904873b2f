//! What an audit finds at a position.

use forkscope_records::types::{DiffRow, Rollout};
use serde::{Deserialize, Serialize};

use super::noise::NoiseRule;
use super::population::Population;
use crate::AuditError;

/// When a position counts as changed. The rule is fixed before the tuned policy
/// is seen, so that being changed is a property of the position, as bounds need.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// The policies' argmaxes differ.
    Argmax,
    /// JS above so many nats.
    Js(f64),
    /// KL(p || b) above so many nats, or undefined where the base masks a token
    /// that the tuned policy allows.
    Kl(f64),
    /// JS above all but this share of the noise values of the position's entropy
    /// decile.
    Noise(f64),
}

impl std::str::FromStr for Changed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str, what: &str, most: f64| match text.parse::<f64>() {
            Ok(x) if x > 0.0 && x < most => Ok(x),
            _ => Err(format!("{text:?} is no {what} above 0 and below {most}")),
        };
        match text.split_once(':') {
            None if text == "argmax" => Ok(Self::Argmax),
            None if text == "noise" => Ok(Self::Noise(0.001)),
            Some(("js", x)) => number(x, "JS in nats", std::f64::consts::LN_2).map(Self::Js),
            Some(("kl", x)) => number(x, "KL in nats", 1e6).map(Self::Kl),
            Some(("noise", x)) => number(x, "p-value", 1.0).map(Self::Noise),
            _ => Err(format!(
                "{text:?} says nothing about when a position is changed; give argmax, js:NATS, kl:NATS, noise or noise:P"
            )),
        }
    }
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Argmax => f.write_str("argmax"),
            Self::Js(x) => write!(f, "js:{x}"),
            Self::Kl(x) => write!(f, "kl:{x}"),
            Self::Noise(p) => write!(f, "noise:{p}"),
        }
    }
}

impl Changed {
    /// As a definition says it.
    pub fn words(&self) -> String {
        match self {
            Self::Argmax => "changed: the argmaxes of base and tuned differ".into(),
            Self::Js(x) => format!("changed: JS > {x} nats"),
            Self::Kl(x) => format!("changed: KL(tuned || base) > {x} nats"),
            Self::Noise(p) => format!(
                "changed: JS above all but a share of {p} of what bf16 does to the base in the same entropy decile"
            ),
        }
    }
}

/// What a position turned out to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Whether it is changed.
    pub changed: bool,
    /// JS in nats.
    pub js: f64,
    /// Total variation.
    pub tv: f64,
    /// KL(p || b) in nats, where defined.
    pub kl: Option<f64>,
}

/// Outcomes of the positions of a diff, in the order of [`Population::new`] over
/// the same rows.
///
/// # Errors
/// A rule on noise without a floor; a divergence that is not in its range.
pub fn outcomes(
    rows: &[DiffRow],
    changed: Changed,
    noise: Option<&NoiseRule>,
) -> Result<Vec<Outcome>, AuditError> {
    let used = rows.iter().enumerate().filter(|(_, r)| {
        use forkscope_records::types::Validity::{Ok, Truncated};
        matches!(r.validity, Ok | Truncated)
    });
    used.map(|(number, row)| {
        check(number, row)?;
        Ok(Outcome {
            changed: match changed {
                Changed::Argmax => row.argmax_base_id != row.argmax_tuned_id,
                Changed::Js(x) => row.js_nats > x,
                Changed::Kl(x) => row.kl_tuned_base_nats.is_none_or(|kl| kl > x),
                Changed::Noise(_) => noise
                    .ok_or_else(|| {
                        AuditError::Coverage("the rule on noise needs the noise floor".into())
                    })?
                    .exceeds(row.entropy_base_nats, row.js_nats),
            },
            js: row.js_nats.min(std::f64::consts::LN_2),
            tv: row.tv.min(1.0),
            kl: row.kl_tuned_base_nats,
        })
    })
    .collect()
}

/// Divergences in range; a last bit above the upper end is rounding.
fn check(number: usize, row: &DiffRow) -> Result<(), AuditError> {
    let ranges = [
        ("js_nats", row.js_nats, std::f64::consts::LN_2, "[0, ln 2]"),
        ("tv", row.tv, 1.0, "[0, 1]"),
    ];
    match ranges
        .iter()
        .find(|(_, x, most, _)| !(*x >= 0.0 && *x <= most + 1e-9))
    {
        None => Ok(()),
        Some(&(field, value, _, range)) => Err(AuditError::RowValue {
            row: number,
            problem_id: row.problem_id.clone(),
            sample: row.sample,
            t: row.t,
            field,
            value,
            range,
        }),
    }
}

/// Population and outcomes of a whole diff.
pub(super) fn of_diff(
    rows: &[DiffRow],
    rollouts: &[Rollout],
    changed: Changed,
    noise: Option<&NoiseRule>,
) -> Result<(Population, Vec<Outcome>), AuditError> {
    let population = Population::new(rows, rollouts)?;
    let outcomes = outcomes(rows, changed, noise)?;
    Ok((population, outcomes))
}
