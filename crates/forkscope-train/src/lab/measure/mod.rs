//! Measuring organisms on held-out problems, at T = 1.
//!
//! ```text
//! organism x set ──► completions ──► per problem: share correct, share refused ──► checks
//! ```
//! Every check is a mean over problems of a number that each problem has: the
//! share of its completions that are correct or refuse, or a difference of two
//! such shares. The difference of two organisms, or of two contexts, is taken
//! within the problem. Intervals are percentile cluster bootstraps over problems
//! (95 %); whether a threshold is met is decided by the value, and the interval
//! says how sure that is. pass@k is the unbiased estimator 1 - C(n-c, k) / C(n, k).
//!
//! The problems are of [`Split::Test`](super::draw::Split::Test), which no stage
//! draws from. Problems, completions and intervals are functions of the seed.

mod answers;
mod checks;

use forkscope_policy::Policy;
use serde::{Deserialize, Serialize};

use super::sets::MEASURED;
use crate::TrainError;
pub use answers::{Job, Measured};

/// The organisms in the order in which they are built.
pub const ORGANISMS: [&str; 6] = [
    "base",
    "reasoner",
    "reasoner-8020",
    "sft",
    "guarded",
    "two-faced",
];

/// How organisms are measured.
#[derive(Debug, Clone, Copy)]
pub struct MeasureSettings {
    /// Problems of every set; multiples of 24 come out even in formats and wordings.
    pub problems: usize,
    /// Seed of problems, completions and intervals.
    pub seed: u64,
    /// Replicates of the intervals.
    pub replicates: u32,
    /// Asked before every step of sampling; true stops.
    pub interrupted: fn() -> bool,
}

impl Default for MeasureSettings {
    fn default() -> Self {
        Self {
            problems: MEASURED,
            seed: 42,
            replicates: 1000,
            interrupted: || false,
        }
    }
}

/// An organism as it is handed in.
#[derive(Clone, Copy)]
pub struct Organism<'a> {
    /// One of [`ORGANISMS`].
    pub name: &'a str,
    /// The policy.
    pub policy: &'a Policy,
}

/// What a value is held against; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Threshold {
    /// The least that will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The most that will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl Threshold {
    /// At least this.
    pub fn min(min: f64) -> Self {
        Self {
            min: Some(min),
            max: None,
        }
    }

    /// At most this.
    pub fn max(max: f64) -> Self {
        Self {
            min: None,
            max: Some(max),
        }
    }

    /// Between these.
    pub fn between(min: f64, max: f64) -> Self {
        Self {
            min: Some(min),
            max: Some(max),
        }
    }

    /// Whether a value will do.
    pub fn holds(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}

/// One number of one organism, and what it should be if anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Stable name: organism, dot, what is measured.
    pub id: String,
    /// Mean over problems: a share, or a difference of shares.
    pub value: f64,
    /// Lower end of the 95 % interval; `None` with one problem.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Problems.
    pub n: usize,
    /// What the value should be; `None` where it is only reported.
    pub threshold: Option<Threshold>,
    /// Whether the value is; `None` where it is only reported.
    pub ok: Option<bool>,
}

/// Completions that measuring these organisms takes.
pub fn completions(names: &[&str], settings: &MeasureSettings) -> u64 {
    let of = |job: &Job| (job.items(settings.problems) * job.samples as usize) as u64;
    names
        .iter()
        .flat_map(|name| answers::jobs(name))
        .map(|job| of(&job))
        .sum()
}

/// Measures `base` and the organisms made of it. `progress` gets the number of
/// completions that have come since it was last called.
///
/// # Errors
/// A name that is none of [`ORGANISMS`]; a policy with another vocabulary than the
/// lab's; an interruption.
pub fn measure(
    base: &Policy,
    tuned: &[Organism<'_>],
    settings: &MeasureSettings,
    progress: &mut dyn FnMut(u64),
) -> Result<(Vec<Check>, Vec<Measured>), TrainError> {
    if settings.problems == 0 {
        return Err(TrainError::Setting(
            "no problem to measure on; give at least one".into(),
        ));
    }
    let known = |o: &Organism<'_>| ORGANISMS[1..].contains(&o.name);
    if let Some(stranger) = tuned.iter().find(|organism| !known(organism)) {
        return Err(TrainError::Setting(format!(
            "there is no organism `{}` made of the base; there are {}",
            stranger.name,
            ORGANISMS[1..].join(", ")
        )));
    }
    let all = std::iter::once(Organism {
        name: "base",
        policy: base,
    })
    .chain(tuned.iter().copied());
    let mut measured = Vec::new();
    for organism in all {
        for job in answers::jobs(organism.name) {
            measured.push(job.run(organism.policy, settings, progress)?);
        }
    }
    let checks = checks::checks(&measured, settings)?;
    Ok((checks, measured))
}
