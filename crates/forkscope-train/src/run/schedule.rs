//! The learning rate's multiplier over the steps of a run.
//!
//! With s the step counted from 0, W the steps of warm-up and N all steps,
//! every schedule is s / W for s < W (so the first step of a warm-up has rate
//! 0), and then
//!
//! - `constant`: 1
//! - `linear`: (N - s) / (N - W)
//! - `cosine`: m + (1 - m) (1 + cos(pi (s - W) / (N - W))) / 2
//! - `constant-cosine`: 1 for s < D, then m + (1 - m) (1 + cos(pi (s - D) / (N - D))) / 2,
//!   where the decay starts at D = max(W, round(start N))
//!
//! with m the share of the rate that is left at the end. These are
//! `get_constant_schedule_with_warmup`, `get_linear_schedule_with_warmup`,
//! `get_cosine_schedule_with_warmup` (with its `min_lr_rate`) and
//! `get_wsd_schedule` of transformers; the last warms up from m there, and from
//! 0 here.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How the learning rate goes after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// It stays.
    #[default]
    Constant,
    /// It falls to 0 in a straight line.
    Linear,
    /// It falls along half a cosine.
    Cosine {
        /// Share of the rate that is left at the end, in [0, 1].
        #[serde(default)]
        min_share: f64,
    },
    /// It stays, and then falls along half a cosine.
    ConstantCosine {
        /// Share of all steps after which the fall begins, in [0, 1].
        start_share: f64,
        /// Share of the rate that is left at the end, in [0, 1].
        #[serde(default)]
        min_share: f64,
    },
}

impl Schedule {
    /// The multiplier at step `step` (from 0) of `total`, with `warmup` steps of
    /// warm-up.
    pub fn multiplier(&self, step: u64, warmup: u64, total: u64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        match *self {
            Self::Constant => 1.0,
            Self::Linear => total.saturating_sub(step) as f64 / span(warmup, total),
            Self::Cosine { min_share } => cosine(step, warmup, total, min_share),
            Self::ConstantCosine {
                start_share,
                min_share,
            } => {
                let start = ((start_share * total as f64).round() as u64).max(warmup);
                if step < start {
                    1.0
                } else {
                    cosine(step, start, total, min_share)
                }
            }
        }
    }

    /// Refuses shares outside [0, 1].
    pub fn check(&self) -> Result<(), TrainError> {
        let shares = match *self {
            Self::Constant | Self::Linear => vec![],
            Self::Cosine { min_share } => vec![("the least share of the rate", min_share)],
            Self::ConstantCosine {
                start_share,
                min_share,
            } => vec![
                ("the share at which the decay starts", start_share),
                ("the least share of the rate", min_share),
            ],
        };
        for (what, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(TrainError::Setting(format!(
                    "schedule `{self}`: {what} is {share}; give a number between 0 and 1"
                )));
            }
        }
        Ok(())
    }
}

/// Steps from `start` to the end, at least one.
fn span(start: u64, total: u64) -> f64 {
    total.saturating_sub(start).max(1) as f64
}

fn cosine(step: u64, start: u64, total: u64, min_share: f64) -> f64 {
    let progress = (step - start) as f64 / span(start, total);
    let factor = 0.5 * (1.0 + libm::cos(PI * progress));
    factor * (1.0 - min_share) + min_share
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Linear => f.write_str("linear"),
            Self::Cosine { min_share: 0.0 } => f.write_str("cosine"),
            Self::Cosine { min_share } => write!(f, "cosine:{min_share}"),
            Self::ConstantCosine {
                start_share,
                min_share,
            } if *min_share == 0.0 => write!(f, "constant-cosine:{start_share}"),
            Self::ConstantCosine {
                start_share,
                min_share,
            } => write!(f, "constant-cosine:{start_share}:{min_share}"),
        }
    }
}

/// `constant`, `linear`, `cosine`, `cosine:MIN`, `constant-cosine:START` or
/// `constant-cosine:START:MIN`.
impl FromStr for Schedule {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        let unknown = || {
            TrainError::Setting(format!(
                "schedule `{text}` is not known; give constant, linear, cosine, cosine:MIN, \
                 constant-cosine:START or constant-cosine:START:MIN with shares between 0 and 1"
            ))
        };
        let share = |part: &str| part.parse::<f64>().map_err(|_| unknown());
        let parts: Vec<&str> = text.split(':').collect();
        let schedule = match parts.as_slice() {
            ["constant"] => Self::Constant,
            ["linear"] => Self::Linear,
            ["cosine"] => Self::Cosine { min_share: 0.0 },
            ["cosine", min] => Self::Cosine {
                min_share: share(min)?,
            },
            ["constant-cosine", start] => Self::ConstantCosine {
                start_share: share(start)?,
                min_share: 0.0,
            },
            ["constant-cosine", start, min] => Self::ConstantCosine {
                start_share: share(start)?,
                min_share: share(min)?,
            },
            _ => return Err(unknown()),
        };
        schedule.check()?;
        Ok(schedule)
    }
}
