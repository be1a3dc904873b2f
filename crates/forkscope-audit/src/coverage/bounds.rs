//! What an audit of some positions says about all.
//!
//! With c certain positions, s sampled ones out of the rest R, k_c and k_s of
//! them changed, and U the hypergeometric upper bound on the changed positions
//! of R: at most `(U - k_s) / (R - s)` of what nobody looked at is changed, at
//! most `(k_c + U) / (c + R)` of all, and the audit has seen at least
//! `(k_c + k_s) / (k_c + U)` of the changed positions. A mass (JS, TV) is the
//! same with sums for counts and the betting bound of the mean for U.

use forkscope_metrics::stats::{betting_upper, hypergeometric_lower, hypergeometric_upper};

use super::outcome::Outcome;
use crate::AuditError;

/// Bounds of an audit of positions; each is one-sided at [`PositionBounds::level`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PositionBounds {
    /// Confidence level of each bound.
    pub level: f64,
    /// Positions of the certain stratum, and the changed ones.
    pub certain: (u64, u64),
    /// Positions of the sample, and the changed ones.
    pub sampled: (u64, u64),
    /// Positions outside the certain stratum, sampled or not.
    pub rest: u64,
    /// Changed positions among those, at least and at most.
    pub rest_changed: (u64, u64),
    /// JS in nats.
    pub js: Mass,
    /// Total variation.
    pub tv: Mass,
    /// Summed KL(p || b): of the certain stratum, and of the sample with the
    /// number of positions where it is undefined.
    pub kl: (f64, f64, u64),
}

/// A bounded mass: sums over the certain stratum and the sample, and the upper
/// bound on its mean over the rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mass {
    /// Sum over the certain stratum.
    pub certain: f64,
    /// Sum over the sample.
    pub sampled: f64,
    /// Upper bound on the mean over the rest, sampled or not.
    pub rest_mean_high: f64,
}

/// A share or mean with what is known of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounded {
    /// Estimate.
    pub value: f64,
    /// Lower bound, where there is one.
    pub low: Option<f64>,
    /// Upper bound, where there is one.
    pub high: Option<f64>,
}

/// Bounds from outcomes; the sample stands in the order of drawing. `rest` is the
/// number of positions outside the certain stratum.
///
/// # Errors
/// No sampled position, more than there are, or a level outside (0, 1).
pub fn position_bounds(
    certain: &[Outcome],
    sampled: &[Outcome],
    rest: u64,
    level: f64,
) -> Result<PositionBounds, AuditError> {
    let changed = |group: &[Outcome]| group.iter().filter(|o| o.changed).count() as u64;
    let (s, k) = (sampled.len() as u64, changed(sampled));
    let mass = |of: fn(&Outcome) -> f64, most: f64| {
        let values: Vec<f64> = sampled.iter().map(of).collect();
        Ok::<_, AuditError>(Mass {
            certain: certain.iter().map(of).sum(),
            sampled: values.iter().sum(),
            rest_mean_high: betting_upper(&values, (0.0, most), Some(rest), level)?,
        })
    };
    let undefined = certain.iter().chain(sampled).filter(|o| o.kl.is_none());
    Ok(PositionBounds {
        level,
        certain: (certain.len() as u64, changed(certain)),
        sampled: (s, k),
        rest,
        rest_changed: (
            hypergeometric_lower(k, s, rest, level)?,
            hypergeometric_upper(k, s, rest, level)?,
        ),
        js: mass(|o| o.js, std::f64::consts::LN_2)?,
        tv: mass(|o| o.tv, 1.0)?,
        kl: (
            certain.iter().filter_map(|o| o.kl).sum(),
            sampled.iter().filter_map(|o| o.kl).sum(),
            undefined.count() as u64,
        ),
    })
}

impl PositionBounds {
    /// Positions of the population.
    pub fn population(&self) -> u64 {
        self.certain.0 + self.rest
    }

    /// Changed share of the positions that nobody looked at; `None` where there
    /// is none.
    pub fn unaudited_changed(&self) -> Option<Bounded> {
        let left = self.rest.checked_sub(self.sampled.0).filter(|n| *n > 0)? as f64;
        let of = |count: u64| count.saturating_sub(self.sampled.1) as f64 / left;
        Some(Bounded {
            value: share(self.sampled.1, self.sampled.0),
            low: Some(of(self.rest_changed.0)),
            high: Some(of(self.rest_changed.1)),
        })
    }

    /// Changed share of the whole population.
    pub fn changed(&self) -> Bounded {
        let of = |rest: f64| (self.certain.1 as f64 + rest) / self.population() as f64;
        Bounded {
            value: of(self.rest as f64 * share(self.sampled.1, self.sampled.0)),
            low: Some(of(self.rest_changed.0 as f64)),
            high: Some(of(self.rest_changed.1 as f64)),
        }
    }

