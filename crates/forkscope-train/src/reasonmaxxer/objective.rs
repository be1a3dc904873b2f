//! What one decision position contributes: the loss f, its derivative with
//! respect to ln p(x_t), and the pressure that the log reports.
//!
//! With D = ln p(x_t) - ln b(x_t), A the clipped advantage and beta = beta_neg,
//! nats:
//!
//! | objective | A > 0 | A < 0 |
//! |---|---|---|
//! | `adv_ce` | A (-ln p) | beta A (-ln p) |
//! | `delta_hinge` | relu(m+ - D) A | beta relu(D + m-) \|A\| |
//! | `correct_sft` | -ln p | none: an anchor |
//! | `clipped_ratio`, r = e^D | -A min(r, 1 + high) | beta \|A\| min(max(r, 1 - low), c) |
//!
//! A hinge at its corner has derivative 0, as torch's relu. The clipped ratio is
//! the surrogate of PPO with the base as the sampling policy, and the dual clip
//! of arXiv 1912.09729; outside its bounds it has no gradient, so that no token
//! is pushed without end.

use super::settings::{DecisionObjective, ReasonMaxxerSettings};

/// A decision position's terms, before they are divided by anything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Term {
    /// f.
    pub loss: f64,
    /// df / d ln p(x_t).
    pub slope: f64,
    /// The size of the push: f for a hinge, |A| beta CE for the cross-entropies,
    /// |f| for the ratio.
    pub pressure: f64,
}

/// How decisions of one rollout are pushed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Push {
    objective: DecisionObjective,
    /// Clipped advantage, not 0.
    advantage: f64,
    beta: f64,
    pos_margin: f64,
    neg_margin: f64,
    low: f64,
    high: f64,
    dual: f64,
}

impl Push {
    /// `beta_neg` is today's, which may adapt.
    pub fn new(settings: &ReasonMaxxerSettings, advantage: f64, beta_neg: f64) -> Self {
        Self {
            objective: settings.objective,
            advantage,
            beta: beta_neg,
            pos_margin: settings.pos_margin,
            neg_margin: settings.neg_margin,
            low: 1.0 - settings.clip_low,
            high: 1.0 + settings.clip_high,
            dual: match settings.dual_clip {
                0.0 => f64::INFINITY,
                c => c,
            },
        }
    }

    /// Whether the rollout was right.
    pub fn is_positive(&self) -> bool {
        self.advantage > 0.0
    }

    /// Terms at a position with ln p(x_t) = `log_prob` and ln b(x_t) = `base`.
    pub fn term(&self, log_prob: f64, base: f64) -> Term {
        let delta = log_prob - base;
        match self.objective {
            DecisionObjective::AdvCe => self.cross_entropy(log_prob),
            DecisionObjective::DeltaHinge => self.hinge(delta),
            DecisionObjective::CorrectSft => Term {
                loss: -log_prob,
                slope: -1.0,
                pressure: -log_prob,
            },
            DecisionObjective::ClippedRatio => self.ratio(delta),
        }
    }

    fn cross_entropy(&self, log_prob: f64) -> Term {
        let weight = match self.is_positive() {
            true => self.advantage,
            false => self.advantage * self.beta,
        };
        Term {
            loss: weight * -log_prob,
            slope: -weight,
            pressure: weight.abs() * -log_prob,
        }
    }

    fn hinge(&self, delta: f64) -> Term {
        let (gap, weight, sign) = match self.is_positive() {
            true => (self.pos_margin - delta, self.advantage, -1.0),
            false => (delta + self.neg_margin, -self.advantage * self.beta, 1.0),
        };
        let loss = gap.max(0.0) * weight;
        Term {
            // NaN passes through, so that it is found.
            loss: if gap.is_nan() { f64::NAN } else { loss },
            slope: if gap > 0.0 { sign * weight } else { 0.0 },
            pressure: loss,
        }
    }

    fn ratio(&self, delta: f64) -> Term {
        let r = libm::exp(delta);
        let (loss, slope) = match self.is_positive() {
            true if r < self.high => (-self.advantage * r, -self.advantage * r),
            true => (-self.advantage * self.high, 0.0),
            false => {
                let weight = -self.advantage * self.beta;
                let bound = r.max(self.low).min(self.dual);
                let inside = r > self.low && r < self.dual;
                (weight * bound, if inside { weight * r } else { 0.0 })
            }
        };
        Term {
            loss: if r.is_nan() { f64::NAN } else { loss },
            slope,
            pressure: loss.abs(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(objective: DecisionObjective) -> ReasonMaxxerSettings {
        ReasonMaxxerSettings {
            objective,
            pos_margin: 0.4,
            neg_margin: 0.3,
            ..ReasonMaxxerSettings::default()
        }
    }

    const ALL: [DecisionObjective; 4] = [
        DecisionObjective::AdvCe,
        DecisionObjective::DeltaHinge,
        DecisionObjective::CorrectSft,
        DecisionObjective::ClippedRatio,
    ];

    #[test]
    fn slopes_are_the_finite_differences() {
        for objective in ALL {
            for advantage in [1.7, -0.6] {
                let push = Push::new(&settings(objective), advantage, 0.7);
                for log_prob in [-3.1, -2.6, -2.2, -1.95, -1.7, -0.4] {
                    let f = |x: f64| push.term(x, -2.0).loss;
                    let h = 1e-6;
                    let difference = (f(log_prob + h) - f(log_prob - h)) / (2.0 * h);
                    let slope = push.term(log_prob, -2.0).slope;
                    assert!(
                        (difference - slope).abs() < 1e-6 * (1.0 + slope.abs()),
                        "{objective:?} A {advantage} ln p {log_prob}: {difference} and {slope}"
                    );
                }
            }
        }
    }

    #[test]
    fn values_by_hand() {
        let term =
            |objective, a, log_prob| Push::new(&settings(objective), a, 0.5).term(log_prob, -2.0);
        let is = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found}");
        is(term(DecisionObjective::AdvCe, 2.0, -1.5).loss, 3.0);
        is(term(DecisionObjective::AdvCe, -2.0, -1.5).loss, -1.5);
        is(term(DecisionObjective::DeltaHinge, 2.0, -1.9).loss, 0.6);
        is(term(DecisionObjective::DeltaHinge, 2.0, -1.5).loss, 0.0);
        is(term(DecisionObjective::DeltaHinge, -2.0, -1.9).loss, 0.4);
        is(term(DecisionObjective::DeltaHinge, -2.0, -2.5).loss, 0.0);
        is(term(DecisionObjective::CorrectSft, 2.0, -1.5).loss, 1.5);
        // r = e^0.5 = 1.65 is beyond 1.2; r = e^-1 = .37 below .8; e^2 = 7.4 above 3.
        is(term(DecisionObjective::ClippedRatio, 2.0, -1.5).loss, -2.4);
        is(term(DecisionObjective::ClippedRatio, -2.0, -3.0).loss, 0.8);
        is(term(DecisionObjective::ClippedRatio, -2.0, 0.0).loss, 3.0);
    }

    #[test]
    fn nan_is_never_a_number() {
        for objective in ALL {
            for advantage in [1.0, -1.0] {
                let push = Push::new(&settings(objective), advantage, 1.0);
                assert!(push.term(f64::NAN, -1.0).loss.is_nan(), "{objective:?}");
            }
        }
    }
}
