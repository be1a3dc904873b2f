//! Thresholds from the untouched rollouts of other problems.
//!
//! A share of tokens, or tokens per rollout, cannot be decided while a text is
//! written: nobody knows yet which positions will be the highest. So the
//! problems are cut in two (even and odd places in the file), and for each half
//! the thresholds come from the generator's own untouched rollouts (arm `none`)
//! on the *other* half, at the same temperature: no problem sets its own
//! threshold, and none is lost to calibration.
//!
//! - share S: the least tau with at most S of those positions strictly above it;
//! - K tokens per rollout: the share K / mean length, and never more than K;
//! - `first/S`: the first S x mean length positions, rounded, at least 1;
//! - `random/K`: probability K / mean length, never more than K.
//!
//! An arm's own share differs from S as far as its text differs from an
//! untouched one; what it touched is counted and reported.

use forkscope_metrics::rng::Key;
use forkscope_records::types::Direction;

use super::arm::Arm;
use super::guide::{Budget, Family, Guide, Signal};
use super::rule::Rule;
use super::view::View;
use crate::AuditError;
use crate::gates::{EntropyBins, Rule as Gate, ScoreCurve};

/// Halves that calibrate each other.
pub(crate) const FOLDS: usize = 2;

/// What is kept of an untouched position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen([f64; Signal::ALL.len()]);

impl Seen {
    pub(crate) fn of(view: &View, generator: usize) -> Self {
        Self(Signal::ALL.map(|signal| view.signal(signal, generator)))
    }

    pub(crate) fn signal(&self, signal: Signal) -> f64 {
        let at = Signal::ALL.iter().position(|s| *s == signal);
        at.and_then(|at| self.0.get(at)).copied().unwrap_or(0.0)
    }
}

/// What one half at one temperature in one direction is run with.
#[derive(Debug, Clone)]
pub struct Calibrated {
    /// Tenths of the base's entropy.
    pub(crate) tenths: EntropyBins,
    thresholds: Vec<(Guide, Threshold)>,
    mean_len: f64,
}

/// What a share of tokens became.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Strictly above this.
    pub tau: f64,
    /// Share of the calibration positions above it.
    pub share: f64,
    /// Calibration positions.
    pub positions: u64,
}

impl Calibrated {
    /// Of arms that need nothing from other problems.
    fn nothing() -> Self {
        Self {
            tenths: EntropyBins::one(),
            thresholds: Vec::new(),
            mean_len: 1.0,
        }
    }

    fn new(arms: &[&Arm], rollouts: &[&[Seen]]) -> Result<Self, AuditError> {
        let of = |signal: Signal| {
            let all = rollouts.iter().flat_map(|r| r.iter());
            ScoreCurve::new(all.map(move |seen| seen.signal(signal)))
        };
        let entropy = of(Signal::Entropy)?;
        let mean_len = entropy.positions() as f64 / rollouts.len().max(1) as f64;
        let mut calibrated = Self {
            tenths: EntropyBins::tenths(&entropy),
            thresholds: Vec::new(),
            mean_len,
        };
        for guide in arms.iter().filter_map(|arm| arm.guide()) {
            let known = calibrated.thresholds.iter().any(|(g, _)| g == guide);
            if let (false, Some((signal, share))) = (known, upper_share(guide, mean_len)) {
                let threshold = threshold(&of(signal)?, share)?;
                calibrated.thresholds.push((*guide, threshold));
            }
        }
        Ok(calibrated)
    }

    /// The threshold of a guide, where it has one.
    pub fn threshold(&self, guide: &Guide) -> Option<Threshold> {
        let found = self.thresholds.iter().find(|(g, _)| g == guide);
        found.map(|(_, threshold)| *threshold)
    }

