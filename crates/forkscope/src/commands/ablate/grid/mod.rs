//! The grid file: which arms learn from how many rollouts, and how they are
//! measured. Layout and an example: `docs/ablate.md`.
//!
//! An arm's settings are, field by field, the first that is given of: the arm's
//! own, `reasonmaxxer` or `grpo` of the grid (by the arm's kind), `train` of the
//! grid, the published recipe.

mod arm;
mod kinds;
mod merge;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use forkscope_policy::Sampling;
use forkscope_tasks::Verifier;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use arm::{Arm, Kind};
pub use kinds::{GrpoArm, ReasonMaxxerArm, Reference, Split};

use crate::failure::Failure;

/// Version of the layout.
pub const SCHEMA: &str = "forkscope/ablation-grid/1";

/// Most arms after `cross` was expanded.
const MOST_ARMS: usize = 1_000;

/// How rollouts are sampled to learn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// The first so many problems of the file; all where it is left out.
    pub problems: Option<usize>,
    /// Rollouts of each.
    pub samples: u32,
    /// Divides the logits.
    pub temperature: f64,
    /// Smallest set of most probable tokens with at least this mass.
    pub top_p: f64,
    /// Most tokens of a completion.
    pub max_tokens: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            problems: None,
            samples: 20,
            temperature: 0.6,
            top_p: 0.95,
            max_tokens: 8192,
        }
    }
}

/// How arms are measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Eval {
    /// The first so many problems of the file; all where it is left out.
    pub problems: Option<usize>,
    /// Samples of each.
    pub samples: u32,
    /// Their temperature.
    pub temperature: f64,
    /// Their smallest set of most probable tokens.
    pub top_p: f64,
    /// Also one greedy completion of each.
    pub greedy: bool,
    /// Most tokens of a completion.
    pub max_tokens: u32,
}

impl Default for Eval {
    fn default() -> Self {
        Self {
            problems: None,
            samples: 4,
            temperature: 1.0,
            top_p: 1.0,
            greedy: true,
            max_tokens: 8192,
        }
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: String,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    frozen: bool,
    #[serde(default)]
    verifier: Option<String>,
    #[serde(default)]
    prompt_style: Option<String>,
    #[serde(default)]
    store: Store,
    #[serde(default)]
    eval: Eval,
    seeds: Vec<u64>,
    #[serde(default)]
    train: Map<String, Value>,
    #[serde(default)]
    reasonmaxxer: Map<String, Value>,
    #[serde(default)]
    grpo: Map<String, Value>,
    #[serde(default)]
    compare_with: Option<Vec<String>>,
    arms: Vec<Map<String, Value>>,
}

/// A grid whose every setting is resolved and checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grid {
    /// What it is for, for reading only.
    pub note: Option<String>,
    /// Whether it was committed before its problems were looked at.
    pub frozen: bool,
    /// How answers are found.
    #[serde(serialize_with = "named")]
    pub verifier: Verifier,
    /// How a problem becomes a prompt.
    pub prompt_style: String,
    /// How rollouts are sampled to learn from, unless an arm says otherwise.
    pub store: Store,
    /// How arms are measured.
    pub eval: Eval,
    /// Each decides rollouts, initial adapters and orders together.
    pub seeds: Vec<u64>,
    /// Arms in the order of the table, the base first.
    pub arms: Vec<Arm>,
    /// Places of the arms that the others are compared with.
    pub compare_with: Vec<usize>,
}

fn named<S: serde::Serializer>(v: &Verifier, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(v.name())
}

impl Grid {
    /// Reads a grid; every complaint names file, arm and field.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let refuse =
            |said: String| Failure::Input(format!("{}: {}", path.display(), said.trim_end()));
        let file: File = serde_json::from_slice(bytes)
            .map_err(|e| refuse(format!("{e}; docs/ablate.md says what a grid holds")))?;
        Self::resolve(file).map_err(refuse)
    }

    fn resolve(file: File) -> Result<Self, String> {
        if file.schema != SCHEMA {
            return Err(format!(
                "`schema` is {:?}; this version reads {SCHEMA:?}",
                file.schema
            ));
        }
        check_seeds(&file.seeds)?;
        check_store("store", &file.store)?;
        check_eval(&file.eval)?;
        let verifier = match &file.verifier {
            None => Verifier::Auto,
            Some(name) => name.parse().map_err(|e| format!("`verifier`: {e}"))?,
        };
        let defaults = merge::Defaults {
            train: &file.train,
            reasonmaxxer: &file.reasonmaxxer,
            grpo: &file.grpo,
        };
        let mut arms = Vec::new();
        for (i, given) in file.arms.iter().enumerate() {
            for (name, settings) in merge::expand(i, given)? {
                arms.push(arm::resolve(&name, settings, &defaults, &file.store)?);
                if arms.len() > MOST_ARMS {
                    return Err(format!(
                        "`cross` makes more than {MOST_ARMS} arms; give fewer values, or several grids"
                    ));
                }
            }
        }
        let arms = with_base(arms)?;
        let compare_with = compared(file.compare_with.as_deref(), &arms)?;
        Ok(Self {
            note: file.note,
            frozen: file.frozen,
            verifier,
            prompt_style: file.prompt_style.unwrap_or_else(|| "auto".into()),
            store: file.store,
            eval: file.eval,
            seeds: file.seeds,
            arms,
            compare_with,
        })
    }
}

