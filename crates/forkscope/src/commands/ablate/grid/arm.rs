//! An arm with all its settings.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Store;
use super::kinds::{GrpoArm, ReasonMaxxerArm, check_grpo, check_reasonmaxxer};
use super::merge::{Defaults, merged};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Arm {
    /// Unique among the arms.
    pub name: String,
    /// Rollouts that it may sample, as a multiple of the store's.
    pub budget: f64,
    /// What it does.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What an arm does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// Nothing.
    Base,
    /// Learns from a store of rollouts.
    ReasonMaxxer(Box<ReasonMaxxerArm>),
    /// Samples for itself.
    Grpo(Box<GrpoArm>),
}

impl Arm {
    /// The arm that does nothing.
    pub fn base(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            budget: 0.0,
            kind: Kind::Base,
        }
    }
}

/// An arm from what stands in the file.
pub fn resolve(
    name: &str,
    mut given: Map<String, Value>,
    defaults: &Defaults<'_>,
    store: &Store,
) -> Result<Arm, String> {
    let said = |e: String| format!("arm `{name}`: {e}");
    let kind = given.remove("kind");
    let budget = match given.remove("budget") {
        None => None,
        Some(value) => Some(factor(&value).map_err(said)?),
    };
    let arm = match kind.as_ref().and_then(Value::as_str) {
        Some("base") => {
            if let Some(field) = given.keys().next() {
                return Err(said(format!(
                    "`{field}` has no meaning for the base, which learns nothing"
                )));
            }
            Arm::base(name)
        }
        Some("reasonmaxxer") => {
            let own = object("store", store).map_err(said)?;
            let layers = [&own, defaults.train, defaults.reasonmaxxer, &given];
            let arm = typed::<ReasonMaxxerArm>(merged(&layers)).map_err(said)?;
            check_reasonmaxxer(&arm).map_err(said)?;
            let of = |s: &Store| s.problems.unwrap_or(0) as f64 * f64::from(s.samples);
            let times = match (arm.store.problems == store.problems, of(store) > 0.0) {
                (true, _) => f64::from(arm.store.samples) / f64::from(store.samples),
                (false, true) => of(&arm.store) / of(store),
                (false, false) => {
                    return Err(said(
                        "`store.problems` differs from the grid's, which takes all of the file; give `store.problems` in the grid too".into(),
                    ));
                }
            };
            if (budget.unwrap_or(1.0) - times).abs() > 1e-9 {
                return Err(said(format!(
                    "its `store` samples {times} times the grid's rollouts, and its `budget` is {}; arms of one grid have equal budgets unless they say so: give \"budget\": \"{times}x\", or a store of as many rollouts",
                    budget.unwrap_or(1.0)
                )));
            }
            Arm {
                name: name.to_owned(),
                budget: times,
                kind: Kind::ReasonMaxxer(Box::new(arm)),
            }
        }
        Some("grpo") => {
            let arm =
                typed::<GrpoArm>(merged(&[defaults.train, defaults.grpo, &given])).map_err(said)?;
            check_grpo(&arm).map_err(said)?;
            Arm {
                name: name.to_owned(),
                budget: budget.unwrap_or(1.0),
                kind: Kind::Grpo(Box::new(arm)),
            }
        }
        _ => {
            return Err(said(format!(
                "`kind` is {}; give base, reasonmaxxer or grpo",
                kind.map_or_else(|| "missing".to_owned(), |k| k.to_string())
            )));
        }
    };
    Ok(arm)
}

/// `10`, or `"10x"`.
fn factor(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.strip_suffix('x').and_then(|t| t.parse().ok()),
        _ => None,
    };
    number.filter(|n| *n > 0.0 && *n <= 1e6).ok_or_else(|| {
        format!("`budget` is {value}; give a multiple of the store's rollouts, as in \"10x\"")
    })
}

/// A value as the only field of an object.
fn object(name: &str, value: &impl Serialize) -> Result<Map<String, Value>, String> {
    let value = serde_json::to_value(value).map_err(|e| e.to_string())?;
    Ok(Map::from_iter([(name.to_owned(), value)]))
}

/// Settings from merged ones over the defaults. Fields of an object that is
/// given in part keep their defaults because every part has its own.
fn typed<T: DeserializeOwned + Default + Serialize>(
    given: Map<String, Value>,
) -> Result<T, String> {
    let defaults = match serde_json::to_value(T::default()) {
        Ok(Value::Object(map)) => map,
        Ok(_) => Map::new(),
        Err(e) => return Err(e.to_string()),
    };
    for (name, value) in &given {
        // Complaints name the field; serde's own name what it expected instead.
        if let (Some(Value::Object(_)), false) = (defaults.get(name), value.is_object()) {
            return Err(format!("`{name}` is {value}; give an object"));
        }
    }
    let all = Value::Object(merged(&[&defaults, &given]));
    serde_json::from_value(all).map_err(|e| e.to_string())
}