    /// The guide as it decides on one rollout.
    pub(crate) fn rule(&self, guide: &Guide, random: impl FnOnce() -> Key) -> Rule {
        let above = |signal: Signal, left: Option<u32>| {
            let tau = self.threshold(guide).map_or(f64::INFINITY, |t| t.tau);
            Rule::Above { signal, tau, left }
        };
        let cap = |budget: &Budget| match budget {
            Budget::Tokens(k) => Some(*k),
            Budget::Share(_) => None,
        };
        match guide {
            Guide::High(signal, Gate::Above(tau)) => Rule::Above {
                signal: *signal,
                tau: *tau,
                left: None,
            },
            Guide::High(
                signal,
                Gate::Dual {
                    tau,
                    lambda,
                    window,
                },
            ) => Rule::Dual {
                signal: *signal,
                tau: *tau,
                lambda: *lambda,
                window: *window as usize,
                before: Default::default(),
            },
            Guide::High(signal, Gate::TopK(k)) => above(*signal, Some(*k)),
            Guide::High(signal, Gate::Quantile(_) | Gate::Share(_)) => above(*signal, None),
            Guide::Budgeted(Family::Signal(signal), budget) => above(*signal, cap(budget)),
            Guide::Budgeted(Family::First, Budget::Share(s)) => {
                Rule::First(((s * self.mean_len).round() as usize).max(1))
            }
            Guide::Budgeted(Family::First, Budget::Tokens(k)) | Guide::First(k) => {
                Rule::First(*k as usize)
            }
            Guide::Budgeted(Family::Random, budget) => Rule::Chance {
                p: match budget {
                    Budget::Share(s) => *s,
                    Budget::Tokens(k) => f64::from(*k) / self.mean_len,
                },
                left: cap(budget),
                key: Box::new(random()),
            },
            Guide::Changed => Rule::Changed,
            Guide::All => Rule::Always,
        }
    }
}

/// The signal of a guide and the share of positions that is to be above tau.
fn upper_share(guide: &Guide, mean_len: f64) -> Option<(Signal, f64)> {
    let tokens = |k: &u32| f64::from(*k) / mean_len;
    match guide {
        Guide::High(signal, Gate::Quantile(s) | Gate::Share(s)) => Some((*signal, *s)),
        Guide::High(signal, Gate::TopK(k)) => Some((*signal, tokens(k))),
        Guide::Budgeted(Family::Signal(signal), Budget::Share(s)) => Some((*signal, *s)),
        Guide::Budgeted(Family::Signal(signal), Budget::Tokens(k)) => Some((*signal, tokens(k))),
        _ => None,
    }
}

fn threshold(curve: &ScoreCurve, share: f64) -> Result<Threshold, AuditError> {
    let positions = curve.positions() as u64;
    if share >= 1.0 {
        return Ok(Threshold {
            tau: f64::NEG_INFINITY,
            share: 1.0,
            positions,
        });
    }
    let found = curve.tau_for_share(share)?;
    Ok(Threshold {
        tau: found.tau,
        share: found.share,
        positions,
    })
}

/// All halves, temperatures and directions.
#[derive(Debug, Clone)]
pub struct Calibration {
    cells: Vec<Calibrated>,
    temperatures: usize,
}

/// An untouched rollout: place of its problem and temperature, whose it is.
pub(crate) struct Untouched {
    pub problem: usize,
    pub temperature: usize,
    pub direction: Direction,
    pub seen: Vec<Seen>,
}

impl Calibration {
    /// For arms that need none.
    pub(crate) fn nothing(temperatures: usize) -> Self {
        Self {
            cells: vec![Calibrated::nothing(); FOLDS * temperatures * 2],
            temperatures,
        }
    }

    pub(crate) fn new(
        arms: &[Arm],
        temperatures: usize,
        rollouts: &[Untouched],
    ) -> Result<Self, AuditError> {
        let mut cells = Vec::new();
        for fold in 0..FOLDS {
            for temperature in 0..temperatures {
                for direction in [Direction::Forward, Direction::Reverse] {
                    let arms: Vec<&Arm> =
                        arms.iter().filter(|a| a.direction == direction).collect();
                    let others: Vec<&[Seen]> = rollouts
                        .iter()
                        .filter(|r| {
                            r.problem % FOLDS != fold
                                && r.temperature == temperature
                                && r.direction == direction
                        })
                        .map(|r| r.seen.as_slice())
                        .collect();
                    cells.push(match arms.is_empty() {
                        true => Calibrated::nothing(),
                        false => Calibrated::new(&arms, &others)?,
                    });
                }
            }
        }
        Ok(Self {
            cells,
            temperatures,
        })
    }

    /// What the problem at that place is run with.
    pub fn of(
        &self,
        problem: usize,
        temperature: usize,
        direction: Direction,
    ) -> Result<&Calibrated, AuditError> {
        let side = usize::from(direction == Direction::Reverse);
        let at = ((problem % FOLDS) * self.temperatures + temperature) * 2 + side;
        self.cells
            .get(at)
            .ok_or_else(|| AuditError::Internal("a temperature was not calibrated".into()))
    }
}