/// The base comes first, whether or not somebody names it.
fn with_base(mut arms: Vec<Arm>) -> Result<Vec<Arm>, String> {
    let is_base = |arm: &Arm| matches!(arm.kind, Kind::Base);
    if arms.iter().filter(|arm| is_base(arm)).count() > 1 {
        return Err("`arms`: more than one is of kind `base`; one is enough".into());
    }
    match arms.iter().position(is_base) {
        Some(at) => {
            let base = arms.remove(at);
            arms.insert(0, base);
        }
        None => arms.insert(0, Arm::base("base")),
    }
    if arms.len() < 2 {
        return Err(
            "`arms` has none that learns; give at least one of kind `reasonmaxxer` or `grpo`"
                .into(),
        );
    }
    let mut names = BTreeSet::new();
    match arms
        .iter()
        .find(|arm| !names.insert(arm.name.to_lowercase()))
    {
        Some(twice) => Err(format!(
            "`arms`: the name `{}` stands twice (upper and lower case are the same); give every arm its own",
            twice.name
        )),
        None => Ok(arms),
    }
}

/// The base and the first arm that learns, unless the grid says otherwise.
fn compared(names: Option<&[String]>, arms: &[Arm]) -> Result<Vec<usize>, String> {
    let Some(names) = names else {
        return Ok(vec![0, 1]);
    };
    let place = |name: &String| {
        let found = arms.iter().position(|arm| arm.name == *name);
        found.ok_or_else(|| {
            let all: Vec<&str> = arms.iter().map(|a| a.name.as_str()).collect();
            format!(
                "`compare_with`: there is no arm `{name}`; there are {}",
                all.join(", ")
            )
        })
    };
    names.iter().map(place).collect()
}

fn check_seeds(seeds: &[u64]) -> Result<(), String> {
    let distinct: BTreeSet<u64> = seeds.iter().copied().collect();
    match seeds.len() {
        0 => Err("`seeds` is empty; give at least one, three to see how much they differ".into()),
        n if n != distinct.len() => {
            Err("`seeds` holds one twice; two runs of one seed are the same run".into())
        }
        n if n > 1_000 => Err(format!("`seeds` has {n} entries; give at most 1000")),
        _ => Ok(()),
    }
}

/// The sampling of a temperature and a nucleus.
pub fn sampling(temperature: f64, top_p: f64) -> Sampling {
    Sampling {
        temperature,
        top_p,
        top_k: 0,
        min_p: 0.0,
    }
}

fn check_store(at: &str, store: &Store) -> Result<(), String> {
    let said = |e: String| format!("`{at}`: {e}");
    sampling(store.temperature, store.top_p)
        .check()
        .map_err(said)?;
    if store.temperature == 0.0 {
        return Err(format!(
            "`{at}.temperature` is 0, at which all rollouts of a problem are equal; give one above 0"
        ));
    }
    counted(
        at,
        "problems",
        store.problems.map_or(1, |n| n as u64),
        1,
        1_000_000,
    )?;
    counted(at, "samples", store.samples.into(), 2, 100_000)?;
    counted(at, "max_tokens", store.max_tokens.into(), 1, 1_000_000)
}

fn check_eval(eval: &Eval) -> Result<(), String> {
    let at = "eval";
    sampling(eval.temperature, eval.top_p)
        .check()
        .map_err(|e| format!("`{at}`: {e}"))?;
    if eval.temperature == 0.0 && eval.samples > 1 {
        return Err(format!(
            "`{at}.samples` is {} at `temperature` 0, where all are equal; give a temperature above 0, `greedy` measures at 0",
            eval.samples
        ));
    }
    counted(
        at,
        "problems",
        eval.problems.map_or(2, |n| n as u64),
        2,
        1_000_000,
    )?;
    counted(at, "samples", eval.samples.into(), 1, 10_000)?;
    counted(at, "max_tokens", eval.max_tokens.into(), 1, 1_000_000)
}

fn counted(at: &str, field: &str, value: u64, least: u64, most: u64) -> Result<(), String> {
    match (least..=most).contains(&value) {
        true => Ok(()),
        false => Err(format!(
            "`{at}.{field}` is {value}; give a number from {least} to {most}"
        )),
    }
}