    /// Share of the changed positions that the audit looked at; `None` where
    /// none may be changed.
    pub fn seen_changed(&self) -> Option<Bounded> {
        let seen = (self.certain.1 + self.sampled.1) as f64;
        let of = |rest: f64| Some(seen / (self.certain.1 as f64 + rest)).filter(|x| x.is_finite());
        Some(Bounded {
            value: of(self.rest as f64 * share(self.sampled.1, self.sampled.0)).unwrap_or(1.0),
            low: Some(of(self.rest_changed.1 as f64)?),
            high: None,
        })
    }

    /// Mean of a mass over the positions that nobody looked at.
    pub fn unaudited_mean(&self, mass: &Mass) -> Option<Bounded> {
        let left = self.rest.checked_sub(self.sampled.0).filter(|n| *n > 0)? as f64;
        Some(Bounded {
            value: mass.sampled / self.sampled.0 as f64,
            low: None,
            high: Some((self.rest as f64 * mass.rest_mean_high - mass.sampled).max(0.0) / left),
        })
    }

    /// Mean of a mass over the whole population.
    pub fn mean(&self, mass: &Mass) -> Bounded {
        let of = |mean: f64| (mass.certain + self.rest as f64 * mean) / self.population() as f64;
        Bounded {
            value: of(mass.sampled / self.sampled.0 as f64),
            low: None,
            high: Some(of(mass.rest_mean_high)),
        }
    }

    /// Share of a mass that lies where the audit looked; `None` where there is
    /// none.
    pub fn seen_mass(&self, mass: &Mass) -> Option<Bounded> {
        let seen = mass.certain + mass.sampled;
        let of = |mean: f64| {
            let all = mass.certain + self.rest as f64 * mean;
            (all > 0.0).then(|| seen / all)
        };
        Some(Bounded {
            value: of(mass.sampled / self.sampled.0 as f64).unwrap_or(1.0),
            low: Some(of(mass.rest_mean_high)?.min(1.0)),
            high: None,
        })
    }

    /// Share of the KL in the certain stratum, estimated: the sample stands for
    /// the rest. No bound holds, because one position could hold any KL.
    pub fn certain_kl_share(&self) -> Option<f64> {
        let rest = self.kl.1 * self.rest as f64 / self.sampled.0 as f64;
        let all = self.kl.0 + rest;
        (all > 0.0 && all.is_finite()).then(|| self.kl.0 / all)
    }
}

fn share(part: u64, of: u64) -> f64 {
    part as f64 / of as f64
}

/// Means over a problem's positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProblemBounds {
    /// Changed share.
    pub changed: f64,
    /// Mean JS in nats.
    pub js: f64,
    /// Mean TV.
    pub tv: f64,
    /// Positions.
    pub positions: u64,
}

/// Means of each problem from the outcomes of all of its positions.
pub fn problem_bounds<'a>(
    outcomes: impl Iterator<Item = (usize, &'a Outcome)>,
    problems: usize,
) -> Vec<Option<ProblemBounds>> {
    let mut sums = vec![(0u64, 0u64, 0.0, 0.0); problems];
    for (problem, outcome) in outcomes {
        if let Some((n, changed, js, tv)) = sums.get_mut(problem) {
            *n += 1;
            *changed += u64::from(outcome.changed);
            *js += outcome.js;
            *tv += outcome.tv;
        }
    }
    sums.into_iter()
        .map(|(n, changed, js, tv)| {
            (n > 0).then(|| ProblemBounds {
                changed: share(changed, n),
                js: js / n as f64,
                tv: tv / n as f64,
                positions: n,
            })
        })
        .collect()
}

/// What audited problems say about problems that nobody has listed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewProblems {
    /// Audited problems.
    pub problems: u64,
    /// Mean over problems of the changed share.
    pub changed: Bounded,
    /// Mean over problems of the mean JS, nats.
    pub js: Bounded,
    /// Mean over problems of the mean TV.
    pub tv: Bounded,
}

/// Upper bounds on the means over problems. `listed`: `None` for problems drawn
/// anew from where these came from (independent draws); `Some(P)` for the P
/// problems of a list from which these are a simple random sample. Problems
/// stand in the order of drawing.
///
/// # Errors
/// No problem, more than are listed, or a level outside (0, 1).
pub fn new_problem_bounds(
    problems: &[ProblemBounds],
    listed: Option<u64>,
    level: f64,
) -> Result<NewProblems, AuditError> {
    let bounded = |of: fn(&ProblemBounds) -> f64, most: f64| {
        let values: Vec<f64> = problems.iter().map(|p| of(p).min(most)).collect();
        let high = betting_upper(&values, (0.0, most), listed, level)?;
        Ok::<_, AuditError>(Bounded {
            value: values.iter().sum::<f64>() / values.len() as f64,
            low: None,
            high: Some(high),
        })
    };
    Ok(NewProblems {
        problems: problems.len() as u64,
        changed: bounded(|p| p.changed, 1.0)?,
        js: bounded(|p| p.js, std::f64::consts::LN_2)?,
        tv: bounded(|p| p.tv, 1.0)?,
    })
}
