//! What a gate is.

use serde::{Deserialize, Serialize};

use super::matched::Matching;
use crate::AuditError;

/// H0 of `random-high` where none is given, nats.
pub const RANDOM_HIGH_NATS: f64 = 0.5;

/// W of `dual` where none is given.
pub const DUAL_WINDOW: u32 = 32;

/// The number of a position that a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Score {
    /// H in nats.
    Entropy,
    /// Whatever the caller measured: JS, KL, signed or absolute delta_logprob,
    /// pivotality. Higher is more of it.
    Signal,
}

/// Which scores are high enough. x is the score of a position, L the number of
/// positions of its rollout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// x > threshold, strictly.
    Above(f64),
    /// x above the least value that has at most this share of *all* positions of
    /// all rollouts above it (strictly): at most this share is chosen.
    Quantile(f64),
    /// The k highest of each rollout; of equals the earlier.
    TopK(u32),
    /// The highest share of each rollout: share x L rounded to nearest (halves
    /// up), at least 1; of equals the earlier.
    Share(f64),
    /// x > tau and x > lambda x mean of the `window` positions before it (fewer
    /// at the start; the first position has none and passes).
    Dual {
        /// Global threshold.
        tau: f64,
        /// Factor of the local mean.
        lambda: f64,
        /// Positions in the local mean.
        window: u32,
    },
}

/// How a control chooses as many positions as its reference does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Control {
    /// Uniformly among all positions of the rollout.
    Random,
    /// Uniformly, avoiding the reference's own positions where there are others,
    /// with the reference's counts in the cells of the matching.
    Matched(Matching),
    /// Uniformly, avoiding the reference's own positions, until their sum of H
    /// is the reference's; the count is not matched.
    MatchedMass,
    /// Uniformly among positions with H > this many nats, the reference's among
    /// them; all of those where they are too few.
    RandomHigh(f64),
    /// The lowest H; of equals the earlier.
    LowEntropy,
    /// The first positions.
    First,
    /// The last positions.
    Last,
    /// Evenly spaced: the i-th of n at floor((i + 1/2) L / n).
    Stride,
}

/// Chooses positions of a rollout. As text (command line, JSON) it is a word
/// with its numbers: see the module's grammar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Gate {
    /// Positions whose score is high.
    High(Score, Rule),
    /// The first k positions.
    First(u32),
    /// Positions that the caller marked as changed (another argmax, or beyond
    /// the noise floor).
    Changed,
    /// Every position.
    All,
    /// As many positions as the reference chooses, otherwise chosen. The
    /// reference is never itself a control.
    Control(Control, Box<Gate>),
}

impl Gate {
    /// H > `tau` nats.
    pub fn entropy(tau: f64) -> Self {
        Self::High(Score::Entropy, Rule::Above(tau))
    }

    /// The signal above `eps`.
    pub fn signal(eps: f64) -> Self {
        Self::High(Score::Signal, Rule::Above(eps))
    }

    /// This gate's positions replaced by a control's; refused where this gate is
    /// a control.
    pub fn control(self, control: Control) -> Result<Self, AuditError> {
        let gate = Self::Control(control, Box::new(self));
        gate.check()?;
        Ok(gate)
    }

    /// The gate that a control matches.
    pub fn reference(&self) -> Option<&Gate> {
        match self {
            Self::Control(_, reference) => Some(reference),
            _ => None,
        }
    }

    /// Whether it, or its reference, looks at the signal.
    pub fn needs_signal(&self) -> bool {
        match self {
            Self::High(score, _) => *score == Score::Signal,
            Self::Control(_, reference) => reference.needs_signal(),
            Self::First(_) | Self::Changed | Self::All => false,
        }
    }

    /// Whether it, or its reference, looks at the marks of changed positions.
    pub fn needs_changed(&self) -> bool {
        match self {
            Self::Changed => true,
            Self::Control(_, reference) => reference.needs_changed(),
            Self::High(..) | Self::First(_) | Self::All => false,
        }
    }

    /// Whether a rollout's positions depend on the other rollouts given with it.
    pub fn is_global(&self) -> bool {
        match self {
            Self::High(_, rule) => matches!(rule, Rule::Quantile(_)),
            Self::Control(Control::Matched(Matching::PositionAndEntropy), _) => true,
            Self::Control(_, reference) => reference.is_global(),
            Self::First(_) | Self::Changed | Self::All => false,
        }
    }

    /// Whether its positions depend on the seed.
    pub fn is_random(&self) -> bool {
        use Control::{Matched, MatchedMass, Random, RandomHigh};
        matches!(
            self,
            Self::Control(Random | Matched(_) | MatchedMass | RandomHigh(_), _)
        )
    }

    /// Refuses numbers outside their range.
    pub fn check(&self) -> Result<(), AuditError> {
        let in_range = |setting, value: f64, ok: bool, range| match ok {
            true => Ok(()),
            false => Err(AuditError::Setting {
                setting,
                value,
                range,
            }),
        };
        let share = |setting, x: f64| in_range(setting, x, x > 0.0 && x < 1.0, "(0, 1)");
        let finite = |setting, x: f64| in_range(setting, x, x.is_finite(), "the finite numbers");
        let positive = |setting, n: u32| in_range(setting, f64::from(n), n > 0, "1 and above");
        match self {
            Self::High(_, Rule::Above(tau)) => finite("threshold of the gate", *tau),
            Self::High(_, Rule::Quantile(rho)) => share("share of the quantile gate", *rho),
            Self::High(_, Rule::Share(s)) => share("share of the gate", *s),
            Self::High(_, Rule::TopK(k)) => positive("k of the top-k gate", *k),
            Self::High(
                _,
                Rule::Dual {
                    tau,
                    lambda,
                    window,
                },
            ) => {
                finite("tau of the dual gate", *tau)?;
                finite("lambda of the dual gate", *lambda)?;
                positive("window of the dual gate", *window)
            }
            Self::First(k) => positive("k of the first gate", *k),
            Self::Changed | Self::All => Ok(()),
            Self::Control(control, reference) => {
                if let Control::RandomHigh(h0) = control {
                    finite("H0 of random-high", *h0)?;
                }
                if reference.reference().is_some() {
                    return Err(AuditError::Gate {
                        gate: self.to_string(),
                        problem: "the reference of a control is itself a control; give a gate that looks at the rollout, as in random@entropy:1.4".into(),
                    });
                }
                reference.check()
            }
        }
    }
}
